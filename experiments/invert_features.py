"""Feature inversion: images from noise that a layer cannot tell from a photograph (behaviour 8.9).

  python -m experiments.invert_features --network efficientnet_lite0 --layer block4 block10 head \\
      --images photo.jpg other.png --out OUT
  python -m experiments.invert_features --run RUN

Images are resized, so that the shorter side is the network's input size, and cropped to the
centre. With --run, network and layer are the run's, and images of its dataset are inverted; name
with --dataset, --network and --weights what has moved since. Prints the relative error
‖Φ(x) - Φ0‖² / ‖Φ0‖² of every image and layer. OUT gets a PNG of each, errors.csv, and a figure of
all beside the originals.
Time: about a minute per layer for two images of 224 pixels on 2 cores.
Expected: shallow layers give the image back; of deep ones, parts and texture in other places.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.invert_features import main

if __name__ == "__main__":
    run_script(main)
