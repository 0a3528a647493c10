"""Ranking images by what a layer says of a concept, and how many of the concept's come first.

An image's score is the maximum over its positions of one filter's activation (the reference's
`imgmax`), or the maximum or mean of the score map Σ_k w_k A_k (`linear_imgmax`, reference behaviour
8.8). Counting the concept's images among the first K compares the two. N images, h·w positions,
K filters, C concepts.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from net2vec_jax.core.errors import Net2VecError

Reduction = Literal["max", "mean"]
_MOST_SCORES = 2**23
"""Entries of score maps that are made at a time: 32 MB."""


def score_images(
    activations: Float[np.ndarray, "n h w K"],
    weights: Float[np.ndarray, "C K"],
    *,
    reduction: Reduction = "max",
    thresholds: Float[np.ndarray, " K"] | None = None,
    unit_norm: bool = False,
) -> Float[np.ndarray, "n C"]:
    """Score of every image for every concept: max or mean over positions of Σ_k w_k A_k.

    Args:
      activations: of some images.
      weights: embeddings.
      reduction: over the positions.
      thresholds: T_k; if given, 1[A_k > T_k] is weighed instead of A_k.
      unit_norm: divide each embedding by its length, so that scores of different concepts can be
        compared; the order of the images for one concept stays. A zero embedding stays zero.

    Returns:
      float32.

    Examples:
      >>> activations = np.ones((2, 3, 3, 4), np.float32)
      >>> score_images(activations, np.full((1, 4), 0.5, np.float32)).tolist()
      [[2.0], [2.0]]

    Raises:
      Net2VecError: there is no such reduction.
    """
    if reduction not in ("max", "mean"):
        raise Net2VecError(f"reduction {reduction!r} is neither 'max' nor 'mean'")
    weights = np.asarray(weights, np.float32)
    if unit_norm:
        length = np.linalg.norm(weights, axis=1, keepdims=True)
        weights = np.divide(weights, length, out=np.zeros_like(weights), where=length > 0)
    if thresholds is not None:
        activations = activations > thresholds
    return np.asarray(_reduce_scores(activations, weights, mean=reduction == "mean"))


@partial(jax.jit, static_argnames="mean")
def _reduce_scores(
    activations: Float[Array, "n h w K"] | Bool[Array, "n h w K"],
    weights: Float[Array, "C K"],
    *,
    mean: bool,
) -> Float[Array, "n C"]:
    """Score maps of a part of the images and concepts at a time, each reduced before the next."""

    def reduce_image(image: Array) -> Array:
        values = image.reshape(-1, image.shape[-1]).astype(jnp.float32)

        def reduce_concept(row: Array) -> Array:
            scores = jnp.matmul(values, row, precision=jax.lax.Precision.HIGHEST)
            return scores.mean() if mean else scores.max()

        return jax.lax.map(reduce_concept, weights, batch_size=concepts)

    places = math.prod(activations.shape[1:3])
    concepts = max(1, min(len(weights), _MOST_SCORES // max(places, 1)))
    images = max(1, _MOST_SCORES // max(places * concepts, 1))
    return jax.lax.map(reduce_image, activations, batch_size=images)


def count_found(
    scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """How many positives are among the K images of highest score, for K = 1 … N.

    Images of equal score come in random order: the expected number is counted, so that the order
    of the dataset does not matter.

    Examples:
      >>> count_found(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])).tolist()
      [1.0, 1.5, 2.0, 2.0]
    """
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    return np.cumsum(np.repeat(np.bincount(group, weights=positive) / sizes, sizes))


@dataclasses.dataclass(frozen=True, eq=False)
class RecallComparison:
    """How many of a concept's images come first, by embedding and by best filter.

    Means over the concepts that some but not all images show.

    Attributes:
      concepts: how many these are.
      embedding: fraction of the concept's images among the first K, float64 [N], K = 1 … N.
      single: the same, by the best single filter.
      chance: the same, in random order: K / N.
      difference: positives found by the embedding less those found by the filter, float64 [N].
      error: standard error of the difference over concepts, float64 [N]; NaN for one concept.
    """

    concepts: int
    embedding: np.ndarray
    single: np.ndarray
    chance: np.ndarray
    difference: np.ndarray
    error: np.ndarray


def compare_recall(
    embedding: Float[np.ndarray, "N C"],
    single: Float[np.ndarray, "N C"],
    positive: Bool[np.ndarray, "N C"],
) -> RecallComparison:
    """Compare two scores of images by the positives among the first K, averaged over concepts.

    Args:
      embedding: scores by the concepts' embeddings.
      single: scores by their best filters.
      positive: which image shows which concept.

    Raises:
      Net2VecError: every concept is on all images or on none.
    """
    images = len(positive)
    total = positive.sum(axis=0)
    chosen = np.flatnonzero((total > 0) & (total < images))
    if not len(chosen):
        raise Net2VecError("every concept is on all images or on none; no order can be judged")
    sums = np.zeros((4, images))
    for concept in chosen:
        found, by_filter = (
            count_found(scores[:, concept], positive[:, concept]) for scores in (embedding, single)
        )
        more = found - by_filter
        sums += np.stack([found / total[concept], by_filter / total[concept], more, more**2])
    count = len(chosen)
    by_embedding, by_filter, difference, square = sums / count
    variance = np.maximum(square - difference**2, 0)  # rounding
    error = np.sqrt(variance / (count - 1)) if count > 1 else np.full(images, np.nan)
    chance = np.arange(1, images + 1) / images
    return RecallComparison(count, by_embedding, by_filter, chance, difference, error)
