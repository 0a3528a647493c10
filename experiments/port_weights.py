"""Port a network's weights once and store them, so that later scripts need no weight file.

  python -m experiments.port_weights --network resnet18 [--weights FILE] --out DIR

Downloads the published weights if none are given, checks them, ports them into Flax and stores the
network with Orbax. Every script takes the directory as --weights.
Time: a few seconds and a download; VGG16 (553 MB) takes about 5 seconds and 1.3 GB of memory.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from net2vec_jax.core.console import run_script
from net2vec_jax.networks.load import load_network, save_network


@dataclasses.dataclass(frozen=True)
class PortFlags:
    """Flags of the port.

    Attributes:
      network: name in the zoo.
      out: a new directory.
      weights: name of published weights ("imagenet", "places365"), or a weight file (.pth, .pt,
        .safetensors, .caffemodel); by default the zoo's first.
    """

    network: str
    out: Path
    weights: str | None = None


def main(flags: PortFlags) -> None:
    """Port, store, and say how to use it."""
    loaded = load_network(flags.network, weights=flags.weights)
    save_network(loaded, flags.out)
    print(
        f"{loaded.name} with {loaded.classes} classes, SHA-256 of its weight file "
        f"{loaded.fingerprint[:12]}…\n"
        f"layers worth probing: {', '.join(loaded.probing_layers)}\n"
        f"use it with --network {loaded.name} --weights {flags.out}"
    )


if __name__ == "__main__":
    run_script(main, PortFlags, __doc__.split("\n")[0])
