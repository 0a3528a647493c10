"""Sheets of pictures: what embeddings, best filters and filters mark on images of a run.

  python -m experiments.pictures --run RUN [--concepts dog red-c] [--filters 12 40]

For a finished run of experiments.segmentation, OUT (by default RUN/pictures) receives
concept_NUMBER_NAME.png: val images at percentiles of the embedding's individual IoU, with ground
truth, masks of embedding and best filter, and a heat map; filter_NUMBER.png: images over the range
on which a filter fires, and the concepts that it serves; recall.png and .pdf: how many of a
concept's images come first when its embedding or its best filter ranks all val images (reference
behaviour 8.8). The numbers are in pictures.csv, filter_pictures.csv and recall.csv.
Time: about half a second per sheet, and one pass over the stored activations.
Expected: embeddings mark most of a concept and some of what is around it, best filters a small part
of it and on many images nothing; at the 5th percentile both miss small and dark things.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.pictures import main

if __name__ == "__main__":
    run_script(main)
