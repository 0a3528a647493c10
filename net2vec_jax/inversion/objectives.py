"""What an image is optimised for: regularisers, features of another image, a direction's response.

All functions give one number per image, [N], so that a gradient of their sum optimises every image
for itself. Images [N, H, W, 3] are preprocessed, in the network's input space; activations are
[N, h, w, K], or [N, K] of a layer without places (reference behaviour 8.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError

AnyArray = Array | np.ndarray
ResponsePooling = Literal["mean", "centre", "max"]
"""How a direction's responses at all places of a layer become one number."""


@dataclass(frozen=True)
class Regularisers:
    """What keeps optimised images plain: weights and powers of behaviour 8.9.

    Attributes:
      alpha: power of the α-norm, at least 1.
      alpha_weight: of Σ |x|^α.
      beta: power of the total variation, at least 1.
      variation_weight: of Σ (dx² + dy²)^(β/2).
    """

    alpha: float = 6.0
    alpha_weight: float = 1e-5
    beta: float = 2.0
    variation_weight: float = 1e-5

    def __post_init__(self) -> None:
        powers = {"alpha": self.alpha, "beta": self.beta}
        for name, power in powers.items():
            if not power >= 1:
                raise Net2VecError(f"the power {name} must be at least 1, not {power}")
        weights = {"alpha_weight": self.alpha_weight, "variation_weight": self.variation_weight}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise Net2VecError(f"{name} must be a number from 0 on, not {weight}")

    def __call__(self, images: Float[AnyArray, "N H W 3"]) -> Float[Array, " N"]:
        """The weighted sum of both."""
        norm = self.alpha_weight * alpha_norm(images, self.alpha)
        return norm + self.variation_weight * total_variation(images, self.beta)


def alpha_norm(images: Float[AnyArray, "N H W 3"], alpha: float) -> Float[Array, " N"]:
    """Σ |x|^α over pixels and channels; its gradient at 0 is 0."""
    return _power_of_squares(images * images, alpha / 2).sum(axis=(1, 2, 3))


def total_variation(images: Float[AnyArray, "N H W 3"], beta: float) -> Float[Array, " N"]:
    """Σ (dx² + dy²)^(β/2) over pixels and channels, with differences to the right and below.

    Both are taken on (H - 1) × (W - 1) pixels (behaviour B-24); the gradient at a flat place is 0.
    """
    corner = images[:, :-1, :-1]
    right, below = images[:, :-1, 1:] - corner, images[:, 1:, :-1] - corner
    return _power_of_squares(right * right + below * below, beta / 2).sum(axis=(1, 2, 3))


def _power_of_squares(squares: AnyArray, power: float) -> Array:
    """squares^power, whose gradient at 0 would be infinite for powers below 1."""
    positive = squares > 0
    return jnp.where(positive, jnp.where(positive, squares, 1.0) ** power, 0.0)


def relative_error(
    features: Float[AnyArray, "N *places K"], target: Float[AnyArray, "N *places K"]
) -> Float[Array, " N"]:
    """‖Φ - Φ0‖² / ‖Φ0‖² of each image; infinite or NaN where all of the target is 0."""
    axes = tuple(range(1, target.ndim))
    return jnp.square(features - target).sum(axes) / jnp.square(target).sum(axes)


def symmetric_logarithm(values: Float[AnyArray, "*axes"]) -> Float[Array, "*axes"]:
    """sign(x) · log(1 + |x|), of slope 1 at 0: grows with x, in its relative changes far from 0."""
    return jnp.log1p(jnp.maximum(values, 0.0)) - jnp.log1p(jnp.maximum(-values, 0.0))


def direction_response(
    activations: Float[AnyArray, "N *places K"],
    directions: Float[AnyArray, "N K"],
    pooling: str = "mean",
) -> Float[Array, " N"]:
    """⟨w, A⟩ of each image with its own direction w, over all places in one number.

    Args:
      activations: [N, h, w, K] or [N, K].
      directions: one per image.
      pooling: "mean" over places, the place in the "centre", or the "max".

    Raises:
      Net2VecError: there is no such pooling.
    """
    activations = jnp.asarray(activations)
    if activations.ndim == 2:
        activations = activations[:, None, None]
    # A product and a sum: each image's result does not depend on how many there are.
    maps = (activations * directions[:, None, None]).sum(axis=-1)
    if pooling == "mean":
        return maps.mean(axis=(1, 2))
    if pooling == "max":
        return maps.max(axis=(1, 2))
    if pooling == "centre":
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    raise Net2VecError(f"pooling {pooling!r} is none of {', '.join(get_args(ResponsePooling))}")
