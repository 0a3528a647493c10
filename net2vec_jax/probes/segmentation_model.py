"""The segmentation model and its loss on a chunk of pairs (reference spec 5.2, 5.4, 5.5).

z = upsample(Σ_k m_k w_k 1[A_k > T_k]), p = σ(z), no bias. The loss per image is linear in p (Q-8):
  ℓ = −Σ_pixels [a·t·p + b·(1−t)·(1−p)],  a = α, b = 1−α (both 1 for whole-image concepts),
so that ∂ℓ/∂z = −((a+b)·t − b)·p·(1−p) in closed form; no autodiff, no stored activations.
H heads, P (concept, image) pairs, c pairs per chunk.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import upsample_align_corners, upsample_transposed
from net2vec_jax.probes.score_maps import (
    DeviceActivations,
    Form,
    add_weight_gradients,
    place_activations,
    score_maps,
)

Loss = Literal["linear", "bce"]


class ProbeData(NamedTuple):
    """What the probe reads, on the device."""

    activations: DeviceActivations
    pair_image: Int[Array, " P"]
    masks: UInt8[Array, "P bytes X"]
    area: Float[Array, " P"]  # pixels of each mask


class ClassWeights(NamedTuple):
    """Weight of a concept's own pixels and of the others, per head (spec 5.4)."""

    positive: Float[Array, " H"]
    negative: Float[Array, " H"]


class Geometry(NamedTuple):
    """Sizes of the activation grid (h, w) and of the segmentation grid (Y, X); static."""

    grid: tuple[int, int]
    segmentation_size: tuple[int, int]

    @property
    def positions(self) -> int:
        """h·w."""
        return self.grid[0] * self.grid[1]


def place_data(
    activations: BinaryActivations, masks: ConceptMasks, form: Form | None = None
) -> tuple[ProbeData, Geometry]:
    """Put what the probe reads on the default device.

    Raises:
      Net2VecError: activations and masks are not of the same images.
    """
    if len(activations) != len(masks.is_val):
        raise Net2VecError(
            f"activations of {len(activations)} images, but masks of {len(masks.is_val)}"
        )
    data = ProbeData(
        place_activations(activations, form),
        jnp.asarray(masks.pair_image),
        jnp.asarray(masks.packed),
        jnp.asarray(masks.area, jnp.float32),
    )
    return data, Geometry(activations.grid, masks.segmentation_size)


def unpack_masks(packed: UInt8[Array, "c bytes X"], rows: int) -> Bool[Array, "c Y X"]:
    """Masks from their packed form (see `ConceptMasks`)."""
    bits = (packed[:, :, None, :] >> jnp.arange(8, dtype=jnp.uint8)[None, None, :, None]) & 1
    return bits.reshape(len(packed), -1, packed.shape[-1])[:, :rows] != 0


def pixel_loss(
    z: Float[Array, "c Y X"],
    target: Float[Array, "c Y X"],
    area: Float[Array, " c"],
    positive: Float[Array, " c"],
    negative: Float[Array, " c"],
    loss: Loss,
) -> tuple[Float[Array, " c"], Float[Array, "c Y X"]]:
    """Loss summed over the pixels of each image, and its gradient with respect to z (spec 5.5).

    Args:
      z: scores at the pixels.
      target: 0 or 1.
      area: pixels of each target that are 1.
      positive: weight of the pixels of the concept.
      negative: weight of the others.
      loss: "linear" or "bce".
    """
    a, b = positive[:, None, None], negative[:, None, None]
    if loss == "linear":
        # The barrier keeps XLA from computing the sigmoid twice, for the sum and for the gradient.
        p = jax.lax.optimization_barrier(jax.nn.sigmoid(z))
        coefficient = (a + b) * target - b
        # a·t·p + b·(1−t)·(1−p) = coefficient·p + b·(1−t), for a binary t
        others = z.shape[1] * z.shape[2] - area
        return -sum_pixels(coefficient * p) - negative * others, -coefficient * p * (1 - p)
    p = jax.nn.sigmoid(z)
    value = a * target * jax.nn.softplus(-z) + b * (1 - target) * jax.nn.softplus(z)
    return sum_pixels(value), b * (1 - target) * p - a * target * (1 - p)


def sum_pixels(values: Float[Array, "c Y X"]) -> Float[Array, " c"]:
    """Sum over the pixels; as a matrix product, since XLA's CPU reductions do not vectorize."""
    ones = jnp.ones(values.shape[-1], values.dtype)
    rows = jnp.einsum("cyx,x->cy", values, ones, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(rows, axis=-1)


def score_pixels(
    weights: Float[Array, "H K"],
    head: Int[Array, " c"],
    image: Int[Array, " c"],
    data: ProbeData,
    geometry: Geometry,
) -> Float[Array, "c Y X"]:
    """z of every pixel; the prediction is z > 0, which is p > 0.5 strictly (spec 5.2)."""
    scores = score_maps(weights, head, image, data.activations, geometry.positions)
    return upsample_align_corners(scores.reshape(-1, *geometry.grid), geometry.segmentation_size)


def loss_and_gradient(
    weights: Float[Array, "H K"],
    gradient: Float[Array, "H K"],
    head: Int[Array, " c"],
    pair: Int[Array, " c"],
    scale: Float[Array, " c"],
    data: ProbeData,
    class_weights: ClassWeights,
    *,
    geometry: Geometry,
    loss: Loss,
) -> tuple[Float[Array, " c"], Float[Array, "H K"]]:
    """Loss of c pairs, and `gradient` plus their gradients, each multiplied by the pair's scale."""
    image = data.pair_image[pair]
    z = score_pixels(weights, head, image, data, geometry)
    target = unpack_masks(data.masks[pair], geometry.segmentation_size[0]).astype(jnp.float32)
    value, pixel_gradient = pixel_loss(
        z,
        target,
        data.area[pair],
        class_weights.positive[head],
        class_weights.negative[head],
        loss,
    )
    score_gradient = upsample_transposed(pixel_gradient, geometry.grid)
    score_gradient = score_gradient.reshape(-1, geometry.positions) * scale[:, None]
    return value, add_weight_gradients(gradient, head, image, data.activations, score_gradient)


def class_weights_of(masks: ConceptMasks, heads: Heads) -> tuple[ClassWeights, np.ndarray]:
    """Class weights (α, 1−α) of each head, (1, 1) where α is exactly 0; and α, float64 [H]."""
    alpha = 1 - masks.train_coverage()[heads.concept]
    whole = alpha == 0
    positive = np.where(whole, 1, alpha).astype(np.float32)
    negative = np.where(whole, 1, 1 - alpha).astype(np.float32)
    return ClassWeights(jnp.asarray(positive), jnp.asarray(negative)), alpha
