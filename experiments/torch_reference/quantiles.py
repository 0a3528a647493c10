"""Thresholds by the original's streaming sketch: what exact quantiles are measured against.

Written from reference behaviour 3 and appendix C. A sketch of random halvings keeps about
24,576 samples per level; a sample at level i stands for 2^i values. K filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from net2vec_jax.activations.thresholds import QUANTILES, threshold_position

RESOLUTION = 24 * 1024
SMALLEST_LEVEL = 128
SHRINKAGE = 0.67


class QuantileSketch:
    """Approximate quantiles of K filters from one pass over their values."""

    def __init__(self, filters: int, *, resolution: int = RESOLUTION, seed: int = 1) -> None:
        """An empty sketch; the coins of the halvings are drawn with `seed`."""
        self._resolution = resolution
        self._random = np.random.RandomState(seed)
        self._levels = [np.zeros((filters, resolution), np.float32)]
        self._filled = [0]
        self._extremes = np.array([np.full(filters, np.inf), np.full(filters, -np.inf)])

    def add(self, values: np.ndarray) -> None:
        """Take in `values` [n, K]."""
        done = 0
        while done < len(values):
            room = self._room(0)
            if not room:
                self._shift()
                continue
            part = values[done : done + room]
            self._append(0, part.T)
            done += len(part)

    def read(self) -> np.ndarray:
        """The 1,000 quantiles of every filter, ascending, [K, 1000]."""
        self._note_extremes(self._samples(0))
        samples = np.concatenate([self._samples(i) for i in range(len(self._levels))], axis=1)
        weights = np.repeat(2.0 ** np.arange(len(self._levels)), self._filled)
        order = np.argsort(samples, axis=1, kind="stable")
        samples, weights = np.take_along_axis(samples, order, axis=1), weights[order]
        position = (np.cumsum(weights, axis=1) - weights / 2) / weights.sum(axis=1, keepdims=True)
        asked = np.linspace(0, 1, QUANTILES)
        low, high = self._extremes
        return np.stack(
            [
                np.interp(asked, [0, *position[k], 1], [low[k], *samples[k], high[k]])
                for k in range(len(samples))
            ]
        ).astype(np.float32)

    def _samples(self, level: int) -> np.ndarray:
        return self._levels[level][:, : self._filled[level]]

    def _room(self, level: int) -> int:
        return self._levels[level].shape[1] - self._filled[level]

    def _reserve(self, level: int) -> int:
        """Room that a level must keep: half of the level before it will come at once."""
        return math.ceil(self._levels[level - 1].shape[1] / 2) if level else 1

    def _append(self, level: int, samples: np.ndarray) -> None:
        first = self._filled[level]
        self._levels[level][:, first : first + samples.shape[1]] = samples
        self._filled[level] += samples.shape[1]

    def _halve(self, level: int, *, extremes: bool) -> np.ndarray:
        """Every second of a level's sorted samples, from the first or the second on by a coin."""
        samples = np.sort(self._samples(level), axis=1)
        if extremes:
            self._note_extremes(samples)
        coin = self._random.binomial(1, 0.5)
        return samples[:, coin::2]

    def _note_extremes(self, samples: np.ndarray) -> None:
        if samples.shape[1]:
            low, high = self._extremes
            self._extremes = np.array(
                [np.fmin(low, samples.min(axis=1)), np.fmax(high, samples.max(axis=1))]
            )

    def _shift(self) -> None:
        """Pass samples on to the next levels until all have room again."""
        level = 0
        while self._room(level) < self._reserve(level):
            if level + 1 == len(self._levels):
                self._expand()
                return
            half = self._halve(level, extremes=level == 0)
            self._filled[level] = 0
            self._append(level + 1, half)
            level += 1

    def _expand(self) -> None:
        """A new first level; samples, which now stand for more, move down or are halved."""
        size = math.ceil(self._resolution * SHRINKAGE ** len(self._levels))
        filters = len(self._levels[0])
        self._levels.insert(0, np.zeros((filters, max(SMALLEST_LEVEL, size)), np.float32))
        self._filled.insert(0, 0)
        for level in range(1, len(self._levels)):
            amount = self._filled[level]
            if not amount:
                continue
            if self._room(level - 1) - amount >= self._reserve(level - 1):
                self._append(level - 1, self._samples(level))
                self._filled[level] = 0
            else:
                half = self._halve(level, extremes=level == 1)
                self._filled[level] = 0
                self._append(level, half)


def collect_thresholds_by_sketch(
    batches: Iterable[np.ndarray], *, quantile: float = 0.005
) -> np.ndarray:
    """Thresholds T_k, float32 [K], as the original takes them (behaviour 3.3).

    Args:
      batches: activations float [n, h, w, K] of consecutive images.
      quantile: fraction of a filter's activations above its threshold.
    """
    sketch: QuantileSketch | None = None
    for batch in batches:
        if sketch is None:
            sketch = QuantileSketch(batch.shape[-1])
        sketch.add(batch.reshape(-1, batch.shape[-1]))
    column = round(threshold_position(quantile) * (QUANTILES - 1))
    return sketch.read()[:, column]
