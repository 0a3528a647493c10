"""Directions are what the responses do with a concept, not what reads it off."""

import jax
import numpy as np
import pytest

from net2vec_jax.analysis.use.directions import (
    covary,
    draw_directions,
    reduce_masks,
    scale_direction,
)
from net2vec_jax.core.errors import Net2VecError


def test_a_pattern_is_what_the_concept_adds_where_weights_cancel_a_disturbance():
    # Haufe et al. 2014, figure 1: channel 1 holds the disturbance alone, and still has a weight.
    rng = np.random.default_rng(0)
    concept, disturbance = rng.standard_normal((2, 40, 50))
    responses = np.stack([concept + disturbance, disturbance], axis=-1)
    weights = np.array([1.0, -1.0])
    pattern = covary(responses, responses @ weights)
    assert pattern[0] == pytest.approx(1, abs=0.1)
    assert pattern[1] == pytest.approx(0, abs=0.1)


def test_covariance_with_a_mask_is_the_difference_of_means_but_for_a_factor():
    rng = np.random.default_rng(1)
    responses, mask = rng.random((6, 9, 4)), rng.random((6, 9)) < 0.3
    difference = responses[mask].mean(0) - responses[~mask].mean(0)
    share = mask.mean()
    found = covary(responses, mask.astype(np.float64))
    np.testing.assert_allclose(found, share * (1 - share) * difference)


def test_a_direction_is_scaled_by_the_deviation_along_it():
    responses = np.random.default_rng(2).standard_normal((5, 7, 3)) * [1.0, 2.0, 3.0]
    unit, deviation = scale_direction(np.array([0.0, 4.0, 0.0]), responses, "dog")
    np.testing.assert_allclose(unit, [0, 1, 0])
    assert deviation == pytest.approx(responses[..., 1].std())
    with pytest.raises(Net2VecError, match="direction of dog is 0"):
        scale_direction(np.zeros(3), responses, "dog")


def test_reduced_masks_keep_what_is_everywhere_and_nowhere():
    masks = np.stack([np.zeros((9, 7), bool), np.ones((9, 7), bool)])
    np.testing.assert_allclose(reduce_masks(masks, (3, 4)), [[0] * 12, [1] * 12], atol=1e-6)


def test_random_directions_have_length_1_and_no_preference():
    drawn = draw_directions(jax.random.key(0), 4000, 5)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1)
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.03)  # 5 deviations of 1/√(5 · 4000)
