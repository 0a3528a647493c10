"""Where are a run's concepts on photographs of yours? Masks, scores, heat maps, ranked sheets.

  python -m experiments.apply --run RUN --images FOLDER --out OUT [--concepts dog red-c] \\
      [--classification RUN] [--write masks heatmaps overlays sheets]

Photographs of any size and format go through the network of a finished run; OUT receives
masks/PHOTOGRAPH/CONCEPT.png (palette, 0 and 1), scores.csv (share of the photograph, mean and
maximum probability, and whether the classification probe sees the concept), unreadable.csv, and on
request heat maps, overlays and a ranked sheet of each concept (docs/apply.md). The same command
goes on after a stop, and with photographs that were added.
Time: the forward pass and, with EfficientNet-Lite0 on 2 cores, a tenth of it for three concepts;
each further mask takes about a millisecond of a core.
Expected: on the run's own val images, --size segmentation gives the pixels that the run counted.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.apply import main

if __name__ == "__main__":
    run_script(main)
