"""Interventions change what they say, and random rivals change as much."""

import jax
import jax.numpy as jnp
import numpy as np

from net2vec_jax.analysis.use.directions import draw_directions
from net2vec_jax.analysis.use.interventions import (
    Interventions,
    draw_filters,
    intervene,
    measure_interventions,
)
from net2vec_jax.analysis.use.sensitivity import pool_classes

RESPONSE = np.random.default_rng(0).standard_normal((3, 4, 5, 6)).astype(np.float32)
MEAN, ZERO = jnp.asarray(RESPONSE.mean((0, 1, 2))), jnp.zeros(6)
FIRST, SECOND = (np.asarray(v, np.float32)[None] for v in draw_directions(jax.random.key(0), 2, 6))


def _apply(interventions, silence=ZERO):
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), interventions)
    return np.asarray(intervene(jnp.asarray(RESPONSE), one, MEAN, silence))


def test_a_removed_direction_does_not_vary_any_more_and_others_stay():
    changed = _apply(Interventions.of(FIRST, removed=1.0))
    np.testing.assert_allclose(changed @ FIRST[0], np.dot(MEAN, FIRST[0]), atol=1e-5)
    across = SECOND[0] - (SECOND[0] @ FIRST[0]) * FIRST[0]
    np.testing.assert_allclose(changed @ across, RESPONSE @ across, atol=1e-5)
    half = _apply(Interventions.of(FIRST, removed=0.5))
    np.testing.assert_allclose(half, (changed + RESPONSE) / 2, atol=1e-5)


def test_a_random_rival_changes_as_much_at_every_place():
    own = _apply(Interventions.of(FIRST, removed=1.0)) - RESPONSE
    rival = _apply(Interventions.of(SECOND, read=FIRST, removed=1.0)) - RESPONSE
    lengths = [np.linalg.norm(change, axis=-1) for change in (own, rival)]
    np.testing.assert_allclose(*lengths, atol=1e-5)


def test_added_directions_and_silenced_filters_are_what_they_are():
    added = _apply(Interventions.of(FIRST, added=2.0))
    np.testing.assert_allclose(added, RESPONSE + 2 * FIRST[0], atol=1e-5)
    silenced = draw_filters(jax.random.key(1), 1, (2,), 6)[0]
    assert silenced.sum() == 2
    changed = _apply(Interventions.of(FIRST, silenced=silenced), silence=MEAN)
    np.testing.assert_array_equal(changed[..., ~silenced[0]], RESPONSE[..., ~silenced[0]])
    np.testing.assert_array_equal(
        changed[..., silenced[0]], np.broadcast_to(MEAN[silenced[0]], (*changed.shape[:-1], 2))
    )


def test_every_intervention_is_measured_by_itself():
    weights = jax.random.normal(jax.random.key(2), (6, 4))
    go_on = lambda response: jnp.tanh(response).mean((1, 2)) @ weights  # noqa: E731
    members = np.array([[True, True, False, False], [False, False, False, True]])
    several = Interventions.of(np.repeat(FIRST, 3, 0), added=np.array([0.0, 1.0, 30.0]))
    logits, top = measure_interventions(
        go_on, lambda logits: pool_classes(logits, members), jnp.asarray(RESPONSE), several,
        MEAN, ZERO,
    )  # fmt: skip
    assert logits.shape == (3, 3, 2)
    for place, amount in enumerate((0, 1, 30)):
        expected = go_on(jnp.asarray(RESPONSE + amount * FIRST[0]))
        np.testing.assert_allclose(logits[place, :, 1], expected[:, 3], atol=1e-5)
        np.testing.assert_array_equal(top[place], expected.argmax(1))
