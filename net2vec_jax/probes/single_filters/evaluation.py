"""Single-filter segmentation: IoU of every filter with every concept (reference behaviour 4).

A filter's prediction is upsample(1[A_k > T_k]) > 0.5: threshold first, upsample second, threshold
again (Q-3). All C concepts × K filters are counted in one pass over the images. An image's active
filters are taken in blocks, and per block the concepts of the image: one matrix product counts the
intersections of a block of concepts with a block of filters. Images are divided over all devices.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.devices import DIVIDED, fetch, make_mesh, pad_first_axis, place_parts
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.interpolation import upsample_align_corners
from net2vec_jax.probes.segmentation.model import Geometry, geometry_of, unpack_rows
from net2vec_jax.probes.segmentation.schedule import lay_out_chunks
from net2vec_jax.stats.overlap import Overlap

FILTERS_AT_ONCE = {"cpu": 32}
FILTERS_AT_ONCE_ELSEWHERE = 256
CONCEPTS_AT_ONCE = 8
BLOCKS_PER_CALL = 512
BYTES_PER_DEVICE = 2**28
"""Of packed activations, which are on a device at a time."""


class _FilterBlocks(NamedTuple):
    """Blocks of active filters, each of one image; null blocks are of an image without pairs."""

    image: Int[Array | np.ndarray, " blocks"]
    filter: Int[Array | np.ndarray, "blocks f"]  # K where there is none

    def pad(self, size: int, image: int, filter_: int) -> _FilterBlocks:
        """More blocks, of this image and filter."""
        return _FilterBlocks(
            pad_first_axis(np.asarray(self.image), size, image),
            pad_first_axis(np.asarray(self.filter), size, filter_),
        )


class _PairBlocks(NamedTuple):
    """The pairs of each image in blocks."""

    pair: Int[Array | np.ndarray, "blocks c"]
    group: Int[Array | np.ndarray, "blocks c"]  # concept + C · is_val; 2C where there is none
    first: Int[Array | np.ndarray, " N+2"]  # image n has the blocks first[n] … first[n + 1] - 1

    def pad(self, size: int, group: int) -> _PairBlocks:
        """More blocks, of this group."""
        group_ = pad_first_axis(np.asarray(self.group), size, group)
        return _PairBlocks(pad_first_axis(np.asarray(self.pair), size), group_, self.first)


_Blocks = TypeVar("_Blocks", _FilterBlocks, _PairBlocks)


class _Images(NamedTuple):
    """What a device reads: its own images, and one more that shows nothing."""

    pairs: _PairBlocks
    packed: UInt8[Array, "N+1 p bytes"]
    masks: UInt8[Array, "P rows X"]


def probe_single_filters(
    activations: BinaryActivations,
    masks: ConceptMasks,
    *,
    level: float = 0.5,
    progress: str = "",
) -> Overlap:
    """Count the overlap of every filter with every concept, on the concept's own images.

    Args:
      activations: binary activations of all N images.
      masks: masks of C concepts on the same images.
      level: a filter marks the pixels where its upsampled map is above it, strictly: 0.5 as the
        paper has it, 0 as embeddings do.
      progress: name of a progress bar; none is shown by default.

    Returns:
      Pixels summed over each concept's images of a split, int64 [2, C, K]; the first axis is
      train, val; set IoU is `metrics.iou` of them. The counts are exact: with align-corners
      upsampling, sums of the same 0/1 inputs in full precision fall on the same side of 0.5 as
      the reference's.

    Raises:
      Net2VecError: activations and masks are not of the same images.
    """
    geometry = geometry_of(activations, masks)
    concepts, filters = len(masks.catalog), activations.filters
    group = masks.pair_concept + concepts * masks.pair_is_val
    mesh = make_mesh()
    counts = np.zeros((2, 2 * concepts, filters), np.int64)
    height, width = masks.segmentation_size
    at_once = min(BLOCKS_PER_CALL, 2**30 // (height * width))  # so that counts fit in 32 bits
    parts = _divide_images(activations, masks, mesh.size)
    for place in range(len(parts)):
        blocks, images = _place_images(activations, masks, group, parts, place, mesh)
        calls = range(0, blocks[0].image.shape[0], at_once)
        of_part = f" {place + 1}/{len(parts)}" if progress and len(parts) > 1 else ""
        for start in track(calls, progress + of_part, unit="call"):
            part = slice(start, start + at_once)
            call = _place(mesh, [jax.tree.map(lambda x, p=part: x[p], each) for each in blocks])
            counted = _count_blocks(
                call,
                images,
                mesh=mesh,
                geometry=geometry,
                groups=2 * concepts,
                filters=filters,
                level=level,
            )
            counts += np.stack(fetch(counted)).sum(axis=1, dtype=np.int64)
    shared, marked = counts
    area = np.zeros((2 * concepts, 1), np.int64)
    np.add.at(area[:, 0], group, masks.area)
    shape = (2, concepts, filters)
    return Overlap(shared.reshape(shape), (area + marked - shared).reshape(shape))


def _divide_images(
    activations: BinaryActivations, masks: ConceptMasks, devices: int
) -> list[list[slice]]:
    """Consecutive images of every device, in parts whose packed bits take `BYTES_PER_DEVICE`."""
    images = len(activations)
    per_image = np.bincount(masks.pair_image, minlength=images)
    bounds = np.searchsorted(
        np.cumsum(per_image), per_image.sum() * np.arange(1, devices) / devices
    )
    bounds = np.array([0, *bounds, images])
    bits = int(np.diff(bounds).max()) * math.prod(activations.grid) * activations.filters
    parts = max(1, -(-bits // (8 * BYTES_PER_DEVICE)))
    cuts = np.linspace(bounds[:-1], bounds[1:], parts + 1).astype(int)  # [parts + 1, devices]
    return [
        [slice(first, last) for first, last in zip(*pair, strict=True)]
        for pair in itertools.pairwise(cuts.tolist())
    ]


def _place_images(
    activations: BinaryActivations,
    masks: ConceptMasks,
    group: np.ndarray,
    parts: list[list[slice]],
    place: int,
    mesh: Mesh,
) -> tuple[list[_FilterBlocks], _Images]:
    """A part's images and masks on the devices, and each device's blocks of filters.

    All are padded: the blocks to equally many, the others to the same shapes in every part.
    """
    ranges = parts[place]
    shown = np.bincount(masks.pair_image, minlength=len(activations))
    most, most_pairs, most_blocks = (
        max(int(count[part].sum()) for ranges in parts for part in ranges)
        for count in (np.ones_like(shown), shown, -(-shown // CONCEPTS_AT_ONCE))
    )
    chosen = [
        np.flatnonzero((masks.pair_image >= part.start) & (masks.pair_image < part.stop))
        for part in ranges
    ]
    no_filter, no_group = activations.filters, 2 * len(masks.catalog)
    packed = [activations.pack(part) for part in ranges]
    blocks = [_lay_out_filters(each, no_filter) for each in packed]
    size = max(*(len(each.image) for each in blocks), 1)
    if size > BLOCKS_PER_CALL:
        size = -(-size // BLOCKS_PER_CALL) * BLOCKS_PER_CALL
    pairs = [
        _lay_out_pairs(masks.pair_image[kept] - part.start, group[kept], most, no_group)
        for part, kept in zip(ranges, chosen, strict=True)
    ]
    placed = _Images(
        _place(mesh, [each.pad(max(most_blocks, 1), no_group) for each in pairs]),
        place_parts(mesh, lambda d: pad_first_axis(packed[d], most + 1)),
        place_parts(mesh, lambda d: pad_first_axis(masks.packed, most_pairs, rows=chosen[d])),
    )
    return [each.pad(size, most, no_filter) for each in blocks], placed


def _place(mesh: Mesh, parts: list[_Blocks]) -> _Blocks:
    """Named tuples of numpy arrays, one per device, as one of divided arrays."""
    fields = range(len(parts[0]))
    return type(parts[0])(
        *(place_parts(mesh, lambda d, f=f: np.asarray(parts[d][f])) for f in fields)
    )


def _lay_out_filters(packed: UInt8[np.ndarray, "N p bytes"], filters: int) -> _FilterBlocks:
    """The filters that are active anywhere on an image, in blocks."""
    anywhere = np.bitwise_or.reduce(packed, axis=1)
    bits = np.unpackbits(anywhere, axis=1, count=filters, bitorder="little")
    image, filter_ = np.nonzero(bits)
    at_once = FILTERS_AT_ONCE.get(jax.default_backend(), FILTERS_AT_ONCE_ELSEWHERE)
    slot, first = lay_out_chunks(np.bincount(image, minlength=len(packed)), at_once)
    laid = np.full((int(first[-1]), at_once), filters, np.int32)
    laid.reshape(-1)[slot] = filter_
    return _FilterBlocks(np.repeat(np.arange(len(packed)), np.diff(first)).astype(np.int32), laid)


def _lay_out_pairs(image: np.ndarray, group: np.ndarray, images: int, no_group: int) -> _PairBlocks:
    order = np.argsort(image, kind="stable")
    slot, first = lay_out_chunks(np.bincount(image, minlength=images + 1), CONCEPTS_AT_ONCE)
    shape = (max(int(first[-1]), 1), CONCEPTS_AT_ONCE)
    pair = np.zeros(shape, np.int32)
    groups = np.full(shape, no_group, np.int32)
    pair.reshape(-1)[slot] = order
    groups.reshape(-1)[slot] = group[order]
    return _PairBlocks(pair, groups, first)


@partial(jax.jit, static_argnames=("mesh", "geometry", "groups", "filters", "level"))
def _count_blocks(
    blocks: _FilterBlocks,
    images: _Images,
    *,
    mesh: Mesh,
    geometry: Geometry,
    groups: int,
    filters: int,
    level: float,
) -> tuple[Int[Array, "D groups K"], Int[Array, "D groups K"]]:
    """Pixels shared with, and pixels marked by, each filter on the images of each group.

    Counts of one call stay below 2³¹: `probe_single_filters` takes few enough blocks at a time.
    """

    def on_device(blocks: _FilterBlocks, images: _Images) -> tuple[Array, Array]:
        blocks, images = jax.tree.map(lambda x: x[0], (blocks, images))
        counts = _count_on_device(
            blocks, images, geometry=geometry, groups=groups, filters=filters, level=level
        )
        return jax.tree.map(lambda x: x[None], counts)

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=DIVIDED, out_specs=DIVIDED, check_vma=False
    )(blocks, images)


def _count_on_device(
    blocks: _FilterBlocks,
    images: _Images,
    *,
    geometry: Geometry,
    groups: int,
    filters: int,
    level: float,
) -> tuple[Int[Array, "groups K"], Int[Array, "groups K"]]:
    pairs, packed, masks = images
    rows, width = geometry.segmentation_size
    zeros = jnp.zeros((groups, filters), jnp.int32)

    def count_block(sums: tuple, block: _FilterBlocks) -> tuple[tuple, None]:
        # Null filters read some filter's bits; what they count is dropped below.
        filter_ = jnp.minimum(block.filter, filters - 1)
        shift = (filter_ % 8).astype(jnp.uint8)
        active = (packed[block.image][:, filter_ // 8] >> shift[None, :]) & 1
        maps = active.T.reshape(-1, *geometry.grid).astype(jnp.float32)
        predicted = (upsample_align_corners(maps, (rows, width)) > level).astype(jnp.float32)
        marked = jnp.sum(predicted, axis=(1, 2)).astype(jnp.int32)
        predicted = predicted.reshape(len(maps), -1)

        def count_pairs(index: Array, sums: tuple) -> tuple:
            pair, group = pairs.pair[index], pairs.group[index]
            target = unpack_rows(masks[pair], rows, axis=1)
            target = target.reshape(len(pair), -1).astype(jnp.float32)
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
