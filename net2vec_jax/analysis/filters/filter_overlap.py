"""Which concepts share filters (reference behaviour 8.3).

A filter serves a concept if it is the concept's best single filter, or one of the F filters of
largest weight in its embedding. C concepts, K filters, G categories; memberships are bool [C, K].
`chance_overlap` has what independent choices would give, `shared_filters` lists the sharers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from net2vec_jax.analysis.category_means import divide, group_concepts, make_jsonable
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.metrics import choose_best_filters

BIN_STARTS = (0, 1, 2, 6, 10, 15, 20)
"""Least number of concepts of each bin of the histogram; the last is open (behaviour 8.3, B-19)."""
BIN_NAMES = ("0", "1", "2–5", "6–9", "10–14", "15–19", "20+")
Ranking = Literal["absolute", "positive"]


@dataclasses.dataclass(frozen=True, eq=False)
class FilterOverlap:
    """Which filters serve which concepts, counted.

    Attributes:
      membership: whether a filter serves a concept, bool [C, K].
      concept_categories: category of each concept.
      categories: those present, G of them, in Broden's order, then others by name.
      by_category: concepts of each category that a filter serves, int64 [G, K].
      concepts_per_filter: int64 [K].
      categories_per_filter: int64 [K].
      filters_per_concept: int64 [C].
      similarity: mean Jaccard index of the filter sets of two concepts, by their categories,
        float64 [G, G]; concepts without filters are left out; NaN where there is no pair.
    """

    membership: np.ndarray
    concept_categories: tuple[str, ...]
    categories: tuple[str, ...]
    by_category: np.ndarray
    concepts_per_filter: np.ndarray
    categories_per_filter: np.ndarray
    filters_per_concept: np.ndarray
    similarity: np.ndarray

    @property
    def histogram(self) -> np.ndarray:
        """Fraction of the filters in each bin of concepts per filter, float64 [bins]."""
        return bin_counts(self.concepts_per_filter)

    @property
    def histogram_by_category(self) -> np.ndarray:
        """The same, counting the concepts of one category only, float64 [G, bins]."""
        return bin_counts(self.by_category)

    @property
    def category_numbers(self) -> np.ndarray:
        """Fraction of the filters that serve 0, 1, … G categories, float64 [G + 1]."""
        return count_numbers(self.categories_per_filter, len(self.categories))

    @property
    def shared_fraction(self) -> float:
        """Fraction of the filters that serve concepts of at least two categories."""
        return float(self.category_numbers[2:].sum())

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        counts = self.concepts_per_filter
        used = counts[counts > 0]
        by_category = {
            name: {
                "concepts_per_filter": {"mean": row.mean(), "median": np.median(row)},
                "fraction_of_filters": dict(zip(BIN_NAMES, bin_counts(row), strict=True)),
            }
            for name, row in zip(self.categories, self.by_category, strict=True)
        }
        return make_jsonable(
            {
                "filters": len(counts),
                "concepts": len(self.filters_per_concept),
                "concepts_without_filter": (self.filters_per_concept == 0).sum(),
                "filters_used": len(used),
                "concepts_per_filter": {
                    "mean": counts.mean(),
                    "median": np.median(counts),
                    "median_of_used": np.median(used) if len(used) else None,
                    "most": counts.max(initial=0),
                },
                "fraction_of_filters": dict(zip(BIN_NAMES, self.histogram, strict=True)),
                "by_category": by_category,
                "filters_by_number_of_categories": np.bincount(
                    self.categories_per_filter, minlength=len(self.categories) + 1
                ),
                "filters_of_several_categories": (self.categories_per_filter > 1).sum(),
                "fraction_of_several_categories": self.shared_fraction,
                "categories": self.categories,
                "mean_jaccard": self.similarity,
            }
        )


def find_best_filters(train_iou: Float[np.ndarray, "C K"]) -> Bool[np.ndarray, "C K"]:
    """The filter of largest train IoU of each concept, the first of several.

    Examples:
      >>> find_best_filters(np.array([[0.1, 0.3], [0.0, 0.0]]))
      array([[False,  True],
             [False, False]])

    A concept that no filter overlaps has none, where the original named filter 0 (behaviour 9.3).
    """
    train_iou = np.nan_to_num(_as_table(train_iou, "IoUs"), nan=0.0)
    best = choose_best_filters(np.stack([train_iou, train_iou]))[0]
    return np.arange(train_iou.shape[1]) == best[:, None]


def find_top_filters(
    weights: Float[np.ndarray, "C K"], size: int, *, ranking: Ranking = "absolute"
) -> Bool[np.ndarray, "C K"]:
    """The filters of largest weight of each concept, the same as embeddings of few filters have.

    Args:
      weights: embeddings.
      size: F, how many filters serve a concept; fewer where fewer have a weight.
      ranking: "absolute" by |weight|, as the paper has it; "positive" by weight, of the filters
        with a positive one.

    Raises:
      Net2VecError: weights that are no table or not finite, or F outside 1 … K.
    """
    weights = _as_table(weights, "weights")
    if not np.isfinite(weights).all():
        concept = int(np.flatnonzero(~np.isfinite(weights).all(axis=1))[0])
        raise Net2VecError(
            f"row {concept} of the embeddings has weights that are no finite numbers; train again "
            "with a smaller learning rate"
        )
    filters = weights.shape[1]
    if not 1 <= size <= filters:
        raise Net2VecError(f"of {filters} filters, the top {size} cannot be taken")
    strength = np.abs(weights) if ranking == "absolute" else np.maximum(weights, 0)
    ranked = np.argsort(strength, axis=1, kind="stable")[:, filters - size :]
    membership = np.zeros(weights.shape, bool)
    np.put_along_axis(membership, ranked, True, axis=1)
    return membership & (strength > 0)


def count_filter_overlap(
    membership: Bool[np.ndarray, "C K"], concept_categories: Sequence[str]
) -> FilterOverlap:
    """Count which filters serve which concepts.

    Examples:
      >>> serves = np.array([[True, False, False], [True, True, False]])
      >>> overlap = count_filter_overlap(serves, ["color", "object"])
      >>> overlap.concepts_per_filter.tolist(), round(overlap.shared_fraction, 3)
      ([2, 1, 0], 0.333)

    Args:
      membership: whether a filter serves a concept.
      concept_categories: category of each concept.

    Raises:
      Net2VecError: shapes that do not fit.
    """
    membership = _as_table(membership, "memberships").astype(bool)
    categories, member = group_concepts(concept_categories, len(membership))
    by_category = member.astype(np.int64) @ membership.astype(np.int64)
    return FilterOverlap(
        membership=membership,
        concept_categories=tuple(concept_categories),
        categories=categories,
        by_category=by_category,
        concepts_per_filter=membership.sum(axis=0),
        categories_per_filter=(by_category > 0).sum(axis=0),
        filters_per_concept=membership.sum(axis=1),
        similarity=average_pairs(compare_filter_sets(membership), concept_categories),
    )


def compare_filter_sets(membership: Bool[np.ndarray, "C K"]) -> Float[np.ndarray, "C C"]:
    """Jaccard index |A ∩ B| / |A ∪ B| of every two concepts' filters; NaN where one has none."""
    counts = np.asarray(membership, np.float64)  # BLAS knows no integers; these are exact
    both = counts @ counts.T
    sizes = counts.sum(axis=1)
    similarity = divide(both, sizes[:, None] + sizes - both)
    similarity[sizes == 0] = similarity[:, sizes == 0] = np.nan
    return similarity


