"""Pooling and local response normalisation against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.networks.layers.pooling import average_pool, max_pool, normalise_local_responses


def _random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _windows(length, size, stride, padding, round_up):
    """First and last-plus-one position of every window along an axis, cut to the map."""
    windows, start = [], -padding
    while start + size <= length + padding:
        windows.append((start, start + size))
        start += stride
    hangs_over = windows and windows[-1][1] < length + padding
    if round_up and (hangs_over or not windows) and start < length:
        windows.append((start, start + size))
    return [(max(first, 0), min(last, length)) for first, last in windows]


def _max_pool_by_loop(images, size, stride, padding, round_up):
    rows, columns = (
        _windows(length, size, stride, padding, round_up) for length in images.shape[1:3]
    )
    result = np.empty((images.shape[0], len(rows), len(columns), images.shape[3]), images.dtype)
    for row, (top, bottom) in enumerate(rows):
        for column, (left, right) in enumerate(columns):
            result[:, row, column] = images[:, top:bottom, left:right].max((1, 2))
    return result


@st.composite
def _poolings(draw):
    size = draw(st.integers(1, 4))
    padding = draw(st.integers(0, size // 2))
    side = st.integers(max(1, size - 2 * padding), 9)
    return {
        "shape": (draw(side), draw(side)),
        "size": size,
        "stride": draw(st.integers(1, 3)),
        "padding": padding,
        "round_up": draw(st.booleans()),
    }


@given(_poolings(), st.integers(0, 2**32 - 1))
def test_max_pool_agrees_with_loops(pooling, seed):
    images = _random(seed, 2, *pooling["shape"], 3)
    size, stride, padding = pooling["size"], pooling["stride"], pooling["padding"]
    expected = _max_pool_by_loop(images, size, stride, padding, pooling["round_up"])
    found = max_pool(jnp.array(images), size, stride, padding=padding, round_up=pooling["round_up"])
    np.testing.assert_array_equal(found, expected)


@given(_poolings(), st.integers(0, 2**32 - 1))
def test_max_pool_agrees_with_torch(pooling, seed):
    torch = pytest.importorskip("torch")
    images = _random(seed, 2, *pooling["shape"], 3)
    expected = torch.nn.functional.max_pool2d(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        pooling["size"],
        pooling["stride"],
        pooling["padding"],
        ceil_mode=pooling["round_up"],
    )
    found = max_pool(
        jnp.array(images),
        pooling["size"],
        pooling["stride"],
        padding=pooling["padding"],
        round_up=pooling["round_up"],
    )
    np.testing.assert_array_equal(found, expected.permute(0, 2, 3, 1).numpy())


def test_max_pool_rounds_up_a_map_smaller_than_its_window():
    images = jnp.arange(4.0).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(max_pool(images, 3, 2, round_up=True), [[[[3.0]]]])


@pytest.mark.parametrize(("size", "shape"), [(1, (3, 4)), (2, (4, 6)), (2, (5, 7)), (3, (11, 9))])
def test_average_pool_takes_means_of_adjoining_windows(size, shape):
    images = _random(0, 2, *shape, 3)
    height, width = shape[0] // size, shape[1] // size
    expected = np.empty((2, height, width, 3))
    for row in range(height):
        for column in range(width):
            top, left = row * size, column * size
            expected[:, row, column] = images[:, top : top + size, left : left + size].mean((1, 2))
    # Means of up to nine values of order 1 in float32.
    np.testing.assert_allclose(average_pool(jnp.array(images), size), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3, 5, 8, 96])
@pytest.mark.parametrize(("size", "alpha", "beta"), [(5, 1e-4, 0.75), (3, 0.3, 0.5), (1, 0.1, 2.0)])
def test_local_response_normalisation_agrees_with_loops(channels, size, alpha, beta):
    images = 100 * _random(0, 2, 3, 4, channels)
    squares = np.square(images.astype(np.float64))
    expected = np.empty_like(squares)
    for channel in range(channels):
        first, last = max(channel - size // 2, 0), channel + size // 2 + 1
        total = squares[..., first:last].sum(-1)
        expected[..., channel] = images[..., channel] / (1 + alpha / size * total) ** beta
    found = normalise_local_responses(jnp.array(images), size=size, alpha=alpha, beta=beta)
    # A few roundings of float32.
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_local_response_normalisation_leaves_zeros_and_small_values():
    images = jnp.array([0.0, 1e-20, -1e-3]).reshape(1, 1, 1, 3)
    # 1 + 2e-5 · 1e-6 rounds to 1.
    np.testing.assert_array_equal(normalise_local_responses(images), images)


@pytest.mark.parametrize(
    "layer",
    [
        lambda images: max_pool(images, 3, 2, round_up=True),
        lambda images: max_pool(images, 3, 1, padding=1),
        lambda images: average_pool(images, 2),
        normalise_local_responses,
    ],
)
def test_bfloat16_stays_bfloat16(layer):
    images = jnp.array(100 * _random(0, 2, 6, 7, 8))
    exact, found = layer(images), jax.jit(layer)(images.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    # bfloat16 has 8 significant bits; a few roundings.
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=0.03, atol=1.0)
