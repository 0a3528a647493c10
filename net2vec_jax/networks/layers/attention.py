"""Attention with several heads (Vaswani et al. 2017), as vision transformers use it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import PRECISION


def attend(
    queries: Float[Array, "*batch Q D"],
    keys: Float[Array, "*batch L D"],
    values: Float[Array, "*batch L D"],
    heads: int,
    bias: Float[Array, ...] | None = None,
) -> Float[Array, "*batch Q D"]:
    """softmax(queries · keysᵀ / √(D / heads) + bias) · values, for each head by itself.

    Args:
      queries: of the tokens that look; the heads divide the channels between them.
      keys: of the tokens that are looked at.
      values: of the tokens that are looked at.
      heads: their number.
      bias: added to the scores, of a shape that broadcasts to [*batch, heads, Q, L].
    """
    width = queries.shape[-1] // heads
    # Heads first: over [..., tokens, heads, width] XLA's fusion on CPUs takes up to three times as
    # long.
    queries, keys, values = (
        tokens.reshape(*tokens.shape[:-1], heads, width).swapaxes(-2, -3)
        for tokens in (queries * width**-0.5, keys, values)
    )
    scores = jnp.matmul(queries, keys.swapaxes(-1, -2), precision=PRECISION)
    if bias is not None:
        scores = scores + bias
    taken = jnp.matmul(jax.nn.softmax(scores, axis=-1), values, precision=PRECISION)
    taken = taken.swapaxes(-2, -3)
    return taken.reshape(*taken.shape[:-2], heads * width)
