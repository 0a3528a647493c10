"""The activations that runs need: what identifies them, and one pass for the layers of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from net2vec_jax.activations.compute import compute_activations, store_activations
from net2vec_jax.activations.condensed import CondensedWriter, Kept
from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.layer import describe_activations
from net2vec_jax.activations.responses import Responses, count_filters, find_responses
from net2vec_jax.activations.store import CHUNK_IMAGES, StoredType
from net2vec_jax.activations.thresholds import NO_THRESHOLD
from net2vec_jax.core.devices import is_first_host, share_of_host
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_images
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.runs.files import ProbeKind
from net2vec_jax.runs.flags import LayerFlags


def describe_origin(
    flags: LayerFlags, dataset: ConceptDataset, probed: LoadedNetwork | ExternalActivations
) -> dict[str, str]:
    """What made a layer's activations; "network" and "layer" are the names in the tables.

    Raises:
      Net2VecError: the network has no such layer, or the array is of another number of images.
    """
    if isinstance(probed, ExternalActivations):
        probed.check_images(len(dataset))
        return {
            "network": flags.network or "array",
            "layer": flags.layer[0] if flags.layer else probed.path.stem,
            "array": probed.fingerprint,
            "channels_first": str(flags.channels_first),
            "dataset": dataset.fingerprint,
        }
    layer = probed.network.resolve_layer(flags.layer[0])
    preprocessing = flags.resolve_preprocessing()
    origin = describe_activations(probed, layer, dataset.fingerprint, preprocessing, flags.dtype)
    stored = flags.keep_activations
    return origin if stored in (None, "float32") else origin | {"stored_as": stored}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a run needs of a layer's activations.

    Attributes:
      folder: the layer's, where nothing lies of which only a part is kept, see `Kept.place`.
      origin: what makes the activations, see `describe_origin`.
      stored: the type of values that are kept; None if no values need be.
      kept: what is kept besides, unless there are values.
    """

    folder: Path
    origin: Mapping[str, str]
    stored: StoredType | None
    kept: tuple[Kept, ...]

    @property
    def values(self) -> Path:
        """Folder of the values, if they are kept."""
        return place_values(self.folder, self.origin)

    @property
    def is_there(self) -> bool:
        """Whether nothing need be collected."""
        if self.stored or self.values.exists():
            return self.values.exists()
        return all(one.place(self.folder).exists() for one in self.kept)


def place_values(folder: Path, origin: Mapping[str, str]) -> Path:
    """Folder of a layer's values: the layer's own, if they are float32."""
    stored = origin.get("stored_as")
    return folder.with_name(f"{folder.name}.{stored}") if stored else folder


def choose_kept(kind: ProbeKind, settings: Mapping[str, Any]) -> tuple[Kept, ...]:
    """What a probe needs of a layer, by the settings that its origin notes.

    Mean activations come with the segmentation probe's, for comparisons of networks and for the
    classification probe.
    """
    responses, quantile = find_responses(settings), settings["quantile"]
    if kind == "segmentation":
        binary = Kept(quantile, settings["quantile_method"], responses=responses)
        return (binary, Kept(responses=responses))
    if quantile != NO_THRESHOLD:
        return (Kept(quantile, responses=responses),)
    return (Kept(pooling=settings["pooling"], responses=responses),)


def collect_wanted(
    flags: LayerFlags, dataset: ConceptDataset, loaded: LoadedNetwork, wanted: Sequence[Wanted]
) -> None:
    """Collect what is wanted of layers of a network, and not there, in one pass over the images.

    Args:
      flags: of runs that share network, preprocessing and dataset.
      dataset: N images.
      loaded: the network.
      wanted: of each layer once or more often.

    Raises:
      Net2VecError: there are too few images for the hosts, or an image cannot be read.
    """
    files = -(-len(dataset) // CHUNK_IMAGES)
    if files < jax.process_count():
        raise Net2VecError(
            f"{len(dataset)} images are too few for {jax.process_count()} hosts, each of "
            f"which stores {CHUNK_IMAGES} at a time; use {files} or fewer"
        )
    share = share_of_host(len(dataset), multiple=CHUNK_IMAGES)
    batches_are = f"{flags.images_per_batch} on {jax.local_device_count()} devices"
    values = {one.origin["layer"]: one for one in wanted if one.stored and not one.is_there}
    condensed: dict[str, dict[Kept, CondensedWriter]] = {}
    for one in wanted:
        layer = one.origin["layer"]
        if layer in values or one.is_there:
            continue
        writers = condensed.setdefault(layer, {})
        for kept in one.kept:
            if kept not in writers and not kept.place(one.folder).exists():
                writers[kept] = CondensedWriter(
                    one.folder, one.origin, kept, len(dataset), share, batches_are
                )
    keepers = {layer: list(writers.values()) for layer, writers in condensed.items()}
    seen = [writer.seen for several in keepers.values() for writer in several]
    first = share.start if values else min(seen)
    batches = compute_activations(
        loaded.network,
        decode_images(dataset, cache=flags.cache_data, checked=flags.skip_bad_images),
        [*values, *keepers],
        preprocess=loaded.preprocessing(flags.resolve_preprocessing()),
        batch_size=flags.images_per_batch,
        dtype=flags.dtype,
        images=range(first, share.stop),
        progress=is_first_host(),
    )
    store_activations(
        batches,
        {layer: one.values for layer, one in values.items()},
        len(dataset),
        {layer: one.origin for layer, one in values.items()},
        dtype=flags.keep_activations or "float32",
        condensed=keepers,
        first=first,
    )


def fit_subset_sizes(
    sizes: Sequence[int],
    loaded: LoadedNetwork,
    layer: str,
    dataset: ConceptDataset,
    responses: Responses = "positive",
) -> tuple[int, ...]:
    """The sizes below the layer's number of filters; all filters are probed anyhow."""
    filters = count_filters(find_shape(loaded, layer, dataset)[-1], responses)
    return tuple(size for size in sorted(set(sizes)) if size < filters)


def find_shape(loaded: LoadedNetwork, layer: str, dataset: ConceptDataset) -> tuple[int, ...]:
    """The shape of a layer's activations on one image, without computing them."""
    image = dataset.image(0)
    shape = jax.ShapeDtypeStruct((1, *image.shape), np.float32)
    found = jax.eval_shape(
        lambda network, images: network.activations(images, (layer,)), loaded.network, shape
    )
    return found[layer].shape
