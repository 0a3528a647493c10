"""How far a score would move with other images: intervals and paired comparisons.

Scores are set IoUs and accuracies of G groups (heads) over P entries, an entry being an image of a
group. The images of a group are resampled, or its clusters: frames of one film, images of one
patient. Of several seeds, the same heads trained S times, the mean is taken in every sample, so
that an interval is one of the mean over these S trainings. Coverages given here are those of
experiments/benchmark/coverage.py; docs/statistics.md has its tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.overlap import Overlap
from net2vec_jax.stats.resampling import (
    Redrawn,
    check_clusters,
    check_groups,
    check_overlap,
    flip_sums,
    mean_seeds,
    number_clusters,
    redraw_columns,
    redraw_ratios,
    reweigh_means,
    reweigh_ratios,
    sum_clusters,
    sum_rows,
)

SMALLEST_ERROR_RATIO = 0.1
"""A redrawn standard error is at least so many of the original's.

A sample that happens to hold no predicted pixel has the error 0; without a bound, three such
samples in a hundred would stretch the interval to IoU 1.
"""
FEW_IMAGES = 8
"""With fewer images that differ from IoU 0, or from IoU 1, a paired test needs pseudo-images."""


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
    cluster: Int[np.ndarray, " P"] | None = None,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of `metrics.set_iou` over the images of each group.

    Every sample redraws each group's images with replacement, all groups and seeds at once. A few
    large images dominate a ratio of sums, so that quantiles of the redrawn IoUs are too close;
    instead each redrawn distance is divided by its own standard error (bootstrap-t) on the scale
    asin √IoU, where the error hardly depends on the IoU and the interval cannot leave [0, 1].
    Half a pseudo-image of IoU 0 and half a one of IoU 1, each as large as the mean union, join
    every group, as in `bootstrap_accuracy`: a concept that is not found on five images may be found
    on the sixth.

    At 95 % it held the truth in 93–100 % of simulated val sets of 5 to 100 images, of concepts
    hardly ever found (IoU 0.01) to nearly perfect ones (0.98), and in 92 % or more where a few huge
    images dominate; without the pseudo-images in 20–98 %.

    Args:
      overlap: intersections and unions, integers [P], or [S, P] of S seeds.
      group: to which group each entry belongs, ascending in 0 … groups-1.
      groups: how many groups there are.
      cluster: film, patient or scene of each entry, from 0; the images of one cluster of a group
        are resampled together. None: every image by itself.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [groups], in [0, 1] with the set IoU (the mean over seeds) between them;
      NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, groups out of order, or a confidence outside (0, 1).

    Examples:
      >>> overlap = Overlap(np.array([0, 0, 0, 40, 50]), np.array([90, 80, 60, 80, 60]))
      >>> group = np.array([0, 0, 0, 1, 1])
      >>> low, high = bootstrap_set_iou(overlap, group, 2, key=jax.random.key(0))
      >>> bool(low[0] == 0 and 0.3 < high[0] < 0.5)  # nothing is found on three images
      True
    """
    tails = _check_settings(samples, confidence)
    rows = check_overlap(overlap, group, groups)
    check_clusters(cluster, len(group))
    (intersection, union), group = sum_clusters(rows, group, cluster)
    seeds = _mean_of(intersection)
    redrawn = redraw_ratios(
        intersection, union, seeds, group, groups, pseudo_images=True, key=key, samples=samples
    )
    ratios = sum_rows(intersection, group, groups) / np.maximum(sum_rows(union, group, groups), 1)
    return _studentized_interval(redrawn, _hide_empty(seeds @ ratios, group), tails)


