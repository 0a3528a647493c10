"""What `filter_overlap` would find if every concept chose its filters by chance.

The null hypothesis permutes the filters within each concept: it keeps as many as it has, all sets
of so many are equally likely, and concepts choose independently. C concepts, K filters, G
categories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from net2vec_jax.analysis.category_means import divide, group_concepts, make_jsonable
from net2vec_jax.analysis.filters.filter_overlap import (
    BIN_NAMES,
    FilterOverlap,
    average_pairs,
    bin_counts,
    count_numbers,
    count_shared,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.discoveries import control_false_discoveries

NULL_QUANTILES = (0.025, 0.975)
"""Ends of the intervals that hold 95 % of the permutations."""
_MOST_DRAWN = 4_000_000
"""Filters drawn, or counts held, at a time: 32 MB."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChanceOverlap:
    """Overlap by chance, beside what was found.

    The rows of arrays [3, …] are the mean over permutations and the ends of the interval that holds
    95 % of them.

    Attributes:
      samples: number of permutations.
      histogram: fraction of the filters in each bin of concepts per filter, float64 [3, bins].
      category_numbers: fraction that serve 0, 1, … G categories, float64 [3, G + 1].
      shared_fraction: fraction that serve at least two categories, float64 [3].
      similarity: expected mean Jaccard index by categories, exact, float64 [G, G].
      shared: shared filters over all pairs of concepts, by categories, found / mean of the
        permutations, float64 [G, G]; NaN where chance gives none.
      p_value: two-sided: twice the share of the permutations with at least as many shared filters,
        or at most as many, counting what was found as one more, float64 [G, G]; NaN where there is
        no pair of concepts.
      q_value: the same, adjusted to the false discovery rate over the pairs of categories.
      between: shared filters of all pairs of concepts of different categories, found / mean of the
        permutations, and its p-value; NaN where there is no pair.
      within: the same for pairs of one category.
    """

    samples: int
    histogram: np.ndarray
    category_numbers: np.ndarray
    shared_fraction: np.ndarray
    similarity: np.ndarray
    shared: np.ndarray
    p_value: np.ndarray
    q_value: np.ndarray
    between: tuple[float, float]
    within: tuple[float, float]

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        return make_jsonable(
            {
                "permutations": self.samples,
                "fraction_of_filters": dict(zip(BIN_NAMES, self.histogram.T, strict=True)),
                "fraction_by_number_of_categories": self.category_numbers,
                "fraction_of_several_categories": self.shared_fraction,
                "mean_jaccard": self.similarity,
                "shared_over_chance": self.shared,
                "p_value": self.p_value,
                "q_value": self.q_value,
                "between_categories": {"over_chance": self.between[0], "p_value": self.between[1]},
                "within_categories": {"over_chance": self.within[0], "p_value": self.within[1]},
            }
        )


def permute_filters(overlap: FilterOverlap, *, seed: int, samples: int = 1000) -> ChanceOverlap:
    """Overlap when the filters of every concept are permuted.

    Examples:
      >>> from net2vec_jax.analysis.filters.filter_overlap import count_filter_overlap
      >>> everywhere = np.zeros((6, 20), bool)
      >>> everywhere[:, 0] = True  # one filter serves all six concepts
      >>> overlap = count_filter_overlap(everywhere, ["part"] * 6)
      >>> chance = permute_filters(overlap, seed=0, samples=99)
      >>> round(chance.within[1], 2)  # p-value
      0.02

    Args:
      overlap: what was found.
      seed: of the permutations.
      samples: number of permutations.

    Raises:
      Net2VecError: no permutation was asked for.
    """
    if samples < 1:
        raise Net2VecError(f"{samples} permutations are too few; ask for at least 1")
    groups, filters = overlap.by_category.shape
    sizes, categories = overlap.filters_per_concept, overlap.concept_categories
    rng = np.random.default_rng(seed)
    parts = [
        (
            bin_counts(counts.sum(axis=1)),
            count_numbers((counts > 0).sum(axis=1), groups),
            count_shared(counts),
        )
        for counts in draw_counts(sizes, categories, filters=filters, rng=rng, samples=samples)
    ]
    histogram, numbers, shared = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = count_shared(overlap.by_category)
    has_pairs = np.isfinite(overlap.similarity)
    ratio, p_value = _compare(found, shared)
    p_value = np.where(has_pairs, p_value, np.nan)
    upper = np.triu_indices(groups)
    q_value = np.full((groups, groups), np.nan)
    q_value[upper] = control_false_discoveries(p_value[upper]).q_value
    q_value.T[upper] = q_value[upper]

    def compare_pairs(chosen: np.ndarray) -> tuple[float, float]:
        if not has_pairs[chosen].any():
            return float("nan"), float("nan")
        ratio, p_value = _compare((found * chosen).sum(), (shared * chosen).sum(axis=(1, 2)))
        return float(ratio), float(p_value)

    same = np.eye(groups, dtype=bool)
    return ChanceOverlap(
        samples=samples,
        histogram=_describe(histogram),
        category_numbers=_describe(numbers),
        shared_fraction=_describe(numbers[:, 2:].sum(axis=1)),
        similarity=expect_similarity(sizes, categories, filters=filters),
        shared=np.where(has_pairs, ratio, np.nan),
        p_value=p_value,
        q_value=q_value,
        between=compare_pairs(~same),
        within=compare_pairs(same),
    )


