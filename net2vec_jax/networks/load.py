"""Name → network, weights, preprocessing and the layers worth probing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flax import nnx

from net2vec_jax.core.console import announce
from net2vec_jax.core.errors import Net2VecError, list_names, unknown_name_error
from net2vec_jax.networks.layers.blocks import LayerNormalisation
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.options import WeightOptions, read_options
from net2vec_jax.networks.preprocessing import Preprocessing, View
from net2vec_jax.networks.sae import wrap_sae
from net2vec_jax.networks.zoo.caffe import CAFFE_ENTRIES
from net2vec_jax.networks.zoo.entry import NetworkEntry
from net2vec_jax.networks.zoo.torch import TORCH_ENTRIES
from net2vec_jax.networks.zoo.transformers import TRANSFORMER_ENTRIES
from net2vec_jax.weights.cache import file_fingerprint
from net2vec_jax.weights.fitting import Arrays, Fit, Wanted, fit_keys, strip_wrappers
from net2vec_jax.weights.hub import HubSettings, fetch_hub_weights, is_on_hub, read_hub_settings
from net2vec_jax.weights.ported import (
    PortedDescription,
    is_ported,
    load_ported,
    read_description,
    save_ported,
)
from net2vec_jax.weights.porting import find_rules, port_weights
from net2vec_jax.weights.readers.checkpoints import WeightFile
from net2vec_jax.weights.readers.files import read_weight_file
from net2vec_jax.weights.spellings import ChannelOrder, Channels, Images

NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {entry.name: entry for entry in (*TORCH_ENTRIES, *TRANSFORMER_ENTRIES, *CAFFE_ENTRIES)}
)


def load_network(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    checkpoint_key: str | None = None,
    mean: Channels | None = None,
    deviation: Channels | None = None,
    channel_order: ChannelOrder | None = None,
    sae: Sequence[str] = (),
) -> LoadedNetwork:
    """Build a network and fill it with its weights.

    What was taken from a file that holds more than the network's weights, or names them
    otherwise, is said on the console and in `LoadedNetwork.source`. A classifier that the file
    lacks, or has otherwise, is left out; every other parameter must be there.

    Args:
      name: a key of `NETWORKS`; or a directory that `save_network` wrote.
      weights: the name of published weights ("places365"), which are downloaded once; or a weight
        file (.pth, .pt, .safetensors, .caffemodel, …); or "hf:OWNER/NAME" or "timm:NAME" of the
        Hugging Face Hub; or a directory that `save_network` wrote. By default the entry's first
        published weights. A name goes before a file of that name.
      checkpoint_key: which network of a file that holds several: a checkpoint's entry
        ("state_dict_ema") or what its keys begin with ("encoder_k").
      mean: of red, green and blue from 0 to 255, where the network was trained with another than
        the published weights.
      deviation: by which it divides them, likewise.
      channel_order: "bgr" if it wants blue first. Mean and deviation, and the images that the
        network then takes, are red, green and blue all the same.
      sae: sparse autoencoders, each as "LAYER=FILE"; `wrap_sae` wraps them one by one.

    Raises:
      Net2VecError: there is no such network, its weights cannot be found or read, or they do not
        fit, are not finite, or are those of several networks.

    Examples:
      >>> import net2vec_jax as n2v
      >>> network = n2v.load_network("efficientnet_lite0")
      >>> network.network.resolve_layer("block10")
      'block10'
    """
    options = WeightOptions(
        checkpoint_key=checkpoint_key, mean=mean, deviation=deviation, channel_order=channel_order
    )
    options.check_options()
    if sae:
        loaded = load_network(name, weights=weights, **options.chosen)
        for entry in sae:
            layer, _, file = entry.partition("=")
            if not file:
                raise Net2VecError(f"--sae {entry}: write LAYER=FILE")
            loaded = wrap_sae(loaded, layer, file)
        return loaded
    if name not in NETWORKS and weights is None and Path(name).is_dir():
        name, weights = read_description(name).network, name
    if name not in NETWORKS:
        raise unknown_name_error("network", str(name), NETWORKS)
    entry = NETWORKS[str(name)]
    sources = {source.name: source for source in entry.sources}
    if weights is None or str(weights) in sources:
        source = entry.sources[0] if weights is None else sources[str(weights)]
        text = f"{source.name}, {source.url}"
        return _port(entry, source.find(), source.view, text, source.name, options)
    view = entry.sources[0].view
    if is_on_hub(str(weights)):
        path = fetch_hub_weights(str(weights))
        return _port(entry, path, view, str(weights), str(weights), options)
    path = Path(weights)
    if is_ported(path):
        if options.chosen:
            raise Net2VecError(
                f"{path} holds ported weights, whose {', '.join(options.chosen)} was settled when "
                "they were ported; port the weight file again with it"
            )
        return _load_ported(entry, path)
    if not path.exists() and path.name == str(weights) and not path.suffix:
        raise unknown_name_error(f"weights of {name}, no file either,", str(weights), sources)
    return _port(entry, path, view, path.name, str(path.absolute()), options)


def open_network_origin(origin: Mapping[str, Any]) -> LoadedNetwork:
    """Open the network that `LoadedNetwork.origin` describes, with the very same weights.

    No code that the origin names is run: it may come from anybody.

    Args:
      origin: its keys "network", "weights", "weights_from" and "weight_options"; others are not
        looked at.

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
    loaded = load_network(name, weights=weights, **read_options(origin).chosen)
    if loaded.fingerprint != origin["weights"]:
        raise Net2VecError(
            f"{weights} holds other weights of {name} than before (SHA-256 "
            f"{loaded.fingerprint[:12]}… instead of {origin['weights'][:12]}…): load the same "
            "with load_network(…, weights=…) and pass it as network=…"
        )
    return loaded


