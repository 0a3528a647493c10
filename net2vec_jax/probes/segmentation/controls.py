"""What a probe must beat: a location prior, and masks that do not belong to their images."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from net2vec_jax.data.masks import MASKS_AT_ONCE, ConceptMasks
from net2vec_jax.probes.heads import draw_entries
from net2vec_jax.stats.metrics import iou
from net2vec_jax.stats.overlap import Overlap

UNPACKED_AT_ONCE = 1024
"""Masks that are unpacked at a time."""


def fit_location_prior(masks: ConceptMasks) -> Bool[np.ndarray, "C Y X"]:
    """Where a concept mostly is: the region that overlaps best with its train masks.

    The same region is marked on every image, whatever it shows. A region {pixels of which at least
    a part t of the train masks holds} has the set IoU Σ_region m / (Σ m + Σ_region (1 − m)), m the
    mean mask; the best t is found exactly.

    Args:
      masks: the masks of C concepts; those without train images get an empty region.
    """
    pixels = int(np.prod(masks.segmentation_size))
    total = np.zeros((len(masks.catalog), *masks.segmentation_size), np.int64)
    train = np.flatnonzero(~masks.pair_is_val)
    images = np.bincount(masks.pair_concept[train], minlength=len(total))
    for start in range(0, len(train), UNPACKED_AT_ONCE):
        pairs = train[start : start + UNPACKED_AT_ONCE]
        concepts, first = np.unique(masks.pair_concept[pairs], return_index=True)
        total[concepts] += np.add.reduceat(masks.unpack(pairs), first, axis=0, dtype=np.int32)
    flat = total.reshape(len(total), pixels)
    order = np.argsort(-flat, axis=1, kind="stable")
    shared = np.cumsum(np.take_along_axis(flat, order, axis=1), axis=1)
    marked = np.arange(1, pixels + 1) * np.maximum(images, 1)[:, None]
    iou = shared / np.maximum(shared[:, -1:] + marked - shared, 1)
    size = np.where(images > 0, iou.argmax(axis=1) + 1, 0)
    region = np.zeros(flat.shape, bool)
    np.put_along_axis(region, order, np.arange(pixels) < size[:, None], axis=1)
    return region.reshape(total.shape)


def count_regions(
    regions: Bool[np.ndarray, "C Y X"], masks: ConceptMasks, pairs: Int[np.ndarray, " n"]
) -> Overlap:
    """Overlap of a fixed region per concept with the masks of these pairs, int64 [n]."""
    packed = np.packbits(regions, axis=1, bitorder="little")
    area = regions.sum(axis=(1, 2), dtype=np.int64)
    shared = [
        np.bitwise_count(masks.packed[part] & packed[masks.pair_concept[part]]).sum(
            (1, 2), np.int64
        )
        for part in np.array_split(pairs, max(-(-len(pairs) // MASKS_AT_ONCE), 1))
    ]
    intersection = np.concatenate([np.zeros(0, np.int64), *shared])
    return Overlap(intersection, masks.area[pairs] + area[masks.pair_concept[pairs]] - intersection)


def measure_everything(masks: ConceptMasks) -> Float[np.ndarray, " C"]:
    """Set IoU of marking every pixel of a concept's val images, float64; 0 without any."""
    val = masks.pair_is_val
    concept, concepts = masks.pair_concept[val], len(masks.catalog)
    images = np.bincount(concept, minlength=concepts)
    return iou(
        np.bincount(concept, masks.area[val], concepts),
        images * int(np.prod(masks.segmentation_size)),
    )


def exchange_targets(masks: ConceptMasks, key: Array) -> Int[np.ndarray, " P"]:
    """For every pair, another train pair of its concept, whose mask it gets instead of its own.

    A probe that is trained so can learn where a concept mostly is and which filters fire with it,
    but not where it is on an image. Val pairs keep their own masks. Pairs of a concept are drawn in
    a circle, so that none keeps its own unless it is the only one.

    Args:
      masks: the masks of C concepts, P pairs.
      key: PRNG key; a concept's circle depends on its label number and its images alone.
    """
    train = np.flatnonzero(~masks.pair_is_val)
    numbers, concept = masks.catalog.numbers, masks.pair_concept[train]
    drawn = draw_entries(key, numbers, concept, masks.pair_image[train])
    circle = train[np.lexsort([drawn, concept])]
    count = np.bincount(concept, minlength=len(numbers))
    place = np.arange(len(train))
    last = np.cumsum(count)[concept] - 1
    following = np.where(place == last, last - count[concept] + 1, place + 1)
    targets = np.arange(len(masks.pair_image))
    targets[circle] = circle[following]
    return targets


def exchange_masks(masks: ConceptMasks, targets: Int[np.ndarray, " P"]) -> ConceptMasks:
    """The same images with the masks of `targets`, see `exchange_targets`."""
    return dataclasses.replace(
        masks,
        packed=masks.packed[targets],
        pixels=masks.pixels[targets],
        whole_image=masks.whole_image[targets],
    )
