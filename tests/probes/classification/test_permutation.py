"""Keyed permutations are permutations, and as good as random."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.probes.classification.permutation import permute


def _permutations(size, count, seed=0):
    """`count` permutations of 0 … size - 1, [count, size]."""
    keys = jax.random.bits(jax.random.key(seed), (count, 1, 2), jnp.uint32)
    index = jnp.broadcast_to(jnp.arange(size), (count, size))
    sizes, keys = jnp.full(index.shape, size), jnp.broadcast_to(keys, (count, size, 2))
    return np.asarray(permute(index, sizes, keys))


@given(size=st.integers(1, 300), seed=st.integers(0, 1000))
def test_every_number_comes_once(size, seed):
    index = jnp.arange(300)  # always the same shape, which is compiled once
    key = jax.random.bits(jax.random.key(seed), (2,), jnp.uint32)
    found = permute(index, jnp.full(300, size), jnp.broadcast_to(key, (300, 2)))
    np.testing.assert_array_equal(np.sort(found[:size]), np.arange(size))


def test_large_ranges_are_permuted():
    size = 100_003
    found = _permutations(size, 1)[0]
    np.testing.assert_array_equal(np.sort(found), np.arange(size))
    # Neighbours do not stay neighbours.
    assert np.mean(np.abs(np.diff(found)) < 100) < 0.01


def test_results_are_uniform():
    """χ² per degree of freedom of where the first and the last element go; it is 1 on average."""
    for size in (2, 5, 64):
        found = _permutations(size, 20_000, seed=size)
        for place in (0, size - 1):
            counts = np.bincount(found[:, place], minlength=size)
            expected = len(found) / size
            chi_square = ((counts - expected) ** 2 / expected).sum() / (size - 1)
            # The 99.99 % point with 1 degree of freedom is 15; with 99 degrees 1.6.
            assert chi_square < 1 + 10 / np.sqrt(size - 1), (size, place, chi_square)


def test_other_keys_give_other_orders():
    found = _permutations(50, 200)
    assert len({tuple(row) for row in found}) == 200
    # Two random permutations of 50 agree in one place on average.
    agreements = (found[:100] == found[100:]).sum(axis=1)
    assert 0.6 < agreements.mean() < 1.5


def test_indices_out_of_range_stay_harmless():
    key = jnp.zeros((3, 2), jnp.uint32)
    found = permute(jnp.array([5, 100, 0]), jnp.array([3, 3, 1]), key)
    assert ((found >= 0) & (found < jnp.array([3, 3, 1]))).all()
