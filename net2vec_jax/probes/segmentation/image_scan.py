"""Heads on many images, whether these show their concepts or not.

N images, H heads, p = h·w positions of the activation grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations, StandardizedActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.devices import (
    COPIED,
    DIVIDED,
    fetch,
    make_mesh,
    place_copies,
    place_parts,
)
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.head_shards import resolve_chunk_size
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import upsample_rows
from net2vec_jax.probes.segmentation.model import Geometry, sum_pixels
from net2vec_jax.probes.segmentation.score_maps import (
    DenseActivations,
    RealActivations,
    read_values,
)
from net2vec_jax.probes.segmentation.scores import ImageOverlaps

IMAGES_PER_CALL = 64
"""On each device; a program's images are brought to the devices together."""

PlacedValues = DenseActivations | RealActivations


class ShownEntries(NamedTuple):
    """(head, image) entries of val images that show the head's concept, by image."""

    head: np.ndarray  # place among the heads, int64 [Q]
    image: np.ndarray  # place among the val images, ascending
    pair: np.ndarray  # of the masks
    intersection: np.ndarray  # pixels
    marked: np.ndarray
    area: np.ndarray

    @classmethod
    def of(
        cls,
        chosen: np.ndarray,
        heads: Heads,
        overlaps: ImageOverlaps,
        masks: ConceptMasks,
        images: np.ndarray,
    ) -> ShownEntries:
        """The entries of some heads on these val images."""
        place = np.full(len(heads), -1)
        place[chosen] = np.arange(len(chosen))
        kept = np.flatnonzero(overlaps.is_val & (place[overlaps.head] >= 0))
        kept = kept[np.argsort(overlaps.image[kept], kind="stable")]
        head, image = overlaps.head[kept], overlaps.image[kept]

        def number(concept: np.ndarray, image: np.ndarray) -> np.ndarray:
            return concept.astype(np.int64) * len(masks.is_val) + image

        pair = np.searchsorted(
            number(masks.pair_concept, masks.pair_image), number(heads.concept[head], image)
        )
        area, shared = masks.area[pair], overlaps.intersection[kept].astype(np.int64)
        marked = overlaps.union[kept] + shared - area
        return cls(place[head], np.searchsorted(images, image), pair, shared, marked, area)


def divide_calls(
    parts: Sequence[Int[np.ndarray, " m"]], devices: int
) -> list[tuple[int, int, Int[np.ndarray, "D n"]]]:
    """(part, how many images, these images divided over the devices) of every call.

    All calls have the same shape; those with fewer images repeat their last.
    """
    longest = -(-max(map(len, parts)) // devices)
    size = devices * -(-longest // -(-longest // IMAGES_PER_CALL))
    return [
        (number, len(some), np.pad(some, (0, size - len(some)), "edge").reshape(devices, -1))
        for number, part in enumerate(parts)
        for some in np.split(part, range(size, len(part), size))
    ]


def scan_images(
    weights: np.ndarray,
    level: np.ndarray,
    activations: SpatialActivations,
    segmentation_size: tuple[int, int],
    images: np.ndarray,
    progress: str = "",
) -> tuple[Int[np.ndarray, "n H"], Float[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """Pixels that heads mark on images, and their lowest and highest z there on the grid.

    A head marks a pixel where the upsampled z = Σ_k w_k x_k is above its level, strictly, as in
    `evaluate_segmentation`.

    Args:
      weights: embeddings of H heads, [H, K].
      level: of every head, [H].
      activations: of N images.
      segmentation_size: (Y, X) of the pixels.
      images: which of them, [n].
      progress: name of a progress bar; empty for none.

    Examples:
      >>> values = np.array([[[1.0]], [[-1.0]]], np.float32)  # 2 images, 1 position, 1 filter
      >>> activations = StandardizedActivations(values, (1, 1))
      >>> weights, level = np.ones((1, 1), np.float32), np.zeros(1)
      >>> scan_images(weights, level, activations, (2, 3), np.array([0, 1]))[0].tolist()
      [[6], [0]]
    """
    mesh = make_mesh()
    (h, w), (rows, width) = activations.grid, segmentation_size
    copied = place_copies(mesh, (np.asarray(weights, np.float32), np.asarray(level, np.float32)))
    marked, lowest, highest = [], [], []
    for _, real, chosen in track(divide_calls([images], mesh.size), progress, unit="call"):
        placed = place_images(activations, chosen, mesh)
        scan = _scan_on_devices(
            *copied, placed, mesh=mesh, geometry=Geometry((h, w), (rows, width))
        )
        of_call, low, high = fetch(scan)
        marked.append(of_call.reshape(-1, len(weights))[:real])
        lowest.append(low)
        highest.append(high)
    return np.concatenate(marked), np.min(lowest, axis=(0, 1)), np.max(highest, axis=(0, 1))


@partial(jax.jit, static_argnames=("mesh", "geometry"))
def _scan_on_devices(
    weights: Float[Array, "H K"],
    level: Float[Array, " H"],
    values: PlacedValues,
    *,
    mesh: Mesh,
    geometry: Geometry,
) -> tuple[Int[Array, "D n H"], Float[Array, "D H"], Float[Array, "D H"]]:
    def on_device(weights: Array, level: Array, values: PlacedValues) -> tuple[Array, Array, Array]:
        values = jax.tree.map(lambda x: x[0], values)

        def scan(image: Array) -> tuple[Array, Array, Array]:
            z = score_positions(weights, values, image)
            return _count_above(z, level, geometry), z.min(0), z.max(0)

        marked, lowest, highest = jax.lax.map(scan, jnp.arange(len(values[0])))
        return marked[None], lowest.min(0)[None], highest.max(0)[None]

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(COPIED, COPIED, DIVIDED), out_specs=DIVIDED, check_vma=False
    )(weights, level, values)


def _count_above(
    z: Float[Array, "p H"], level: Float[Array, " H"], geometry: Geometry
) -> Int[Array, " H"]:
    """Pixels at which the upsampled z of each head is above its level."""
    heads = len(level)
    at_once = min(resolve_chunk_size(None, geometry, 0), heads)
    padding = -heads % at_once
    maps = jnp.pad(z, ((0, 0), (0, padding))).reshape(*geometry.grid, -1, at_once)
    levels = jnp.pad(level, (0, padding)).reshape(-1, at_once)

    def count(some: tuple[Array, Array]) -> Array:
        maps, level = some
        above = upsample_rows(maps, geometry.segmentation_size) > level[None, :, None]
        return sum_pixels(above.astype(jnp.float32))

    counts = jax.lax.map(count, (maps.transpose(2, 0, 3, 1), levels))
    return counts.reshape(-1)[:heads].astype(jnp.int32)


def place_images(
    activations: SpatialActivations, images: Int[np.ndarray, "D n"], mesh: Mesh
) -> PlacedValues:
    """Activations of the images on their devices."""
    if isinstance(activations, StandardizedActivations):
        return RealActivations(place_parts(mesh, lambda d: activations.values[images[d]]))
    return DenseActivations(place_parts(mesh, lambda d: activations.pack(images[d])))


def score_positions(
    weights: Float[Array, "H K"], values: PlacedValues, image: Array
) -> Float[Array, "p H"]:
    """z = Σ_k w_k x_k of all heads at every position of an image's grid."""
    x = read_values(values, image[None], weights.shape[1])[0]
    return jnp.einsum("pk,hk->ph", x, weights, precision=jax.lax.Precision.HIGHEST)
