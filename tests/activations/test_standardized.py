"""Standardised activations: mean and deviation of batches are those of all activations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.activations.standardized import (
    ActivationScale,
    collect_standardized_activations,
    measure_scale,
)
from net2vec_jax.core.errors import Net2VecError

VALUES = np.random.default_rng(0).normal([0, 5, 1e4], [1, 3, 1e-2], (12, 2, 4, 3))


@given(st.lists(st.integers(1, 11), max_size=5, unique=True), st.integers(0, 2**12 - 1))
def test_the_scale_of_batches_is_that_of_all_chosen_images(cuts: list[int], bits: int) -> None:
    chosen = np.array([bits >> image & 1 for image in range(12)], bool)
    batches = np.split(VALUES, sorted(cuts))
    if not chosen.any():
        with pytest.raises(Net2VecError, match="no activations"):
            measure_scale(batches, chosen)
        return
    scale = measure_scale(batches, chosen)
    flat = VALUES[chosen].reshape(-1, 3)
    np.testing.assert_allclose(scale.mean, flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.deviation, flat.std(0), rtol=1e-6)


def test_what_is_measured_has_mean_0_and_deviation_1() -> None:
    batches = np.split(VALUES.astype(np.float32), 3)
    scale = measure_scale(batches)
    for images in (None, 12):
        found = collect_standardized_activations(batches, scale, images)
        assert found.values.shape == (12, 8, 3) and found.grid == (2, 4) and len(found) == 12
        assert found.values.dtype == np.float32 and found.filters == 3
        # The third filter's deviation is ten units in the last place of its mean.
        np.testing.assert_allclose(found.values[..., :2].mean((0, 1)), 0, atol=1e-5)
        np.testing.assert_allclose(found.values.std((0, 1)), 1, rtol=0.01)
        expected = (VALUES[5, 1, 2, 1] - scale.mean[1]) / scale.deviation[1]
        np.testing.assert_allclose(found.values[5, 6, 1], expected, rtol=1e-5)


def test_a_filter_that_never_changes_stays_0() -> None:
    batch = np.full((2, 1, 3, 2), [7.3, 0], np.float32)
    scale = measure_scale([batch])
    np.testing.assert_array_equal(scale.deviation, 1)
    found = collect_standardized_activations([batch], scale)
    np.testing.assert_array_equal(found.values, 0)


def test_what_does_not_fit_is_refused() -> None:
    scale = ActivationScale(np.zeros(3, np.float32), np.ones(3, np.float32))
    with pytest.raises(Net2VecError, match="no spatial extent"):
        measure_scale([np.zeros((2, 3))])
    with pytest.raises(Net2VecError, match="4 filters in the activations, but a scale of 3"):
        collect_standardized_activations([np.zeros((1, 1, 1, 4))], scale)
    with pytest.raises(Net2VecError, match="no activations"):
        collect_standardized_activations([], scale)