def _port(
    entry: NetworkEntry, path: Path, view: View, source: str, weights: str, options: WeightOptions
) -> LoadedNetwork:
    """Port a weight file; the number of classes is the file's."""
    read, prefix, remarks = _read(path, options.checkpoint_key)
    settings = read_hub_settings(path if path.is_dir() else path.parent)
    network = _abstract(entry, None)
    try:
        fit = fit_keys(read.arrays, _describe_wanted(entry, network), prefix=prefix)
    except Net2VecError as error:
        raise Net2VecError(f"{path}: {error}") from error
    images, said = _find_images(entry, view, fit, options, settings)
    remarks += [*fit.remarks, *said]
    network = _fill(entry, network, fit, f"the weights in {path}", images[2])
    announce([f"{source}: {'; '.join(remarks)}"] if remarks else [])
    own = Preprocessing(*images[:2])
    return LoadedNetwork(
        name=entry.name,
        network=network,
        fingerprint=_combine_fingerprint(entry, read.files, view, images, options),
        input_size=settings.input_size or entry.input_size,
        own_preprocessing=own,
        probing_layers=entry.probing_layers,
        classes=_count_classes(entry, fit.arrays),
        overrides=view.overrides,
        source="; ".join([source, *remarks]),
        weights=weights,
        options=options,
    )


def _read(path: Path, key: str | None) -> tuple[WeightFile, str | None, list[str]]:
    """What a file holds, what the network's keys begin with, and what is to be said of them.

    `key` names an entry of a checkpoint, or what keys begin with, or one behind the other.
    """
    if key is None:
        read = read_weight_file(path)
        said = f"taken: {read.checkpoint_key}; the file has {list_names(read.other_keys)} too"
        return read, None, [f"{said} (--checkpoint-key)"] if read.other_keys else []
    parts = key.split(".")
    first_error: Net2VecError | None = None
    for end in range(len(parts), -1, -1):
        prefix = ".".join(parts[end:])
        try:
            read = read_weight_file(path, ".".join(parts[:end]) or None)
        except Net2VecError as error:
            first_error = first_error or error
            continue
        if not prefix or any(name.startswith(f"{prefix}.") for name in strip_wrappers(read.arrays)):
            return read, prefix or None, [] if prefix else [f"taken: {key}"]
    assert first_error is not None  # without a prefix, what was read has been returned
    raise first_error


