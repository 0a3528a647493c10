"""Port a network's weights once and store them, so that later scripts need no weight file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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
