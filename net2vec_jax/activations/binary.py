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
UNPACKED_AT_ONCE = 256
"""Images whose activations are unpacked at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class ActiveEntries:
    """The active entries of N images, padded to the longest list, E entries.

    Attributes:
      position: int32 [N, E], y·w + x on the activation grid; h·w (out of range) where padded.
      filter: int32 [N, E], the active filter; 0 where padded.
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
        found = [np.zeros((3, 0), np.int64)]
        for start in range(0, len(self), UNPACKED_AT_ONCE):
            bits = self.unpack(slice(start, start + UNPACKED_AT_ONCE))
            found.append(np.array(np.nonzero(bits.reshape(len(bits), -1, self.filters))))
            found[-1][0] += start
        image, position, filter_ = np.concatenate(found, axis=1)
        count = np.bincount(image, minlength=len(self.packed))
        size = -(-max(int(count.max(initial=0)), 1) // ENTRY_BLOCK) * ENTRY_BLOCK
        slot = np.arange(len(image)) - np.repeat(np.cumsum(count) - count, count)
        positions = np.full((len(self.packed), size), self.grid[0] * self.grid[1], np.int32)
        filters = np.zeros((len(self.packed), size), np.int32)
        positions[image, slot] = position
        filters[image, slot] = filter_
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
