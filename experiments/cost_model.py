"""Cost model: predict a pair's time in training from what it needs, and measure it.

  python -m experiments.cost_model --out DIR

Counts what a pair needs (active entries, multiplications, pixels), takes the cost of each from five
small problems, and predicts others of other grids, filters and mask sizes, which are then measured.
For an accelerator there is a prediction on paper: bytes and operations per pair against the
machine's published rates, and the time to start its programs.
Time: 2 minutes on 2 CPU cores. Expected: predictions within a quarter of the measurements; pixels
are most of the cost on a CPU.
"""

from experiments.benchmark.cost_model import main
from net2vec_jax.core.console import run_script

if __name__ == "__main__":
    run_script(main)
