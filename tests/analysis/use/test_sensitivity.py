"""Derivatives of logits along concepts, and the tests that tell used concepts from others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from net2vec_jax.analysis.use.directions import covary, draw_directions
from net2vec_jax.analysis.use.sensitivity import (
    compare_exchanged,
    compare_random,
    pool_classes,
    sum_gradients,
)

CHANNELS = 8


def test_derivatives_along_a_direction_equal_finite_differences():
    keys = jax.random.split(jax.random.key(0), 3)
    inner, weights = jax.random.normal(keys[0], (CHANNELS, 10)), jax.random.normal(keys[1], (10, 6))
    members = np.eye(6, dtype=bool)[[0, 3, 5]]
    members[2, 1] = True

    def go_on(response):
        return pool_classes(jnp.tanh(response @ inner).mean((1, 2)) @ weights, members)

    response = jax.random.normal(keys[2], (4, 5, 4, CHANNELS))
    logits, gradients = sum_gradients(go_on, response)
    np.testing.assert_allclose(logits, go_on(response), rtol=1e-5)
    for direction in jnp.asarray(draw_directions(jax.random.key(2), 3, CHANNELS), jnp.float32):
        step = 1e-2 * direction[None, None, None]
        expected = (go_on(response + step) - go_on(response - step)) / 2e-2
        # float32's rounding over the step, and the third derivative times its square.
        np.testing.assert_allclose(gradients @ direction, expected, atol=2e-3)


def test_responses_without_places_have_gradients_too():
    weights = jax.random.normal(jax.random.key(0), (CHANNELS, 3))
    _, gradients = sum_gradients(lambda x: x @ weights, jnp.ones((2, CHANNELS)))
    np.testing.assert_allclose(gradients, np.broadcast_to(weights.T, (2, 3, CHANNELS)), rtol=1e-6)


def test_random_directions_have_uniform_p_values():
    gradient = np.random.default_rng(0).standard_normal((200, 30))
    p_values = compare_random(gradient, draw_directions(jax.random.key(1), 200, 30))
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert compare_random(gradient[0], gradient[0]) < 1e-12
    assert compare_random(np.zeros(30), gradient[0]) == 1


def _draw_problem(rng, used):
    """Responses with two concepts of one strength, of which the class reads the first.

    Returns:
      Responses [n, P, K], and the score of the concept that is asked for.
    """
    images, places = 24, 20
    kernel = np.array([0.25, 0.5, 0.25])  # neighbours are alike, as in maps
    smooth = lambda values: np.apply_along_axis(np.convolve, 1, values, kernel, "same")  # noqa: E731
    concepts = smooth(rng.standard_normal((images, places, 2)))
    noise = smooth(rng.standard_normal((images, places, CHANNELS)))
    responses = noise + concepts @ np.eye(2, CHANNELS)
    return responses, concepts[..., 0 if used else 1]


@pytest.mark.parametrize("used", [False, True])
def test_used_and_unused_concepts_of_one_strength_are_told_apart(used):
    rng = np.random.default_rng(0)
    gradient = np.eye(CHANNELS)[:1]  # of the class: the used concept's channel alone
    p_values, strengths = [], []
    for draw in range(200):
        responses, score = _draw_problem(rng, used)
        along = responses @ gradient.T
        p_values.append(compare_exchanged(along, score, key=jax.random.key(draw), draws=200)[0])
        strengths.append(np.linalg.norm(covary(responses, score)))
    assert np.mean(strengths) == pytest.approx(0.37, abs=0.05)  # of both concepts
    if used:
        assert max(p_values) == 1 / 201
    else:
        assert kstest(p_values, "uniform").pvalue > 0.01


def test_a_concept_that_is_always_at_one_place_is_no_discovery():
    # The class looks at the places where the concept always is, whatever the image shows.
    rng = np.random.default_rng(3)
    score = np.zeros((20, 9))
    score[:, :3] = 1
    along = score[..., None] + 0.1 * rng.standard_normal((20, 9, 1))
    assert compare_exchanged(along, score, key=jax.random.key(0), draws=200)[0] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sign_counts_equal_captums():
    torch = pytest.importorskip("torch")
    pytest.importorskip("captum.concept")
    from experiments.torch_reference.tcav import count_signs

    count, classes = 12, (0, 2)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((30, 3, 6, 5)).astype(np.float32)
    directions = rng.standard_normal((count, CHANNELS)).astype(np.float32)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, CHANNELS, 3), torch.nn.Tanh(), torch.nn.Conv2d(CHANNELS, 4, 2),
        torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3),
    )  # fmt: skip
    signs, magnitudes = count_signs(module, "1", images, directions, classes)
    kernel, bias = (jnp.asarray(p.detach().numpy()) for p in module[2].parameters())
    weights, offset = (jnp.asarray(p.detach().numpy()) for p in module[6].parameters())
    with torch.no_grad():
        response = module[:2](torch.from_numpy(images)).numpy().transpose(0, 2, 3, 1)

    def go_on(response):
        maps = jax.lax.conv_general_dilated(
            response, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC")
        )
        pooled = jnp.tanh(maps + bias[None, None, None]).mean((1, 2))
        return (pooled @ weights.T + offset[None])[:, np.array(classes)]

    _, gradients = sum_gradients(go_on, jnp.asarray(response))
    derivatives = np.asarray(gradients) @ directions.T  # [n, Y, C]
    np.testing.assert_array_equal((derivatives > 0).sum(0).T, signs)
    np.testing.assert_allclose(magnitudes, derivatives.mean(0).T, atol=1e-5)
