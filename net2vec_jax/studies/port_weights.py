"""Port a network's weights once and store them, so that later scripts need no weight file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from net2vec_jax.networks.load import load_network, save_network
from net2vec_jax.networks.options import WeightOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortFlags(WeightOptions):
    """Flags of the port.

    Attributes:
      network: name in the zoo.
      out: a new directory.
      weights: name of published weights ("imagenet", "places365"), a weight file (.pth, .pt,
        .safetensors, .caffemodel, …; docs/zoo.md), or hf:OWNER/NAME or timm:NAME of the Hugging
        Face Hub; by default the zoo's first.
    """

    network: str
    out: Path
    weights: str | None = None


def main(flags: PortFlags) -> None:
    """Port, store, and say how to use it."""
    loaded = load_network(flags.network, weights=flags.weights, **flags.chosen)
    save_network(loaded, flags.out)
    print(
        f"{loaded.name} with {loaded.classes or 'no'} classes, SHA-256 of its weight file "
        f"{loaded.fingerprint[:12]}…\n"
        f"layers worth probing: {', '.join(loaded.probing_layers)}\n"
        f"use it with --network {loaded.name} --weights {flags.out}"
    )
