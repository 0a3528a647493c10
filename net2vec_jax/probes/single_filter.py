"""Single-filter segmentation: IoU of every filter with every concept (reference spec, section 4).

A filter's prediction is upsample(1[A_k > T_k]) > 0.5: threshold first, upsample second, threshold
again (Q-3). All C concepts × K filters are counted in one pass over the images. An image's active
filters are taken in blocks, and per block the concepts of the image: one matrix product counts the
intersections of a block of concepts with a block of filters.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8
from tqdm import tqdm

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.interpolation import upsample_align_corners
from net2vec_jax.probes.overlap import Overlap, count_overlap
from net2vec_jax.probes.schedule import lay_out_chunks
from net2vec_jax.probes.segmentation_model import sum_pixels, unpack_masks

FILTERS_AT_ONCE = 32
CONCEPTS_AT_ONCE = 8
BLOCKS_PER_CALL = 512


class _FilterBlocks(NamedTuple):
    """Blocks of active filters, each of one image; null blocks hold only filters K."""

    image: Int[Array, " blocks"]
    filter: Int[Array, "blocks f"]  # K where there is none


class _PairBlocks(NamedTuple):
    """The pairs of each image in blocks."""

    pair: Int[Array, "blocks c"]
    group: Int[Array, "blocks c"]  # concept + C · is_val; 2C where there is none
    first: Int[Array, " N+1"]  # image n has the blocks first[n] … first[n + 1] - 1


def probe_single_filters(
    activations: BinaryActivations, masks: ConceptMasks, *, progress: bool = False
) -> Overlap:
    """Count the overlap of every filter with every concept, on the concept's own images.

    Args:
      activations: binary activations of all N images.
      masks: masks of C concepts on the same images.
      progress: show a progress bar.

    Returns:
      Pixels summed over each concept's images of a split, int64 [2, C, K]; the first axis is
      train, val; set IoU is `metrics.iou` of them. The counts are exact: with align-corners
      upsampling, sums of the same 0/1 inputs in full precision fall on the same side of 0.5 as
      the reference's.

    Raises:
      Net2VecError: activations and masks are not of the same images.
    """
    if len(activations) != len(masks.is_val):
        raise Net2VecError(
            f"activations of {len(activations)} images, but masks of {len(masks.is_val)}"
        )
    concepts, filters = len(masks.catalog), activations.filters
    group = masks.pair_concept + concepts * masks.pair_is_val
    pairs = _lay_out_pairs(masks, group)
    blocks = _lay_out_filters(activations)
    packed, mask_bits = jnp.asarray(activations.packed), jnp.asarray(masks.packed)
    shared = np.zeros((2 * concepts, filters), np.int64)
    marked = np.zeros((2 * concepts, filters), np.int64)
    with tqdm(
        total=len(activations), desc="single filters", unit="image", disable=not progress,
        leave=False,
    ) as bar:  # fmt: skip
        for start in range(0, len(blocks.image), BLOCKS_PER_CALL):
            call = _FilterBlocks(*(values[start : start + BLOCKS_PER_CALL] for values in blocks))
            counts = _count_blocks(
                call, pairs, packed, mask_bits,
                grid=activations.grid, groups=2 * concepts, filters=filters,
                rows=masks.segmentation_size[0],
            )  # fmt: skip
            shared += np.asarray(counts[0])
            marked += np.asarray(counts[1])
            bar.update(int(call.image[-1]) + 1 - bar.n)
    area = np.zeros((2 * concepts, 1), np.int64)
    np.add.at(area[:, 0], group, masks.area)
    shape = (2, concepts, filters)
    return Overlap(shared.reshape(shape), (area + marked - shared).reshape(shape))


def _lay_out_filters(activations: BinaryActivations) -> _FilterBlocks:
    """The filters that are active anywhere on an image, in blocks; whole calls of blocks."""
    anywhere = np.bitwise_or.reduce(activations.packed, axis=1)
    bits = np.unpackbits(anywhere, axis=1, count=activations.filters, bitorder="little")
    image, filter_ = np.nonzero(bits)
    per_image = np.bincount(image, minlength=len(activations))
    slot, first = lay_out_chunks(per_image, FILTERS_AT_ONCE)
    blocks = -(-max(int(first[-1]), 1) // BLOCKS_PER_CALL) * BLOCKS_PER_CALL
    filters = np.full((blocks, FILTERS_AT_ONCE), activations.filters, np.int32)
    filters.reshape(-1)[slot] = filter_
    images = np.full(blocks, len(activations) - 1, np.int32)
    images[: first[-1]] = np.repeat(np.arange(len(activations)), np.diff(first))
    return _FilterBlocks(images, filters)


def _lay_out_pairs(masks: ConceptMasks, group: np.ndarray) -> _PairBlocks:
    order = np.argsort(masks.pair_image, kind="stable")
    per_image = np.bincount(masks.pair_image, minlength=len(masks.is_val))
    slot, first = lay_out_chunks(per_image, CONCEPTS_AT_ONCE)
    shape = (max(int(first[-1]), 1), CONCEPTS_AT_ONCE)
    pair = np.zeros(shape, np.int32)
    groups = np.full(shape, 2 * len(masks.catalog), np.int32)
    pair.reshape(-1)[slot] = order
    groups.reshape(-1)[slot] = group[order]
    return _PairBlocks(jnp.asarray(pair), jnp.asarray(groups), jnp.asarray(first))


@partial(jax.jit, static_argnames=("grid", "groups", "filters", "rows"))
def _count_blocks(
    blocks: _FilterBlocks,
    pairs: _PairBlocks,
    packed: UInt8[Array, "N p bytes"],
    masks: UInt8[Array, "P bytes X"],
    *,
    grid: tuple[int, int],
    groups: int,
    filters: int,
    rows: int,
) -> tuple[Int[Array, "groups K"], Int[Array, "groups K"]]:
    """Pixels shared with, and pixels marked by, each filter on the images of each group.

    Counts of one call stay far below 2³¹: it covers at most BLOCKS_PER_CALL images.
    """
    width = masks.shape[-1]
    zeros = jnp.zeros((groups, filters), jnp.int32)

    def count_block(sums: tuple, block: _FilterBlocks) -> tuple[tuple, None]:
        # Null filters read some filter's bits; what they count is dropped below.
        filter_ = jnp.minimum(block.filter, filters - 1)
        shift = (filter_ % 8).astype(jnp.uint8)
        active = (packed[block.image][:, filter_ // 8] >> shift[None, :]) & 1
        maps = active.T.reshape(-1, *grid).astype(jnp.float32)
        predicted = upsample_align_corners(maps, (rows, width)) > 0.5
        marked = sum_pixels(predicted.astype(jnp.float32)).astype(jnp.int32)
        predicted = predicted.reshape(len(maps), -1).astype(jnp.float32)

        def count_pairs(index: Array, sums: tuple) -> tuple:
            pair, group = pairs.pair[index], pairs.group[index]
            target = unpack_masks(masks[pair], rows).reshape(len(pair), -1).astype(jnp.float32)
            shared = jnp.einsum(
                "cp,fp->cf", target, predicted, precision=jax.lax.Precision.HIGHEST
            ).astype(jnp.int32)
            where = (group[:, None], block.filter[None, :])
            return (
                sums[0].at[where].add(shared, mode="drop"),
                sums[1].at[where].add(jnp.broadcast_to(marked[None, :], shared.shape), mode="drop"),
            )

        first, last = pairs.first[block.image], pairs.first[block.image + 1]
        return jax.lax.fori_loop(first, last, count_pairs, sums), None

    return jax.lax.scan(count_block, (zeros, zeros), blocks)[0]


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
      chosen: the filter of each concept, such as its best one.
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
    return Overlap(*(np.asarray(values, np.int64).reshape(-1)[kept] for values in overlap))


@partial(jax.jit, static_argnames=("grid", "rows"))
def _count_chosen(
    image: Int[Array, "chunks size"],
    filter_: Int[Array, "chunks size"],
    pair: Int[Array, "chunks size"],
    packed: UInt8[Array, "N p bytes"],
    masks: UInt8[Array, "P bytes X"],
    *,
    grid: tuple[int, int],
    rows: int,
) -> Overlap:
    def count(chunk: tuple[Array, Array, Array]) -> Overlap:
        image, filter_, pair = chunk
        shift = (filter_ % 8).astype(jnp.uint8)
        active = (packed[image, :, filter_ // 8] >> shift[:, None]) & 1
        maps = active.reshape(-1, *grid).astype(jnp.float32)
        predicted = upsample_align_corners(maps, (rows, masks.shape[-1])) > 0.5
        return count_overlap(predicted, unpack_masks(masks[pair], rows) > 0)

    return jax.lax.map(count, (image, filter_, pair))
