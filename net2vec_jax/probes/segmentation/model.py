"""The segmentation model and its loss on a chunk of pairs (reference behaviour 5.2, 5.4, 5.5).

z = upsample(Σ_k m_k w_k 1[A_k > T_k]), p = σ(z), no bias. The loss per image is linear in p (Q-8):
  ℓ = −Σ_pixels [a·t·p + b·(1−t)·(1−p)],  a = α, b = 1−α (both 1 for whole-image concepts),
so that ∂ℓ/∂z = −((a+b)·t − b)·p·(1−p) in closed form; no autodiff, no stored activations.
H heads, P (concept, image) pairs, c pairs per chunk. Pixels are kept as [Y, c, X], rows first, see
`interpolation`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import upsample_rows, upsample_rows_transposed
from net2vec_jax.probes.segmentation.score_maps import (
    ArrangedActivations,
    add_weight_gradients,
    score_maps,
)

Loss = Literal["linear", "bce"]


class ProbeData(NamedTuple):
    """What the probe reads; its pairs are numbered as they lie here."""

    activations: ArrangedActivations
    pair_image: Int[Array, " P"]
    masks: UInt8[Array, "P bytes X"]
    area: Float[Array, " P"]  # pixels of each mask


class ClassWeights(NamedTuple):
    """Weight of a concept's own pixels and of the others, per head (behaviour 5.4)."""

    positive: Float[Array | np.ndarray, " H"]
    negative: Float[Array | np.ndarray, " H"]


class Geometry(NamedTuple):
    """Sizes of the activation grid (h, w) and of the segmentation grid (Y, X); static."""

    grid: tuple[int, int]
    segmentation_size: tuple[int, int]

    @property
    def positions(self) -> int:
        """h·w."""
        return self.grid[0] * self.grid[1]


def geometry_of(activations: SpatialActivations, masks: ConceptMasks) -> Geometry:
    """The sizes of a problem.

    Raises:
      Net2VecError: activations and masks are not of the same images.
    """
    if len(activations) != len(masks.is_val):
        raise Net2VecError(
            f"activations of {len(activations)} images, but masks of {len(masks.is_val)}"
        )
    (h, w), (rows, width) = activations.grid, masks.segmentation_size
    return Geometry((h, w), (rows, width))


def unpack_masks(packed: UInt8[Array, "c bytes X"], rows: int) -> Bool[Array, "Y c X"]:
    """Masks from their packed form (see `ConceptMasks`), rows first."""
    return unpack_rows(packed.transpose(1, 0, 2), rows, axis=0)


def unpack_rows(
    packed: UInt8[Array, "*before bytes *after"], rows: int, *, axis: int
) -> Bool[Array, "*before Y *after"]:
    """An axis of bytes as `rows` bits; bit s of byte j is row 8j + s."""
    after = (1,) * (packed.ndim - axis - 1)
    shift = jnp.arange(8, dtype=jnp.uint8).reshape((1,) * (axis + 1) + (8, *after))
    bits = (jnp.expand_dims(packed, axis + 1) >> shift) & 1
    merged = bits.reshape(*packed.shape[:axis], -1, *packed.shape[axis + 1 :])
    return jax.lax.slice_in_dim(merged, 0, rows, axis=axis) != 0


def pixel_loss(
    z: Float[Array, "Y c X"],
    target: Bool[Array, "Y c X"],
    area: Float[Array, " c"],
    positive: Float[Array, " c"],
    negative: Float[Array, " c"],
    loss: Loss,
) -> tuple[Float[Array, " c"], Float[Array, "Y c X"]]:
    """Loss summed over the pixels of each image, and its gradient with respect to z (behaviour
    5.5).

    Args:
      z: scores at the pixels.
      target: the concept's mask.
      area: pixels of each target that are True.
      positive: weight of the pixels of the concept.
      negative: weight of the others.
      loss: "linear" or "bce".
    """
    a, b = positive[None, :, None], negative[None, :, None]
    if loss == "linear":
        # p where t, else −p. Both results follow from it alone, and since a division makes it, XLA
        # keeps it; made by a product, it would be computed twice: a fifth of a pair's time on CPUs.
        signed = jnp.where(target, 1.0, -1.0) / (1 + jnp.exp(-z))
        # a·t·p + b·(1−t)·(1−p) is a·p where t, else b − b·p
        weighted = signed * jnp.where(signed > 0, a, b)
        others = z.shape[0] * z.shape[2] - area
        return -sum_pixels(weighted) - negative * others, weighted * (jnp.abs(signed) - 1)
    p = jax.nn.sigmoid(z)
    value = jnp.where(target, a * jax.nn.softplus(-z), b * jax.nn.softplus(z))
    return sum_pixels(value), jnp.where(target, a * (p - 1), b * p)


def sum_pixels(values: Float[Array, "Y c X"]) -> Float[Array, " c"]:
    """Sum over the pixels of each image; whole numbers below 2²⁴ are summed exactly."""
    return jnp.sum(values, axis=(0, 2))


def score_pixels(
    weights: Float[Array, "H K"],
    head: Int[Array, " c"],
    image: Int[Array, " c"],
    activations: ArrangedActivations,
    geometry: Geometry,
) -> Float[Array, "Y c X"]:
    """z of every pixel; the prediction is z > 0, which is p > 0.5 strictly (behaviour 5.2)."""
    scores = score_maps(weights, head, image, activations, geometry.positions)
    by_row = scores.reshape(-1, *geometry.grid).transpose(1, 0, 2)
    return upsample_rows(by_row, geometry.segmentation_size)


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
    z = score_pixels(weights, head, image, data.activations, geometry)
    target = unpack_masks(data.masks[pair], geometry.segmentation_size[0])
    value, pixel_gradient = pixel_loss(
        z,
        target,
        data.area[pair],
        class_weights.positive[head],
        class_weights.negative[head],
        loss,
    )
    by_row = upsample_rows_transposed(pixel_gradient, geometry.grid)
    score_gradient = by_row.transpose(1, 0, 2).reshape(-1, geometry.positions) * scale[:, None]
    return value, add_weight_gradients(gradient, head, image, data.activations, score_gradient)


def class_weights_of(masks: ConceptMasks, heads: Heads) -> tuple[ClassWeights, np.ndarray]:
    """Class weights (α, 1−α) of each head, (1, 1) where α is exactly 0; and α, float64 [H].

    Raises:
      Net2VecError: a concept marks more pixels than its train images have, as planes of one
        category can together: a negative α would turn the loss round (behaviour 5.4).
    """
    alpha = 1 - masks.train_coverage()[heads.concept]
    if (alpha < -1e-9).any():  # below 0 by more than rounding
        worst = alpha.argmin()
        concept = masks.catalog.concepts[heads.concept[worst]]
        raise Net2VecError(
            f"concept {concept.name!r} marks {1 - alpha[worst]:.0%} of the pixels of its train "
            "images: planes of one category mark the same pixels again; mark them in one plane, "
            "or leave the concept out with --concepts"
        )
    alpha = np.clip(alpha, 0, 1)
    whole = alpha == 0
    positive = np.where(whole, 1, alpha).astype(np.float32)
    negative = np.where(whole, 1, 1 - alpha).astype(np.float32)
    return ClassWeights(positive, negative), alpha
