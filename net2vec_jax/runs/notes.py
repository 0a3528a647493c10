"""What run.json notes of where a run's dataset, network and activations are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.layer import LayerActivations
from net2vec_jax.data.coco.dataset import PREFIX as COCO
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.networks.load import NETWORKS
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.runs.flags import LayerFlags
from net2vec_jax.weights.hub import is_on_hub


def describe_sources(
    flags: LayerFlags, dataset: ConceptDataset, network: LoadedNetwork | None
) -> dict[str, Any]:
    """What run.json notes: where dataset, network and activations are.

    Args:
      flags: of the run.
      dataset: the images; drawn scenes are noted by their directory.
      network: what is probed, if it is a network.
    """
    drawn = flags.dataset == "scenes" and not Path("scenes").exists()
    name = str(getattr(dataset, "directory", "scenes")) if drawn else flags.dataset
    activations = flags.activations or flags.out / "activations"
    entry = NETWORKS.get(flags.network or "")
    published = {source.name for source in entry.sources} if entry else set()
    by_name = flags.weights in published or is_on_hub(flags.weights or "")
    weights = None if flags.weights is None or by_name else Path(flags.weights)
    return {
        "dataset": _note_dataset(name, flags.out),
        "network": _note(_name_absolutely(flags.network)) if flags.network else None,
        "weights": _note_path(weights, flags.out) if weights else _note(flags.weights),
        "weight_options": network.options.chosen if network else {},
        "weights_are": network.source if network else None,
        "activations": _note_path(activations, flags.out),
        "activation_array": _note_path(flags.activation_array, flags.out)
        if flags.activation_array
        else None,
        "channels_first": flags.channels_first,
        "skip_bad_images": flags.skip_bad_images,
        "skip_bad_annotations": flags.skip_bad_annotations,
    }


def note_sources(dataset: str | Path | None, layer: LayerActivations) -> dict[str, Any]:
    """What run.json notes of a probe that was trained in memory.

    Args:
      dataset: what `open_dataset` was called with, or the directory; None of one in memory.
      layer: the activations; a wrapped model cannot be noted.
    """
    network = layer.network
    weights = None if network is None else network.weights
    stored = layer.stored
    array = os.path.abspath(stored.path) if isinstance(stored, ExternalActivations) else None
    return {
        "dataset": _note_dataset(str(dataset), Path.cwd()) if dataset else None,
        "network": _note(network.name) if network and weights else None,
        "weights": _note(weights),
        "weight_options": network.options.chosen if network else {},
        "weights_are": network.source if network else None,
        "activations": None,
        "activation_array": _note(array),
        "channels_first": layer.origin.get("channels_first") == "True",
        "skip_bad_images": False,
        "skip_bad_annotations": False,
    }


def _note(name: str | None) -> dict[str, str | None] | None:
    """A source that is found by its name alone."""
    return None if name is None else {"name": name, "from_here": None}


def _note_path(path: Path, run: Path) -> dict[str, str | None]:
    """A source that is a path: where it is, and where that is as seen from the run's directory."""
    absolute = os.path.abspath(path.expanduser())
    return {"name": absolute, "from_here": os.path.relpath(absolute, os.path.abspath(run))}


def _note_dataset(name: str, run: Path) -> dict[str, str | None] | None:
    """A dataset as `open_dataset` takes it, so that it is found from any working directory."""
    if Path(name).exists():
        return _note_path(Path(name), run)
    if name.startswith(COCO):
        parts = [
            ":".join(os.path.abspath(os.path.expanduser(path)) for path in part.split(":"))
            for part in name.removeprefix(COCO).split(",")
        ]
        return _note(COCO + ",".join(parts))
    own, at, resolution = name.rpartition("@")
    return _note(f"{os.path.abspath(own)}@{resolution}" if at and Path(own).exists() else name)


def _name_absolutely(network: str) -> str:
    """A network's name, in which FILE.py of FILE.py:FUNCTION is an absolute path."""
    origin, colon, function = network.rpartition(":")
    return f"{os.path.abspath(origin)}:{function}" if colon and origin.endswith(".py") else network


def fix_paths(sources: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Noted sources with paths that hold from any directory, where they exist.

    Args:
      sources: as run.json notes them.
      directory: of the run.
    """
    fixed = dict(sources)
    for name, noted in sources.items():
        if isinstance(noted, dict) and noted.get("from_here"):
            path = os.path.abspath(directory / noted["from_here"])
            found = path if os.path.exists(path) else noted["name"]
            fixed[name] = {"name": found, "from_here": None}
    return fixed
