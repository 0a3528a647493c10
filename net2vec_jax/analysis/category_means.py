"""Means with standard errors, over all concepts and per category (reference spec 8, B-20).

A standard error is the sample's standard deviation / √n with the n of that very sample.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import CATEGORIES


@dataclasses.dataclass(frozen=True, eq=False)
class CategoryMeans:
    """Mean score of the concepts of each category that is present, and of all concepts.

    Attributes:
      categories: those present, in Broden's order, then others by name.
      mean: float64 [categories]; NaN where no score is finite.
      error: standard error of the mean, float64 [categories]; NaN below two finite scores.
      count: finite scores, int64 [categories].
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
        rows = zip(self.categories, self.mean, self.error, self.count, strict=True)
        overall = {
            "mean": self.overall_mean,
            "standard_error": self.overall_error,
            "concepts": self.overall_count,
        }
        by_category = {
            name: {"mean": mean, "standard_error": error, "concepts": count}
            for name, mean, error, count in rows
        }
        return make_jsonable({"all": overall, "categories": by_category})


def mean_with_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis' finite values, its standard error and their number.

    Args:
      values: float [C, ...].

    Returns:
      (mean, error, count) of shape [...]; mean NaN where count is 0, error where it is below 2.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    kept = np.where(finite, values, 0)
    mean = np.where(count > 0, kept.sum(axis=0) / np.maximum(count, 1), np.nan)
    squares = np.where(finite, (kept - np.where(count > 0, mean, 0)) ** 2, 0).sum(axis=0)
    deviation = np.sqrt(squares / np.maximum(count - 1, 1))
    error = np.where(count > 1, deviation / np.sqrt(np.maximum(count, 1)), np.nan)
    return mean, error, count


def average_categories(scores: np.ndarray, categories: Sequence[str]) -> CategoryMeans:
    """Means of `scores` [C], of which some may be NaN, per category of the concepts and overall.

    Raises:
      Net2VecError: not as many categories as scores.
    """
    scores = np.asarray(scores, np.float64)
    present = order_categories(categories)
    member = find_members(categories, present, len(scores))
    mean, error, count = mean_with_error(np.where(member, scores, np.nan).T)
    overall = mean_with_error(scores)
    return CategoryMeans(
        present, mean, error, count, float(overall[0]), float(overall[1]), int(overall[2])
    )


def order_categories(categories: Sequence[str]) -> tuple[str, ...]:
    """The categories present: Broden's in its order, then others by name."""
    known = [category for category in CATEGORIES if category in set(categories)]
    return (*known, *sorted(set(categories) - set(CATEGORIES)))


def find_members(categories: Sequence[str], present: Sequence[str], concepts: int) -> np.ndarray:
    """Whether each concept belongs to each category that is `present`, bool [present, C].

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    if len(categories) != concepts:
        raise Net2VecError(f"{len(categories)} categories were given for {concepts} concepts")
    return np.array(present, object)[:, None] == np.array(categories, object)


def make_jsonable(value: Any) -> Any:
    """`value` in dicts, lists, numbers and None: arrays become lists, NaN and infinity None."""
    if isinstance(value, dict):
        return {str(name): make_jsonable(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return make_jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [make_jsonable(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
