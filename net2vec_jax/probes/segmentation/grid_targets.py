"""Masks brought to the activation grid: how much of a concept lies near each of its positions.

The transpose of the upsampling: with z = R·s at the pixels, Σ_pixels t·z = Σ_positions (Rᵀt)·s. A
position stands for mass Rᵀ1 pixels, of which Rᵀt are the concept's.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.interpolation import interpolation_matrix, upsample_rows_transposed
from net2vec_jax.probes.segmentation.model import unpack_masks

MASKS_AT_ONCE = 256


def mass_of_positions(
    grid: tuple[int, int], segmentation_size: tuple[int, int]
) -> Float[np.ndarray, " p"]:
    """Pixels that each position y·w + x of the grid (h, w) stands for; they add up to Y·X."""
    rows, columns = (
        interpolation_matrix(size, upsampled).sum(0, dtype=np.float64)
        for size, upsampled in zip(grid, segmentation_size, strict=True)
    )
    return np.outer(rows, columns).reshape(-1).astype(np.float32)


def bring_to_grid(
    masks: ConceptMasks, pairs: Int[np.ndarray, " n"], grid: tuple[int, int]
) -> Float[np.ndarray, "n p"]:
    """Pixels of these pairs' masks near each position; a row adds up to the mask's area.

    Args:
      masks: the concepts' masks.
      pairs: which.
      grid: (h, w) of the activations.
    """
    count = -(-len(pairs) // MASKS_AT_ONCE) * MASKS_AT_ONCE
    place = np.minimum(np.arange(count), max(len(pairs) - 1, 0))
    chosen = np.asarray(pairs)[place].reshape(-1, MASKS_AT_ONCE) if len(pairs) else place
    out = np.empty((count, grid[0] * grid[1]), np.float32)
    for number, chunk in enumerate(chosen):
        part = _bring_chunk(masks.packed[chunk], rows=masks.segmentation_size[0], grid=grid)
        out[number * MASKS_AT_ONCE :][:MASKS_AT_ONCE] = part
    return out[: len(pairs)]


@partial(jax.jit, static_argnames=("rows", "grid"))
def _bring_chunk(
    packed: UInt8[Array, "c bytes X"], *, rows: int, grid: tuple[int, int]
) -> Float[Array, "c p"]:
    pixels = unpack_masks(packed, rows).astype(jnp.float32)
    return upsample_rows_transposed(pixels, grid).transpose(1, 0, 2).reshape(len(packed), -1)
