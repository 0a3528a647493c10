"""Net2Vec in JAX: how concepts are encoded by the filters of deep networks.

Everything that a script can do, an import can do. Names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from net2vec_jax import analysis, inversion, plots, stats
    from net2vec_jax.activations.layer import (
        LayerActivations,
        collect_activations,
        collect_layers,
        read_activations,
    )
    from net2vec_jax.core.errors import Net2VecError
    from net2vec_jax.data.arrays import from_arrays
    from net2vec_jax.data.open import open_dataset
    from net2vec_jax.networks.adapters import wrap_function, wrap_linen, wrap_nnx, wrap_torch
    from net2vec_jax.networks.load import NETWORKS, LoadedNetwork, load_network
    from net2vec_jax.probes.presets import PAPER, REFERENCE_CODE
    from net2vec_jax.report.write import write_report
    from net2vec_jax.runs.classification import ClassificationProbe, train_classification
    from net2vec_jax.runs.finished import FinishedRun, open_run
    from net2vec_jax.runs.segmentation import SegmentationProbe, train_segmentation
    from net2vec_jax.runs.sources import load_probe
    from net2vec_jax.runs.study import run_study

_ORIGINS = {
    "LayerActivations": "activations.layer",
    "collect_activations": "activations.layer",
    "collect_layers": "activations.layer",
    "read_activations": "activations.layer",
    "Net2VecError": "core.errors",
    "from_arrays": "data.arrays",
    "open_dataset": "data.open",
    "wrap_function": "networks.adapters",
    "wrap_linen": "networks.adapters",
    "wrap_nnx": "networks.adapters",
    "wrap_torch": "networks.adapters",
    "NETWORKS": "networks.load",
    "LoadedNetwork": "networks.load",
    "load_network": "networks.load",
    "PAPER": "probes.presets",
    "REFERENCE_CODE": "probes.presets",
    "write_report": "report.write",
    "ClassificationProbe": "runs.classification",
    "train_classification": "runs.classification",
    "FinishedRun": "runs.finished",
    "open_run": "runs.finished",
    "SegmentationProbe": "runs.segmentation",
    "train_segmentation": "runs.segmentation",
    "load_probe": "runs.sources",
    "run_study": "runs.study",
}
_ROOMS = ("analysis", "inversion", "plots", "stats")

__all__ = [*_ORIGINS, *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ORIGINS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
