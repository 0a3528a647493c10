"""Binary activations 1[A_k > T_k], bit-packed, and as lists of their active entries.

Packed: uint8 [N, h·w, ceil(K / 8)], bit s of byte j is filter 8j + s. About 0.5 % of the entries
are active, so on a CPU the list of active (position, filter) pairs is the faster form; both are
small enough to stay on the device for a whole run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property, partial

import jax
import numpy as np

from net2vec_jax.activations.finite import require_finite_batches
from net2vec_jax.core.errors import Net2VecError

LARGEST_BLOCK = 1024
"""Entry lists are read in blocks of at most so many entries, see `entries_per_block`."""
ENTRY_ROUNDING = 4096
"""All lists together are padded to a multiple of it: similar layers share compiled programs."""
BYTES_AT_ONCE = 2**24
"""Bytes of packed activations that are searched for active entries at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class ActiveEntries:
    """The active entries of N images, E in all, one image after the other.

    Attributes:
      position: uint16 [≥ E], y·w + x on the activation grid.
      filter: uint16 [≥ E], the active filter. Both are uint32 if need be, and 0 behind the end.
      first: int32 [N], where each image's entries begin.
      count: int32 [N], how many they are.
    """

    position: np.ndarray
    filter: np.ndarray
    first: np.ndarray
    count: np.ndarray


def entries_per_block(entries: int, images: int) -> int:
    """How many entries of each image's list are read at a time: half a mean list, a power of two.

    Short blocks cost the time to start an operation, long ones read behind the ends of lists.
    """
    mean = max(entries / max(images, 1), 1)
    return int(np.clip(2 ** round(math.log2(mean / 2)), 32, LARGEST_BLOCK))


@partial(jax.tree_util.register_dataclass, data_fields=["packed"], meta_fields=["grid", "filters"])
@dataclasses.dataclass(frozen=True, eq=False)
class BinaryActivations:
    """1[A_k > T_k] of N images.

    Attributes:
      packed: uint8 [N, h·w, ceil(K / 8)].
      grid: (h, w).
      filters: K.
    """

    packed: np.ndarray
    grid: tuple[int, int]
    filters: int

    def __len__(self) -> int:
        return len(self.packed)

    def unpack(self, images: np.ndarray | slice = slice(None)) -> np.ndarray:
        """bool [n, h, w, K]: the activations of these images."""
        bits = np.unpackbits(self.packed[images], axis=-1, count=self.filters, bitorder="little")
        return bits.reshape(-1, *self.grid, self.filters).astype(bool)

    @cached_property
    def active_entries(self) -> ActiveEntries:
        """The active entries of every image, ordered by position and then filter.

        Raises:
          Net2VecError: there are 2³¹ or more.
        """
        grid = self.grid[0] * self.grid[1]
        dtype = np.uint16 if max(grid, self.filters) < 2**16 else np.uint32
        flat, width = self.packed.reshape(-1), self.packed.shape[2]  # [N · h·w · width]
        count = np.zeros(len(self), np.int64)
        position, filter_ = [], []
        for start in range(0, len(flat), BYTES_AT_ONCE):
            place = np.flatnonzero(flat[start : start + BYTES_AT_ONCE])
            bits = np.unpackbits(flat[start + place][:, None], axis=1, bitorder="little")
            byte, bit = np.nonzero(bits)
            place = place[byte] + start
            count += np.bincount(place // (width * grid), minlength=len(self))
            position.append((place // width % grid).astype(dtype))
            filter_.append((place % width * 8 + bit).astype(dtype))
        needed = LARGEST_BLOCK  # a block may begin with the last entry
        if count.sum() + needed >= 2**31:
            raise Net2VecError(
                f"{count.sum():,} active entries are more than can be counted in 32 bits; use the "
                "dense form, or a smaller quantile"
            )
        padding = np.zeros(needed + -(count.sum() + needed) % ENTRY_ROUNDING, dtype)
        return ActiveEntries(
            np.concatenate([*position, padding]),
            np.concatenate([*filter_, padding]),
            (np.cumsum(count) - count).astype(np.int32),
            count.astype(np.int32),
        )


def collect_binary_activations(
    batches: Iterable[np.ndarray], thresholds: np.ndarray
) -> BinaryActivations:
    """Compare activations with their filters' thresholds, strictly (reference behaviour 3.3), and
    pack.

    Args:
      batches: activations float [n, h, w, K] of consecutive images.
      thresholds: float [K]; both are compared in float32.

    Returns:
      The binary activations of all images.

    Raises:
      Net2VecError: no batch, no spatial extent, a value that is not finite, or another number of
        filters than thresholds.
    """
    packed, grid = [], None
    thresholds = np.asarray(thresholds, np.float32)
    for batch in require_finite_batches(batches):
        if batch.ndim != 4:
            raise Net2VecError(
                f"activations of shape {batch.shape} have no spatial extent; the segmentation "
                "probe needs [N, h, w, K]: probe a convolutional layer, or use classification"
            )
        if batch.shape[-1] != len(thresholds):
            raise Net2VecError(
                f"{batch.shape[-1]} filters in the activations, but {len(thresholds)} thresholds"
            )
        grid = batch.shape[1:3]
        active = (batch > thresholds).reshape(len(batch), -1, batch.shape[-1])
        packed.append(np.packbits(active, axis=-1, bitorder="little"))
    if grid is None:
        raise Net2VecError("there are no activations")
    return BinaryActivations(np.concatenate(packed), grid, len(thresholds))
