"""How far a score would move with other images: intervals and paired comparisons.

Scores are set IoUs and accuracies of G groups (heads) over P entries, an entry being an image of a
group. The images of a group are resampled; of several seeds, the same heads trained S times, the
mean is taken in every sample, so that an interval is one of the mean over these S trainings.
Coverages given here are measured by tests/stats/test_intervals.py on simulated images.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Array, Bool, Int

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.overlap import Overlap
from net2vec_jax.stats.resampling import (
    check_groups,
    check_overlap,
    mean_seeds,
    redraw_ratios,
    reweigh_means,
)

IntervalMethod = Literal["studentized", "percentile"]

SMALLEST_ERROR_RATIO = 0.1
"""A redrawn standard error is at least so many of the original's.

A sample that happens to hold no predicted pixel has the error 0; without a bound, three such
samples in a hundred would stretch the interval to IoU 1.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class PairedComparison:
    """Scores a less scores b of each group on the same images.

    Attributes:
      difference: float64 [G], NaN for a group without images.
      low: lower end of the difference's interval, float64 [G].
      high: upper end, float64 [G].
      p_value: two-sided, of the hypothesis that the difference is 0; float64 [G] in (0, 1].
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def bootstrap_set_iou(
    overlap: Overlap,
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
    method: IntervalMethod = "studentized",
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of `metrics.set_iou` over the images of each group.

    Every sample redraws each group's images with replacement, all groups and seeds at once.

    A few large images dominate a ratio of sums, so the plain percentile interval is too narrow: at
    95 % it covered the truth of simulated concepts in 73–92 % of the cases with 40 val images,
    in 83–93 % with 100. The default divides each redrawn distance by its own standard error
    (bootstrap-t) on the scale asin √IoU, where the error hardly depends on the IoU and the
    interval cannot leave [0, 1]; it covered 92–93 % and 93–96 %. BCa intervals
    covered 78–91 % with 40 images. No bootstrap helps a concept of which hardly any
    pixel is ever predicted (set IoU below 0.02, fewer than 100 images).

    Args:
      overlap: intersections and unions, integers [P], or [S, P] of S seeds.
      group: to which group each entry belongs, ascending in 0 … groups-1.
      groups: how many groups there are.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).
      method: "studentized", or "percentile" for the quantiles of the redrawn IoUs.

    Returns:
      (low, high), float64 [groups]; NaN for a group without images, no width for a single image or
      where every image has IoU 0 or 1.

    Raises:
      Net2VecError: shapes that do not fit, groups out of order, or a confidence outside (0, 1).
    """
    tails = _check_settings(samples, confidence, method)
    intersection, union = check_overlap(overlap, group, groups)
    redrawn = redraw_ratios(
        intersection, union, _mean_of(intersection), group, groups, key=key, samples=samples
    )
    estimate = redrawn.estimate
    if method == "percentile":
        low, high = estimate + np.quantile(redrawn.change, tails, axis=0)
        return low, high
    angle = _angle(estimate)
    inside = (redrawn.error > 0) & (estimate > 0) & (estimate < 1)
    spread = np.sqrt(np.where(inside, estimate * (1 - estimate), 1))
    error = redrawn.error / spread
    redrawn_iou = np.clip(estimate.astype(np.float32) + redrawn.change, 1e-9, 1 - 1e-7)
    redrawn_error = redrawn.redrawn_error / np.sqrt(redrawn_iou * (1 - redrawn_iou))
    distance = _angle(redrawn_iou) - angle.astype(np.float32)
    upper, lower = np.quantile(
        _studentize(distance, redrawn_error, error), tails, axis=0, method="weibull"
    )
    low, high = (
        np.where(inside, np.sin(np.clip(angle - t * error, 0, np.pi) / 2) ** 2, estimate)
        for t in (lower, upper)
    )
    return low, high


