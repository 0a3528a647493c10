"""The classification probe's model: a logit per image and head (reference behaviour 6.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def score(
    weights: Float[Array, "G R K"],
    bias: Float[Array, "G R"],
    pooled: Float[Array, "P G B K"],
) -> Float[Array, "G B R"]:
    """Logits of B images for every head (behaviour 6.2).

    Args:
      weights: of the heads.
      bias: of the heads.
      pooled: the images' pooled activations: P = 1, or P = 2 with the maximum, which positive
        weights multiply, and the minimum, which negative ones do.
    """
    parts = [weights] if len(pooled) == 1 else [jnp.maximum(weights, 0), jnp.minimum(weights, 0)]
    products = [
        jnp.einsum("gbk,grk->gbr", values, part, precision=jax.lax.Precision.HIGHEST)
        for values, part in zip(pooled, parts, strict=True)
    ]
    return sum(products[1:], start=products[0]) + bias[:, None, :]


def weight_gradient(
    weights: Float[Array, "G R K"], error: Float[Array, "G B R"], pooled: Float[Array, "P G B K"]
) -> Float[Array, "G R K"]:
    """Gradient with respect to the weights, from that with respect to the logits.

    Args:
      weights: of the heads.
      error: gradient with respect to the logits.
      pooled: the images' pooled activations, see `score`.
    """
    parts = [
        jnp.einsum("gbr,gbk->grk", error, values, precision=jax.lax.Precision.HIGHEST)
        for values in pooled
    ]
    return parts[0] if len(parts) == 1 else jnp.where(weights >= 0, parts[0], parts[1])
