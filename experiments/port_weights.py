"""Ported weights: download, check and port a network once, for all later scripts.

  python -m experiments.port_weights --network resnet18 [--weights FILE] --out DIR

Downloads the published weights if none are given, checks them, ports them into Flax and stores the
network with Orbax. Every script takes the directory as --weights.
Time: a few seconds and a download; VGG16 (553 MB) takes about 5 seconds and 1.3 GB of memory.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.port_weights import main

if __name__ == "__main__":
    run_script(main)
