"""Name → network, weights, preprocessing and the layers worth probing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from flax import nnx

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import Preprocessing, View
from net2vec_jax.networks.zoo.caffe import CAFFE_ENTRIES
from net2vec_jax.networks.zoo.entry import NetworkEntry
from net2vec_jax.networks.zoo.torch import TORCH_ENTRIES
from net2vec_jax.networks.zoo.transformers import TRANSFORMER_ENTRIES
from net2vec_jax.weights.cache import file_fingerprint
from net2vec_jax.weights.ported import (
    PortedDescription,
    load_ported,
    read_description,
    save_ported,
)
from net2vec_jax.weights.porting import port_weights, rename_keys
from net2vec_jax.weights.readers.files import load_weight_file
from net2vec_jax.weights.spellings import respell

NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {entry.name: entry for entry in (*TORCH_ENTRIES, *TRANSFORMER_ENTRIES, *CAFFE_ENTRIES)}
)


def load_network(name: str | Path, *, weights: str | Path | None = None) -> LoadedNetwork:
    """Build a network and fill it with its weights.

    Args:
      name: a key of `NETWORKS`; or a directory that `save_network` wrote.
      weights: the name of published weights ("places365"), which are downloaded once; or a weight
        file (.pth, .pt, .safetensors, .caffemodel); or a directory that `save_network` wrote. By
        default the entry's first published weights. A name goes before a file of that name.

    Raises:
      Net2VecError: there is no such network, its weights cannot be found or read, or they do not
        fit.

    Examples:
      >>> import net2vec_jax as n2v
      >>> network = n2v.load_network("efficientnet_lite0")
      >>> network.network.resolve_layer("block10")
      'block10'
    """
    if name not in NETWORKS and weights is None and Path(name).is_dir():
        name, weights = read_description(name).network, name
    if name not in NETWORKS:
        raise unknown_name_error("network", str(name), NETWORKS)
    entry = NETWORKS[str(name)]
    sources = {source.name: source for source in entry.sources}
    if weights is None or str(weights) in sources:
        source = entry.sources[0] if weights is None else sources[str(weights)]
        text = f"{source.name}, {source.url}"
        return _port(entry, source.find(), source.view, text, source.name)
    path = Path(weights)
    if path.is_dir():
        return _load_ported(entry, path)
    if not path.exists() and path.name == str(weights) and not path.suffix:
        raise unknown_name_error(f"weights of {name}, no file either,", str(weights), sources)
    return _port(entry, path, entry.sources[0].view, path.name, str(path.absolute()))


def open_network_origin(origin: Mapping[str, Any]) -> LoadedNetwork:
    """Open the network that `LoadedNetwork.origin` describes, with the very same weights.

    No code that the origin names is run: it may come from anybody.

    Args:
      origin: its keys "network", "weights" and "weights_from"; others are not looked at.

    Raises:
      Net2VecError: it was a wrapped model, which only its user can open; or its weights cannot be
        found, or are others.
    """
    name, weights = origin["network"], origin.get("weights_from")
    if weights is None:
        raise Net2VecError(
            f"{name} was a model of your own, and what was saved does not tell how to make it "
            "again: wrap it as before and pass it as network=…"
        )
    loaded = load_network(name, weights=weights)
    if loaded.fingerprint != origin["weights"]:
        raise Net2VecError(
            f"{weights} holds other weights of {name} than before (SHA-256 "
            f"{loaded.fingerprint[:12]}… instead of {origin['weights'][:12]}…): load the same "
            "with load_network(…, weights=…) and pass it as network=…"
        )
    return loaded


def _port(entry: NetworkEntry, path: Path, view: View, source: str, weights: str) -> LoadedNetwork:
    """Port a weight file; the number of classes is the file's."""
    arrays = rename_keys(respell(load_weight_file(path), entry.spellings), entry.renames)
    return LoadedNetwork(
        name=entry.name,
        network=port_network(entry, arrays, origin=f"the weights in {path}"),
        fingerprint=file_fingerprint(path),
        input_size=entry.input_size,
        own_preprocessing=view.own,
        probing_layers=entry.probing_layers,
        classes=_count_classes(entry, arrays),
        overrides=view.overrides,
        source=source,
        weights=weights,
    )


def port_network(entry: NetworkEntry, weights: Mapping[str, np.ndarray], *, origin: str) -> Network:
    """A network filled with weights in memory; it has as many classes as they.

    Args:
      entry: of the network.
      weights: arrays by the keys of the weight file.
      origin: names the weights in errors.

    Raises:
      Net2VecError: the weights do not fit.
    """
    weights = rename_keys(respell(weights, entry.spellings), entry.renames)
    classes = _count_classes(entry, weights)
    network = _abstract(entry, classes)
    return port_weights(network, weights, caffe=entry.caffe, ignored=entry.ignored, origin=origin)


def _abstract(entry: NetworkEntry, classes: int) -> Network:
    """The network without numbers."""
    return nnx.eval_shape(lambda: entry.build(classes=classes, rngs=nnx.Rngs(0)))


def _count_classes(entry: NetworkEntry, weights: Mapping[str, np.ndarray]) -> int:
    """How many logits the file's network has; the default where porting will refuse it anyhow."""
    logits = weights.get(entry.logits_key)
    return len(logits) if logits is not None and logits.size else entry.sources[0].classes


def save_network(loaded: LoadedNetwork, directory: str | Path) -> None:
    """Store a network with its weights, so that `load_network` takes the directory as weights.

    Args:
      loaded: a network of the zoo.
      directory: a new directory.

    Raises:
      Net2VecError: the directory exists or cannot be written; the network is not of the zoo.
    """
    if loaded.classes is None:
        raise Net2VecError(f"{loaded.name} is not a network of the zoo; only those can be stored")
    description = PortedDescription(
        network=loaded.name,
        fingerprint=loaded.fingerprint,
        classes=loaded.classes,
        source=loaded.source,
        input_size=loaded.input_size,
        mean=loaded.own_preprocessing.mean,
        deviation=loaded.own_preprocessing.deviation,
    )
    save_ported(Path(directory), loaded.network, description)


def _load_ported(entry: NetworkEntry, directory: Path) -> LoadedNetwork:
    description = read_description(directory)
    if description.network != entry.name:
        raise Net2VecError(
            f"{directory} holds the weights of {description.network}, not of {entry.name}"
        )
    own = Preprocessing(description.mean, description.deviation)
    known = [source.view for source in entry.sources if source.view.own == own]
    return LoadedNetwork(
        name=entry.name,
        network=load_ported(directory, _abstract(entry, description.classes)),
        fingerprint=description.fingerprint,
        input_size=description.input_size,
        own_preprocessing=own,
        probing_layers=entry.probing_layers,
        classes=description.classes,
        overrides=known[0].overrides if known else (),
        source=description.source,
        weights=str(directory.absolute()),
    )
