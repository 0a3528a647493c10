"""Keyed permutations: the i-th element of a random order, without drawing the whole order.

A concept's negatives are nearly all images. To draw a few of them without replacement, anew in
every epoch and for every concept, we number them and push the numbers 0, 1, 2 … through a
pseudorandom permutation: a Feistel network on the smallest even number of bits that holds the
range, walked on until the result lies in the range. Every element costs the same few operations, on
any device, and needs no memory.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

ROUNDS = 6


def _mix(values: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """A bijection of 32 bits in which every bit of the result depends on every bit of the input."""
    values = (values ^ (values >> 16)) * jnp.uint32(0x7FEB352D)
    values = (values ^ (values >> 15)) * jnp.uint32(0x846CA68B)
    return values ^ (values >> 16)


@jax.jit
def permute(
    index: Int[Array, "*shape"], size: Int[Array, "*shape"], key: UInt32[Array, "*shape 2"]
) -> Int[Array, "*shape"]:
    """Where a random permutation of 0 … size - 1 sends `index`.

    For one key and size, the results of 0 … size - 1 are these numbers in another order. Over keys,
    every result is equally likely, and pairs of results nearly so.

    Args:
      index: in 0 … size - 1; elsewhere the result means nothing.
      size: at least 1 and at most 2^30.
      key: two words that choose the permutation, as `jax.random.bits` draws them.

    Returns:
      int32, in 0 … size - 1.
    """
    size = size.astype(jnp.uint32)
    last = jnp.maximum(size, 2) - 1
    half = (33 - jax.lax.clz(last)) // 2  # bits of either half, at least 1
    mask = (jnp.uint32(1) << half) - 1

    def encrypt(values: Array) -> Array:
        left, right = values >> half, values & mask
        for number in range(ROUNDS):
            word = key[..., number % 2] + jnp.uint32(0x9E3779B9 * (number + 1) & 0xFFFFFFFF)
            left, right = right, left ^ (_mix(_mix(right + word) ^ key[..., 1 - number % 2]) & mask)
        return (left << half) | right

    def walk(values: Array) -> Array:
        return jnp.where(values < size, values, encrypt(values))

    def rotate(values: Array, number: int) -> Array:
        """A few bits permute little, so the range is turned by chance at either end as well."""
        turn = _mix(_mix(key[..., 0] + jnp.uint32(number)) ^ key[..., 1]) % size
        return (values + turn) % size

    start = encrypt(rotate(jnp.minimum(index.astype(jnp.uint32), size - 1), 1))
    walked = jax.lax.while_loop(lambda values: (values >= size).any(), walk, start)
    return rotate(walked, 2).astype(jnp.int32)
