"""Both forms of the score maps are the same sum over active filters, and its adjoint."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import pack_activations, place_activations

from net2vec_jax.probes.segmentation.score_maps import Form, add_weight_gradients, score_maps

GRID, FILTERS, HEADS, IMAGES = (4, 3), 37, 3, 6
# Sums of tens of float32 terms of size 1 in another order.
ROUNDING = 2e-5


def make_problem(
    seed: int, density: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bits = rng.random((IMAGES, *GRID, FILTERS)) < density
    bits[2] = False
    weights = rng.normal(size=(HEADS, FILTERS)).astype(np.float32)
    return bits, weights, rng.integers(0, HEADS, 10), rng.integers(0, IMAGES, 10)


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_score_maps_sum_the_weights_of_active_filters(form: Form, density: float) -> None:
    bits, weights, head, image = make_problem(0, density)
    expected = np.einsum(
        "cpk,ck->cp", bits.reshape(IMAGES, -1, FILTERS)[image].astype(float), weights[head]
    )
    placed = place_activations(pack_activations(bits), form)
    scores = score_maps(jnp.asarray(weights), jnp.asarray(head), jnp.asarray(image), placed, 12)
    np.testing.assert_allclose(scores, expected, atol=ROUNDING)
    assert not np.asarray(scores)[image == 2].any()  # nothing active: exactly 0


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("density", [0.02, 0.5])
def test_weight_gradient_is_the_adjoint(form: Form, density: float) -> None:
    bits, weights, head, image = make_problem(1, density)
    placed = place_activations(pack_activations(bits), form)
    head, image = jnp.asarray(head), jnp.asarray(image)
    direction = np.random.default_rng(2).normal(size=(10, 12)).astype(np.float32)
    start = np.random.default_rng(3).normal(size=weights.shape).astype(np.float32)
    gradient = add_weight_gradients(jnp.asarray(start), head, image, placed, jnp.asarray(direction))
    expected = start.astype(float)
    of_pairs = np.einsum("cpk,cp->ck", bits.reshape(IMAGES, -1, FILTERS)[image], direction)
    np.add.at(expected, np.asarray(head), of_pairs)
    np.testing.assert_allclose(gradient, expected, atol=ROUNDING)
    scores = score_maps(jnp.asarray(weights), head, image, placed, 12)
    inner = float((np.asarray(scores, float) * direction).sum())
    adjoint = float((weights.astype(float) * (np.asarray(gradient, float) - start)).sum())
    assert inner == pytest.approx(adjoint, abs=100 * ROUNDING)


def test_the_backend_chooses_a_form() -> None:
    bits, *_ = make_problem(0, 0.1)
    assert place_activations(pack_activations(bits)) is not None
