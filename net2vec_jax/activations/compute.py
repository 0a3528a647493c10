"""Forward passes: jitted, batched, sharded over the host's devices, several layers in one pass.

The last batch is padded, so that a run compiles one program; nothing beyond the deepest layer asked
for is computed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from net2vec_jax.activations.condensed import CondensedWriter
from net2vec_jax.activations.own_models import TOLERANCE, check_own_model
from net2vec_jax.activations.store import (
    CHUNK_IMAGES,
    ActivationStore,
    ActivationWriter,
    StoredType,
)
from net2vec_jax.core.console import open_bar
from net2vec_jax.core.devices import share_of_host
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import map_in_order
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.wrap import WrappedNetwork

Preprocess = Callable[[UInt8[Array, "N H W 3"]], Float[Array, "N H W 3"]]

ComputeType = Literal["float32", "bfloat16"]
"""What a network computes in. bfloat16 halves the memory and is faster where the hardware has it,
at a price: on eight of the built-in scenes, EfficientNet-Lite0's `block10` and `head` differ by 6
and 7 % (norm of the difference over the norm), and 88 and 82 % of the positions that are active in
either type are active in both."""


@runtime_checkable
class NamedImages(Protocol):
    """What a network sees of a dataset: N images, and a name of each for messages."""

    @property
    def image_names(self) -> Sequence[str]:
        """N names."""
        ...

    def __len__(self) -> int:
        """The number of images N."""
        ...

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        ...


@jax.jit(static_argnames=("layers", "preprocess", "dtype"))
def _forward(
    network: Network,
    images: UInt8[Array, "N H W 3"],
    *,
    layers: tuple[str, ...],
    preprocess: Preprocess,
    dtype: ComputeType,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Activations of the layers, and per layer and image whether all of them are finite."""
    activations = network.activations(preprocess(images).astype(dtype), layers)
    activations = {layer: values.astype(jnp.float32) for layer, values in activations.items()}
    finite = {
        layer: jnp.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        for layer, values in activations.items()
    }
    return activations, finite


