"""Distances of representations on planted problems."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.category_means import average_categories
from net2vec_jax.analysis.similarity.network_similarity import (
    compare_rank_lists,
    find_common_concepts,
    list_category_rows,
    list_neighbours,
    make_representation,
    measure_distances,
    measure_similarities,
    order_by_change,
    overlap_neighbours,
    shorten_names,
)
from net2vec_jax.core.errors import Net2VecError

SEEDS = st.integers(0, 2**20)


def draw_unit_rows(seed: int, concepts: int = 12, size: int = 7) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(concepts, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def turn(rows: np.ndarray, seed: int, size: int) -> np.ndarray:
    """The rows after an orthogonal map into more dimensions."""
    matrix = np.random.default_rng(seed).normal(size=(size, rows.shape[1]))
    return rows @ np.linalg.qr(matrix)[0].T


def test_distances_are_those_of_rows_counted_one_by_one() -> None:
    first, second = draw_unit_rows(0), draw_unit_rows(1, size=5)
    expected = [
        sum((first[i] @ first[j] - second[i] @ second[j]) ** 2 for j in range(12))
        for i in range(12)
    ]
    similarities = measure_similarities(first), measure_similarities(second)
    np.testing.assert_allclose(measure_distances(*similarities), expected, rtol=1e-12)
    difference = first @ first.T - second @ second.T
    squared = measure_distances(*similarities)
    np.testing.assert_allclose(squared.sum(), (difference**2).sum())
    per_entry = measure_distances(*similarities, "per_entry")
    np.testing.assert_allclose(per_entry.mean(), (difference**2).mean())


def test_normalized_rows_each_have_length_1() -> None:
    first = np.array([[1.0, 0.6], [0.6, 1.0]])
    second = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = measure_distances(first, second, "row_normalized")
    np.testing.assert_allclose(found, 2 - 2 / np.hypot(1, 0.6))  # ‖u − v‖² = 2 − 2 u·v


@given(SEEDS, SEEDS)
def test_turned_and_scaled_embeddings_have_distance_0(seed: int, other: int) -> None:
    rows = draw_unit_rows(seed)
    scale = np.random.default_rng(other).lognormal(size=(12, 1))
    turned = make_representation("turned", list("abcdefghijkl"), scale * turn(rows, other, 9))
    similarities = measure_similarities(rows), measure_similarities(turned.vectors)
    np.testing.assert_allclose(measure_distances(*similarities), 0, atol=1e-24)
    np.testing.assert_array_equal(overlap_neighbours(*similarities, 4), 1)


@given(SEEDS)
def test_the_order_of_the_concepts_changes_nothing(seed: int) -> None:
    first, second = draw_unit_rows(seed), draw_unit_rows(seed + 1)
    order = np.random.default_rng(seed).permutation(12)
    straight = [measure_similarities(rows) for rows in (first, second)]
    exchanged = [measure_similarities(rows[order]) for rows in (first, second)]
    for measure in ("squared", "per_entry", "row_normalized"):
        np.testing.assert_allclose(
            measure_distances(*exchanged, measure), measure_distances(*straight, measure)[order]
        )
    np.testing.assert_array_equal(
        overlap_neighbours(*exchanged, 3), overlap_neighbours(*straight, 3)[order]
    )


def test_a_concept_that_moved_is_the_most_changed() -> None:
    first = draw_unit_rows(3)
    second = turn(first, 4, 8)
    second[7] = draw_unit_rows(5, 1, 8)
    distances = measure_distances(measure_similarities(first), measure_similarities(second))
    assert order_by_change(distances)[0] == 7
    # Of the others only the one entry with it differs.
    np.testing.assert_allclose(distances[7], np.delete(distances, 7).sum())


def test_neighbours_are_ranked_without_the_concept_itself() -> None:
    angles = np.deg2rad([0, 10, 25, 90])
    similarities = measure_similarities(np.stack([np.cos(angles), np.sin(angles)], 1))
    expected = [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    np.testing.assert_array_equal(list_neighbours(similarities), expected)
    other = measure_similarities(np.stack([np.cos(-angles), np.sin(-angles)], 1)[[0, 2, 1, 3]])
    np.testing.assert_allclose(overlap_neighbours(similarities, other, 1), [0, 0, 0, 0])
    np.testing.assert_allclose(overlap_neighbours(similarities, other, 2)[0], 1)
    np.testing.assert_allclose(compare_rank_lists(similarities, other)[0], 2 / 3)


def test_errors_are_of_each_category_by_itself() -> None:
    distances = np.array([1.0, 3.0, 5.0, 7.0, 2.0])
    rows = list_category_rows(average_categories(distances, ["object"] * 4 + ["color"]))
    assert [row[:2] for row in rows] == [("color", 1), ("object", 4), ("all", 5)]
    np.testing.assert_allclose(rows[1][2:], [4, np.std(distances[:4], ddof=1), np.sqrt(20 / 3) / 2])
    assert np.isnan(rows[0][3:]).all()


def test_zero_rows_are_left_out_and_listed() -> None:
    weights = np.array([[0, 0], [3, 4], [1e-200, 0]])
    found = make_representation("x", ["a", "b", "c"], weights, missing=["d"])
    assert found.concepts == ("b", "c")
    assert found.missing == ("d", "a")
    np.testing.assert_allclose(found.vectors, [[0.6, 0.8], [1, 0]])
    other = make_representation("y", ["c", "b", "e"], np.eye(3))
    assert find_common_concepts([found, other]) == ("b", "c")
    np.testing.assert_array_equal(other.select(["b", "c"]), [[0, 1, 0], [1, 0, 0]])


def test_names_are_shortened_to_what_differs() -> None:
    assert shorten_names(["n/a/seg", "n/b/seg", "wordnet"]) == ["a", "b", "wordnet"]
    assert shorten_names(["n/a/seg (x/y)", "n/a/seg (z/y)"]) == ["seg (x/y)", "seg (z/y)"]
    assert shorten_names(["n/a/seg", "wordnet"]) == ["n/a/seg", "wordnet"]


@pytest.mark.wrong_shapes
@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: make_representation("r", ["a"], np.ones((2, 3))), "do not fit 1 concepts"),
        (lambda: make_representation("r", ["a", "a"], np.ones((2, 3))), "several .* called a"),
        (
            lambda: make_representation("r", ["a"], np.full((1, 1), np.nan)),
            "embedding of a is not finite",
        ),
        (lambda: find_common_concepts([]), "no representation"),
        (
            lambda: find_common_concepts(
                [make_representation(name, [name], np.eye(1)) for name in ("p", "q")]
            ),
            r"no concept .* p \(1\), q \(1\)",
        ),
        (lambda: make_representation("r", ["a"], np.eye(1)).select(["b"]), "r has no vector of b"),
        (lambda: measure_distances(np.eye(3), np.eye(2)), "not of the same concepts"),
        (lambda: measure_distances(np.eye(1), np.eye(1)), "two or more"),
        (lambda: measure_distances(np.eye(3), np.eye(3), "cubic"), "no distance measure"),
        (lambda: overlap_neighbours(np.eye(3), np.eye(3), 3), "2 others"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, complaint) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        call()