def bootstrap_accuracy(
    correct: Bool[np.ndarray, "*S P"] | Float[np.ndarray, "*S P"],
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    stratum: Int[np.ndarray, " P"] | None = None,
    cluster: Int[np.ndarray, " P"] | None = None,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean accuracy over the images of each group.

    A Bayesian bootstrap within strata: images have random weights, and half a right and half a
    wrong pseudo-image, spread over the strata, join each group's (Jeffreys' prior). Redrawing
    images instead gives no width where all are classified rightly. Distances from the mean are
    corrected for the means of S strata, by √(n/(n - S)). Where the accuracy is 0 or 1 the quantiles
    leave it out; the interval is widened to hold it.

    At 95 % it held the truth in 92–100 % of simulated val sets of 10 to 100 images, with accuracies
    of 0.5 to 0.99.

    Args:
      correct: whether each image is classified rightly, [P], or [S, P] of S seeds; or another score
        of each image in [0, 1].
      group: to which group each image belongs, in 0 … groups-1.
      groups: how many groups there are.
      stratum: part of the group that is resampled by itself, from 0; a balanced val set has two,
        positives and negatives. None: one.
      cluster: film, patient or scene of each image, from 0; the images of one cluster of a group
        are resampled together, in all strata. None: every image by itself.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [groups], in [0, 1] with the accuracy (the mean over seeds) between them;
      NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, or a confidence outside (0, 1).
    """
    tails = _check_settings(samples, confidence)
    values = mean_seeds(correct, group)
    group, groups, stratum = check_groups(group, groups, stratum)
    return _interval_of_means(
        values, group, groups, stratum, cluster, key=key, samples=samples, tails=tails
    )


def bootstrap_means(
    values: Float[np.ndarray, "n *axes K"] | Float[np.ndarray, " n"],
    *,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Bayesian bootstrap interval of means over n images, of any numbers (Rubin 1981).

    Images have exponentially distributed weights, the same for all means. Intervals are a little
    too narrow for few images, as quantiles are: at 95 % they hold the mean of ten normally
    distributed numbers in 90 %.

    Args:
      values: of each image.
      key: PRNG key.
      samples: how many times the images are weighted.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [*axes].

    Examples:
      >>> low, high = bootstrap_means(np.arange(9.0), key=jax.random.key(0))
      >>> bool(2 < low < 3 and 5 < high < 6)
      True
    """
    tails = _check_settings(samples, confidence)
    weights = np.asarray(jax.random.dirichlet(key, np.ones(len(values), np.float32), (samples,)))
    low, high = np.quantile(np.tensordot(weights, values, 1), tails, axis=0)
    return low, high


