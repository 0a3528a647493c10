"""Rectifiers clip, and let gradients past where they are told to, without a change of values."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.nonlinearities import leaking_gradients, relu, relu6

VALUES = jnp.array([-2.0, 3.0, 8.0])
SLOPES = ((relu, [0.0, 1.0, 1.0]), (relu6, [0.0, 1.0, 0.0]))


def slope(function: Callable[[Array], Array]) -> Array:
    return jax.grad(lambda values: function(values).sum())(VALUES)


def test_rectifiers_clip() -> None:
    values = jnp.array([-1.0, 0.0, 5.0, 7.0])
    np.testing.assert_array_equal(relu(values), [0, 0, 5, 7])
    np.testing.assert_array_equal(relu6(values), [0, 0, 5, 6])


@pytest.mark.parametrize(("function", "inside"), SLOPES)
def test_leaking_adds_a_share_of_the_gradient(function, inside) -> None:
    with leaking_gradients(0.25):
        np.testing.assert_array_equal(slope(function), np.array(inside) + 0.25)
    np.testing.assert_array_equal(slope(function), inside)


@pytest.mark.parametrize("function", [relu, relu6])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_leaking_leaves_every_value_as_it_is(function, dtype) -> None:
    drawn = 1e4 * np.random.default_rng(0).standard_normal(1000)
    special = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-40, 3e38]
    values = jnp.asarray(np.concatenate([drawn, special]), dtype)
    plain = np.asarray(jax.jit(function)(values))

    def respond(values: Array, share: Array) -> Array:
        with leaking_gradients(share):
            return function(values)

    for share in (0.0, 0.1, jnp.float32(0.1)):
        for call in (respond, jax.jit(respond)):
            found = call(values, share)
            assert found.dtype == dtype
            assert np.asarray(found).tobytes() == plain.tobytes()
    primal, _ = jax.jvp(lambda x: respond(x, jnp.float32(0.1)), (values,), (values,))
    assert np.asarray(primal).tobytes() == plain.tobytes()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers_take_what_leaking_rectifiers_give(dtype) -> None:
    layers = [
        jax.tree.map(lambda x: x.astype(dtype), Convolution(3, 3, 3, rngs=nnx.Rngs(seed)))
        for seed in range(2)
    ]
    images = jnp.asarray(np.random.default_rng(1).standard_normal((2, 5, 5, 3)), dtype)

    def respond(images: Array) -> Array:
        return relu6(layers[1](relu(layers[0](images))))

    @jax.jit
    def respond_leaking(images: Array, share: Array) -> Array:
        with leaking_gradients(share):
            return respond(images)

    found = respond_leaking(images, jnp.float32(0.1))
    assert found.dtype == dtype
    assert np.asarray(found).tobytes() == np.asarray(jax.jit(respond)(images)).tobytes()


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint])
def test_what_was_traced_outside_leaks_inside(wrap) -> None:
    wrapped = wrap(relu)
    plain = [0.0, 1.0, 1.0]
    np.testing.assert_array_equal(slope(wrapped), plain)
    with leaking_gradients(0.5):
        np.testing.assert_array_equal(slope(wrapped), [0.5, 1.5, 1.5])

    @jax.jit
    def leak(share: Array) -> Array:
        with leaking_gradients(share):
            return slope(wrapped)

    np.testing.assert_array_equal(leak(jnp.float32(0.25)), [0.25, 1.25, 1.25])
    np.testing.assert_array_equal(leak(jnp.float32(0.75)), [0.75, 1.75, 1.75])
    np.testing.assert_array_equal(slope(wrapped), plain)
