"""How many filters encode a concept (reference behaviour 8.2).

Probes restricted to the F filters of largest weight, for several F, against the probe on all K.
C concepts, F subset sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.analysis.category_means import group_concepts, make_jsonable, mean_with_error
from net2vec_jax.core.errors import Net2VecError

FRACTIONS = (0.8, 0.9)
"""Of the full score above chance, that a subset has to reach (behaviour 8.2)."""
ALL_FRACTIONS = (0.5, 0.6, 0.7, *FRACTIONS)
"""The same, with those that the reference counts for classification only."""


@dataclasses.dataclass(frozen=True, eq=False)
class CumulativeFractions:
    """Fraction of concepts for which so many filters suffice.

    Attributes:
      sizes: numbers of filters, ascending, the last is K; int64 [F + 1].
      overall: of all counted concepts, float64 [F + 1]; NaN where none is counted.
      categories: categories of the counted concepts.
      by_category: the same per category, float64 [categories, F + 1].
      concepts: counted concepts of each category, int64 [categories].
    """

    sizes: np.ndarray
    overall: np.ndarray
    categories: tuple[str, ...]
    by_category: np.ndarray
    concepts: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class LogarithmicFit:
    """score ≈ slope · ln F + intercept, per concept.

    Attributes:
      slope: float64 [C]; NaN where fewer than two sizes have a score.
      intercept: score at one filter, float64 [C].
      explained: fraction of the scores' variance that is explained (R²), float64 [C]; NaN where
        the scores do not vary.
    """

    slope: np.ndarray
    intercept: np.ndarray
    explained: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FilterCounts:
    """How many filters encode the concepts of a layer.

    Attributes:
      sizes: numbers of filters, ascending, the last is K; int64 [F + 1].
      mean: mean score over the concepts that have one, at each size, float64 [F + 1].
      error: its standard error, float64 [F + 1].
      concepts: how many have one, int64 [F + 1].
      scores: of each concept at each size, float64 [C, F + 1].
      fit: over all sizes.
      has_learnt: whether the concept's full score lies above chance, bool [C]; of the others, every
        subset reaches any fraction, or none.
      counts: fraction of the full score → smallest sufficient number of filters, int64 [C].
      cumulative: fraction of the full score → curves over the concepts that were learnt.
    """

    sizes: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    concepts: np.ndarray
    scores: np.ndarray
    fit: LogarithmicFit
    has_learnt: np.ndarray
    counts: dict[float, np.ndarray]
    cumulative: dict[float, CumulativeFractions]

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        learnt = self.has_learnt
        sufficient = {}
        for fraction, counts in self.counts.items():
            curves = self.cumulative[fraction]
            sufficient[fraction] = {
                "median_filters": np.median(counts[learnt]) if learnt.any() else None,
                "concepts_by_filters": {
                    size: (counts[learnt] == size).sum() for size in self.sizes.tolist()
                },
                "fraction_of_concepts": curves.overall,
                "by_category": dict(zip(curves.categories, curves.by_category, strict=True)),
            }
        return make_jsonable(
            {
                "filters": self.sizes,
                "mean": self.mean,
                "standard_error": self.error,
                "concepts": self.concepts,
                "concepts_above_chance": learnt.sum(),
                "concepts_not_above_chance": (~learnt).sum(),
                "mean_slope_per_ln_filter": mean_with_error(self.fit.slope)[0],
                "mean_explained_variance": mean_with_error(self.fit.explained)[0],
                "sufficient": sufficient,
            }
        )


def smallest_sufficient(
    scores: Float[np.ndarray, "C F"],
    sizes: Int[np.ndarray, " F"],
    full: Float[np.ndarray, " C"],
    *,
    filters: int,
    fraction: float,
    chance: float = 0.0,
    strict: bool = False,
) -> Int[np.ndarray, " C"]:
    """Smallest number of filters that reaches a fraction of the full score above chance.

    The least F with score_F ≥ chance + fraction · (full - chance) (behaviour 8.2).

    Args:
      scores: of each concept with each number of filters; NaN never suffices.
      sizes: the numbers of filters, in any order.
      full: score with all filters; where it is NaN, no number suffices.
      filters: K, the answer where no size suffices.
      fraction: of the full score above chance, in (0, 1].
      chance: score of a guess: 0 for IoU, 0.5 for the accuracy on a balanced set.
      strict: ask for more than the fraction, as one of the reference's notebooks does.

    Returns:
      int64.

    Raises:
      Net2VecError: shapes that do not fit, sizes outside 1 … K, or a fraction outside (0, 1].
    """
    scores, sizes, full = _check(scores, sizes, full, filters)
    if not 0 < fraction <= 1:
        raise Net2VecError(f"fraction {fraction} must lie in (0, 1]")
    needed = (chance + fraction * (full - chance))[:, None]
    enough = scores > needed if strict else scores >= needed  # false for NaN
    return np.where(enough, sizes, filters).min(axis=1, initial=filters)


def fraction_of_concepts(
    counts: Int[np.ndarray, " C"],
    sizes: Int[np.ndarray, " F"],
    filters: int,
    categories: Sequence[str],
) -> CumulativeFractions:
    """Fraction of the concepts that need at most so many filters, overall and per category.

    Args:
      counts: filters that each concept needs, see `smallest_sufficient`.
      sizes: numbers of filters that were tried, in any order; K is added.
      filters: K.
      categories: category of each concept.

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    counts = np.asarray(counts)
    axis = np.union1d(np.asarray(sizes, np.int64), [filters])
    present, member = group_concepts(categories, len(counts))
    reached = (counts[:, None] <= axis).astype(np.float64)
    number = member.sum(axis=1)
    by_category = member.astype(np.float64) @ reached / number[:, None]
    return CumulativeFractions(axis, mean_with_error(reached)[0], present, by_category, number)