def compute_activations(
    network: Network,
    dataset: NamedImages,
    layers: Sequence[str],
    *,
    preprocess: Preprocess,
    batch_size: int = 32,
    dtype: ComputeType = "float32",
    images: Sequence[int] | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> Iterator[dict[str, np.ndarray]]:
    """Activations of a dataset's images, batch by batch in the order of the dataset.

    Only this host's devices are used: on several hosts, give each its share of the images.

    Args:
      network: what is probed.
      dataset: N images, all of one size.
      layers: names of the layers; all are collected in the same pass.
      preprocess: uint8 image → network input; jittable and hashable.
      batch_size: images per forward pass; rounded up to a multiple of the local devices.
      dtype: what the network's weights, the images and all responses are computed in.
      images: which images, n of the N; all by default.
      workers: decoding threads.
      progress: show a progress bar.

    Yields:
      {layer: float32 [n, h, w, K] or [n, K]}, n ≤ batch size.

    Raises:
      Net2VecError: an image cannot be decoded or is of another size; an activation is not finite;
        the layer or the type is unknown; a model of the user's own fails, or its response to an
        image depends on the rest of the batch or on chance.
    """
    layers = tuple(network.resolve_layer(layer) for layer in layers)
    devices = jax.local_devices()
    batch_size = -(-max(batch_size, 1) // len(devices)) * len(devices)
    mesh = jax.sharding.Mesh(np.array(devices), ("images",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("images"))
    given = network
    network = jax.device_put(
        _cast(network, dtype), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    )

    forward = functools.partial(
        _forward if network.is_traceable else inspect.unwrap(_forward),
        network, layers=layers, preprocess=preprocess, dtype=dtype,
    )  # fmt: skip

    def start(batch: list[np.ndarray]) -> tuple[int, tuple]:
        padding = [np.zeros_like(batch[0])] * (batch_size - len(batch))
        return len(batch), forward(jax.device_put(np.stack(batch + padding), sharding))

    images = range(len(dataset)) if images is None else images
    names = [dataset.image_names[index] for index in images]
    decoded = map_in_order(dataset.image, images, workers=workers)
    waiting: list[np.ndarray] = []
    running: tuple[int, tuple] | None = None
    done = 0
    name = "activations" if progress else None
    with open_bar(name, total=len(images), unit="image") as bar:
        for index, image in enumerate(decoded):
            if index == 0 and isinstance(given, WrappedNetwork):
                check_own_model(
                    given, layers, image, lambda images: forward(images)[0],
                    TOLERANCE[dtype],
                )  # fmt: skip
            if waiting and image.shape != waiting[0].shape:
                raise Net2VecError(
                    f"image {names[index]} has shape {image.shape}, the one before "
                    f"{waiting[0].shape}; all images must be of one size: resize them"
                )
            waiting.append(image)
            if len(waiting) == batch_size or index == len(images) - 1:
                following = start(waiting)  # decoded and computed while the last one is stored
                waiting = []
                if running is not None:
                    yield _finish(*running, names[done:])
                    done += running[0]
                    bar.update(running[0])
                running = following
        if running is not None:
            yield _finish(*running, names[done:])
            bar.update(running[0])


def _cast(network: Network, dtype: ComputeType) -> Network:
    """The network with its floating-point numbers in another type."""
    if dtype not in get_args(ComputeType):
        raise Net2VecError(f"dtype {dtype!r} is none of {', '.join(get_args(ComputeType))}")
    # At once where there is something to do; what is float32 already stays the same arrays.
    is_compiled = network.is_traceable and dtype != "float32"
    return (_convert if is_compiled else inspect.unwrap(_convert))(network, dtype)


@functools.partial(jax.jit, static_argnames="dtype")
def _convert(network: Network, dtype: ComputeType) -> Network:
    def convert(leaf: Array | float) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, network)


def _finish(count: int, results: tuple, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Fetch a batch's activations and refuse those that are not finite."""
    activations, finite = results
    for layer, fine in finite.items():
        wrong = np.flatnonzero(~np.asarray(fine)[:count])
        if len(wrong):
            raise Net2VecError(
                f"activations of layer {layer} are not finite on {len(wrong)} images, the first "
                f"is {names[wrong[0]]}; check weights and preprocessing"
            )
    return {layer: np.asarray(values)[:count] for layer, values in activations.items()}


def store_activations(
    batches: Iterator[dict[str, np.ndarray]],
    directories: Mapping[str, str | Path],
    images: int,
    origins: Mapping[str, Mapping[str, str]],
    *,
    dtype: StoredType = "float32",
    condensed: Mapping[str, Sequence[CondensedWriter]] | None = None,
    first: int | None = None,
) -> dict[str, ActivationStore]:
    """Write the activations of several layers, each into a store of its own, or what is kept of it.

    Args:
      batches: as `compute_activations` yields them, of this host's share of the images.
      directories: where each layer's store goes; layers without one are only condensed.
      images: N.
      origins: what made each layer's activations, see `ActivationStore`.
      dtype: of stored values.
      condensed: what else is kept of layers, which may go on after a pass that was stopped.
      first: place of the first image of the batches among all; by default where this host's share
        begins.

    Returns:
      The finished stores; all appear at the end or none.
    """
    writers: dict[str, ActivationWriter] = {}
    condensed = condensed or {}
    if first is None:
        first = share_of_host(images, multiple=CHUNK_IMAGES).start
    try:
        for batch in batches:
            count = 0
            for layer, values in batch.items():
                count = len(values)
                if layer in directories:
                    if layer not in writers:
                        shape = (images, *values.shape[1:])
                        writers[layer] = ActivationWriter(
                            directories[layer], shape, origins[layer], dtype
                        )
                    writers[layer].write(values)
                for keeper in condensed.get(layer, ()):
                    keeper.add(values, first)
            first += count
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    for keepers in condensed.values():
        for keeper in keepers:
            keeper.finish()
    return {layer: writer.finish() for layer, writer in writers.items()}
