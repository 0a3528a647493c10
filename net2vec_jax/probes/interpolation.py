"""Align-corners bilinear upsampling as two small matrices (reference behaviour 4, Q-4).

Output i of m samples the input of n at i·(n−1)/(m−1): the corners coincide. `jax.image.resize` uses
half-pixel centres and is not equivalent. U = R_y · A · R_xᵀ, with R_y [Y, h] and R_x [X, w].

A row of R has two entries at most, so on a CPU the rows are looked up and blended instead of
multiplied: a third of the arithmetic. That vectorizes where rows are the first axis, so the probes
keep maps as [h, c, w] and pixels as [Y, c, X].
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def interpolation_matrix(size: int, upsampled: int) -> np.ndarray:
    """The matrix float32 [upsampled, size] that interpolates along one axis; its rows sum to 1.

    Args:
      size: n, positions of the input, at least 1.
      upsampled: m, positions of the output, at least 1; m = 1 samples the first input.
    """
    lower, upper, fraction = _neighbours(size, upsampled)
    matrix = np.zeros((upsampled, size))
    np.add.at(matrix, (np.arange(upsampled), lower), 1 - fraction)
    np.add.at(matrix, (np.arange(upsampled), upper), fraction)
    return matrix.astype(np.float32)


def upsample_align_corners(
    maps: Float[Array, "*B h w"], size: tuple[int, int]
) -> Float[Array, "*B Y X"]:
    """Upsample `maps` [*B, h, w] to [*B, Y, X], where `size` is (Y, X)."""
    rows = jnp.asarray(interpolation_matrix(maps.shape[-2], size[0]))
    columns = jnp.asarray(interpolation_matrix(maps.shape[-1], size[1]))
    # Rows first: on a CPU the other order is a third slower.
    return _product("...yw,xw->...yx", _product("yh,...hw->...yw", rows, maps), columns)


def upsample_rows(maps: Float[Array, "h c w"], size: tuple[int, int]) -> Float[Array, "Y c X"]:
    """Upsample c maps whose rows are the first axis to `size` (Y, X); where a map is 0, exactly 0.

    By looking rows up on a CPU, by matrix products elsewhere.
    """
    return jax.lax.platform_dependent(
        maps, cpu=partial(look_up_rows, size=size), default=partial(multiply_rows, size=size)
    )


def upsample_rows_transposed(
    pixels: Float[Array, "Y c X"], size: tuple[int, int]
) -> Float[Array, "h c w"]:
    """The transpose of `upsample_rows`: pixels to the grid `size` (h, w)."""
    return jax.lax.platform_dependent(
        pixels,
        cpu=partial(look_up_rows_transposed, size=size),
        default=partial(multiply_rows_transposed, size=size),
    )


def multiply_rows(maps: Float[Array, "h c w"], size: tuple[int, int]) -> Float[Array, "Y c X"]:
    """`upsample_rows` by two matrix products."""
    rows = jnp.asarray(interpolation_matrix(maps.shape[0], size[0]))
    return _product("yh,hcx->ycx", rows, _upsample_columns(maps, size[1]))


def multiply_rows_transposed(
    pixels: Float[Array, "Y c X"], size: tuple[int, int]
) -> Float[Array, "h c w"]:
    """`upsample_rows_transposed` by two matrix products."""
    rows = jnp.asarray(interpolation_matrix(size[0], pixels.shape[0]))
    return _downsample_columns(_product("yh,ycx->hcx", rows, pixels), size[1])


def look_up_rows(maps: Float[Array, "h c w"], size: tuple[int, int]) -> Float[Array, "Y c X"]:
    """`upsample_rows` with every row a blend of two rows of the grid."""
    lower, upper, fraction = _neighbours(maps.shape[0], size[0])
    wide = _upsample_columns(maps, size[1])
    weight = jnp.asarray(fraction, wide.dtype)[:, None, None]
    return _take(wide, lower) * (1 - weight) + _take(wide, upper) * weight


def look_up_rows_transposed(
    pixels: Float[Array, "Y c X"], size: tuple[int, int]
) -> Float[Array, "h c w"]:
    """`upsample_rows_transposed` with every row of the grid a sum over the few rows near it."""
    matrix = interpolation_matrix(size[0], pixels.shape[0])  # [Y, h]
    used = [np.flatnonzero(column) for column in matrix.T]
    first = np.array([rows[0] if len(rows) else 0 for rows in used])
    reach = max((rows[-1] - rows[0] + 1 for rows in used if len(rows)), default=0)
    total = jnp.zeros((size[0], *pixels.shape[1:]), pixels.dtype)
    for offset in range(reach):
        row = np.minimum(first + offset, len(matrix) - 1)
        weight = matrix[row, np.arange(size[0])] * (first + offset < len(matrix))
        total += _take(pixels, row) * jnp.asarray(weight, pixels.dtype)[:, None, None]
    return _downsample_columns(total, size[1])


def _neighbours(size: int, upsampled: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two inputs between which each output lies, and how far it is towards the second."""
    source = np.arange(upsampled) * ((size - 1) / max(upsampled - 1, 1))
    lower = np.minimum(np.floor(source).astype(int), size - 1)
    return lower, np.minimum(lower + 1, size - 1), source - lower


def _take(values: Array, rows: np.ndarray) -> Array:
    return values.at[rows.astype(np.int32)].get(mode="promise_in_bounds")


def _upsample_columns(maps: Float[Array, "h c w"], columns: int) -> Float[Array, "h c X"]:
    return _product("hcw,xw->hcx", maps, jnp.asarray(interpolation_matrix(maps.shape[2], columns)))


def _downsample_columns(pixels: Float[Array, "h c X"], columns: int) -> Float[Array, "h c w"]:
    matrix = jnp.asarray(interpolation_matrix(columns, pixels.shape[2]))
    return _product("hcx,xw->hcw", pixels, matrix)


def _product(subscripts: str, first: Array, second: Array) -> Array:
    # Full precision on every backend: a predicted mask is a threshold on the result.
    return jnp.einsum(subscripts, first, second, precision=jax.lax.Precision.HIGHEST)