def fit_logarithm(scores: Float[np.ndarray, "C F"], sizes: Int[np.ndarray, " F"]) -> LogarithmicFit:
    """Least squares of score ≈ slope · ln F + intercept over the finite scores of each concept.

    Args:
      scores: of each concept with each number of filters; NaNs are left out.
      sizes: the numbers of filters.
    """
    y = np.ma.masked_invalid(np.asarray(scores, np.float64))
    x = np.ma.array(np.broadcast_to(np.log(sizes), y.shape), mask=y.mask)
    mean_x, mean_y = x.mean(axis=1), y.mean(axis=1)
    dx, dy = x - mean_x[:, None], y - mean_y[:, None]
    xx, xy, yy = ((a * b).sum(axis=1) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
    slope = xy / np.ma.masked_less_equal(xx, 1e-12)
    explained = slope * xy / np.ma.masked_less_equal(yy, 1e-12)
    found = (slope, mean_y - slope * mean_x, explained)
    return LogarithmicFit(*(np.ma.filled(values, np.nan) for values in found))


def count_filters(
    scores: Float[np.ndarray, "C F"],
    sizes: Int[np.ndarray, " F"],
    full: Float[np.ndarray, " C"],
    categories: Sequence[str],
    *,
    filters: int,
    chance: float = 0.0,
    fractions: Sequence[float] = FRACTIONS,
) -> FilterCounts:
    """Count how many filters encode each concept of a layer, and fit how scores grow with filters.

    Examples:
      >>> ious = np.array([[0.1, 0.3], [0.3, 0.3]])  # of two concepts with 1 and 4 filters
      >>> found = count_filters(
      ...     ious, np.array([1, 4]), np.array([0.32, 0.3]), ["object", "part"], filters=16
      ... )
      >>> found.counts[0.9].tolist()
      [4, 1]

    Args:
      scores: of each concept with each number of filters.
      sizes: the numbers of filters, in any order.
      full: score of each concept with all filters.
      categories: category of each concept.
      filters: K, the number of all filters.
      chance: score of a guess: 0 for IoU, 0.5 for the accuracy on a balanced set.
      fractions: of the full score above chance, in (0, 1].

    Raises:
      Net2VecError: shapes that do not fit, sizes outside 1 … K, or a fraction outside (0, 1].
    """
    scores, sizes, full = _check(scores, sizes, full, filters)
    axis, place = np.unique(np.append(sizes, filters), return_index=True)
    curve = np.column_stack([scores, full])[:, place]
    curve[:, -1] = full  # also where K is among the sizes
    mean, error, number = mean_with_error(curve)
    has_learnt = np.nan_to_num(full, nan=-np.inf) > chance
    learnt_categories = [c for c, learnt in zip(categories, has_learnt, strict=True) if learnt]
    counts, cumulative = {}, {}
    for fraction in fractions:
        counts[fraction] = smallest_sufficient(
            scores, sizes, full, filters=filters, fraction=fraction, chance=chance
        )
        cumulative[fraction] = fraction_of_concepts(
            counts[fraction][has_learnt], sizes, filters, learnt_categories
        )
    fit = fit_logarithm(curve, axis)
    return FilterCounts(axis, mean, error, number, curve, fit, has_learnt, counts, cumulative)


def bootstrap_concepts(
    scores: Float[np.ndarray, "C F"],
    *,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, " F"]]:
    """Interval of the concepts' mean score at every number of filters: would others give the same?

    Every sample redraws the concepts with replacement, the same at all numbers of filters. With few
    concepts such an interval is too narrow.

    Examples:
      >>> scores = np.array([[0.1, 0.5], [0.2, 0.5], [0.6, 0.5]])
      >>> low, high = bootstrap_concepts(scores, key=jax.random.key(0))
      >>> bool(low[0] < 0.3 < high[0]), float(low[1]), float(high[1])
      (True, 0.5, 0.5)

    Args:
      scores: of each concept with each number of filters; NaNs are left out.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [F]; NaN where there is no score.
    """
    known = np.isfinite(scores)
    if not len(scores):
        return np.full(scores.shape[1], np.nan), np.full(scores.shape[1], np.nan)
    drawn = np.asarray(jax.random.randint(key, (samples, len(scores)), 0, len(scores)))
    times = np.stack([np.bincount(row, minlength=len(scores)) for row in drawn])
    count = times @ known
    means = np.where(count > 0, times @ np.where(known, scores, 0) / np.maximum(count, 1), np.nan)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    there = known.any(axis=0)
    ends = np.full((2, scores.shape[1]), np.nan)
    ends[:, there] = np.nanquantile(means[:, there], tails, axis=0)
    return ends[0], ends[1]


def _check(
    scores: np.ndarray, sizes: np.ndarray, full: np.ndarray, filters: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, full = np.asarray(scores, np.float64), np.asarray(full, np.float64)
    sizes = np.asarray(sizes, np.int64)
    if scores.shape != (*full.shape, *sizes.shape) or scores.ndim != 2:
        raise Net2VecError(
            f"scores {scores.shape} must be [concepts, sizes]; there are full scores {full.shape} "
            f"and sizes {sizes.shape}"
        )
    if len(sizes) and not 1 <= sizes.min() <= sizes.max() <= filters:
        raise Net2VecError(f"numbers of filters must lie in 1 … {filters}, not {sizes.tolist()}")
    return scores, sizes, full
