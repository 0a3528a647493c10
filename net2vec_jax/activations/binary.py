"""Binary activations 1[A_k > T_k], bit-packed, or as lists of their active entries.

Packed: uint8 [N, h·w, ceil(K / 8)], bit s of byte j is filter 8j + s. About 0.5 % of the entries
are active, so on a CPU the list of active (position, filter) pairs is the faster form, and a sixth
of the size: of a large layer nothing else is made. Both may stay on the device for a whole run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property, partial

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt8

from net2vec_jax.activations.finite import require_finite_batches
from net2vec_jax.core.errors import Net2VecError

LARGEST_BLOCK = 1024
"""Entry lists are read in blocks of at most so many entries, see `entries_per_block`."""
ENTRY_ROUNDING = 4096
"""All lists together are padded to a multiple of it: similar layers share compiled programs."""
BYTES_AT_ONCE = 2**24
"""Bytes of packed activations that are searched for active entries at a time."""
ENTRIES_AT_ONCE = 2**26
"""Entries, active or not, that are made of lists at a time."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["position", "filter", "first", "count"],
    meta_fields=[],
)
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


def pad_entries(entries: int) -> int:
    """The length of the lists of so many entries in all, see `ActiveEntries`.

    Raises:
      Net2VecError: there are 2³¹ or more.
    """
    needed = entries + LARGEST_BLOCK  # a block may begin with the last entry
    if needed >= 2**31:
        raise Net2VecError(
            f"{entries:,} active entries are more than can be counted in 32 bits; use the "
            "dense form, or a smaller quantile"
        )
    return needed + -needed % ENTRY_ROUNDING


def entry_type(positions: int, filters: int) -> np.dtype:
    """Of positions and filters in lists."""
    return np.dtype(np.uint16 if max(positions, filters) < 2**16 else np.uint32)


def count_first(count: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Where each image's entries begin, int32."""
    return (np.cumsum(count, dtype=np.int64) - count).astype(np.int32)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["packed", "entries"],
    meta_fields=["grid", "filters"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class BinaryActivations:
    """1[A_k > T_k] of N images, in one of two forms.

    Attributes:
      packed: uint8 [N, h·w, ceil(K / 8)]; None of lists.
      grid: (h, w).
      filters: K.
      entries: lists, ordered by image, position and then filter; None of packed ones.
    """

    packed: np.ndarray | None
    grid: tuple[int, int]
    filters: int
    entries: ActiveEntries | None = None

    def __len__(self) -> int:
        return len(self.active_entries.count if self.packed is None else self.packed)

    def select(self, images: np.ndarray | slice) -> BinaryActivations:
        """These images only, packed."""
        return dataclasses.replace(self, packed=self.pack(images), entries=None)

    def pack(self, images: np.ndarray | slice = slice(None)) -> UInt8[np.ndarray, "n p bytes"]:
        """The activations of these images, packed."""
        if self.packed is not None:
            return self.packed[images]
        chosen, positions = np.arange(len(self))[images], math.prod(self.grid)
        packed = np.empty((len(chosen), positions, -(-self.filters // 8)), np.uint8)
        at_once = max(1, ENTRIES_AT_ONCE // (positions * self.filters))
        for start in range(0, len(chosen), at_once):
            part = slice(start, start + at_once)
            packed[part] = np.packbits(self._mark(chosen[part]), axis=-1, bitorder="little")
        return packed

    def unpack(self, images: np.ndarray | slice = slice(None)) -> Bool[np.ndarray, "n h w K"]:
        """The activations of these images."""
        if self.packed is None:
            bits = self._mark(np.arange(len(self))[images])
        else:
            packed = self.packed[images]
            bits = np.unpackbits(packed, axis=-1, count=self.filters, bitorder="little")
        return bits.reshape(-1, *self.grid, self.filters).astype(bool, copy=False)

    def maps(
        self, image: Int[np.ndarray, " n"], filter_: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n h w"]:
        """Where single filters are active, each on an image."""
        if self.packed is not None:
            bits = self.packed[image, :, filter_ // 8] >> (filter_ % 8).astype(np.uint8)[:, None]
            return (bits & 1).astype(bool).reshape(-1, *self.grid)
        place, row = self._find(image)
        kept = self.active_entries.filter[place] == filter_[row]
        maps = np.zeros((len(image), math.prod(self.grid)), bool)
        maps[row[kept], self.active_entries.position[place[kept]]] = True
        return maps.reshape(-1, *self.grid)

    def _find(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of these images' entries in the lists, and of which of the images each is."""
        count = self.active_entries.count[image].astype(np.int64)
        row = np.repeat(np.arange(len(count)), count)
        skipped = self.active_entries.first[image] - count_first(count)
        return np.arange(len(row)) + skipped[row], row

    def _mark(self, image: np.ndarray) -> Bool[np.ndarray, "n p K"]:
        """Lists as an array."""
        place, row = self._find(image)
        entries = self.active_entries
        bits = np.zeros((len(image), math.prod(self.grid), self.filters), bool)
        bits[row, entries.position[place], entries.filter[place]] = True
        return bits

    @cached_property
    def active_entries(self) -> ActiveEntries:
        """The active entries of every image, ordered by position and then filter.

        Raises:
          Net2VecError: there are 2³¹ or more.
        """
        if self.packed is None:
            assert self.entries is not None  # one of the two is there
            return self.entries
        grid = self.grid[0] * self.grid[1]
        dtype = entry_type(grid, self.filters)
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
        total = int(count.sum())
        padding = np.zeros(pad_entries(total) - total, dtype)
        return ActiveEntries(
            np.concatenate([*position, padding]),
            np.concatenate([*filter_, padding]),
            count_first(count),
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
