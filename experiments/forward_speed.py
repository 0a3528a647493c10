"""Forward passes: time and compare every network with torch.

  python -m experiments.forward_speed [--networks NAME ...] [--out FILE.json]

Every network gets the same random weights in torch (eager mode) and, ported, in Flax (jitted, the
images divided among the devices, as scripts compute activations). The same batch goes through both
in turn, float32; the largest difference of the logits, or of whatever comes last, is told in its
standard deviations.
Time: 5 rounds of 16 images take half a minute on 2 CPU cores, large transformers several minutes.
Expected on 2 x86 cores: of ten networks one was slower than torch, by 8 %.
Needs torchvision and efficientnet-lite-pytorch beside the requirements; timm and transformers for
the networks that these have. Without names, networks whose original is not installed are left out.
"""

from experiments.benchmark.forward_speed import main
from net2vec_jax.core.console import run_script

if __name__ == "__main__":
    run_script(main)