def bootstrap_ratios(
    numerator: Sequence[np.ndarray] | np.ndarray,
    denominator: Sequence[np.ndarray] | np.ndarray,
    *,
    cluster: Int[np.ndarray, " N"] | None = None,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of ratios of sums over all images, which H heads share.

    The interval of `bootstrap_set_iou` where every head has counts on every image: with
    intersections I, unions U, predicted pixels A and marked pixels T, IoU is ΣI/ΣU, precision
    ΣI/ΣA, recall ΣI/ΣT, and F1 Σ2I/Σ(A+T). The same images are drawn for all heads and ratios, so
    that sums are matrix products. Images whose denominator is 0 do not count.

    Args:
      numerator: R arrays [N, H], each value in 0 … its denominator.
      denominator: R arrays [N, H].
      cluster: film, patient or scene of each image, from 0. None: every image by itself.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the intervals, in (0, 1).

    Returns:
      (low, high), float64 [R, H], in [0, 1] with the ratio between them; a ratio whose denominators
      are all 0 is 0.

    Raises:
      Net2VecError: shapes that do not fit, a numerator outside 0 … denominator, or a confidence
        outside (0, 1).

    Examples:
      >>> intersection, union = np.array([[3, 0], [4, 0]]), np.array([[5, 9], [5, 0]])
      >>> low, high = bootstrap_ratios([intersection], [union], key=jax.random.key(0))
      >>> low.shape, bool(low[0, 0] < 0.7 < high[0, 0])
      ((1, 2), True)
    """
    tails = _check_settings(samples, confidence)
    _check_ratios(numerator, denominator, cluster)
    unit = number_clusters(np.zeros(len(numerator[0]), int), cluster)
    bounds = []
    for top, bottom in zip(numerator, denominator, strict=True):
        if cluster is not None:
            units = unit.max(initial=-1) + 1
            top, bottom = (sum_rows(rows.T, unit, units).T for rows in (top, bottom))
        redrawn = redraw_columns(top, bottom, key=key, samples=samples)
        total = bottom.sum(0, dtype=np.float64)
        estimate = top.sum(0, dtype=np.float64) / np.maximum(total, 1e-20)
        bounds.append(_studentized_interval(redrawn, estimate, tails))
    low, high = np.stack(bounds, axis=1)
    return low, high


def compare_set_ious(
    a: Overlap,
    b: Overlap,
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    cluster: Int[np.ndarray, " P"] | None = None,
    key: Array,
    samples: int = 2000,
    confidence: float = 0.95,
) -> PairedComparison:
    """Bootstrap interval and test of set IoU a less set IoU b on the same images.

    The symmetric bootstrap-t: t = difference / its standard error is held against |t*| of the
    redrawn images. Where a probe has fewer than `FEW_IMAGES` images with an intersection, or with a
    wrong pixel, these tell too little of its error; there the images have random weights, as in
    `bootstrap_accuracy`, and half a pseudo-image joins them in which a has IoU 1 and b has IoU 0,
    and half a one of the contrary.

    Of equal probes it called 0–5 % of the simulated concepts different at the level 5 % (5 to 100
    val images), and 0–7 % where a probe that seldom predicts stands against one that always does.

    Args:
      a: intersections and unions, integers [P], or [S, P] of S seeds.
      b: the same of the other probe, [P] or [S', P].
      group: see `bootstrap_set_iou`, as `groups`, `key` and `confidence`.
      cluster: likewise; the images of one cluster count as one.
      samples: number of bootstrap samples; no p-value lies below 1 / (samples + 1).

    Returns:
      The comparison. A p-value is at least 2^(1 - n), the smallest that n images can give by
      signs alone; NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, groups out of order, or a confidence outside (0, 1).
    """
    tails = _check_settings(samples, confidence)
    check_clusters(cluster, len(group))
    first, second = (check_overlap(x, group, groups) for x in (a, b))
    (intersection, union), group = sum_clusters(
        [np.concatenate(pair) for pair in zip(first, second, strict=True)], group, cluster
    )
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
    count = [sum_rows(rows, group, groups) for rows in (intersection > 0, intersection < union)]
    few = (np.min(count, axis=(0, 1)) < FEW_IMAGES) & (size > 0)
    if few.any():
        entries = few[group]
        sample = reweigh_ratios(
            intersection[:, entries], union[:, entries], coefficients,
            (np.cumsum(few) - 1)[group[entries]], few.sum(), key=key, samples=samples,
        )  # fmt: skip
        low[few], high[few] = _include(np.quantile(sample, tails, axis=0), difference[few])
        beyond = np.minimum((sample <= 0).sum(0), (sample >= 0).sum(0))
        p_value[few] = np.minimum(2 * (1 + beyond) / (samples + 1), 1)
    p_value = np.where(size > 0, np.maximum(p_value, 2.0 ** (1 - size)), np.nan)
    return PairedComparison(difference, low, high, p_value)


def compare_accuracies(
    a: Bool[np.ndarray, "*S P"],
    b: Bool[np.ndarray, "*S2 P"],
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    stratum: Int[np.ndarray, " P"] | None = None,
    cluster: Int[np.ndarray, " P"] | None = None,
    key: Array,
    samples: int = 2000,
    confidence: float = 0.95,
) -> PairedComparison:
    """Interval and test of accuracy a less accuracy b on the same images.

    The p-value is that of a permutation test: if both classifiers are equally good, right and wrong
    may as well be exchanged between them on any image, which changes the sign of its difference
    (McNemar's test, with several seeds and clusters). The interval is that of `bootstrap_accuracy`
    for the differences, with half a pseudo-image of difference -1 and half a one of 1.

    Ties count half (mid-p). Of equally good classifiers the test called 0–6 % different at the
    level 5 % (10 to 200 images), fewer where they hardly ever disagree or differ between strata;
    the interval held the difference in 93–100 %.

    Args:
      a: whether each image is classified rightly, [P], or [S, P] of S seeds.
      b: the same of the other classifier, [P] or [S', P].
      group: see `bootstrap_accuracy`, as `groups`, `stratum`, `key` and `confidence`.
      cluster: likewise; the images of one cluster of a group are exchanged together.
      samples: number of permutations and of bootstrap samples; no p-value lies below
        1 / (samples + 1).

    Returns:
      The comparison; NaN for a group without images.

    Raises:
      Net2VecError: shapes that do not fit, or a confidence outside (0, 1).

    Examples:
      >>> a, b = np.ones(20, bool), np.arange(20) < 12
      >>> result = compare_accuracies(a, b, np.zeros(20, int), 1, key=jax.random.key(0))
      >>> float(result.difference[0]), bool(result.p_value[0] < 0.05)
      (0.4, True)
    """
    tails = _check_settings(samples, confidence)
    values = mean_seeds(a, group) - mean_seeds(b, group)
    group, groups, stratum = check_groups(group, groups, stratum)
    interval_key, sign_key = jax.random.split(key)
    low, high = _interval_of_means(
        (1 + values) / 2, group, groups, stratum, cluster,
        key=interval_key, samples=samples, tails=tails,
    )  # fmt: skip
    size = np.bincount(group, minlength=groups)
    (values,), unit_group = sum_clusters([values[None]], group, cluster)
    total = sum_rows(values, unit_group, groups)[0]
    flipped = np.abs(flip_sums(values[0], unit_group, groups, key=sign_key, samples=samples))
    larger, as_large = (flipped > np.abs(total) * (1 + e) for e in (1e-5, -1e-5))  # float32
    # Mid-p: half of the samples that tie with what was observed. No difference at all proves none.
    p_value = (1 + (larger.sum(0) + as_large.sum(0)) / 2) / (samples + 1)
    p_value = np.where(total == 0, 1, p_value)
    difference = _hide_empty(total / np.maximum(size, 1), group)
    low, high = _include((2 * low - 1, 2 * high - 1), difference)
    return PairedComparison(difference, low, high, np.where(size > 0, p_value, np.nan))


def effective_images(
    union: Float[np.ndarray, " P"] | Int[np.ndarray, " P"],
    group: Int[np.ndarray, " P"],
    groups: int,
    *,
    cluster: Int[np.ndarray, " P"] | None = None,
) -> Float[np.ndarray, " G"]:
    """Effective number of images of each group, (ΣU)² / ΣU² (Kish 1965).

    A ratio of sums is as uncertain as a mean over so many images of one size: a large image among
    small ones decides the score by itself.

    Args:
      union: pixels in prediction or mask of each entry, [P].
      group: to which group each entry belongs, in 0 … groups-1.
      groups: how many groups there are.
      cluster: film, patient or scene of each entry, from 0; clusters are counted instead of images.

    Returns:
      float64 [groups] in 1 … number of images; 0 where nothing is marked nor predicted.

    Raises:
      Net2VecError: shapes that do not fit, or numbers out of range.

    Examples:
      >>> effective_images(np.array([10, 10, 100, 1]), np.array([0, 0, 1, 1]), 2).round(2)
      array([2.  , 1.02])
    """
    check_groups(group, groups, None)
    check_clusters(cluster, len(group))
    (rows,), group = sum_clusters([np.asarray(union, np.float64)[None]], group, cluster)
    total, squares = sum_rows(np.concatenate([rows, rows**2]), group, groups)
    return total**2 / np.maximum(squares, 1e-20)


def _interval_of_means(
    values: np.ndarray,
    group: np.ndarray,
    groups: int,
    stratum: np.ndarray,
    cluster: np.ndarray | None,
    *,
    key: Array,
    samples: int,
    tails: list[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of each group's mean of values [P] in [0, 1]."""
    check_clusters(cluster, len(group))
    means = reweigh_means(values, group, groups, stratum, cluster=cluster, key=key, samples=samples)
    size = np.bincount(group, minlength=groups)
    mean = _hide_empty(np.bincount(group, values, groups) / np.maximum(size, 1), group)
    return _include(np.quantile(means, tails, axis=0), mean)


def _studentized_interval(
    redrawn: Redrawn, estimate: np.ndarray, tails: list[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap-t interval on the scale asin √ratio, in [0, 1]; the estimate [G] stays inside."""
    centre, angle = redrawn.estimate, _angle(redrawn.estimate)
    error = redrawn.error / np.sqrt(centre * (1 - centre))
    ratio = np.clip(centre.astype(np.float32) + redrawn.change, 1e-9, 1 - 1e-7)
    redrawn_error = redrawn.redrawn_error / np.sqrt(ratio * (1 - ratio))
    distance = _angle(ratio) - angle.astype(np.float32)
    upper, lower = np.quantile(
        _studentize(distance, redrawn_error, error), tails, axis=0, method="weibull"
    )
    ends = (np.sin(np.clip(angle - t * error, 0, np.pi) / 2) ** 2 for t in (lower, upper))
    return _include(tuple(ends), estimate)


def _include(
    bounds: np.ndarray | tuple[np.ndarray, np.ndarray], estimate: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(bounds[0], estimate), np.maximum(bounds[1], estimate)


def _hide_empty(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """NaN in place of the values [G] of groups without entries."""
    return np.where(np.bincount(group, minlength=len(values)) > 0, values, np.nan)


def _check_ratios(
    numerator: Sequence[np.ndarray] | np.ndarray,
    denominator: Sequence[np.ndarray] | np.ndarray,
    cluster: np.ndarray | None,
) -> None:
    shapes = {np.shape(x) for x in (*numerator, *denominator)}
    if len(numerator) != len(denominator) or len(shapes) != 1 or len(min(shapes)) != 2:
        raise Net2VecError(f"numerators and denominators must have one shape [N, H], not {shapes}")
    check_clusters(cluster, len(numerator[0]))
    pairs = zip(numerator, denominator, strict=True)
    if any((top < 0).any() or (top > bottom).any() for top, bottom in pairs):
        raise Net2VecError("a numerator lies outside 0 … its denominator: such a ratio is no score")


def _angle(ratio: np.ndarray) -> np.ndarray:
    """2 asin √ratio in [0, π]: a proportion's error on this scale does not depend on itself."""
    return 2 * np.arcsin(np.sqrt(ratio))


def _studentize(change: np.ndarray, redrawn_error: np.ndarray, error: np.ndarray) -> np.ndarray:
    smallest = np.maximum(SMALLEST_ERROR_RATIO * error, 1e-12).astype(np.float32)
    return change / np.maximum(redrawn_error, smallest)


def _mean_of(seeds: np.ndarray) -> np.ndarray:
    return np.full(len(seeds), 1 / len(seeds))


def _check_settings(samples: int, confidence: float) -> list[float]:
    """Return the two tail probabilities."""
    if not 0 < confidence < 1 or samples < 1:
        raise Net2VecError(f"confidence {confidence} must lie in (0, 1), samples {samples} above 0")
    return [(1 - confidence) / 2, (1 + confidence) / 2]
