"""Planted sub-concepts, outliers and confusions are found, and none where there are none."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, average_precision_score, silhouette_score

from net2vec_jax.analysis.geometry.concept_embeddings import UnitEmbeddings, normalise_embeddings
from net2vec_jax.analysis.geometry.local_embeddings import (
    find_outliers,
    find_sub_concepts,
    measure_retrieval,
)

FILTERS = 40


def draw_cloud(seed: int, sizes: tuple[int, ...], *, apart: float = 2.0) -> tuple:
    """Unit embeddings around one direction per cluster, long in a direction that all share."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    centres = apart * np.linalg.qr(rng.standard_normal((FILTERS, len(sizes) + 2)))[0].T
    noise = rng.standard_normal((len(cluster), FILTERS)) / np.sqrt(FILTERS)
    long = rng.standard_normal((len(cluster), 1)) * 0.3 * centres[-2]
    return normalise_embeddings(centres[cluster] + centres[-1] + noise + long), cluster


@pytest.mark.parametrize("sizes", [(30, 20), (25, 15, 10), (40, 12, 9, 7)])
def test_planted_sub_concepts_are_found_the_largest_first(sizes) -> None:
    unit, cluster = draw_cloud(1, sizes)
    found = find_sub_concepts(unit, np.ones(len(unit), bool), draws=39)
    assert adjusted_rand_score(cluster, found.label) > 0.95
    counts = np.bincount(found.label)[1:]
    assert len(counts) == len(sizes) and (np.diff(counts) <= 0).all()
    score = silhouette_score(unit.vectors, found.label, metric="cosine")
    assert found.p_value == 1 / 40 and found.silhouette == pytest.approx(score)


def test_a_long_cloud_is_no_two_sub_concepts() -> None:
    """At a level of 5 %, of 20 clouds hardly more than 3 are split (99 % of the binomial)."""
    split = 0
    for seed in range(20):
        unit, _ = draw_cloud(seed, (40,))
        split += find_sub_concepts(unit, np.ones(40, bool), draws=19, seed=seed).label.max() > 1
    assert split <= 4


def test_who_takes_no_part_has_no_sub_concept() -> None:
    unit, cluster = draw_cloud(2, (20, 20))
    unit = UnitEmbeddings(unit.vectors * (np.arange(40) > 0)[:, None], np.arange(40) > 0)
    found = find_sub_concepts(unit, np.arange(40) != 39, draws=19)
    assert found.label[0] == found.label[39] == 0
    assert adjusted_rand_score(cluster[1:39], found.label[1:39]) > 0.9
    few = find_sub_concepts(unit, np.arange(40) < 8)
    assert few.p_value == 1 and set(few.label[1:8]) == {1}


def test_planted_outliers_are_found() -> None:
    unit, _ = draw_cloud(3, (30, 20))
    stray = normalise_embeddings(np.random.default_rng(0).standard_normal((2, FILTERS)))
    vectors = np.concatenate([unit.vectors, stray.vectors, np.zeros((1, FILTERS))])
    distance, is_outlier = find_outliers(UnitEmbeddings(vectors, np.arange(53) < 52))
    assert set(np.flatnonzero(is_outlier)) >= {50, 51} and is_outlier.sum() <= 4
    assert np.isnan(distance[52]) and not is_outlier[52]
    alone = find_outliers(UnitEmbeddings(vectors[:1], np.ones(1, bool)))
    assert np.isnan(alone[0]).all() and not alone[1].any()


@given(seed=st.integers(0, 10**6))
def test_retrieval_is_scikit_learns_average_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = normalise_embeddings(rng.standard_normal((30, 5)))
    concept, is_query = rng.integers(0, 3, 30), np.arange(30) % 3 == 0
    found = measure_retrieval(unit, concept, is_query, 3, neighbours=4)
    cosines = unit.vectors @ unit.vectors[~is_query].T
    for query in np.flatnonzero(is_query):
        right = concept[~is_query] == concept[query]
        if right.any():
            expected = average_precision_score(right, cosines[query])
            np.testing.assert_allclose(found.average_precision[query], expected)
    assert np.isnan(found.average_precision[~is_query]).all()
    asked = np.isin(np.arange(3), concept[is_query])
    np.testing.assert_allclose(found.confusion[asked].sum(axis=1), 1)
    nearest = np.argsort(-cosines, axis=1)[:, :4]
    same = concept[~is_query][nearest][is_query & (concept == concept[0])] == concept[0]
    np.testing.assert_allclose(found.confusion[concept[0], concept[0]], same.mean())


def test_a_planted_confusion_is_found() -> None:
    """Concepts 0 and 1 lie around one direction, concept 2 around another."""
    vectors = draw_cloud(4, (40, 20), apart=4)[0]
    concept = np.concatenate([np.arange(40) % 2, np.full(20, 2)])
    found = measure_retrieval(vectors, concept, np.arange(60) % 4 < 2, 3)
    assert found.confusion[0, 1] > 0.3 and found.confusion[1, 0] > 0.3
    np.testing.assert_allclose(found.confusion[2], [0, 0, 1])
    assert np.nanmin(found.average_precision[40:]) == 1


@pytest.mark.parametrize(("right", "total"), [(1, 1), (1, 4), (2, 5), (3, 6), (6, 6)])
def test_chance_is_the_mean_over_all_rankings(right: int, total: int) -> None:
    precisions = [
        np.mean([(n + 1) / place for n, place in enumerate(places)])
        for places in itertools.combinations(range(1, total + 1), right)
    ]
    unit = UnitEmbeddings(np.ones((total, 1)), np.ones(total, bool))
    concept = (np.arange(total) >= right).astype(int)
    found = measure_retrieval(unit, concept, np.zeros(total, bool), 2)
    np.testing.assert_allclose(found.chance[0], np.mean(precisions))
