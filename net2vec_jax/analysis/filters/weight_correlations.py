"""What an embedding's weights go with (reference behaviour 8.5).

Pearson's r between weights and single-filter IoUs, and between the weights of both probes; and how
far a concept's weights spread over the filters. C concepts, K filters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from net2vec_jax.analysis.category_means import (
    CategoryMeans,
    average_categories,
    divide,
    make_jsonable,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.discoveries import control_false_discoveries

SIGNIFICANT = 0.01
"""Below this p-value a correlation counts as significant (behaviour 8.5)."""
DISCOVERY_RATE = 0.05
"""False discovery rate."""
_QUANTILES = {"least": 0, "lower_quartile": 25, "median": 50, "upper_quartile": 75, "most": 100}


@dataclasses.dataclass(frozen=True, eq=False)
class Correlations:
    """Pearson's r of many rows.

    Attributes:
      r: in [-1, 1], float64 [rows]; NaN where a side does not vary, has a value that is no finite
        number, or there are fewer than 3 values.
      p_value: two-sided, of no correlation, for values that are normally distributed, [rows].
      q_value: p-values adjusted to the false discovery rate over the rows, [rows].
      discovered: rows whose q-value is at most `DISCOVERY_RATE`, bool [rows].
      values: how many values a row has.
    """

    r: np.ndarray
    p_value: np.ndarray
    q_value: np.ndarray
    discovered: np.ndarray
    values: int

    @property
    def significant_fraction(self) -> float:
        """Fraction of the known correlations with p < `SIGNIFICANT`; NaN where none is known."""
        known = self.p_value[np.isfinite(self.p_value)]
        return float((known < SIGNIFICANT).mean()) if len(known) else float("nan")

    @property
    def median(self) -> float:
        """Median of the known r; NaN where none is known."""
        known = self.r[np.isfinite(self.r)]
        return float(np.median(known)) if len(known) else float("nan")

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        known = self.r[np.isfinite(self.r)]
        quantiles = np.percentile(known, list(_QUANTILES.values())) if len(known) else [None] * 5
        return make_jsonable(
            {
                "rows": len(self.r),
                "known": len(known),
                "values_per_row": self.values,
                "r": dict(zip(_QUANTILES, quantiles, strict=True)),
                f"fraction_p_below_{SIGNIFICANT}": self.significant_fraction,
                f"discoveries_at_{DISCOVERY_RATE}": self.discovered.sum(),
                "positive_discoveries": (self.discovered & (self.r > 0)).sum(),
            }
        )


@dataclasses.dataclass(frozen=True, eq=False)
class WeightSpread:
    """Standard deviation of a concept's weights over the filters.

    Attributes:
      deviation: of the population, as the original has it, float64 [C].
      categories: category of each concept.
      train_images: of each concept, int64 [C].
      means: per category.
      rank_correlation: Spearman's between deviation and train images; NaN where one does not vary.
      p_value: of no rank correlation.
    """

    deviation: np.ndarray
    categories: tuple[str, ...]
    train_images: np.ndarray
    means: CategoryMeans
    rank_correlation: float
    p_value: float

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        spearman = {"rank_correlation": self.rank_correlation, "p_value": self.p_value}
        return make_jsonable(
            {"standard_deviation": self.means.summary(), "with_train_images": spearman}
        )


def correlate_rows(
    first: Float[np.ndarray, "rows values"], second: Float[np.ndarray, "rows values"]
) -> Correlations:
    """Pearson's r between the rows of two tables, row by row.

    Examples:
      >>> table = np.arange(8.0).reshape(2, 4) ** 2
      >>> correlate_rows(table, -2 * table).r.round(6).tolist()
      [-1.0, -1.0]

    Raises:
      Net2VecError: shapes that do not fit.
    """
    from scipy.stats import pearsonr  # slow to import, and only needed here

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise Net2VecError(f"tables {first.shape} and {second.shape} cannot be correlated by row")
    rows, values = first.shape
    r, p_value = np.full(rows, np.nan), np.full(rows, np.nan)
    if values > 2:
        usable = np.isfinite([first, second]).all(axis=(0, 2)) & _vary(first) & _vary(second)
        if usable.any():
            r[usable], p_value[usable] = pearsonr(first[usable], second[usable], axis=1)
    found = control_false_discoveries(p_value, rate=DISCOVERY_RATE)
    return Correlations(np.clip(r, -1, 1), p_value, found.q_value, found.rejected, values)


def correlate_weights_with_ious(
    weights: Float[np.ndarray, "C K"], single_iou: Float[np.ndarray, "C K"]
) -> Correlations:
    """Per concept over filters: do filters that overlap it alone have large weights in it?

    Args:
      weights: embeddings.
      single_iou: set IoU of every filter with every concept, of one split.

    Raises:
      Net2VecError: shapes that do not fit.
    """
    return correlate_rows(weights, single_iou)


def correlate_probes(
    segmentation: Float[np.ndarray, "C K"], classification: Float[np.ndarray, "C K"]
) -> tuple[Correlations, Correlations]:
    """Weights of both probes on the same concepts and filters.

    Args:
      segmentation: embeddings.
      classification: embeddings.

    Returns:
      (per concept over filters [C], per filter over concepts [K]).

    Raises:
      Net2VecError: shapes that do not fit.
    """
    segmentation, classification = np.asarray(segmentation), np.asarray(classification)
    return (
        correlate_rows(segmentation, classification),
        correlate_rows(segmentation.T, classification.T),
    )


def measure_spread(
    weights: Float[np.ndarray, "C K"],
    categories: Sequence[str],
    train_images: Int[np.ndarray, " C"],
) -> WeightSpread:
    """Standard deviation of each concept's weights, by category and against its train images.

    Raises:
      Net2VecError: shapes that do not fit.
    """
    from scipy.stats import spearmanr  # slow to import, and only needed here

    weights, images = np.asarray(weights, np.float64), np.asarray(train_images)
    if weights.ndim != 2 or images.shape != weights.shape[:1]:
        raise Net2VecError(f"weights {weights.shape} and train images {images.shape} do not fit")
    deviation = weights.std(axis=1)
    correlation, p_value = float("nan"), float("nan")
    if len(images) > 2 and _vary(np.stack([deviation, images])).all():
        correlation, p_value = map(float, spearmanr(deviation, images))
    means = average_categories(deviation, categories)
    return WeightSpread(deviation, tuple(categories), images, means, correlation, p_value)


def compare_spreads(
    deviation: Float[np.ndarray, " C"],
    base: Float[np.ndarray, " C"],
    categories: Sequence[str],
) -> tuple[CategoryMeans, CategoryMeans]:
    """How a layer's spreads differ from another's on the same concepts.

    Args:
      deviation: of the weights of each concept.
      base: the same in the other layer or network.
      categories: category of each concept.

    Returns:
      Means of (deviation - base, (deviation - base) / base); a base of 0 has no ratio.

    Raises:
      Net2VecError: shapes that do not fit.
    """
    deviation, base = np.asarray(deviation, np.float64), np.asarray(base, np.float64)
    if deviation.shape != base.shape:
        raise Net2VecError(f"spreads {deviation.shape} and {base.shape} are of other concepts")
    difference = deviation - base
    relative = divide(difference, base)
    return average_categories(difference, categories), average_categories(relative, categories)


def _vary(table: np.ndarray) -> np.ndarray:
    """Rows that vary by more than rounding, bool [rows]."""
    table = np.where(np.isfinite(table), table, 0)
    return np.ptp(table, axis=1) > 1e-12 * np.abs(table).max(axis=1, initial=0)
