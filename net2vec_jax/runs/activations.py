"""The activations that runs need: what identifies them, and one pass for the layers of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from net2vec_jax.activations.compute import compute_activations, store_activations
from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.layer import describe_activations
from net2vec_jax.activations.responses import Responses, count_filters
from net2vec_jax.activations.store import CHUNK_IMAGES
from net2vec_jax.core.devices import is_first_host, share_of_host
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_images
from net2vec_jax.networks.load import LoadedNetwork
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
    return describe_activations(probed, layer, dataset.fingerprint, preprocessing, flags.dtype)


def store_layers(
    flags: LayerFlags,
    dataset: ConceptDataset,
    loaded: LoadedNetwork,
    origins: Mapping[Path, dict[str, str]],
) -> None:
    """Collect and store the activations of layers of a network in one pass over the images.

    Args:
      flags: of runs that share network, preprocessing and dataset.
      dataset: N images.
      loaded: the network.
      origins: where each layer's activations go → what makes them, see `describe_origin`.

    Raises:
      Net2VecError: there are too few images for the hosts, or an image cannot be read.
    """
    files = -(-len(dataset) // CHUNK_IMAGES)
    if files < jax.process_count():
        raise Net2VecError(
            f"{len(dataset)} images are too few for {jax.process_count()} hosts, each of "
            f"which stores {CHUNK_IMAGES} at a time; use {files} or fewer"
        )
    by_layer = {origin["layer"]: (path, origin) for path, origin in origins.items()}
    batches = compute_activations(
        loaded.network,
        decode_images(dataset, cache=flags.cache_data, checked=flags.skip_bad_images),
        list(by_layer),
        preprocess=loaded.preprocessing(flags.resolve_preprocessing()),
        batch_size=flags.images_per_batch,
        dtype=flags.dtype,
        images=share_of_host(len(dataset), multiple=CHUNK_IMAGES),
        progress=is_first_host(),
    )
    store_activations(
        batches,
        {layer: path for layer, (path, _) in by_layer.items()},
        len(dataset),
        {layer: origin for layer, (_, origin) in by_layer.items()},
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