def average_pairs(
    values: Float[np.ndarray, "C C"], concept_categories: Sequence[str]
) -> Float[np.ndarray, "G G"]:
    """Mean over the pairs of different concepts of two categories; NaNs are left out."""
    member = group_concepts(concept_categories, len(values))[1].astype(np.float64)
    known = np.isfinite(values) & ~np.eye(len(values), dtype=bool)
    total = member @ np.where(known, values, 0) @ member.T
    return divide(total, member @ known.astype(np.float64) @ member.T)


def count_shared(by_category: Int[np.ndarray, "*samples G K"]) -> Int[np.ndarray, "*samples G G"]:
    """How many filters the pairs of different concepts share, summed over the pairs.

    Args:
      by_category: concepts of each category that a filter serves.

    Returns:
      int64; on the diagonal every pair counts twice, as (a, b) and (b, a).
    """
    counts = np.asarray(by_category, np.float64)
    shared = np.einsum("...gk,...hk->...gh", counts, counts, optimize=True)
    itself = counts.sum(axis=-1)
    return np.rint(shared - itself[..., None] * np.eye(itself.shape[-1])).astype(np.int64)


def bin_counts(counts: Int[np.ndarray, "*shape K"]) -> Float[np.ndarray, "*shape bins"]:
    """Fraction of the filters in each bin of `BIN_NAMES`, by how many concepts they serve."""
    bins = np.digitize(counts, BIN_STARTS) - 1
    return count_numbers(bins, len(BIN_STARTS) - 1)


def count_numbers(numbers: Int[np.ndarray, "*shape K"], most: int) -> np.ndarray:
    """Fraction of the last axis' entries that are 0, 1, … most, float64 [*shape, most + 1]."""
    return (np.asarray(numbers)[..., None] == np.arange(most + 1)).mean(axis=-2)


def _as_table(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise Net2VecError(f"{what} {values.shape} must be [concepts, filters]")
    return values
