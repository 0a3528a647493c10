"""Per-filter thresholds T_k: exact quantiles over all images and positions, in bounded memory.

The reference reads column round(1000·q) of a table of 1,000 quantiles (reference behaviour 3.2,
3.3): for q = 0.005 the ascending position 994/999 among n values. Only the largest values can
matter, so one pass that keeps those suffices: K × (0.5 % of n) numbers, each with its place, so
that the same pass gives what is above the thresholds. Activations and thresholds are float32
wherever they are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float

from net2vec_jax.activations.finite import require_finite_batches
from net2vec_jax.core.errors import Net2VecError

QUANTILES = 1000
"""Columns of the reference's quantile table."""

FEWEST_ROWS, MOST_ROWS = 64, 8192
"""Places that are compared with the bounds at a time,"""
MOST_VALUES = 2**24
"""and of wide layers so few that they have so many values."""

NO_THRESHOLD = 1.0
"""The quantile that stands for no threshold (behaviour Q-2)."""

QuantileMethod = Literal["hazen", "linear"]
"""Where the i-th of n sorted values stands, by numpy's names: "hazen" (i − ½)/n, the exact
equivalent of the reference's sketch (behaviour 3.2); "linear" (i − 1)/(n − 1), numpy's default.
They differ by at most half a rank."""


def threshold_position(quantile: float) -> float:
    """Ascending position in [0, 1] at which the threshold of the top `quantile` is read.

    0.005 gives 994/999: the reference's column 5 of 1,000 (behaviour 3.3).

    Raises:
      Net2VecError: the quantile is not in (0, 1].
    """
    if not 0 < quantile <= NO_THRESHOLD:
        raise Net2VecError(
            f"the quantile must lie between 0 and 1, or be 1 for no threshold, not {quantile}"
        )
    column = math.floor(QUANTILES * quantile + 0.5)  # half away from zero, as Python 2 rounds
    return 1 - min(column, QUANTILES - 1) / (QUANTILES - 1)


