"""The classification probe's model: a logit per image and head (reference spec, section 6.2)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationHeads:
    """G groups of R heads each over K filters.

    Attributes:
      filter_mask: bool [G, R, K], the filters that a head may use.
      initial_weights: float32 [G, R, K].
      initial_bias: float32 [G, R].
    """

    filter_mask: np.ndarray
    initial_weights: np.ndarray
    initial_bias: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.initial_weights)
        if (
            len(shape) != 3
            or np.shape(self.filter_mask) != shape
            or np.shape(self.initial_bias) != shape[:2]
        ):
            raise Net2VecError(
                f"filter masks {np.shape(self.filter_mask)}, initial weights {shape} and bias "
                f"{np.shape(self.initial_bias)}; expected [groups, heads, filters], the bias "
                "without filters"
            )

    def __len__(self) -> int:
        return len(self.initial_weights)


def score(
    weights: Float[Array, "G R K"],
    bias: Float[Array, "G R"],
    pooled: Float[Array, "P G B K"],
) -> Float[Array, "G B R"]:
    """Logits of B images for every head (spec 6.2).

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
