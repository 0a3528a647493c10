"""Do concepts share filters, and do weights follow single filters? (reference behaviour 8.3, 8.5)

  python -m experiments.filter_overlap --runs RUN [RUN ...] [--classification-runs RUN ...]

Reads finished runs of experiments.segmentation, one per layer, and counts for every filter the
concepts that it serves: as their best single filter, and as one of the F filters of largest weight
in their embeddings. Beside it stands chance in two senses: every concept keeps its number of
filters (by permutations), and every filter keeps its number of concepts, too (by swaps). Correlates
weights with the IoUs of single filters and, where runs of experiments.classification on the same
layers are given, with the weights of the other probe.
filters.csv has a row per filter, those that serve most categories first; concepts.csv says with
whom a concept shares its filters; shared_filters.csv what every two categories share, against both
senses of chance; weight_correlations.csv has every r, p- and q-value; summary.json
the numbers of the figures, which lie in figures/.
Time: half a minute for two layers of 100 concepts on 2 CPU cores.
Expected: filters are shared, also between categories, several times more often than by chance for
few filters, less for many. That is because some filters are in much demand and others idle: against
chance that keeps the filters' popularity, hardly more is shared. Weights go with
single-filter IoUs (r = 0.75 for the paper's person).
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.filter_overlap import main

if __name__ == "__main__":
    run_script(main)
