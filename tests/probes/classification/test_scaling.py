"""Standardised training acts on activations as they are, and stalled training is foreseen."""

import dataclasses

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from net2vec_jax.probes.classification.model import score
from net2vec_jax.probes.classification.scaling import estimate_progress, fit_scale
from net2vec_jax.probes.classification.training import ClassificationConfig


def draw_pooled(seed: int, parts: int) -> np.ndarray:
    """float32 [P, 40, 5], the maximum not below the minimum, of unlike scales; one is constant."""
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 1, (parts, 40, 5)) * np.array([1e-3, 1, 100, 5, 0.1])
    values[..., 3] = 0.3
    return np.sort(values, axis=0)[::-1].astype(np.float32)


@hypothesis.given(seed=st.integers(0, 10**6), parts=st.sampled_from([1, 2]))
def test_folded_embeddings_score_activations_as_these_score_standardised_ones(seed, parts) -> None:
    pooled = draw_pooled(seed, parts)
    rng = np.random.default_rng(seed + 1)
    weights, bias = rng.normal(size=(3, 5)), rng.normal(size=3)
    scale = fit_scale(pooled, np.arange(40) < 30)

    def logits(weights: np.ndarray, bias: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        arrays = (jnp.asarray(each, jnp.float32) for each in (weights, bias))
        return np.asarray(score(*(each[None] for each in arrays), jnp.asarray(pooled)[:, None]))

    expected = logits(weights, bias, scale.standardize(pooled))
    # float32 sums of a filter's weight times its mean, some 10, that cancel.
    np.testing.assert_allclose(logits(*scale.fold(weights, bias), pooled), expected, atol=1e-4)


def test_train_images_have_mean_0_and_deviation_1() -> None:
    pooled, train = draw_pooled(0, 1), np.arange(40) < 30
    standard = fit_scale(pooled, train).standardize(pooled)
    varied = np.arange(5) != 3
    # rounding of float32 activations with a mean of three deviations
    np.testing.assert_allclose(standard[0, train].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(standard[0, train].std(0)[varied], 1, atol=1e-5)
    assert np.abs(standard[..., 3]).max() < 1e-6  # a constant filter stays one


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_standardised_activations_do_not_depend_on_their_scale(factor: float) -> None:
    pooled, train = draw_pooled(0, 2), np.arange(40) < 30
    scaled = (factor * pooled).astype(np.float32)
    np.testing.assert_allclose(
        fit_scale(scaled, train).standardize(scaled),
        fit_scale(pooled, train).standardize(pooled),
        atol=1e-4,
    )


def test_progress_is_that_of_descent_on_a_quadratic() -> None:
    # One filter of variance 1: its weight moves towards the optimum by rate / 4 of the rest a step.
    pooled = np.array([-1, 1], np.float32).reshape(1, 2, 1)
    config = ClassificationConfig(epochs=10, learning_rate=0.01, epochs_per_decay=5, momentum=0.0)
    rest = (1 - 0.01 / 4) ** (5 * 3) * (1 - 0.001 / 4) ** (5 * 3)
    found = estimate_progress(pooled, np.array([130]), config)
    assert found == pytest.approx(1 - rest, rel=2e-3)  # steps of finite size
    none = dataclasses.replace(config, epochs=0)
    assert estimate_progress(pooled, np.array([130]), none) == 0