def port_network(entry: NetworkEntry, weights: Arrays, *, origin: str) -> Network:
    """A network filled with weights in memory; it has as many classes as they.

    Args:
      entry: of the network.
      weights: arrays by the keys of the weight file.
      origin: names the weights in errors.

    Raises:
      Net2VecError: the weights do not fit.
    """
    network = _abstract(entry, None)
    fit = fit_keys(weights, _describe_wanted(entry, network))
    return _fill(entry, network, fit, origin, _usual_order(entry))


def _fill(
    entry: NetworkEntry, network: Network, fit: Fit, origin: str, order: ChannelOrder
) -> Network:
    """The network with the weights, of as many classes as they, without the layers they lack."""
    if _count_classes(entry, fit.arrays) not in (None, entry.sources[0].classes):
        network = _abstract(entry, _count_classes(entry, fit.arrays))
    _set_epsilon(network, fit.spelling and fit.spelling.epsilon)
    if fit.without:
        lacking = (layer for layer in _find_head(entry, network) if fit.without >= {*layer.keys})
        _drop_layers(entry, network, next(lacking).layer)
    return port_weights(
        network,
        fit.arrays,
        caffe=entry.caffe,
        reverse_channels=order == "bgr",
        ignored=entry.ignored,
        origin=origin,
        advice=fit.advice,
    )


@dataclasses.dataclass(frozen=True)
class _HeadLayer:
    """A layer behind those worth probing: its name, the paths and file keys of its parameters."""

    layer: str
    paths: tuple[str, ...]
    keys: tuple[str, ...]


def _find_head(entry: NetworkEntry, network: Network) -> list[_HeadLayer]:
    """The layers with parameters behind the last one worth probing, in their order.

    A parameter belongs to the layer whose name its attribute has; one beside the logits in the
    file ("classifier.0" beside "classifier.2"), to the logits.
    """
    tail = network.layers[network.layers.index(network.resolve_layer(entry.probing_layers[-1])) :]
    beside = entry.logits_key.rpartition(".")[0].rpartition(".")[0]
    parts: dict[str, tuple[list[str], list[str]]] = {layer: ([], []) for layer in tail[1:]}
    for path, rule in find_rules(network, caffe=entry.caffe).items():
        layer = path.partition(".")[0]
        if layer not in parts and beside and rule.keys[0].startswith(f"{beside}."):
            layer = tail[-1]
        if layer in parts:
            paths, keys = parts[layer]
            paths.append(path)
            keys.extend(rule.keys)
    return [_HeadLayer(layer, tuple(p), tuple(k)) for layer, (p, k) in parts.items() if p]


def _drop_layers(entry: NetworkEntry, network: Network, first: str) -> None:
    """Do without a layer of the head and all behind it, and without their parameters."""
    head = _find_head(entry, network)
    network.drop_layers(first)
    for layer in head:
        if layer.layer in network.lacking:
            for attribute in {path.partition(".")[0] for path in layer.paths}:
                delattr(network, attribute)


def _describe_wanted(entry: NetworkEntry, network: Network) -> Wanted:
    """What the network asks of a file."""
    leaves = {
        ".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(network))
    }
    shapes = {}
    for path, rule in find_rules(network, caffe=entry.caffe).items():
        shapes |= dict(zip(rule.keys, rule.layout.file_shapes(leaves[path]), strict=True))
    return Wanted(
        shapes,
        [layer.keys for layer in _find_head(entry, network)],
        entry.logits_key,
        entry.spellings,
        entry.renames,
        entry.ignored,
    )


def _usual_order(entry: NetworkEntry) -> ChannelOrder:
    return "bgr" if entry.caffe else "rgb"


