"""Which formula of concepts, with AND, OR and AND NOT, does a filter or an embedding mark?

  python -m experiments.formulas --run RUN --length 3

For a finished run of experiments.segmentation, RUN/formulas receives formulas.csv: for every filter
and every embedding the concept, and the formula of concepts such as (car | road) & !sky, that
overlaps best with what it marks on all train images, with IoUs on train and val images (Mu &
Andreas 2020); experiments.report shows them. `--search beam` takes any length. See
docs/formulas.md.
Time: half a minute for 112 filters and 24 embeddings on 1,400 images on 2 CPU cores.
Expected: nearly every filter gains by a formula, mostly by OR: filters fire on several concepts.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.formulas import main

if __name__ == "__main__":
    run_script(main)
