"""Random binary matrices with given row and column sums, by swaps.

A swap takes two ones, (a, c) and (b, d), whose crossed cells (a, d) and (b, c) are 0, and exchanges
ones and zeros: every row and column keeps its sum. A chain of swaps of ones drawn at random reaches
every matrix of these sums, and in the long run all of them equally often (Ryser 1957; Gotelli and
Entsminger 2001).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, Key

SWAPS_PER_ONE = 5
"""Swaps that are tried for each one of the matrix. Where two groups of rows begin without a common
column, less than a thousandth of what their shared ones lack is left then (94 × 320 cells, 0.3 to
50 % of them 1, columns of unequal sums)."""
_BLOCK = 256
"""Swaps between two draws of random numbers."""


def swap_ones(
    matrix: Bool[np.ndarray, "C K"],
    keys: Key[Array, " samples"],
    *,
    swaps_per_one: int = SWAPS_PER_ONE,
) -> Bool[np.ndarray, "samples C K"]:
    """Draw matrices with the row and column sums of `matrix`, all such equally likely.

    Examples:
      >>> matrix = np.array([[True, True, False], [False, True, False], [False, False, True]])
      >>> drawn = swap_ones(matrix, jax.random.split(jax.random.key(0), 50))
      >>> bool((drawn.sum(axis=1) == [1, 2, 1]).all() and (drawn.sum(axis=2) == [2, 1, 1]).all())
      True

    Args:
      matrix: where the chains start.
      keys: PRNG keys, one per sample.
      swaps_per_one: how many swaps are tried for each one, or zero where these are fewer.
    """
    matrix = np.asarray(matrix, bool)
    is_dense = 2 * matrix.sum() > matrix.size  # zeros swap as ones do
    cells = np.flatnonzero(matrix != is_dense)
    if not len(cells):
        return np.broadcast_to(matrix, (len(keys), *matrix.shape))
    # Room for all that there can be, so that matrices of one shape share a program.
    row, column = (np.zeros(matrix.size // 2, np.int32) for _ in range(2))
    row[: len(cells)], column[: len(cells)] = np.divmod(cells, matrix.shape[1])
    blocks = -(-swaps_per_one * len(cells) // _BLOCK)
    drawn = _swap(keys, matrix != is_dense, row, column, len(cells), blocks)
    return np.asarray(drawn) != is_dense


@jax.jit
def _swap(
    keys: Key[Array, " samples"],
    matrix: Bool[Array, "C K"],
    row: Int[Array, " room"],
    column: Int[Array, " room"],
    ones: Int[Array, ""],
    blocks: Int[Array, ""],
) -> Bool[Array, "samples C K"]:
    """Swap the first `ones` of the room's cells, in so many blocks of swaps."""
    start = row * matrix.shape[1]  # of each one's row in the flat matrix

    def swap(state: tuple[Array, Array], pair: Array) -> tuple[tuple[Array, Array], None]:
        flat, column = state
        straight, crossed = start[pair] + column[pair], start[pair] + column[pair[::-1]]
        taken = flat[crossed]
        is_swapped = ~taken.any()
        cells = jnp.concatenate([straight, crossed])
        values = jnp.concatenate([jnp.repeat(~is_swapped, 2), taken | is_swapped])
        columns = jnp.where(is_swapped, column[pair[::-1]], column[pair])
        return (flat.at[cells].set(values), column.at[pair].set(columns)), None

    def one_chain(key: Key[Array, ""]) -> Bool[Array, "C K"]:
        def swap_block(block: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            pairs = jax.random.randint(jax.random.fold_in(key, block), (_BLOCK, 2), 0, ones)
            return lax.scan(swap, state, pairs)[0]

        flat, _ = lax.fori_loop(0, blocks, swap_block, (matrix.ravel(), column))
        return flat.reshape(matrix.shape)

    return jax.vmap(one_chain)(keys)
