"""Per-filter thresholds T_k: exact quantiles over all images and positions, in bounded memory.

The reference reads column round(1000·q) of a table of 1,000 quantiles (reference behaviour 3.2,
3.3): for q = 0.005 the ascending position 994/999 among n values. Only the largest values can
matter, so one pass that keeps those suffices: K × (0.5 % of n) numbers. Activations and thresholds
are float32 wherever they are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np

from net2vec_jax.activations.finite import require_finite_batches
from net2vec_jax.core.errors import Net2VecError

QUANTILES = 1000
"""Columns of the reference's quantile table."""

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
    """The largest values of each filter seen so far, enough to read one quantile exactly."""

    def __init__(self, count: int, position: float, method: QuantileMethod = "hazen") -> None:
        """Prepare for `count` values per filter and an ascending `position` in [0, 1]."""
        if method not in ("hazen", "linear"):
            raise Net2VecError(f"quantile method {method!r} is neither 'hazen' nor 'linear'")
        rank = position * count + 0.5 if method == "hazen" else position * (count - 1) + 1
        self._count = count
        self._rank = min(max(rank, 1.0), float(count))  # 1-based; min and max beyond the ends
        self._kept = count - math.floor(self._rank) + 1
        self._top: np.ndarray | None = None
        self._seen = 0

    def add(self, values: np.ndarray) -> None:
        """Take in `values` [n, K]."""
        self._seen += len(values)
        columns = np.ascontiguousarray(values.T)
        columns = self._largest(columns)
        if self._top is not None:
            columns = self._largest(np.concatenate([self._top, columns], axis=1))
        self._top = columns

    def _largest(self, columns: np.ndarray) -> np.ndarray:
        surplus = columns.shape[1] - self._kept
        if surplus <= 0:
            return columns
        return np.partition(columns, surplus, axis=1)[:, surplus:]

    def read(self) -> np.ndarray:
        """The quantile of every filter, float32 [K].

        Ties need no care: equal values have equal neighbours in the sorted order, so a threshold
        that falls among them is that very value, and `A > T` leaves all of them inactive.
        """
        if self._top is None or self._seen != self._count:
            raise Net2VecError(f"{self._seen} of {self._count} values per filter were added")
        lower = math.floor(self._rank)
        fraction = self._rank - lower
        first = self._count - self._top.shape[1] + 1  # rank of the smallest value kept
        ordered = np.sort(self._top, axis=1).astype(np.float64)
        below = ordered[:, lower - first]
        above = ordered[:, min(lower + 1, self._count) - first]
        return (below + fraction * (above - below)).astype(np.float32)


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
