"""Align-corners bilinear upsampling as two small matrices (reference spec section 4, Q-4).

Output i of m samples the input of n at i·(n−1)/(m−1): the corners coincide. `jax.image.resize` uses
half-pixel centres and is not equivalent. U = R_y · A · R_xᵀ, with R_y [Y, h] and R_x [X, w].
"""

from __future__ import annotations

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
    source = np.arange(upsampled) * ((size - 1) / max(upsampled - 1, 1))
    lower = np.minimum(np.floor(source).astype(int), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    fraction = source - lower
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


def upsample_transposed(
    maps: Float[Array, "*B Y X"], size: tuple[int, int]
) -> Float[Array, "*B h w"]:
    """The transpose of `upsample_align_corners`: pixels [*B, Y, X] to the grid (h, w)."""
    rows = jnp.asarray(interpolation_matrix(size[0], maps.shape[-2]))
    columns = jnp.asarray(interpolation_matrix(size[1], maps.shape[-1]))
    return _product("...yw,yh->...hw", _product("...yx,xw->...yw", maps, columns), rows)


def _product(subscripts: str, first: Array, second: Array) -> Array:
    # Full precision on every backend: a predicted mask is a threshold on the result.
    return jnp.einsum(subscripts, first, second, precision=jax.lax.Precision.HIGHEST)
