"""Overlap of one filter per concept, such as its best one, on every image of the concept."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.interpolation import upsample_rows
from net2vec_jax.probes.segmentation.model import unpack_masks
from net2vec_jax.stats.metrics import NO_FILTER
from net2vec_jax.stats.overlap import Overlap, count_overlap


def count_chosen_filters(
    activations: BinaryActivations,
    masks: ConceptMasks,
    chosen: Int[np.ndarray, " C"],
    *,
    chunk_size: int = 256,
) -> Overlap:
    """Overlap of one chosen filter per concept with the concept, image by image.

    Args:
      activations: binary activations of all N images.
      masks: masks of C concepts on the same images.
      chosen: the filter of each concept, such as its best one; `NO_FILTER` marks nothing.
      chunk_size: pairs counted at a time.

    Returns:
      int64 [P], of the masks' (concept, image) pairs.
    """
    pairs = np.arange(-(-len(masks.pair_image) // chunk_size) * chunk_size)
    pairs = np.minimum(pairs, len(masks.pair_image) - 1).reshape(-1, chunk_size)
    filter_ = np.asarray(chosen)[masks.pair_concept[pairs]]
    overlap = _count_chosen(
        jnp.asarray(masks.pair_image[pairs]),
        jnp.asarray(filter_, jnp.int32),
        jnp.asarray(pairs, jnp.int32),
        jnp.asarray(activations.packed),
        jnp.asarray(masks.packed),
        grid=activations.grid,
        rows=masks.segmentation_size[0],
    )
    kept = slice(None, len(masks.pair_image))
    shared, either = (np.asarray(values, np.int64).reshape(-1)[kept] for values in overlap)
    none = np.asarray(chosen)[masks.pair_concept] == NO_FILTER
    return Overlap(np.where(none, 0, shared), np.where(none, masks.area, either))


@partial(jax.jit, static_argnames=("grid", "rows"))
def _count_chosen(
    image: Int[Array, "chunks size"],
    filter_: Int[Array, "chunks size"],
    pair: Int[Array, "chunks size"],
    packed: UInt8[Array, "N p bytes"],
    masks: UInt8[Array, "P mask_bytes X"],
    *,
    grid: tuple[int, int],
    rows: int,
) -> Overlap:
    def count(chunk: tuple[Array, Array, Array]) -> Overlap:
        image, filter_, pair = chunk
        size = (rows, masks.shape[-1])
        predicted = predict_pixels(packed, image, filter_, grid=grid, size=size)
        return count_overlap(predicted, unpack_masks(masks[pair], rows))

    return jax.lax.map(count, (image, filter_, pair))


def predict_pixels(
    packed: UInt8[Array, "N p bytes"],
    image: Int[Array, " c"],
    filter_: Int[Array, " c"],
    *,
    grid: tuple[int, int],
    size: tuple[int, int],
) -> Bool[Array, "Y c X"]:
    """Where filters fire on images: upsample(1[A_k > T_k]) > 0.5 (reference behaviour 4).

    Args:
      packed: bits of the binary activations, see `BinaryActivations`.
      image: index of each image.
      filter_: number of the filter on each image.
      grid: (h, w) of the activations.
      size: (Y, X) of the pixels.
    """
    shift = (filter_ % 8).astype(jnp.uint8)
    active = (packed[image, :, filter_ // 8] >> shift[:, None]) & 1
    maps = active.reshape(-1, *grid).transpose(1, 0, 2).astype(jnp.float32)
    return upsample_rows(maps, size) > 0.5
