"""Layers without weights that look at a neighbourhood: pooling and local response normalisation."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]  # (above, below), (left, right)


def max_pool(
    images: Float[Array, "N H W K"],
    size: int,
    stride: int,
    *,
    padding: int = 0,
    round_up: bool = False,
) -> Float[Array, "N h w K"]:
    """Largest value in windows of size × size.

    Args:
      images: maps.
      size: of the window along either side.
      stride: along either axis.
      padding: pixels added on every side, which never win.
      round_up: also take a last window that hangs over the right or lower edge, as Caffe and
        torch's `ceil_mode` do, unless it begins beyond the map and its padding.
    """
    rows, columns = (
        _pool_pads(length, size, stride, padding, round_up=round_up) for length in images.shape[1:3]
    )

    def pool_rows_then_columns(images: Array) -> Array:
        highest = _largest_in_windows(images, (size, 1), (stride, 1), (rows, (0, 0)))
        return _largest_in_windows(highest, (1, size), (1, stride), ((0, 0), columns))

    # On CPU two passes take a third to a sixth of the time of one over whole windows.
    return lax.platform_dependent(
        images,
        cpu=pool_rows_then_columns,
        default=lambda images: _largest_in_windows(
            images, (size, size), (stride, stride), (rows, columns)
        ),
    )


def _largest_in_windows(
    images: Array, sizes: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> Array:
    return lax.reduce_window(
        images,
        jnp.array(-jnp.inf, images.dtype),
        lax.max,
        (1, *sizes, 1),
        (1, *strides, 1),
        ((0, 0), *pads, (0, 0)),
    )


def _pool_pads(
    length: int, size: int, stride: int, padding: int, *, round_up: bool
) -> tuple[int, int]:
    """Pixels before and after an axis so that all windows, and only those, fit."""
    room = length + 2 * padding - size
    outputs = (-(-room // stride) if round_up else room // stride) + 1
    if round_up and (outputs - 1) * stride >= length + padding:
        outputs -= 1
    return padding, max((outputs - 1) * stride + size - length - padding, 0)


def average_pool(images: Float[Array, "N H W K"], size: int) -> Float[Array, "N h w K"]:
    """Means of adjoining windows of size × size; what is left at the edge is dropped."""
    height, width = (length // size for length in images.shape[1:3])
    taps = [
        images[:, row : row + size * height : size, column : column + size * width : size]
        for row in range(size)
        for column in range(size)
    ]
    return functools.reduce(jnp.add, taps) / (size * size)


def adaptive_average_pool(
    images: Float[Array, "N H W K"], height: int, width: int
) -> Float[Array, "N height width K"]:
    """Means over height × width windows that cover the map, as torch's AdaptiveAvgPool2d.

    Window i of n along an axis of length s covers ⌊i·s/n⌋ … ⌈(i+1)·s/n⌉ − 1; neighbours overlap
    where n does not divide s.
    """
    for axis, outputs in ((1, height), (2, width)):
        size = images.shape[axis]
        if size == outputs:
            continue
        windows = [
            lax.slice_in_dim(
                images, i * size // outputs, -(-(i + 1) * size // outputs), axis=axis
            ).mean(axis, keepdims=True)
            for i in range(outputs)
        ]
        images = jnp.concatenate(windows, axis)
    return images


def normalise_local_responses(
    images: Float[Array, "N H W K"], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Float[Array, "N H W K"]:
    """Local response normalisation across channels, as Caffe's LRN layer.

    x / (1 + alpha / size · Σ x²)^beta, with the sum over the `size` channels around each; channels
    beyond the first and the last count as 0. Computed in float32.

    Args:
      images: maps.
      size: an odd number of channels.
      alpha: weight of the mean square.
      beta: exponent.
    """
    half = size // 2
    channels = images.shape[3]
    wide = images.astype(jnp.float32)
    squares = jnp.pad(jnp.square(wide), ((0, 0), (0, 0), (0, 0), (half, half)))
    taps = [squares[..., shift : shift + channels] for shift in range(size)]
    base = 1.0 + (alpha / size) * functools.reduce(jnp.add, taps)
    if beta == 0.75:  # Caffe's default; a general power takes six times as long on CPU
        root = lax.rsqrt(base)
        factor = root * lax.sqrt(root)
    else:
        factor = jnp.power(base, -beta)
    return (wide * factor).astype(images.dtype)
