"""Shared filters are found where they were planted, and counted as by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.filters.filter_overlap import (
    BIN_NAMES,
    average_pairs,
    bin_counts,
    compare_filter_sets,
    count_filter_overlap,
    count_shared,
    find_best_filters,
    find_top_filters,
)
from net2vec_jax.analysis.filters.shared_filters import list_concepts, list_filters
from net2vec_jax.core.errors import Net2VecError

NAMES = ("red", "car", "bus", "wheel")
CATEGORIES = ("color", "object", "object", "part")
# Filter 0 serves one category, 2 two of them, 3 all three; 1 and 4 are idle.
MEMBERSHIP = np.array([[0, 0, 0, 1, 0], [1, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 1, 1, 0]], bool)


def draw_membership(seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    concepts, filters = rng.integers(1, 12), rng.integers(1, 15)
    categories = rng.choice(["color", "object", "my own"], concepts).tolist()
    return rng.random((concepts, filters)) < rng.random(), categories


def test_planted_shared_filters() -> None:
    overlap = count_filter_overlap(MEMBERSHIP, CATEGORIES)
    assert overlap.categories == ("color", "object", "part")
    assert overlap.concepts_per_filter.tolist() == [2, 0, 2, 3, 0]
    assert overlap.categories_per_filter.tolist() == [1, 0, 2, 3, 0]
    assert overlap.filters_per_concept.tolist() == [1, 3, 1, 2]
    assert overlap.by_category.tolist() == [[0, 0, 0, 1, 0], [2, 0, 1, 1, 0], [0, 0, 1, 1, 0]]
    np.testing.assert_allclose(overlap.histogram, [0.4, 0, 0.6, 0, 0, 0, 0])
    np.testing.assert_allclose(overlap.histogram_by_category[1], [0.4, 0.4, 0.2, 0, 0, 0, 0])
    np.testing.assert_allclose(overlap.category_numbers, [0.4, 0.2, 0.2, 0.2])
    assert overlap.shared_fraction == pytest.approx(0.4)
    assert [tuple(served) for served in list_filters(overlap, NAMES)] == [
        (3, ("red", "car", "wheel"), ("color", "object", "part")),
        (2, ("car", "wheel"), ("object", "part")),
        (0, ("car", "bus"), ("object",)),
        (1, (), ()),
        (4, (), ()),
    ]


def test_similarity_by_category() -> None:
    overlap = count_filter_overlap(MEMBERSHIP, CATEGORIES)
    pairs = compare_filter_sets(MEMBERSHIP)
    np.testing.assert_allclose(pairs[1], [1 / 3, 1, 1 / 3, 2 / 3])
    expected = [
        [np.nan, (1 / 3 + 0) / 2, 1 / 2],
        [(1 / 3 + 0) / 2, 1 / 3, (2 / 3 + 0) / 2],
        [1 / 2, (2 / 3 + 0) / 2, np.nan],
    ]
    np.testing.assert_allclose(overlap.similarity, expected)


def test_who_shares_with_whom() -> None:
    red, car, bus, wheel = list_concepts(count_filter_overlap(MEMBERSHIP, CATEGORIES))
    assert car.filters == (0, 2, 3)
    assert car.shared_filters == 3
    assert car.others.tolist() == [3, 0, 2]
    np.testing.assert_allclose(car.similarity, [2 / 3, 1 / 3, 1 / 3])
    assert (bus.others.tolist(), red.others.tolist()) == ([1], [3, 1])
    assert wheel.filters == (2, 3)
    alone = list_concepts(count_filter_overlap(np.eye(2, 3, dtype=bool), ["part"] * 2))
    assert [(one.shared_filters, len(one.others)) for one in alone] == [(0, 0), (0, 0)]


def test_bins_are_those_of_the_paper() -> None:
    counts = np.array([0, 1, 2, 5, 6, 9, 10, 14, 15, 19, 20, 999])
    np.testing.assert_allclose(12 * bin_counts(counts), [1, 1, 2, 2, 2, 2, 2])
    assert len(BIN_NAMES) == 7


def test_a_concept_without_any_iou_has_no_best_filter() -> None:
    train = np.array([[0, 0.2, 0.2], [0, 0, 0], [np.nan, 0, 0.1], [np.nan] * 3])
    expected = [[0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(find_best_filters(train), np.array(expected, bool))
    overlap = count_filter_overlap(find_best_filters(train), ["part"] * 4)
    assert overlap.summary()["concepts_without_filter"] == 2
    assert overlap.similarity == 0  # of the two that have one


def test_top_filters_by_either_ranking() -> None:
    weights = np.array([[0.5, -0.9, 0.1, 0.0], [-0.1, -0.2, -0.3, 0.2]])
    absolute = find_top_filters(weights, 2)
    np.testing.assert_array_equal(absolute, [[1, 1, 0, 0], [0, 0, 1, 1]] * np.ones(1) > 0)
    positive = find_top_filters(weights, 2, ranking="positive")
    np.testing.assert_array_equal(positive, np.array([[1, 0, 1, 0], [0, 0, 0, 1]], bool))
    assert find_top_filters(weights, 4).sum(axis=1).tolist() == [3, 4]  # no weight, no service


@given(seed=st.integers(0, 10**6))
def test_services_add_up_from_both_sides(seed: int) -> None:
    membership, categories = draw_membership(seed)
    overlap = count_filter_overlap(membership, categories)
    total = overlap.concepts_per_filter.sum()
    assert total == overlap.filters_per_concept.sum() == overlap.by_category.sum()
    assert total == sum(len(served.concepts) for served in list_filters(overlap, categories))
    assert total == sum(len(concept.filters) for concept in list_concepts(overlap))
    for fractions in (overlap.histogram, overlap.category_numbers):
        assert fractions.sum() == pytest.approx(1)
    json.dumps(overlap.summary(), allow_nan=False)


@given(seed=st.integers(0, 10**6))
def test_renumbered_filters_give_renumbered_results(seed: int) -> None:
    membership, categories = draw_membership(seed)
    order = np.random.default_rng(seed).permutation(membership.shape[1])
    overlap, renumbered = (
        count_filter_overlap(m, categories) for m in (membership, membership[:, order])
    )
    np.testing.assert_array_equal(
        renumbered.concepts_per_filter, overlap.concepts_per_filter[order]
    )
    np.testing.assert_array_equal(renumbered.by_category, overlap.by_category[:, order])
    np.testing.assert_allclose(renumbered.similarity, overlap.similarity)
    np.testing.assert_allclose(renumbered.histogram, overlap.histogram)
    for before, after in zip(list_concepts(overlap), list_concepts(renumbered), strict=True):
        assert sorted(order[list(after.filters)]) == list(before.filters)


@given(seed=st.integers(0, 10**6))
def test_pairs_like_a_loop(seed: int) -> None:
    membership, categories = draw_membership(seed)
    overlap = count_filter_overlap(membership, categories)
    sets = [set(np.flatnonzero(row)) for row in membership]
    for row, first in enumerate(overlap.categories):
        for column, second in enumerate(overlap.categories):
            pairs = [
                (one, other)
                for i, one in enumerate(sets)
                for j, other in enumerate(sets)
                if i != j and (categories[i], categories[j]) == (first, second)
            ]
            shared = sum(len(one & other) for one, other in pairs)
            assert count_shared(overlap.by_category)[row, column] == shared
            known = [len(one & other) / len(one | other) for one, other in pairs if one and other]
            expected = np.mean(known) if known else np.nan
            np.testing.assert_allclose(overlap.similarity[row, column], expected)


@given(seed=st.integers(0, 10**6))
def test_more_filters_keep_the_former(seed: int) -> None:
    weights = np.random.default_rng(seed).standard_normal((5, 9))
    previous = np.zeros(weights.shape, bool)
    for size in range(1, 10):
        chosen = find_top_filters(weights, size)
        assert (chosen.sum(axis=1) == size).all()
        assert (chosen >= previous).all()
        weakest = np.where(chosen, np.abs(weights), np.inf).min(axis=1)
        assert (weakest >= np.where(chosen, 0, np.abs(weights)).max(axis=1)).all()
        previous = chosen


def test_no_concepts_are_no_error() -> None:
    overlap = count_filter_overlap(np.zeros((0, 4), bool), [])
    assert overlap.histogram[0] == 1
    assert average_pairs(np.zeros((0, 0)), []).shape == (0, 0)
    assert find_best_filters(np.zeros((0, 4))).shape == (0, 4)
    json.dumps(overlap.summary(), allow_nan=False)


@pytest.mark.wrong_shapes
def test_bad_input_is_refused() -> None:
    with pytest.raises(Net2VecError, match=r"\(3,\) must be \[concepts, filters\]"):
        count_filter_overlap(np.zeros(3), ["part"] * 3)
    with pytest.raises(Net2VecError, match="2 categories were given for 4 concepts"):
        count_filter_overlap(MEMBERSHIP, CATEGORIES[:2])
    for size in (0, 5):
        with pytest.raises(Net2VecError, match=f"of 4 filters, the top {size} cannot be taken"):
            find_top_filters(np.ones((2, 4)), size)
    with pytest.raises(Net2VecError, match="row 1 of the embeddings"):
        find_top_filters(np.array([[1, 2], [np.nan, 0]]), 1)