def compare_set_ious(
    a: Overlap,
    b: Overlap,
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    key: Array,
    samples: int = 2000,
    confidence: float = 0.95,
) -> PairedComparison:
    """Bootstrap interval and test of set IoU a less set IoU b on the same images.

    The symmetric bootstrap-t: t = difference / its standard error is held against |t*| of the
    redrawn images. Of equal probes it called 5 % of the simulated concepts different at the level
    5 % (0.3–5 % with 20 to 400 val images); the percentile p-value, 2 min(fraction ≤ 0,
    fraction ≥ 0), called 6–11 %.

    Args:
      a: intersections and unions, integers [P], or [S, P] of S seeds.
      b: the same of the other probe, [P] or [S', P].
      group: to which group each entry belongs, ascending in 0 … groups-1.
      groups: how many groups there are.
      key: PRNG key.
      samples: number of bootstrap samples; no p-value lies below 1 / (samples + 1).
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      The comparison. A p-value is at least 2^(1 - n), the smallest that n images can give by
      signs alone; NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, groups out of order, or a confidence outside (0, 1).
    """
    _check_settings(samples, confidence)
    first, second = (check_overlap(x, group, groups) for x in (a, b))
    intersection, union = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    coefficients = np.concatenate([_mean_of(first[0]), -_mean_of(second[0])])
    redrawn = redraw_ratios(
        intersection, union, coefficients, group, groups, key=key, samples=samples
    )
    difference, error = redrawn.estimate, redrawn.error
    t = np.abs(_studentize(redrawn.change, redrawn.redrawn_error, error))
    half = error * np.quantile(t, confidence, axis=0, method="higher")
    low, high = np.maximum(difference - half, -1), np.minimum(difference + half, 1)
    without_error = np.where(difference == 0, 0, np.inf)
    observed = np.where(
        error > 0, np.abs(difference) / np.where(error > 0, error, 1), without_error
    )
    p_value = (1 + np.sum(t >= observed, axis=0)) / (samples + 1)
    size = np.bincount(group, minlength=groups)
    p_value = np.where(size > 0, np.maximum(p_value, 2.0 ** (1 - size)), np.nan)
    return PairedComparison(difference, low, high, p_value)


def bootstrap_accuracy(
    correct: Bool[np.ndarray, "*S P"],
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    stratum: Int[np.ndarray, " P"] | None = None,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean accuracy over the images of each group.

    A Bayesian bootstrap within strata: images have random weights, and in every stratum half a
    right and half a wrong pseudo-image join them (Jeffreys' prior). Redrawing images instead
    gives no width where all are classified rightly: at 30 val images and an accuracy of 0.94, its
    95 % intervals covered the truth in 83 % of simulated cases, these in 93–96 % (30–200 images,
    accuracies of 0.5–0.99).

    Args:
      correct: whether each image is classified rightly, [P], or [S, P] of S seeds.
      group: to which group each image belongs, in 0 … groups-1.
      groups: how many groups there are.
      stratum: part of the group that is resampled by itself, from 0; a balanced val set has two,
        positives and negatives. None: one.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [groups]; NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, or a confidence outside (0, 1).
    """
    tails = _check_settings(samples, confidence)
    means = reweigh_means(
        mean_seeds(correct, group),
        *check_groups(group, groups, stratum),
        key=key,
        samples=samples,
    )
    low, high = np.quantile(means, tails, axis=0)
    return low, high


def _angle(ratio: np.ndarray) -> np.ndarray:
    """2 asin √ratio in [0, π]: a proportion's error on this scale does not depend on itself."""
    return 2 * np.arcsin(np.sqrt(ratio))


def _studentize(change: np.ndarray, redrawn_error: np.ndarray, error: np.ndarray) -> np.ndarray:
    smallest = np.maximum(SMALLEST_ERROR_RATIO * error, 1e-12).astype(np.float32)
    return change / np.maximum(redrawn_error, smallest)


def _mean_of(seeds: np.ndarray) -> np.ndarray:
    return np.full(len(seeds), 1 / len(seeds))


def _check_settings(samples: int, confidence: float, method: str = "percentile") -> list[float]:
    """Return the two tail probabilities."""
    if not 0 < confidence < 1 or samples < 1:
        raise Net2VecError(f"confidence {confidence} must lie in (0, 1), samples {samples} above 0")
    if method not in ("studentized", "percentile"):
        raise Net2VecError(f"method {method!r} is neither 'studentized' nor 'percentile'")
    return [(1 - confidence) / 2, (1 + confidence) / 2]
