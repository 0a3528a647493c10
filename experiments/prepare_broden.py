"""Broden: download, unpack and check the dataset of the paper.

  python -m experiments.prepare_broden --resolution 227 --data-dir data [--archive broden1_227.zip]

Downloads the published archive (resumed after an interruption) unless it is given, unpacks it,
and counts rows, labels and pixels against the published numbers; the table is printed. Its
publishers gave no checksum, so these counts say whether it is whole and read right.
Time: about 1 GB to download and 63,305 images to count, several minutes on 2 CPU cores.
Expected: every row of the table agrees; at 224 to the pixel, at 227 colours, textures and scenes.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.prepare_broden import main

if __name__ == "__main__":
    run_script(main)