def _find_images(
    entry: NetworkEntry, view: View, fit: Fit, options: WeightOptions, settings: HubSettings
) -> tuple[Images, list[str]]:
    """What images the network sees: as asked for, as the Hub says, as usual; and what to say."""
    mean, deviation = view.own.mean, view.own.deviation
    order, said = _usual_order(entry), []
    spelling = fit.spelling
    architecture = settings.architecture
    if spelling and architecture and not re.fullmatch(spelling.architectures, architecture):
        raise Net2VecError(
            f"{architecture} is not {entry.name}: {spelling.library} gives it the same keys, but "
            "it computes otherwise"
        )
    if settings.mean is not None and settings.deviation is not None:
        mean, deviation = settings.mean, settings.deviation
        said = [f"images less {mean}, divided by {deviation}, as its configuration says"]
    elif spelling is not None and spelling.images is not None:
        mean, deviation, order = spelling.images
        said = [
            f"images in {order.upper()} less {mean} (of red, green, blue), divided by {deviation}, "
            f"as is usual for it; --mean, --deviation and --channel-order say otherwise"
        ]
    given = (options.mean, options.deviation, options.channel_order)
    images = (given[0] or mean, given[1] or deviation, given[2] or order)
    return images, [] if all(given) else said


def _combine_fingerprint(
    entry: NetworkEntry, files: Sequence[Path], view: View, images: Images, options: WeightOptions
) -> str:
    """The SHA-256 of the weight file, and of how it was read where that is not the usual way.

    Of several files the SHA-256 of theirs.
    """
    usual = (view.own.mean, view.own.deviation, _usual_order(entry))
    fingerprint, *others = map(file_fingerprint, files)
    if others:
        fingerprint = hashlib.sha256("".join([fingerprint, *others]).encode()).hexdigest()
    if images == usual and options.checkpoint_key is None:
        return fingerprint
    reading = json.dumps([fingerprint, images, options.checkpoint_key])
    return hashlib.sha256(reading.encode()).hexdigest()


def _abstract(entry: NetworkEntry, classes: int | None) -> Network:
    """The network without numbers."""
    classes = classes or entry.sources[0].classes
    return nnx.eval_shape(lambda: entry.build(classes=classes, rngs=nnx.Rngs(0)))


def _find_normalisations(network: Network) -> list[LayerNormalisation]:
    modules = (module for _, module in nnx.iter_modules(network))
    return [module for module in modules if isinstance(module, LayerNormalisation)]


def _set_epsilon(network: Network, epsilon: float | None) -> None:
    for norm in _find_normalisations(network):
        norm.epsilon = epsilon or norm.epsilon


def _count_classes(entry: NetworkEntry, weights: Arrays) -> int | None:
    """How many logits the file's network has; None if it has none."""
    logits = weights.get(entry.logits_key)
    return len(logits) if logits is not None and logits.size else None


def save_network(loaded: LoadedNetwork, directory: str | Path) -> None:
    """Store a network with its weights, so that `load_network` takes the directory as weights.

    Args:
      loaded: a network of the zoo.
      directory: a new directory.

    Raises:
      Net2VecError: the directory exists or cannot be written; the network is not of the zoo, or has
        a sparse autoencoder.
    """
    if loaded.options.sae:
        raise Net2VecError("networks are stored without sparse autoencoders; leave out --sae")
    entry = NETWORKS.get(loaded.name)
    if entry is None or (loaded.classes is None and loaded.weights is None):  # wrapped
        raise Net2VecError(f"{loaded.name} is not a network of the zoo; only those can be stored")
    description = PortedDescription(
        network=loaded.name,
        fingerprint=loaded.fingerprint,
        classes=loaded.classes or 0,
        source=loaded.source,
        input_size=loaded.input_size,
        mean=loaded.own_preprocessing.mean,
        deviation=loaded.own_preprocessing.deviation,
        lacking_from=(*loaded.network.lacking, "")[0],
        epsilon=max((norm.epsilon for norm in _find_normalisations(loaded.network)), default=0.0),
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
    network = _abstract(entry, description.classes)
    _set_epsilon(network, description.epsilon)
    if description.lacking_from:
        _drop_layers(entry, network, description.lacking_from)
    return LoadedNetwork(
        name=entry.name,
        network=load_ported(directory, network),
        fingerprint=description.fingerprint,
        input_size=description.input_size,
        own_preprocessing=own,
        probing_layers=entry.probing_layers,
        classes=description.classes or None,
        overrides=known[0].overrides if known else (),
        source=description.source,
        weights=str(directory.absolute()),
    )
