"""Pooled activations: one number per image and filter, the input of the classification probe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from jaxtyping import Float

from net2vec_jax.activations.finite import require_finite_batches
from net2vec_jax.core.errors import Net2VecError

Pooling = Literal["mean", "max"]
POOLINGS = ("mean", "max")


def collect_pooled_activations(
    batches: Iterable[Float[np.ndarray, "n ..."]],
    *,
    pooling: Pooling = "mean",
    thresholds: Float[np.ndarray, " K"] | None = None,
) -> Float[np.ndarray, "P N K"]:
    """Pool the activations of a layer over its grid (reference behaviour 6.2).

    The probe weighs filters before it pools, and a maximum of weighted activations is the weighted
    minimum where a weight is negative; so "max" keeps both.

    Args:
      batches: activations [n, h, w, K] in the order of the images; or [n, K] of a fully connected
        layer, which need no pooling.
      pooling: "mean" or "max".
      thresholds: T_k of every filter: pool 1[A_k > T_k] instead of A_k, as the original does at
        quantiles below 1 (behaviours 3.3, Q-2); the mean is the active fraction of the grid.

    Returns:
      float32 [P, N images, K filters]: P = 1, the mean; or P = 2, the maximum and the minimum. A
      layer without a grid has P = 1 whatever the pooling.

    Raises:
      Net2VecError: there is no such pooling, no batch, a value is not finite, or the activations
        have another shape.

    Examples:
      >>> batch = np.array([0.0, 1, 2, 5], np.float32).reshape(1, 2, 2, 1)
      >>> collect_pooled_activations([batch])
      array([[[2.]]], dtype=float32)
      >>> collect_pooled_activations([batch], thresholds=np.array([1.0]))
      array([[[0.5]]], dtype=float32)
    """
    if pooling not in POOLINGS:
        raise Net2VecError(f"pooling {pooling!r} is none of {', '.join(POOLINGS)}")
    pooled = []
    for batch in require_finite_batches(batches):
        if thresholds is not None:
            batch = (batch > thresholds.astype(np.float32)).astype(np.float32)
        pooled.append(pool(batch, pooling))
    if not pooled:
        raise Net2VecError("there are no activations to pool")
    return np.concatenate(pooled, axis=1).astype(np.float32, copy=False)


def pool(batch: Float[np.ndarray, "n ..."], pooling: Pooling) -> Float[np.ndarray, "P n K"]:
    """Pooled values of a batch, see `collect_pooled_activations`."""
    if batch.ndim == 2:
        return batch[None]
    if batch.ndim != 4:
        raise Net2VecError(f"activations of shape {batch.shape}; expected [n, h, w, K] or [n, K]")
    if pooling == "mean":
        return batch.mean((1, 2), dtype=np.float64)[None]
    return np.stack([batch.max((1, 2)), batch.min((1, 2))])
