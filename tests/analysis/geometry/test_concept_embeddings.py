"""Geometry of embeddings: planted neighbours are found, and no choice of axes or order matters."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from net2vec_jax.analysis.geometry.concept_embeddings import (
    average_seeds,
    cluster_concepts,
    find_nearest_concepts,
    measure_stability,
    normalise_embeddings,
    rank_by_similarity,
    tabulate_nearest_categories,
)
from net2vec_jax.core.errors import Net2VecError

GROUPS = np.repeat(np.arange(4), 6)
"""The planted cluster of each of 24 concepts."""


def plant_clusters(seed: int = 0, *, filters: int = 40) -> np.ndarray:
    """Embeddings [24, K] near one of four orthogonal directions, of lengths 0.1 to 10."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(filters, 4)))[0].T
    rows = centres[GROUPS] + 0.05 * rng.normal(size=(len(GROUPS), filters))
    return rows * rng.uniform(0.1, 10, (len(GROUPS), 1))


def at_angles(*degrees: float) -> np.ndarray:
    """Embeddings [C, 2] at these angles, the number n of length n + 1."""
    angles = np.deg2rad(degrees)
    lengths = np.arange(1, len(degrees) + 1)[:, None]
    return lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_rows_have_length_one_whatever_their_size() -> None:
    rows = np.array([[3.0, 4.0], [3e-200, 4e-200], [3e200, 4e200], [-3.0, -4.0]])
    unit = normalise_embeddings(rows)
    np.testing.assert_allclose(unit.vectors, [[0.6, 0.8]] * 3 + [[-0.6, -0.8]], rtol=1e-14)
    assert unit.is_valid.all()


