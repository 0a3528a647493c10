"""Permutations give what probability theory gives, and tell planted sharing from chance."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from net2vec_jax.analysis.filters.chance_overlap import (
    draw_counts,
    expect_similarity,
    permute_filters,
    swap_filters,
)
from net2vec_jax.analysis.filters.filter_overlap import FilterOverlap, count_filter_overlap
from net2vec_jax.core.errors import Net2VecError

CATEGORIES = ["color"] * 4 + ["object"] * 6


def draw_sets(sizes: np.ndarray, filters: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    membership = np.zeros((len(sizes), filters), bool)
    for row, size in zip(membership, sizes, strict=True):
        row[rng.choice(filters, size, replace=False)] = True
    return membership


def expect_concepts_per_filter(sizes: np.ndarray, filters: int) -> np.ndarray:
    """Distribution of the sum of independent coins with heads in sizes/filters of the cases."""
    distribution = np.ones(1)
    for share in sizes / filters:
        distribution = np.convolve(distribution, [1 - share, share])
    return distribution


def test_the_mean_histogram_is_the_exact_one() -> None:
    sizes = np.array([0, 1, 1, 2, 3, 3, 5, 9, 10, 12])  # up to all filters
    membership = draw_sets(sizes, 12, 0)
    chance = permute_filters(count_filter_overlap(membership, CATEGORIES), seed=1, samples=4000)
    exact = expect_concepts_per_filter(sizes, 12)
    binned = np.array([*exact[:2], exact[2:6].sum(), exact[6:10].sum(), exact[10:].sum(), 0, 0])
    # The standard error of a mean of 4,000 fractions of 12 filters is below 0.0023.
    np.testing.assert_allclose(chance.histogram[0], binned, atol=0.01)
    none = [np.prod(1 - sizes[start:stop] / 12) for start, stop in ((0, 4), (4, 10))]
    both = (1 - none[0]) * (1 - none[1])
    np.testing.assert_allclose(chance.shared_fraction[0], both, atol=0.01)
    np.testing.assert_allclose(
        chance.category_numbers[0], [np.prod(none), 1 - both - np.prod(none), both], atol=0.01
    )


@given(seed=st.integers(0, 10**6))
def test_every_concept_keeps_its_number_of_filters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters = int(rng.integers(1, 12))
    sizes = rng.integers(0, filters + 1, 7)
    categories = [str(place) for place in range(7)]  # each concept by itself
    counts = np.concatenate(
        list(draw_counts(sizes, categories, filters=filters, rng=rng, samples=5))
    )
    assert counts.shape == (5, 7, filters)
    assert set(np.unique(counts)) <= {0, 1}
    np.testing.assert_array_equal(counts.sum(axis=2), np.broadcast_to(sizes, (5, 7)))


def test_all_sets_of_filters_are_equally_likely() -> None:
    for size in (2, 3):  # fewer than half of the filters, and more
        drawn = draw_counts(
            np.array([size]), ["part"], filters=5, rng=np.random.default_rng(0), samples=5000
        )
        sets = [tuple(np.flatnonzero(row)) for row in np.concatenate(list(drawn))[:, 0]]
        for chosen in itertools.combinations(range(5), size):
            # 500 of 5,000 are expected, ± 21.
            assert abs(sets.count(chosen) - 500) < 100


def test_parts_of_the_samples_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("net2vec_jax.analysis.filters.chance_overlap._MOST_DRAWN", 64)
    parts = list(
        draw_counts(np.array([2, 3]), ["part", "color"], filters=8, rng=np.random.default_rng(0),
                    samples=9)
    )  # fmt: skip
    assert len(parts) == 3
    assert sum(map(len, parts)) == 9
    assert (np.concatenate(parts).sum(axis=(1, 2)) == 5).all()


def test_expected_similarity_by_enumeration() -> None:
    sets = {size: list(itertools.combinations(range(5), size)) for size in (1, 2)}

    def mean(first: int, second: int) -> float:
        values = [
            len(set(a) & set(b)) / len(set(a) | set(b)) for a in sets[first] for b in sets[second]
        ]
        return float(np.mean(values))

    expected = expect_similarity(
        np.array([1, 2, 2, 0]), ["color", "color", "part", "part"], filters=5
    )
    across = (mean(1, 2) + mean(2, 2)) / 2
    np.testing.assert_allclose(expected, [[mean(1, 2), across], [across, np.nan]])


@given(seed=st.integers(0, 10**6))
def test_expected_similarity_is_the_sum_over_the_hypergeometric_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    filters = int(rng.integers(1, 40))
    sizes = rng.integers(0, filters + 1, 6)
    both = np.arange(filters + 1)
    first, second = sizes[:, None, None], sizes[None, :, None]
    jaccard = both / np.maximum(first + second - both, 1)
    expected = (hypergeom.pmf(both, filters, first, second) * jaccard).sum(axis=-1)
    expected[(sizes == 0) | (sizes[:, None] == 0) | np.eye(6, dtype=bool)] = np.nan
    categories = [str(place) for place in range(6)]  # each concept by itself
    found = expect_similarity(sizes, categories, filters=filters)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_expected_similarity_of_many_different_sizes_takes_little_memory() -> None:
    sizes = np.random.default_rng(0).integers(400, 601, 400)
    tracemalloc.start()
    expect_similarity(sizes, ["part"] * 400, filters=1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # a table of all pairs and counts takes 200 MB per array


def test_the_p_value_is_twice_the_smaller_tail() -> None:
    # Two concepts of one filter of ten share it in one of ten cases.
    membership = np.zeros((2, 10), bool)
    membership[:, 4] = True
    chance = permute_filters(
        count_filter_overlap(membership, ["color", "part"]), seed=0, samples=4000
    )
    # A share of one tenth has a standard error of 0.0047, and the p-value twice that.
    np.testing.assert_allclose(chance.p_value[0, 1], 0.2, atol=0.04)
    np.testing.assert_allclose(chance.between[1], 0.2, atol=0.04)
    assert np.isnan(chance.within).all()


def test_without_a_pair_of_categories_there_is_no_p_value() -> None:
    chance = permute_filters(
        count_filter_overlap(np.eye(3, dtype=bool), ["part"] * 3), seed=0, samples=9
    )
    assert np.isnan(chance.between).all()
    assert np.isfinite(chance.within).all()


def test_planted_sharing_is_told_from_chance() -> None:
    membership = draw_sets(np.full(10, 3), 60, 3)
    membership[[0, 1, 4, 5, 6]] = membership[0]  # two colours and three objects
    chance = permute_filters(count_filter_overlap(membership, CATEGORIES), seed=0, samples=500)
    ratio, p_value = chance.between
    assert ratio > 3
    assert p_value < 0.01
    assert (chance.q_value <= 0.05).sum() >= 3
    assert chance.shared[0, 1] > 3
    np.testing.assert_array_equal(chance.q_value, chance.q_value.T)


def test_avoided_sharing_is_told_from_chance() -> None:
    membership = np.zeros((10, 20), bool)
    membership[np.arange(10)[:, None], 2 * np.arange(10)[:, None] + [0, 1]] = True
    chance = permute_filters(count_filter_overlap(membership, CATEGORIES), seed=0, samples=500)
    assert chance.between[0] == chance.within[0] == 0
    assert chance.between[1] < 0.05


def test_chance_is_not_taken_for_sharing() -> None:
    p_values = [
        permute_filters(
            count_filter_overlap(draw_sets(np.full(10, 4), 40, seed), CATEGORIES),
            seed=seed,
            samples=200,
        ).between[1]
        for seed in range(60)
    ]
    # Of 60 true null hypotheses 3 have p ≤ 0.05 on average; more than 9 in one of 2,000 cases.
    assert np.mean(np.array(p_values) <= 0.05) <= 9 / 60
    assert min(p_values) > 0


def draw_popular_filters(seed: int) -> FilterOverlap:
    """Concepts that choose 4 of 40 filters independently, of which some are much in demand."""
    rng = np.random.default_rng(seed)
    popularity = np.exp(rng.normal(size=40))
    membership = np.zeros((10, 40), bool)
    for row in membership:
        row[rng.choice(40, 4, replace=False, p=popularity / popularity.sum())] = True
    return count_filter_overlap(membership, CATEGORIES)


def test_popular_filters_are_not_taken_for_sharing_between_categories() -> None:
    overlaps = [draw_popular_filters(seed) for seed in range(40)]
    forgotten, kept = (
        np.array([null(overlap, seed=0, samples=200).between for overlap in overlaps])
        for null in (permute_filters, swap_filters)
    )
    assert forgotten[:, 0].mean() > 1.3  # found / chance
    assert (forgotten[:, 1] <= 0.05).mean() > 0.4
    assert kept[:, 0].mean() == pytest.approx(1, abs=0.1)
    # Of 40 true null hypotheses 2 have p ≤ 0.05 on average; more than 6 in one of 300 cases.
    assert (kept[:, 1] <= 0.05).mean() <= 6 / 40


def test_swaps_keep_how_many_concepts_a_filter_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    overlap = draw_popular_filters(1)
    chance = swap_filters(overlap, seed=0, samples=50)
    np.testing.assert_allclose(chance.histogram, np.stack([overlap.histogram] * 3))
    assert chance.similarity is None
    monkeypatch.setattr("net2vec_jax.analysis.filters.chance_overlap._MOST_SWAPPED", 16 * 400)
    parts = swap_filters(overlap, seed=0, samples=50)  # 4 of 13, of which 2 are too many
    assert parts.shared.shape == chance.shared.shape
    np.testing.assert_allclose(parts.between[0], chance.between[0], rtol=0.2)


def test_sharing_between_categories_is_less_sharing_within() -> None:
    # Filter k serves the k-th colour and the k-th object: all pairs are between categories.
    membership = np.tile(np.eye(10, 16, dtype=bool), (2, 1))
    chance = swap_filters(
        count_filter_overlap(membership, ["color"] * 10 + ["object"] * 10), seed=0, samples=500
    )
    assert chance.between[0] > 1.5 and chance.between[1] < 0.05
    assert chance.within[0] == 0 and chance.within[1] < 0.05


@pytest.mark.parametrize("null", [permute_filters, swap_filters])
def test_a_seed_gives_the_same_again(null) -> None:
    overlap = count_filter_overlap(draw_sets(np.full(10, 3), 30, 0), CATEGORIES)
    one, same, other = (null(overlap, seed=seed, samples=50) for seed in (5, 5, 6))
    assert one.summary() == same.summary()
    assert (one.category_numbers != other.category_numbers).any()


def test_nothing_to_share_has_no_ratio() -> None:
    for membership, categories in (
        (np.zeros((0, 4), bool), []),
        (np.zeros((3, 4), bool), ["part"] * 3),
        (np.ones((1, 4), bool), ["part"]),
    ):
        for null in (permute_filters, swap_filters):
            chance = null(count_filter_overlap(membership, categories), seed=0, samples=10)
            assert np.isnan(chance.shared).all()
            assert np.isnan(chance.between[0])
            json.dumps(chance.summary(), allow_nan=False)


def test_no_permutations_are_refused() -> None:
    for null in (permute_filters, swap_filters):
        with pytest.raises(Net2VecError, match="at least 1"):
            null(count_filter_overlap(np.eye(2, dtype=bool), ["part"] * 2), seed=0, samples=0)
