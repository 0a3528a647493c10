"""Regularisers and responses against formulas and finite differences."""

from __future__ import annotations

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.inversion.objectives import (
    Regularisers,
    alpha_norm,
    direction_response,
    relative_error,
    symmetric_logarithm,
    total_variation,
)

POWERS = (1.0, 1.5, 2.0, 3.0, 6.0)


def draw_images(seed: int, shape: tuple[int, ...] = (2, 4, 5, 3)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def vary_by_loop(image: np.ndarray, beta: float) -> float:
    """Σ (dx² + dy²)^(β/2) of one image, pixel by pixel."""
    total, (height, width, channels) = 0.0, image.shape
    for y in range(height - 1):
        for x in range(width - 1):
            for c in range(channels):
                right = float(image[y, x + 1, c]) - float(image[y, x, c])
                below = float(image[y + 1, x, c]) - float(image[y, x, c])
                total += (right**2 + below**2) ** (beta / 2)
    return total


@pytest.mark.parametrize("power", POWERS)
def test_regularisers_are_their_formulas(power: float) -> None:
    images = draw_images(0)
    expected = (np.abs(images.astype(float)) ** power).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(alpha_norm(jnp.asarray(images), power), expected, rtol=1e-5)
    expected = [vary_by_loop(image, power) for image in images]
    np.testing.assert_allclose(total_variation(jnp.asarray(images), power), expected, rtol=1e-5)


def test_the_weighted_sum_is_that_of_the_reference() -> None:
    images = draw_images(1)
    expected = 1e-5 * (images.astype(float) ** 6).sum(axis=(1, 2, 3))
    expected += [1e-5 * vary_by_loop(image, 2) for image in images]
    np.testing.assert_allclose(Regularisers()(jnp.asarray(images)), expected, rtol=1e-5)


@pytest.mark.parametrize("function", [alpha_norm, total_variation])
@pytest.mark.parametrize("power", POWERS)
def test_gradients_agree_with_finite_differences(function, power: float) -> None:
    images, direction = jnp.asarray(draw_images(2)), jnp.asarray(draw_images(3))
    gradient = jax.grad(lambda x: function(x, power).sum())(images)
    found = float((gradient * direction).sum())
    step = 1e-3
    ahead, behind = (function(images + sign * step * direction, power).sum() for sign in (1, -1))
    # Sums of about 100 in float32, over a step of 1e-3.
    np.testing.assert_allclose(found, float(ahead - behind) / (2 * step), rtol=5e-3, atol=0.05)


@pytest.mark.parametrize("function", [alpha_norm, total_variation])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("value", [0.0, -1e-30])
def test_gradients_where_nothing_changes_are_0_and_not_nan(function, power, value) -> None:
    flat = jnp.full((1, 4, 4, 3), value)
    gradient = jax.grad(lambda x: function(x, power).sum())(flat)
    assert np.isfinite(gradient).all()
    if function is total_variation or not value:
        np.testing.assert_array_equal(gradient, 0)


@hypothesis.given(seed=strategies.integers(0, 10**6), shift=strategies.floats(-5, 5))
def test_variation_ignores_brightness_and_grows_with_contrast(seed: int, shift: float) -> None:
    images = jnp.asarray(draw_images(seed))
    variation = total_variation(images, 2.0)
    np.testing.assert_allclose(
        total_variation(images + jnp.float32(shift), 2.0), variation, rtol=1e-4
    )
    np.testing.assert_allclose(total_variation(3 * images, 2.0), 9 * variation, rtol=1e-4)


def test_relative_error_is_0_for_the_same_and_1_for_nothing() -> None:
    features = jnp.asarray(draw_images(4))
    np.testing.assert_array_equal(relative_error(features, features), 0)
    np.testing.assert_allclose(relative_error(0 * features, features), 1)


def test_responses_are_pooled_over_places() -> None:
    activations = draw_images(5, (3, 4, 5, 6))
    directions = draw_images(6, (3, 6))
    maps = np.einsum("nhwk,nk->nhw", activations, directions)
    activations, directions = jnp.asarray(activations), jnp.asarray(directions)
    for pooling, expected in {
        "mean": maps.mean(axis=(1, 2)),
        "max": maps.max(axis=(1, 2)),
        "centre": maps[:, 2, 2],
    }.items():
        found = direction_response(activations, directions, pooling)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    flat = direction_response(activations[:, 0, 0], directions)
    np.testing.assert_allclose(flat, maps[:, 0, 0], rtol=1e-5, atol=1e-6)
    with pytest.raises(Net2VecError, match="'median' is none of mean, centre, max"):
        direction_response(activations, directions, "median")


def test_the_symmetric_logarithm_is_odd_and_of_slope_1_at_0() -> None:
    values = jnp.array([-7.0, -0.5, 0.0, 0.5, 7.0])
    found = symmetric_logarithm(values)
    np.testing.assert_allclose(found, np.sign(values) * np.log1p(np.abs(values)), rtol=1e-6)
    slopes = jax.vmap(jax.grad(symmetric_logarithm))(values)
    np.testing.assert_allclose(slopes, 1 / (1 + np.abs(values)), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"alpha": 0.5}, "power alpha must be at least 1"),
        ({"beta": float("nan")}, "power beta must be at least 1"),
        ({"alpha_weight": -1.0}, "alpha_weight must be a number from 0 on"),
        ({"variation_weight": float("inf")}, "variation_weight must be a number"),
    ],
)
def test_senseless_regularisers_are_refused(changes, complaint) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        Regularisers(**changes)
