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
    counted = []
    for chunk in pairs:
        filter_ = np.maximum(np.asarray(chosen)[masks.pair_concept[chunk]], 0)
        maps = activations.maps(masks.pair_image[chunk], filter_)
        counted.append(_count_chosen(maps, masks.packed[chunk], masks.segmentation_size))
    overlap = Overlap(*(np.stack(values) for values in zip(*counted, strict=True)))
    kept = slice(None, len(masks.pair_image))
    shared, either = (np.asarray(values, np.int64).reshape(-1)[kept] for values in overlap)
    none = np.asarray(chosen)[masks.pair_concept] == NO_FILTER
    return Overlap(np.where(none, 0, shared), np.where(none, masks.area, either))


@partial(jax.jit, static_argnames=("size",))
def _count_chosen(
    maps: Bool[Array, "c h w"], masks: UInt8[Array, "c mask_bytes X"], size: tuple[int, int]
) -> Overlap:
    return count_overlap(predict_pixels(maps, size), unpack_masks(masks, size[0]))


def predict_pixels(maps: Bool[Array, "c h w"], size: tuple[int, int]) -> Bool[Array, "Y c X"]:
    """Where filters fire: upsample(1[A_k > T_k]) > 0.5 (reference behaviour 4).

    Args:
      maps: 1[A_k > T_k] of each filter on its image, see `BinaryActivations.maps`.
      size: (Y, X) of the pixels.
    """
    return upsample_rows(maps.transpose(1, 0, 2).astype(jnp.float32), size) > 0.5
