"""Has a concept sub-concepts, and which are taken for each other? An embedding for every image.

  python -m experiments.local_embeddings --run RUN
  python -m experiments.local_embeddings --run RUN --concepts car dog sky --images 500

Of every concept of a finished run of experiments.segmentation, an embedding is trained on each
image alone (LoCE, Mikriukov et al., IJCV 2025). RUN/local_embeddings receives embeddings.csv (own
IoU, sub-concept, outliers), concepts.csv (retrieval of val images among train images, what a
concept is taken for, its sub-concepts), confusions.csv, weights.npz and figures;
experiments.report shows them. See docs/local_embeddings.md.
Time: half a minute for 23 concepts on 591 photographs, half of it clouds beside the sub-concepts.
Expected: animals are taken for animals, grass for roads and trees; faces fall into portraits and
small ones.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.local_embeddings import main

if __name__ == "__main__":
    run_script(main)
