"""Binary activations 1[A_k > T_k], bit-packed, and as lists of their active entries.

Packed: uint8 [N, h·w, ceil(K / 8)], bit s of byte j is filter 8j + s. About 0.5 % of the entries
are active, so on a CPU the list of active (position, filter) pairs is the faster form; both are
small enough to stay on the device for a whole run (DESIGN section 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from net2vec_jax.errors import Net2VecError

ENTRY_BLOCK = 32
"""Entry lists are padded to a multiple of this, and read in blocks of it."""
BYTES_AT_ONCE = 2**24
"""Bytes of packed activations that are searched for active entries at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class ActiveEntries:
    """The active entries of N images, padded to the longest list, E entries.

    Attributes:
      position: uint16 [N, E], y·w + x on the activation grid; h·w (out of range) where padded.
      filter: uint16 [N, E], the active filter; 0 where padded. Both are uint32 if need be.
      count: int32 [N], entries of each image.
    """

    position: np.ndarray
    filter: np.ndarray
    count: np.ndarray


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
        """The active entries of every image, ordered by position and then filter."""
        grid = self.grid[0] * self.grid[1]
        dtype = np.uint16 if max(grid, self.filters) < 2**16 else np.uint32
        flat, width = self.packed.reshape(-1), self.packed.shape[2]  # [N · h·w · width]
        image, position, filter_ = [], [], []
        for start in range(0, len(flat), BYTES_AT_ONCE):
            place = np.flatnonzero(flat[start : start + BYTES_AT_ONCE])
            bits = np.unpackbits(flat[start + place][:, None], axis=1, bitorder="little")
            byte, bit = np.nonzero(bits)
            place = place[byte] + start
            image.append((place // (width * grid)).astype(np.int32))
            position.append((place // width % grid).astype(dtype))
            filter_.append((place % width * 8 + bit).astype(dtype))
        image = np.concatenate(image) if image else np.zeros(0, np.int32)
        count = np.bincount(image, minlength=len(self.packed))
        size = -(-max(int(count.max(initial=0)), 1) // ENTRY_BLOCK) * ENTRY_BLOCK
        slot = np.arange(len(image)) - np.repeat(np.cumsum(count) - count, count)
        positions = np.full((len(self.packed), size), grid, dtype)
        filters = np.zeros((len(self.packed), size), dtype)
        if len(image):
            positions[image, slot] = np.concatenate(position)
            filters[image, slot] = np.concatenate(filter_)
        return ActiveEntries(positions, filters, count.astype(np.int32))


def collect_binary_activations(
    batches: Iterable[np.ndarray], thresholds: np.ndarray
) -> BinaryActivations:
    """Compare activations with their filters' thresholds, strictly (reference spec 3.3), and pack.

    Args:
      batches: activations float [n, h, w, K] of consecutive images.
      thresholds: float [K].

    Returns:
      The binary activations of all images.

    Raises:
      Net2VecError: no batch, no spatial extent, or another number of filters than thresholds.
    """
    packed, grid = [], None
    for batch in batches:
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
