"""How many filters does a concept need? Scores against the number of filters (paper, section 4.1).

  python -m experiments.how_many_filters --dataset DIR --out OUT \\
      --layers efficientnet_lite0/block10 efficientnet_lite0/head --seeds 5

Trains, for both probes, embeddings of all filters and of the F filters of largest weight, and
counts with how many filters a concept reaches 80 and 90 % of its full score (reference behaviour
8.2). Figures lie in OUT/figures, their numbers in OUT/summary.json, the fits and counts of every
concept in OUT/how_many_filters.csv, the runs beside them.
Time: 1,402 images × 24 concepts, two layers, 9 subset sizes, 5 seeds take about 9 minutes on 2 CPU
cores, nearly all of it for segmentation; --subset-seeds 5 takes five times as long.
Expected: mean scores rise with the logarithm of the number of filters. A concept that 30 epochs of
the linear loss do not teach (its full score is near 0) is reached by few filters or by one.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.how_many_filters import main

if __name__ == "__main__":
    run_script(main)
