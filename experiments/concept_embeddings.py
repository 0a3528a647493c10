"""What do concept embeddings say of each other? Neighbours, arithmetic, clusters, maps.

  python -m experiments.concept_embeddings --run RUN
  python -m experiments.concept_embeddings --run RUN --query "grass + blue - green"
  python -m experiments.concept_embeddings --run RUN --neighbours dog sky

Geometry of the unit-normalised embeddings of a finished run of either probe (reference behaviour
8.6, 8.7). The mean of all seeds' unit embeddings is used, and with several seeds it is measured how
many nearest concepts they share. With --query or --neighbours the answers are printed and nothing
is written. All concepts with embeddings take part; the paper's set S, whose tables the reference
behaviour has in appendix A.5, leaves out scenes and textures in segmentation:
--categories color object part material.
Time: a second for a query; without one, ten seconds for 118 concepts, a minute for 1,200, most of
it t-SNE.
Expected: materials beside the objects made of them, scenes beside scenes; "grass + blue - green"
gives water, sea and sky on the quickstart's run.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.concept_embeddings import main

if __name__ == "__main__":
    run_script(main)
