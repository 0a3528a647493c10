"""Means with standard errors, over all concepts and per category (reference behaviour 8, B-20).

A standard error is the sample's standard deviation / √n with the n of that very sample.
C concepts, G categories.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import CATEGORIES


@dataclasses.dataclass(frozen=True, eq=False)
class CategoryMeans:
    """Mean score of the concepts of each category that is present, and of all concepts.

    Attributes:
      categories: those present, in Broden's order, then others by name.
      mean: float64 [G]; NaN where no score is finite.
      error: standard error of the mean, float64 [G]; NaN below two finite scores.
      count: finite scores, int64 [G].
      overall_mean: over all concepts.
      overall_error: its standard error.
      overall_count: finite scores in all.
    """

    categories: tuple[str, ...]
    mean: np.ndarray
    error: np.ndarray
    count: np.ndarray
    overall_mean: float
    overall_error: float
    overall_count: int

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        keys = ("mean", "standard_error", "concepts")
        overall = (self.overall_mean, self.overall_error, self.overall_count)
        rows = zip(self.mean, self.error, self.count, strict=True)
        by_category = {
            name: dict(zip(keys, row, strict=True))
            for name, row in zip(self.categories, rows, strict=True)
        }
        return make_jsonable(
            {"all": dict(zip(keys, overall, strict=True)), "categories": by_category}
        )


def mean_with_error(
    values: Float[np.ndarray, "C ..."],
) -> tuple[Float[np.ndarray, ...], Float[np.ndarray, ...], Int[np.ndarray, ...]]:
    """Mean over the first axis' finite values, its standard error and their number.

    Examples:
      >>> mean_with_error(np.array([1.0, 3.0, np.nan]))
      (array(2.), array(1.), array(2))

    Args:
      values: NaN or infinite where there is none.

    Returns:
      (mean, error, count); mean NaN where count is 0, error where it is below 2.
    """
    known = np.ma.masked_invalid(np.asarray(values, np.float64))
    count = np.asarray(known.count(axis=0))
    mean, deviation = (
        np.asarray(np.ma.filled(found, np.nan))
        for found in (known.mean(axis=0), known.std(axis=0, ddof=1))
    )
    return mean, np.asarray(deviation / np.sqrt(np.maximum(count, 1))), count


def average_categories(scores: Float[np.ndarray, " C"], categories: Sequence[str]) -> CategoryMeans:
    """Mean score per category of the concepts, and overall; NaN scores are left out.

    Examples:
      >>> means = average_categories(np.array([0.1, 0.5, 0.7]), ["object", "color", "object"])
      >>> means.categories, means.mean.round(2).tolist(), means.count.tolist()
      (('color', 'object'), [0.5, 0.4], [1, 2])

    Raises:
      Net2VecError: not as many categories as scores.
    """
    scores = np.asarray(scores, np.float64)
    present, member = group_concepts(categories, len(scores))
    overall = mean_with_error(scores)
    return CategoryMeans(
        present,
        *mean_with_error(np.where(member, scores, np.nan).T),
        overall_mean=float(overall[0]),
        overall_error=float(overall[1]),
        overall_count=int(overall[2]),
    )


def order_categories(categories: Sequence[str]) -> tuple[str, ...]:
    """The categories present: Broden's in its order, then others by name.

    Examples:
      >>> order_categories(["zoo", "object", "animal", "color", "object"])
      ('color', 'object', 'animal', 'zoo')
    """
    known = [category for category in CATEGORIES if category in set(categories)]
    return (*known, *sorted(set(categories) - set(CATEGORIES)))


def find_members(
    categories: Sequence[str], present: Sequence[str], concepts: int
) -> Bool[np.ndarray, "G C"]:
    """Whether each concept belongs to each category that is `present`.

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    if len(categories) != concepts:
        raise Net2VecError(f"{len(categories)} categories were given for {concepts} concepts")
    return np.array(present, object)[:, None] == np.array(categories, object)


def group_concepts(
    categories: Sequence[str], concepts: int
) -> tuple[tuple[str, ...], Bool[np.ndarray, "G C"]]:
    """The categories present, in order, and whether each concept belongs to each of them.

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    present = order_categories(categories)
    return present, find_members(categories, present, concepts)


def divide(numerator: Any, denominator: Any) -> np.ndarray:
    """The quotient, float64; NaN where the denominator is not above 0.

    Examples:
      >>> divide([1, 2], [4, 0])
      array([0.25,  nan])
    """
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    unknown = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=unknown, where=denominator > 0)


def make_jsonable(value: Any) -> Any:
    """`value` in dicts, lists, numbers and None: arrays become lists, NaN and infinity None.

    Examples:
      >>> make_jsonable({"iou": np.array([0.5, np.nan])})
      {'iou': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(name): make_jsonable(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return make_jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [make_jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
