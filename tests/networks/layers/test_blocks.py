"""Building blocks against plain loops and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import jit_once

from net2vec_jax.networks.layers.blocks import (
    Convolution,
    Linear,
    _explicit_padding,
    convolve,
    draw_normal,
    sum_shifted,
)
from net2vec_jax.networks.layers.pooling import adaptive_average_pool, max_pool


def _convolve_by_loops(images, kernel, stride, padding):
    padded = np.pad(images.astype(np.float64), ((0, 0), *padding, (0, 0)))
    rows, columns, _, _ = kernel.shape
    height = (padded.shape[1] - rows) // stride + 1
    width = (padded.shape[2] - columns) // stride + 1
    result = np.empty((images.shape[0], height, width, kernel.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            window = padded[:, top : top + rows, left : left + columns]
            result[:, row, column] = np.einsum("nhwi,hwio->no", window, kernel)
    return result


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# Sums of up to 50 products of order 1 in float32.
ATOL = 1e-5


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(6, 7), (9, 8)])
def test_depthwise_forms_agree_with_loops(size, stride, shape):
    images, kernel = _random(0, 2, *shape, 4), _random(1, size, size, 1, 4)
    padding = tuple(jax.lax.padtype_to_pads(shape, (size, size), (stride, stride), "SAME"))
    diagonal = kernel * np.eye(4, dtype=np.float32)[None, None]
    expected = _convolve_by_loops(images, diagonal, stride, padding)
    shifted = sum_shifted(jnp.array(images), jnp.array(kernel), stride, padding)
    grouped = convolve(jnp.array(images), jnp.array(kernel), stride, padding, groups=4)
    np.testing.assert_allclose(shifted, expected, atol=ATOL)
    np.testing.assert_allclose(grouped, expected, atol=ATOL)


@pytest.mark.parametrize(
    ("size", "stride", "shape"), [(3, 1, (7, 6)), (5, 2, (14, 9)), (3, 2, (8, 8)), (1, 2, (7, 6))]
)
@pytest.mark.parametrize("padding", ["SAME", 0])
def test_gradients_of_a_depthwise_convolution_are_those_of_xla(size, stride, shape, padding):
    images, kernel = _random(size, 2, *shape, 4), _random(size + 1, size, size, 1, 4)
    pads = _explicit_padding(padding, shape, (size, size), stride)
    results = jax.eval_shape(
        lambda *inputs: convolve(*inputs, stride, pads, groups=4), images, kernel
    )
    gradient = _random(size + 2, *results.shape)

    @functools.partial(jit_once, static_argnums=0)
    def differentiate(function, images, kernel, gradient):
        values, pull = jax.vjp(
            functools.partial(function, stride=stride, padding=pads), images, kernel
        )
        return values, *pull(gradient)

    expected, own = (
        differentiate(function, images, kernel, gradient)
        for function in (functools.partial(convolve, groups=4), sum_shifted)
    )
    np.testing.assert_allclose(own[0], expected[0], atol=1e-5)
    for found, other in zip(own[1:], expected[1:], strict=True):
        np.testing.assert_allclose(found, other, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "pads"),
    [
        (1, 1, "SAME", ((0, 0), (0, 0))),
        (1, 1, 0, ((0, 0), (0, 0))),
        (1, 1, 1, ((1, 1), (1, 1))),
        (1, 2, 0, ((0, 0), (0, 0))),
        (3, 1, 1, ((1, 1), (1, 1))),
        (3, 2, "SAME", ((0, 1), (1, 1))),  # 8 × 7: the odd pixel goes below
    ],
)
def test_convolution_agrees_with_loops(size, stride, padding, pads):
    layer = Convolution(3, 5, size, stride=stride, padding=padding, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(5.0)
    images = _random(0, 2, 8, 7, 3)
    expected = _convolve_by_loops(images, np.asarray(layer.kernel[...]), stride, pads)
    np.testing.assert_allclose(layer(jnp.array(images)), expected + np.arange(5.0), atol=ATOL)


def test_linear_is_a_matrix_product():
    layer = Linear(4, 3, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(3.0)
    vectors = _random(0, 2, 4)
    expected = vectors @ np.asarray(layer.kernel[...]) + np.arange(3.0)
    np.testing.assert_allclose(layer(jnp.array(vectors)), expected, atol=ATOL)


def test_max_pool_takes_the_largest_of_overlapping_windows():
    images = jnp.arange(49.0).reshape(1, 7, 7, 1)
    expected = [[16, 18, 20], [30, 32, 34], [44, 46, 48]]
    np.testing.assert_array_equal(max_pool(images, 3, 2)[0, :, :, 0], expected)


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (12, 13), (1, 2), (3, 20)])
def test_adaptive_average_pool_takes_means_of_its_windows(shape):
    images = _random(0, 2, *shape, 3)
    expected = np.empty((2, 6, 6, 3))
    for row in range(6):
        top, bottom = row * shape[0] // 6, -(-(row + 1) * shape[0] // 6)
        for column in range(6):
            left, right = column * shape[1] // 6, -(-(column + 1) * shape[1] // 6)
            expected[:, row, column] = images[:, top:bottom, left:right].mean((1, 2))
    found = adaptive_average_pool(jnp.array(images), 6, 6)
    np.testing.assert_allclose(found, expected, atol=ATOL)


def test_adaptive_average_pool_changes_nothing_at_its_own_size():
    images = jnp.array(_random(0, 2, 6, 6, 3))
    np.testing.assert_array_equal(adaptive_average_pool(images, 6, 6), images)


@pytest.mark.parametrize("shape", [(), (1,), (3, 3, 5, 7), (2, 4, 8), (2**14 + 1,)])
def test_random_kernels_are_those_that_jax_draws(shape: tuple[int, ...]) -> None:
    key = jax.random.key(3)
    drawn = draw_normal(0.5, key, shape)
    np.testing.assert_array_equal(drawn, 0.5 * jax.random.normal(key, shape))