def test_rows_without_direction_are_masked() -> None:
    rows = at_angles(0, 10, 20, 30, 40)
    rows[1], rows[3, 0] = 0, np.nan
    unit = normalise_embeddings(rows)
    assert unit.is_valid.tolist() == [True, False, True, False, True]
    assert (unit.vectors[[1, 3]] == 0).all()
    assert np.isfinite(unit.cosines()).all()
    nearest = find_nearest_concepts(unit, 4)
    assert nearest.concept.tolist() == [
        [2, 4, -1, -1], [-1] * 4, [0, 4, -1, -1], [-1] * 4, [2, 0, -1, -1],
    ]  # fmt: skip
    assert nearest.row(1) == []
    assert cluster_concepts(unit).members.tolist() == [0, 2, 4]
    order, score = rank_by_similarity(unit)
    assert sorted(order.tolist()) == [0, 2, 4]
    assert np.isnan(score[[1, 3]]).all()
    table = tabulate_nearest_categories(unit, ["a", "b", "a", "b", "a"])
    assert table.concepts.tolist() == [3, 0]
    np.testing.assert_array_equal(table.fraction, [[1, 0], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.chance, [[1, 0], [np.nan, np.nan]])


def test_neighbours_are_the_members_of_a_planted_cluster() -> None:
    nearest = find_nearest_concepts(normalise_embeddings(plant_clusters()), 5)
    assert (GROUPS[nearest.concept] == GROUPS[:, None]).all()
    assert (nearest.concept != np.arange(24)[:, None]).all()
    assert (np.diff(nearest.cosine, axis=1) <= 0).all()
    for place in range(24):
        assert len(set(nearest.concept[place].tolist())) == 5


def test_a_concept_is_not_its_own_neighbour_though_another_is_identical() -> None:
    nearest = find_nearest_concepts(normalise_embeddings(at_angles(0, 0, 90)), 1)
    assert nearest.concept[:, 0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(nearest.cosine[:2, 0], 1)


def test_opposite_concepts_are_last_but_similar_by_absolute_cosine() -> None:
    unit = normalise_embeddings(at_angles(0, 180, 60))
    assert find_nearest_concepts(unit, 2).concept.tolist() == [[2, 1], [2, 0], [0, 1]]
    order, score = rank_by_similarity(unit, by="max")
    np.testing.assert_allclose(score, [1, 1, 0.5])
    assert order.tolist() == [0, 1, 2]
    np.testing.assert_allclose(rank_by_similarity(unit, by="mean")[1], [0.75, 0.75, 0.5])


def test_nearest_categories_by_hand() -> None:
    # Two nearest by angle: 0 → 10, 25; 10 → 0, 25; 25 → 10, 0; 90 → 95, 25; 95 → 90, 25.
    unit = normalise_embeddings(at_angles(0, 10, 25, 90, 95))
    table = tabulate_nearest_categories(
        unit, ["object", "part", "object", "part", "color"], neighbours=2
    )
    assert table.categories == ("color", "object", "part")
    np.testing.assert_allclose(
        table.fraction, [[0, 0.5, 0.5], [0, 0.5, 0.5], [0.25, 0.75, 0]], atol=1e-12
    )
    np.testing.assert_allclose(table.chance, np.array([[0, 2, 2], [1, 1, 2], [1, 2, 1]]) / 4)
    assert table.concepts.tolist() == [1, 2, 2]
    assert table.neighbours == 2


def test_random_embeddings_have_neighbours_at_chance() -> None:
    rng = np.random.default_rng(0)
    categories = ["object"] * 300 + ["part"] * 100
    table = tabulate_nearest_categories(
        normalise_embeddings(rng.normal(size=(400, 64))), categories
    )
    np.testing.assert_allclose(table.fraction, table.chance, atol=0.05)  # about 3 standard errors
    np.testing.assert_allclose(table.chance.sum(axis=1), 1)


@pytest.mark.parametrize("method", ["average", "complete", "single", "ward"])
def test_planted_clusters_are_cut_from_the_tree(method) -> None:
    clusters = cluster_concepts(normalise_embeddings(plant_clusters()), method=method)
    found = clusters.cut(4)
    assert sorted(set(found.tolist())) == [1, 2, 3, 4]
    assert len(set(zip(found.tolist(), GROUPS.tolist(), strict=True))) == 4
    assert (np.diff(GROUPS[clusters.order]) != 0).sum() == 3  # leaves of a cluster are neighbours
    assert (np.diff(found[clusters.order]) >= 0).all()  # numbered from the first leaf on


def test_trees_of_few_concepts() -> None:
    rows = np.zeros((3, 2))
    assert cluster_concepts(normalise_embeddings(rows)).order.tolist() == []
    rows[1] = 1
    clusters = cluster_concepts(normalise_embeddings(rows))
    assert clusters.order.tolist() == [1]
    assert clusters.cut(3).tolist() == [1]


def test_distances_in_the_tree_are_one_minus_cosine() -> None:
    clusters = cluster_concepts(normalise_embeddings(at_angles(0, 60)))
    np.testing.assert_allclose(clusters.linkage, [[0, 1, 0.5, 2]], atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_rotating_the_filters_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(2, 15, 8))
    weights[:, 3] = 0
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    categories = ["object"] * 8 + ["part"] * 7
    before, after = (normalise_embeddings(x[0]) for x in (weights, weights @ rotation))
    np.testing.assert_allclose(before.cosines(), after.cosines(), atol=1e-12)
    np.testing.assert_array_equal(
        find_nearest_concepts(before).concept, find_nearest_concepts(after).concept
    )
    for by in ("max", "mean"):
        np.testing.assert_allclose(
            rank_by_similarity(before, by=by)[1], rank_by_similarity(after, by=by)[1]
        )
    np.testing.assert_allclose(
        tabulate_nearest_categories(before, categories).fraction,
        tabulate_nearest_categories(after, categories).fraction,
    )
    np.testing.assert_allclose(
        cluster_concepts(before).linkage[:, 2], cluster_concepts(after).linkage[:, 2], atol=1e-12
    )
    stable, rotated = measure_stability(weights), measure_stability(weights @ rotation)
    np.testing.assert_allclose(stable.cosine, rotated.cosine, atol=1e-12)
    np.testing.assert_allclose(stable.overlap, rotated.overlap)


@given(seed=st.integers(0, 10**6))
def test_permuting_concepts_permutes_results(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(2, 12, 6))
    weights[:, 5] = 0
    order = rng.permutation(12)
    moved = weights[:, order]
    names = np.array(["object", "part", "color"])[rng.integers(0, 3, 12)]
    before, after = normalise_embeddings(weights[0]), normalise_embeddings(moved[0])
    found = find_nearest_concepts(after).concept
    np.testing.assert_array_equal(
        np.where(found >= 0, order[found], -1), find_nearest_concepts(before).concept[order]
    )
    for by in ("max", "mean"):
        np.testing.assert_allclose(
            rank_by_similarity(after, by=by)[1], rank_by_similarity(before, by=by)[1][order]
        )
    np.testing.assert_allclose(
        tabulate_nearest_categories(after, names[order].tolist()).fraction,
        tabulate_nearest_categories(before, names.tolist()).fraction,
    )
    np.testing.assert_allclose(
        cluster_concepts(after).linkage[:, 2], cluster_concepts(before).linkage[:, 2], atol=1e-12
    )
    np.testing.assert_allclose(
        measure_stability(moved).overlap, measure_stability(weights).overlap[order]
    )


def test_identical_seeds_are_stable_whatever_their_lengths() -> None:
    weights = plant_clusters()
    lengths = np.array([1.0, 3.0, 0.5])[:, None, None]
    stability = measure_stability(weights * lengths)
    for values in (stability.cosine, stability.overlap, stability.jaccard):
        np.testing.assert_allclose(values, 1)


def test_random_seeds_share_neighbours_at_chance() -> None:
    weights = np.random.default_rng(0).normal(size=(6, 200, 50))
    stability = measure_stability(weights, neighbours=10)
    assert stability.chance_overlap == 10 / 199
    # 15 pairs of seeds, not independent, and 200 concepts; a set's deviation is about 0.067
    assert abs(stability.overlap.mean() - stability.chance_overlap) < 0.006
    assert abs(stability.jaccard.mean() - stability.chance_jaccard) < 0.004
    assert abs(stability.cosine.mean()) < 0.02


def test_overlap_and_jaccard_by_hand() -> None:
    # Concept 0 has the neighbours {1, 2} in the one seed and {1, 3} in the other.
    first = at_angles(0, 10, 20, 50)
    second = at_angles(0, 10, 50, 20)
    stability = measure_stability(np.stack([first, second]), neighbours=2)
    assert stability.overlap[0] == 0.5
    np.testing.assert_allclose(stability.jaccard[0], 1 / 3)
    np.testing.assert_allclose(stability.cosine, [1, 1, *np.cos(np.deg2rad([30, 30]))])
    # Two of three: they share both with probability 1/3, else one of three.
    np.testing.assert_allclose(stability.chance_overlap, 2 / 3)
    np.testing.assert_allclose(stability.chance_jaccard, 1 / 3 * 1 + 2 / 3 * 1 / 3)


def test_concepts_masked_for_a_seed_have_no_stability() -> None:
    weights = np.stack([plant_clusters(), plant_clusters()])
    weights[1, 4] = 0
    stability = measure_stability(weights)
    assert np.flatnonzero(np.isnan(stability.overlap)).tolist() == [4]
    np.testing.assert_allclose(np.delete(stability.overlap, 4), 1)


def test_the_mean_of_seeds_weighs_every_seed_alike() -> None:
    weights = np.stack([[[100.0, 0.0], [0, 0]], [[0.0, 1.0], [2.0, 0.0]]])
    unit = average_seeds(weights)
    np.testing.assert_allclose(unit.vectors, [[0.5**0.5, 0.5**0.5], [1, 0]])
    assert unit.is_valid.all()
    assert average_seeds(np.array([[[1.0, 2.0]], [[-1.0, -2.0]]])).is_valid.tolist() == [False]


def test_one_seed_has_no_stability() -> None:
    with pytest.raises(Net2VecError, match="there are 1 seeds and 24 concepts"):
        measure_stability(plant_clusters()[None])


def test_categories_must_fit() -> None:
    with pytest.raises(Net2VecError, match="2 categories were given for 24 concepts"):
        tabulate_nearest_categories(normalise_embeddings(plant_clusters()), ["a", "b"])
