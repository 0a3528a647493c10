"""Is an embedding better than the best single filter? By concept, category, layer and network.

  python -m experiments.single_vs_embedding --dataset DIR --out OUT \\
      --layers efficientnet_lite0/block10 efficientnet_lite0/head

Runs both probes (or takes the runs that experiments.how_many_filters left in OUT), compares single
filters with embeddings by the definitions of reference behaviour 8.1 and 8.4, and tests every
concept on its val images: a paired bootstrap, with the false discovery rate held over a layer's
concepts with masks, and by itself over scenes and textures. Counts the concepts that single filters
detect as the paper does, by the best filter on val, and by filters that are chosen on train.
Figures lie in OUT/figures, their numbers in OUT/summary.json, the tests in
OUT/single_vs_embedding.csv.
Time: as experiments.how_many_filters, whose runs it shares; a few seconds where they are there.
Expected: embeddings are better for nearly every object, and detect several times as many concepts.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.single_vs_embedding import main

if __name__ == "__main__":
    run_script(main)
