"""Swaps keep both margins and reach every matrix that has them, all equally often."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net2vec_jax.stats import swaps
from net2vec_jax.stats.swaps import swap_ones


def draw_matrix(seed: int, density: float, shape: tuple[int, int] = (8, 20)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < density * 2 * rng.random(shape[1])  # columns of unequal sums


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0, 0.1, 0.5, 0.9, 1]))
def test_both_margins_are_kept(seed: int, density: float) -> None:
    matrix = draw_matrix(seed, density)
    drawn = swap_ones(matrix, jax.random.split(jax.random.key(seed), 5))
    assert drawn.shape == (5, *matrix.shape) and drawn.dtype == bool
    for axis in (0, 1):
        expected = matrix.sum(axis=axis)
        np.testing.assert_array_equal(drawn.sum(axis=axis + 1), np.stack([expected] * 5))


def test_keys_draw_different_matrices_and_the_same_again() -> None:
    matrix = draw_matrix(0, 0.3)
    keys = jax.random.split(jax.random.key(1), 6)
    drawn = swap_ones(matrix, keys)
    assert len({each.tobytes() for each in (matrix, *drawn)}) == 7
    np.testing.assert_array_equal(swap_ones(matrix, keys[2:3])[0], drawn[2])


@pytest.mark.parametrize("is_dense", [False, True])
def test_all_matrices_of_the_margins_are_equally_likely(is_dense: bool) -> None:
    # Of the matrices of 3 × 4 with these sums there are 20; 4,000 draws give each 200 ± 14.
    matrix = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]], bool) != is_dense
    cells = (np.array(bits, bool).reshape(3, 4) for bits in itertools.product((0, 1), repeat=12))
    possible = [
        each.tobytes()
        for each in cells
        if all((each.sum(axis) == matrix.sum(axis)).all() for axis in (0, 1))
    ]
    drawn = swap_ones(matrix, jax.random.split(jax.random.key(0), 4000))
    counts = np.array([sum(each.tobytes() == one for each in drawn) for one in possible])
    assert counts.sum() == 4000
    chi_square = ((counts - 4000 / len(possible)) ** 2).sum() / (4000 / len(possible))
    assert chi_square < len(possible) + 4 * np.sqrt(2 * len(possible))


def test_no_trace_is_left_of_where_chains_start() -> None:
    # Two groups of rows without a common column; a chain forgets it.
    matrix = np.zeros((20, 40), bool)
    for row, ones in enumerate(matrix):
        ones[(np.arange(4) * 5 + row // 2) % 20 + 20 * (row % 2)] = True
    keys = jax.random.split(jax.random.key(0), 200)

    def count_shared(swaps_per_one: int) -> np.ndarray:
        drawn = swap_ones(matrix, keys, swaps_per_one=swaps_per_one)
        return (drawn[:, ::2].sum(axis=1) * drawn[:, 1::2].sum(axis=1)).sum(axis=-1)

    short, long = count_shared(swaps.SWAPS_PER_ONE), count_shared(60)
    error = np.hypot(short.std(), long.std()) / np.sqrt(200)
    assert long.mean() > 15
    assert abs(short.mean() - long.mean()) < 4 * error