class TopValues:
    """The largest values of each filter seen so far and where they stand, for one exact quantile.

    The smallest of the `kept` largest values never falls while more are seen, so that what is not
    above it can be passed over at once: of the later values hardly any is looked at twice. All that
    is above the quantile in the end is among those kept.
    """

    def __init__(self, count: int, position: float, method: QuantileMethod = "hazen") -> None:
        """Prepare for `count` values per filter and an ascending `position` in [0, 1]."""
        if method not in ("hazen", "linear"):
            raise Net2VecError(f"quantile method {method!r} is neither 'hazen' nor 'linear'")
        rank = position * count + 0.5 if method == "hazen" else position * (count - 1) + 1
        self._count = count
        self._rank = min(max(rank, 1.0), float(count))  # 1-based; min and max beyond the ends
        self._kept = count - math.floor(self._rank) + 1
        self._rows = min(max(self._kept, FEWEST_ROWS), MOST_ROWS)
        self.seen = 0

    def _begin(self, filters: int) -> None:
        self._rows = min(self._rows, max(MOST_VALUES // filters, FEWEST_ROWS))
        room = self._kept + max(self._kept // 4, self._rows)
        self._values = np.empty((filters, room), np.float32)
        self._places = np.empty((filters, room), np.uint32 if self._count < 2**32 else np.uint64)
        self._filled = np.zeros(filters, np.int64)
        self._bound = np.full(filters, -np.inf, np.float32)

    def add(self, values: Float[np.ndarray, "n K"], first: int | None = None) -> None:
        """Take in values, which stand at the places `first`, `first` + 1, …; by default the next.

        Raises:
          Net2VecError: they are of another number of filters.
        """
        first = self.seen if first is None else first
        filters = values.shape[1]
        if not self.seen:
            self._begin(filters)
        if filters != len(self._bound):
            raise Net2VecError(f"activations of {filters} filters follow {len(self._bound)}")
        narrow = np.uint16 if filters < 2**16 else np.uint32  # numpy sorts these in linear time
        for start in range(0, len(values), self._rows):
            part = np.ascontiguousarray(values[start : start + self._rows])
            flat = np.flatnonzero(part > self._bound)
            row, filter_ = np.divmod(flat, filters)
            order = np.argsort(filter_.astype(narrow), kind="stable")
            places = (row[order] + (first + start)).astype(self._places.dtype)
            self._append(filter_[order], part.reshape(-1)[flat[order]], places)
        self.seen += len(values)

    def _append(self, filter_: np.ndarray, values: np.ndarray, places: np.ndarray) -> None:
        """Keep entries, at most `_rows` of each filter; the filters are ascending."""
        count = np.bincount(filter_, minlength=len(self._bound))
        self._compact(np.flatnonzero(self._filled + count > self._values.shape[1]))
        begin = self._filled - (np.cumsum(count) - count)
        slot = np.arange(len(filter_)) + begin[filter_]
        self._values[filter_, slot] = values
        self._places[filter_, slot] = places
        self._filled += count

    def _compact(self, filters: np.ndarray) -> None:
        """Keep the largest only, of these filters."""
        for k in filters[self._filled[filters] >= self._kept]:
            values, places = self._values[k], self._places[k]
            surplus = self._filled[k] - self._kept
            top = np.argpartition(values[: self._filled[k]], surplus)[surplus:]
            values[: self._kept], places[: self._kept] = values[top], places[top]
            self._filled[k], self._bound[k] = self._kept, values[0]

    def dump(self) -> dict[str, np.ndarray]:
        """What `merge` takes in: the largest values so far and their places, [K, n], and `seen`."""
        if not self.seen:
            return {"seen": np.array(0)}
        self._compact(np.arange(len(self._bound)))
        kept = slice(None, self._filled[0])  # all filters have equally many
        return {
            "values": self._values[:, kept],
            "places": self._places[:, kept],
            "seen": np.array(self.seen),
        }

    def merge(self, dumped: Mapping[str, np.ndarray]) -> None:
        """Take in what another one has seen, see `dump`."""
        if not dumped["seen"]:
            return
        values, places = dumped["values"], dumped["places"]
        if not self.seen:
            self._begin(len(values))
        for start in range(0, values.shape[1], self._rows):
            part = slice(start, start + self._rows)
            filter_ = np.repeat(np.arange(len(values)), values[:, part].shape[1])
            self._append(filter_, values[:, part].reshape(-1), places[:, part].reshape(-1))
        self._compact(np.arange(len(values)))
        self.seen += int(dumped["seen"])

    def read(self) -> Float[np.ndarray, " K"]:
        """The quantile of every filter, float32.

        Ties need no care: equal values have equal neighbours in the sorted order, so a threshold
        that falls among them is that very value, and `A > T` leaves all of them inactive.

        Raises:
          Net2VecError: another number of values was added.
        """
        if self.seen != self._count:
            raise Net2VecError(f"{self.seen} of {self._count} values per filter were added")
        self._compact(np.arange(len(self._bound)))
        fraction = self._rank - math.floor(self._rank)
        second = min(self._kept, 2) - 1
        ends = [np.partition(row[: self._kept], second)[[0, second]] for row in self._values]
        below, above = np.array(ends, np.float64).T
        return (below + fraction * (above - below)).astype(np.float32)

    def take_places(self, thresholds: Float[np.ndarray, " K"]) -> list[np.ndarray]:
        """Where each filter is above its threshold, ascending; nothing can be added afterwards.

        Args:
          thresholds: what `read` gave, or higher ones.
        """
        found = []
        for values, places, filled, threshold in zip(
            self._values, self._places, self._filled, thresholds, strict=True
        ):
            chosen = np.sort(places[:filled][values[:filled] > threshold])
            places[: len(chosen)] = chosen
            found.append(places[: len(chosen)])
        del self._values  # half of the memory
        return found


def collect_thresholds(
    batches: Iterable[np.ndarray],
    count: int,
    *,
    quantile: float = 0.005,
    method: QuantileMethod = "hazen",
) -> np.ndarray:
    """Thresholds T_k of a layer from one pass over its activations.

    Args:
      batches: activations float [n, h, w, K] or [n, K] of consecutive images.
      count: values per filter in all batches together, N·h·w.
      quantile: fraction of a filter's activations above its threshold, in (0, 1); or 1, the
        original's word for no threshold: every T_k is 0 (behaviour Q-2).
      method: how a quantile between two values is read, see `QuantileMethod`.

    Returns:
      float32 [K]. A filter is active where A > T_k, strictly (behaviour 3.3).

    Raises:
      Net2VecError: the quantile is out of range, a value is not finite, or the batches hold another
        number of values.

    Examples:
      >>> values = np.arange(200, dtype=np.float32).reshape(100, 2)
      >>> collect_thresholds([values[:50], values[50:]], 100, quantile=0.5)
      array([98.8999, 99.8999], dtype=float32)
      >>> collect_thresholds([values], 100, quantile=1)
      array([0., 0.], dtype=float32)
    """
    position = threshold_position(quantile)
    is_none = quantile == NO_THRESHOLD
    top = TopValues(count, 1.0 if is_none else position, method)
    for batch in require_finite_batches(batches):
        top.add(batch.reshape(-1, batch.shape[-1]))
    thresholds = top.read()
    return np.zeros_like(thresholds) if is_none else thresholds
