"""What `filter_overlap` would find if concepts chose their filters by chance, in two senses.

`permute_filters` keeps how many filters each concept has; all sets of so many are equally likely,
and concepts choose independently. Some filters then serve more concepts than by chance, hence are
shared more, whoever shares them. `swap_filters` keeps how many concepts each filter serves as well,
the null model of fixed rows and columns of ecology (Gotelli 2000): it tells whether concepts of
different categories share more than the filters' popularity makes them share. C concepts, K
filters, G categories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
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
from net2vec_jax.stats.swaps import swap_ones

NULL_QUANTILES = (0.025, 0.975)
"""Ends of the intervals that hold 95 % of the samples."""
NULLS = (
    "by chance: each concept keeps its number of filters, and every filter is as likely",
    "popularity kept: each filter also keeps its number of concepts; only who shares is by chance",
)
"""What is held fixed, by `permute_filters` and by `swap_filters`."""
_MOST_DRAWN = 4_000_000
"""Filters drawn, or counts held, at a time: 32 MB."""
_MOST_SWAPPED = 2**23
"""Cells of the matrices that swap at a time: 8 MB, about what a cache holds."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChanceOverlap:
    """Overlap by chance, beside what was found.

    The rows of arrays [3, …] are the mean over the samples and the ends of the interval that holds
    95 % of them.

    Attributes:
      samples: number of permutations, or of matrices drawn by swaps.
      histogram: fraction of the filters in each bin of concepts per filter, float64 [3, bins].
      category_numbers: fraction that serve 0, 1, … G categories, float64 [3, G + 1].
      shared_fraction: fraction that serve at least two categories, float64 [3].
      similarity: expected mean Jaccard index by categories, exact, float64 [G, G]; None for swaps.
      shared: shared filters over all pairs of concepts, by categories, found / mean of the samples,
        float64 [G, G]; NaN where chance gives none.
      p_value: two-sided: twice the share of the samples with at least as many shared filters, or at
        most as many, counting what was found as one more, float64 [G, G]; NaN where there is no
        pair of concepts.
      q_value: the same, adjusted to the false discovery rate over the pairs of categories.
      between: shared filters of all pairs of concepts of different categories, found / mean of the
        samples, and its p-value; NaN where there is no pair.
      within: the same for pairs of one category.
    """

    samples: int
    histogram: np.ndarray
    category_numbers: np.ndarray
    shared_fraction: np.ndarray
    similarity: np.ndarray | None
    shared: np.ndarray
    p_value: np.ndarray
    q_value: np.ndarray
    between: tuple[float, float]
    within: tuple[float, float]

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        return make_jsonable(
            {
                "samples": self.samples,
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


class Overlaps(NamedTuple):
    """What was found, beside what chance gives in both senses of `NULLS`."""

    found: FilterOverlap
    chance: ChanceOverlap
    popularity_kept: ChanceOverlap


def compare_with_chance(overlap: FilterOverlap, *, seed: int, samples: int = 1000) -> Overlaps:
    """Overlap beside both nulls.

    Args:
      overlap: what was found.
      seed: of the samples.
      samples: how many, of either null.

    Raises:
      Net2VecError: no sample was asked for.
    """
    nulls = (null(overlap, seed=seed, samples=samples) for null in (permute_filters, swap_filters))
    return Overlaps(overlap, *nulls)


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
    sizes, categories = overlap.filters_per_concept, overlap.concept_categories
    filters = overlap.membership.shape[1]
    rng = np.random.default_rng(seed)
    parts = draw_counts(sizes, categories, filters=filters, rng=rng, samples=samples)
    return _compare_with_null(
        overlap, parts, samples, expect_similarity(sizes, categories, filters=filters)
    )


def swap_filters(overlap: FilterOverlap, *, seed: int, samples: int = 1000) -> ChanceOverlap:
    """Overlap when concepts swap filters, so that every filter serves as many concepts as before.

    How many filters all pairs of concepts share together does not change either: what categories
    share more than by chance between them, they share less within them.

    Examples:
      >>> from net2vec_jax.analysis.filters.filter_overlap import count_filter_overlap
      >>> everywhere = np.zeros((6, 20), bool)
      >>> everywhere[:, 0] = True  # who shares a filter of all concepts is no matter of chance
      >>> overlap = count_filter_overlap(everywhere, ["part", "color"] * 3)
      >>> swap_filters(overlap, seed=0, samples=99).between
      (1.0, 1.0)

    Args:
      overlap: what was found.
      seed: of the swaps.
      samples: number of matrices drawn.

    Raises:
      Net2VecError: no sample was asked for.
    """
    return _compare_with_null(overlap, _swap_counts(overlap, seed, samples), samples, None)


def _swap_counts(
    overlap: FilterOverlap, seed: int, samples: int
) -> Iterator[Int[np.ndarray, "part G K"]]:
    """What `draw_counts` gives, with as many concepts per filter; the last part may be too long."""
    member = group_concepts(overlap.concept_categories, len(overlap.membership))[1]
    parts = max(1, -(-samples * overlap.membership.size // _MOST_SWAPPED))
    for keys in jax.random.split(jax.random.key(seed), (parts, -(-samples // parts))):
        matrices = swap_ones(overlap.membership, keys)
        yield np.rint(member.astype(np.float32) @ matrices).astype(np.int64)


def _compare_with_null(
    overlap: FilterOverlap,
    parts: Iterable[Int[np.ndarray, "part G K"]],
    samples: int,
    similarity: Float[np.ndarray, "G G"] | None,
) -> ChanceOverlap:
    """Compare with the first `samples` of a null's counts by category, drawn in parts."""
    if samples < 1:
        raise Net2VecError(f"{samples} permutations are too few; ask for at least 1")
    groups = len(overlap.categories)
    drawn = [
        (
            bin_counts(counts.sum(axis=1)),
            count_numbers((counts > 0).sum(axis=1), groups),
            count_shared(counts),
        )
        for counts in parts
    ]
    histogram, numbers, shared = (
        np.concatenate(part)[:samples] for part in zip(*drawn, strict=True)
    )
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
        similarity=similarity,
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
