"""Statistics of activations are those of each concept's images, however they are batched."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from net2vec_jax.analysis.geometry.activation_statistics import measure_activations
from net2vec_jax.core.errors import Net2VecError


def split(values: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(sizes)[:-1])


@given(seed=st.integers(0, 10**6), flat=st.booleans())
def test_statistics_are_those_of_each_concepts_images(seed: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    grid = () if flat else (3, 2)
    activations = rng.normal(-0.5, 1, (12, *grid, 4)).astype(np.float32)
    has_concept = rng.random((12, 3)) < 0.5
    is_train = rng.random(12) < 0.7
    is_train[0] = True
    found = measure_activations(split(activations, [5, 4, 3]), has_concept, is_train)
    greatest = activations.reshape(12, -1, 4).max(axis=1).astype(np.float64)
    for concept in range(3):
        of_concept = greatest[has_concept[:, concept]]
        assert found.images[concept] == len(of_concept)
        for filter_ in range(4):
            values = of_concept[:, filter_]
            above = values[values > 0]
            expected = [np.nan] * 3
            if len(values):
                expected[0] = len(above) / len(values)
            if len(above):
                expected[1:] = [above.mean(), above.std()]
            place = concept, filter_
            np.testing.assert_allclose(
                [found.probability[place], found.mean[place], found.deviation[place]],
                expected,
                atol=1e-9,
            )
    fraction = (activations[is_train].reshape(-1, 4) > 0).mean(axis=0)
    np.testing.assert_allclose(found.alpha, 1 - fraction, atol=1e-12)


def test_concepts_without_images_have_no_statistics() -> None:
    has_concept = np.array([[True, False]] * 3)
    found = measure_activations([np.ones((3, 2, 2, 1))], has_concept, np.zeros(3, bool))
    np.testing.assert_array_equal(found.probability, [[1], [np.nan]])
    np.testing.assert_array_equal(found.mean, [[1], [np.nan]])
    np.testing.assert_array_equal(found.deviation, [[0], [np.nan]])
    assert np.isnan(found.alpha).all()


def test_filters_that_are_never_positive_have_probability_zero_and_no_mean() -> None:
    found = measure_activations([np.zeros((2, 2))], np.ones((2, 1), bool), np.ones(2, bool))
    np.testing.assert_array_equal(found.probability, 0)
    assert np.isnan(found.mean).all()
    np.testing.assert_array_equal(found.alpha, 1)


def test_large_means_do_not_drown_small_deviations() -> None:
    values = 1e6 + np.arange(8.0)[:, None]
    found = measure_activations([values], np.ones((8, 1), bool), np.ones(8, bool))
    np.testing.assert_allclose(found.deviation, np.arange(8).std())


@pytest.mark.parametrize(
    ("batches", "complaint"),
    [
        ([], "of 0 images"),
        ([np.ones((2, 1))], "of 2 images"),
        ([np.ones((4, 1))], "of more images"),
    ],
)
def test_other_numbers_of_images_are_refused(batches: list[np.ndarray], complaint: str) -> None:
    with pytest.raises(Net2VecError, match=f"{complaint}, but labels of 3"):
        measure_activations(batches, np.ones((3, 1), bool), np.ones(3, bool))