def draw_counts(
    filters_per_concept: Int[np.ndarray, " C"],
    concept_categories: Sequence[str],
    *,
    filters: int,
    rng: np.random.Generator,
    samples: int,
) -> Iterator[Int[np.ndarray, "part G K"]]:
    """Concepts of each category that a filter serves, by chance, a part of the samples at a time.

    Args:
      filters_per_concept: how many filters each concept has.
      concept_categories: category of each concept.
      filters: K.
      rng: source of the randomness.
      samples: how many there are in all parts together.
    """
    sizes = np.asarray(filters_per_concept)
    categories, member = group_concepts(concept_categories, len(sizes))
    group = member.argmax(axis=0) if len(sizes) else sizes
    cells = len(categories) * filters
    part = max(1, _MOST_DRAWN // max(int(sizes.sum()), cells, 1))
    for start in range(0, samples, part):
        drawn = min(part, samples - start)
        counts = np.zeros(drawn * cells, np.int64)
        base = (np.arange(drawn)[:, None] * len(categories)) * filters
        for size in np.unique(sizes[sizes > 0]).tolist():
            cell = (base + group[sizes == size] * filters).ravel()
            # Of more than half of the filters, those that are left out are drawn.
            few = min(size, filters - size)
            chosen = np.bincount(
                (cell + _draw_subsets(rng, len(cell), few, filters)).ravel(), minlength=counts.size
            )
            if few < size:
                everywhere = np.bincount(cell, minlength=counts.size).reshape(-1, filters)[:, :1]
                chosen = (everywhere - chosen.reshape(-1, filters)).ravel()
            counts += chosen
        yield counts.reshape(drawn, len(categories), filters)


def expect_similarity(
    filters_per_concept: Int[np.ndarray, " C"], concept_categories: Sequence[str], *, filters: int
) -> Float[np.ndarray, "G G"]:
    """Expected mean Jaccard index of two concepts' filter sets, by their categories.

    The number of filters that two sets of a and b out of K share is hypergeometric.

    Args:
      filters_per_concept: how many filters each concept has; those without any are left out.
      concept_categories: category of each concept.
      filters: K.
    """
    from scipy.special import gammaln  # slow to import, and only needed here

    sizes, place = np.unique(np.asarray(filters_per_concept), return_inverse=True)
    factorial = gammaln(np.arange(filters + 1) + 1.0)  # logarithms

    def log_choose(total: np.integer | np.ndarray | int, chosen: np.ndarray) -> np.ndarray:
        return factorial[total] - factorial[chosen] - factorial[total - chosen]

    expected = np.full((len(sizes), len(sizes)), np.nan)
    for row, first in enumerate(sizes):
        if not first:
            continue
        second, both = sizes[row:, None], np.arange(1, first + 1)  # second ≥ first
        left = second - both
        possible = left <= filters - first
        chance = log_choose(first, both) - log_choose(filters, second)
        chance = chance + log_choose(filters - first, np.where(possible, left, 0))
        jaccard = np.where(possible, np.exp(chance) * both / (first + left), 0)
        expected[row, row:] = expected[row:, row] = jaccard.sum(axis=-1)
    return average_pairs(expected[place[:, None], place], concept_categories)


def _draw_subsets(
    rng: np.random.Generator, rows: int, size: int, filters: int
) -> Int[np.ndarray, "size rows"]:
    """Sets of `size` filters, all equally likely, by Floyd's algorithm (Bentley 1987)."""
    drawn = np.empty((size, rows), np.int64)
    lasts = range(filters - size, filters)
    for picks, last in zip(drawn, lasts, strict=True):
        picks[:] = rng.integers(0, last + 1, rows)
    part = max(1, _MOST_DRAWN // filters)
    for start in range(0, rows, part):
        chosen = drawn[:, start : start + part]
        column = np.arange(chosen.shape[1])
        is_taken = np.zeros((filters, len(column)), bool)
        for picks, last in zip(chosen, lasts, strict=True):
            picks[is_taken[picks, column]] = last
            is_taken[picks, column] = True
    return drawn


def _compare(found: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Found / mean of the samples (first axis), and the two-sided p-value."""
    extreme = np.minimum((drawn >= found).sum(axis=0), (drawn <= found).sum(axis=0))
    return divide(found, drawn.mean(axis=0)), np.minimum(2 * (1 + extreme) / (1 + len(drawn)), 1)


def _describe(values: np.ndarray) -> np.ndarray:
    """Mean and interval over the samples (first axis), [3, …]."""
    return np.stack([values.mean(axis=0), *np.quantile(values, NULL_QUANTILES, axis=0)])
