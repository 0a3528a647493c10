"""Maps of embeddings keep what was planted."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings
from net2vec_jax.analysis.geometry.embedding_maps import (
    explain_variance,
    map_neighbourhoods,
    map_principal_components,
)
from net2vec_jax.core.errors import Net2VecError

GROUPS = np.repeat(np.arange(3), 8)


def plant_clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(30, 3)))[0].T
    return centres[GROUPS] + 0.05 * rng.normal(size=(len(GROUPS), 30))


def test_planted_variance_is_explained() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 20)))[0][:3]
    factors = np.linalg.qr(rng.normal(size=(50, 4)))[0]
    factors = np.linalg.qr(factors - factors.mean(axis=0))[0][:, :3]
    weights = factors * [3.0, 2.0, 1.0] @ axes + 7.0  # the mean does not matter
    explained = explain_variance(weights)
    np.testing.assert_allclose(explained, [9 / 14, 4 / 14, 1 / 14] + [0] * 7, atol=1e-12)
    weights[4] = 0
    np.testing.assert_allclose(
        explain_variance(weights), explain_variance(np.delete(weights, 4, 0))
    )


def test_pca_keeps_distances_of_embeddings_in_a_plane() -> None:
    angles = np.linspace(0, 2, 7)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0]
    flat = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ rotation[:2]
    found = map_principal_components(normalise_embeddings(5 * flat))
    for places in (flat, found.coordinates):
        distances = np.linalg.norm(places[:, None] - places, axis=-1)
        np.testing.assert_allclose(distances, 2 * np.sin(np.abs(angles[:, None] - angles) / 2))
    np.testing.assert_allclose(found.explained.sum(), 1)
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_pca_ignores_rotations_and_the_order_of_concepts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(10, 6))
    weights[2] = 0
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    order = rng.permutation(10)
    before = map_principal_components(normalise_embeddings(weights)).coordinates
    after = map_principal_components(normalise_embeddings((weights @ rotation)[order])).coordinates
    np.testing.assert_allclose(after, before[order], atol=1e-9)
    assert np.isnan(before).all(axis=1).nonzero()[0].tolist() == [2]


@pytest.mark.parametrize("rows", [np.zeros((3, 4)), np.ones((3, 4)), np.ones((1, 1))])
def test_pca_without_variance_is_a_point(rows: np.ndarray) -> None:
    found = map_principal_components(normalise_embeddings(rows))
    np.testing.assert_allclose(found.explained, 0)
    if rows.any():
        np.testing.assert_allclose(found.coordinates, 0, atol=1e-12)


def test_tsne_keeps_planted_clusters_and_is_the_same_again() -> None:
    weights = plant_clusters()
    weights[5] = 0
    unit = normalise_embeddings(weights)
    places = map_neighbourhoods(unit, seed=1)
    np.testing.assert_array_equal(places, map_neighbourhoods(unit, seed=1))
    assert np.isnan(places).all(axis=1).nonzero()[0].tolist() == [5]
    kept = np.delete(places, 5, axis=0)
    groups = np.delete(GROUPS, 5)
    distances = np.linalg.norm(kept[:, None] - kept, axis=-1) + np.diag([np.inf] * len(kept))
    assert (groups[distances.argmin(axis=1)] == groups).all()


def test_tsne_lowers_its_perplexity_for_few_concepts() -> None:
    assert np.isfinite(map_neighbourhoods(normalise_embeddings(plant_clusters()[::6]))).all()


def test_tsne_refuses_what_it_cannot_map() -> None:
    unit = normalise_embeddings(plant_clusters())
    with pytest.raises(Net2VecError, match="at least 4 concepts with embeddings, not 3"):
        map_neighbourhoods(unit.select(np.arange(3)))
    with pytest.raises(Net2VecError, match="must be above 0, not 0"):
        map_neighbourhoods(unit, perplexity=0)
