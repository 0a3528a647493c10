"""Which formula of concepts, with AND, OR and AND NOT, does a filter or an embedding mark?

  python -m experiments.formulas --run RUN --length 3

For a finished run of experiments.segmentation, RUN/formulas receives formulas.csv: for every filter
and every embedding the concept, and the formula of concepts such as (car | road) & !sky, that
overlaps best with what it marks on all train images, with IoUs on train and val images (Mu &
Andreas 2020); experiments.report shows them. `--search beam` takes any length. See
docs/formulas.md.
Time: less than a minute for 112 filters and 24 embeddings on 1,402 images on 2 CPU cores.
Expected: all filters gain by a formula on train images, most on val images too, and the fewer the
better a single concept fits: CamVid, block10 of EfficientNet-Lite0, mean val IoU of filters 0.009
by one concept and 0.012 by a formula, of embeddings 0.377 and 0.401.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.formulas import main

if __name__ == "__main__":
    run_script(main)
