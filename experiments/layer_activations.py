"""The activations that runs need: what identifies them, and one pass for the layers of several."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments.decoded_data import decode_images
from experiments.layer_flags import LayerFlags
from net2vec_jax.activations.arrays import ExternalActivations
from net2vec_jax.activations.collect import collect_activations, store_activations
from net2vec_jax.activations.store import CHUNK_IMAGES
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.devices import is_first_host, share_of_host
from net2vec_jax.errors import Net2VecError
from net2vec_jax.networks.zoo import LoadedNetwork

if TYPE_CHECKING:
    from experiments.layer_run import LayerRun


def describe_origin(
    flags: LayerFlags, dataset: ConceptDataset, probed: LoadedNetwork | ExternalActivations
) -> dict[str, str]:
    """What made a layer's activations; "network" and "layer" are the names in the tables.

    Raises:
      Net2VecError: the network has no such layer, or the array is of another number of images.
    """
    if isinstance(probed, ExternalActivations):
        probed.check_images(len(dataset))
        origin = {
            "network": flags.network or "array",
            "layer": flags.layer[0] if flags.layer else probed.path.stem,
            "array": probed.fingerprint,
        }
    else:
        origin = {
            "network": probed.name,
            "layer": probed.network.resolve_layer(flags.layer[0]),
            "weights": probed.fingerprint,
            "preprocessing": flags.resolve_preprocessing(),
            "dtype": flags.dtype,
        }
    return origin | {"dataset": dataset.fingerprint}


def collect_missing_layers(runs: Sequence[LayerRun]) -> None:
    """Collect, in one pass, the layers of those runs that still need them; see `collect_layers`."""
    missing = [
        run for run in runs if not run.run.has(run.table) and not run.activations_directory.exists()
    ]
    if missing:
        with contextlib.ExitStack() as stack:
            for run in missing:
                stack.enter_context(run.run.stage("activations"))
            collect_layers(missing)


def collect_layers(runs: Sequence[LayerRun]) -> None:
    """Collect the layers of runs that share dataset, network and preprocessing, in one pass."""
    first = runs[0]
    files = -(-len(first.dataset) // CHUNK_IMAGES)
    if files < jax.process_count():
        raise Net2VecError(
            f"{len(first.dataset)} images are too few for {jax.process_count()} hosts, each of "
            f"which stores {CHUNK_IMAGES} at a time; use {files} or fewer"
        )
    batches = collect_activations(
        first.probed.network,
        decode_images(
            first.dataset,
            cache=first.flags.cache_data,
            checked=first.flags.skip_bad_images,
        ),
        [run.layer for run in runs],
        preprocess=first.probed.preprocessing(first.flags.resolve_preprocessing()),
        batch_size=first.flags.images_per_batch,
        dtype=first.flags.dtype,
        images=share_of_host(len(first.dataset), multiple=CHUNK_IMAGES),
        progress=is_first_host(),
    )
    store_activations(
        batches,
        {run.layer: run.activations_directory for run in runs},
        len(first.dataset),
        {run.layer: run.origin for run in runs},
    )


def fit_subset_sizes(
    sizes: Sequence[int], loaded: LoadedNetwork, layer: str, dataset: ConceptDataset
) -> tuple[int, ...]:
    """The sizes below the layer's number of filters; all filters are probed anyhow."""
    image = dataset.image(0)
    shape = jax.ShapeDtypeStruct((1, *image.shape), np.float32)
    found = jax.eval_shape(
        lambda network, images: network.activations(images, (layer,)), loaded.network, shape
    )
    return tuple(size for size in sorted(set(sizes)) if size < found[layer].shape[-1])
