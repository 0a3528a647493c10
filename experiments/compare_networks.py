"""Do networks, layers, WordNet and word vectors arrange concepts alike?

  python -m experiments.compare_networks --runs RUN RUN [RUN ...] [--wordnet DIR] \\
      [--word-vectors FILE] [--permutations 1000] [--out DIR]

Compares the embeddings of finished runs, of any layer, network and probe, on the concepts that all
have (with --pairwise, that two have): distances by concept and category (reference behaviour 8.6),
CKA and rank correlation of similarities with permutation tests, and overlap of nearest neighbours.
Tables, summary.json and figures lie in OUT, by default FIRST_RUN/compare_networks.
Time: seconds for a hundred concepts; about 20 s a pair for a thousand, nearly all for the tests.
Expected: layers of a network are alike (p at its least), all much less so to WordNet.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.compare_networks import main

if __name__ == "__main__":
    run_script(main)
