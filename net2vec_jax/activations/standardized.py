"""Standardised activations (A_k − μ_k) / σ_k: what embeddings see that need no thresholds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.errors import Net2VecError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ActivationScale:
    """Where a layer's activations lie, and how far they spread.

    Attributes:
      mean: μ_k of every filter, float32 [K].
      deviation: σ_k, float32 [K]; 1 for a filter that never changes.
    """

    mean: np.ndarray
    deviation: np.ndarray


@partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["grid"])
@dataclasses.dataclass(frozen=True, eq=False)
class StandardizedActivations:
    """(A_k − μ_k) / σ_k of N images.

    Attributes:
      values: float32 [N, h·w, K].
      grid: (h, w).
    """

    values: np.ndarray
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def filters(self) -> int:
        """K."""
        return self.values.shape[-1]


SpatialActivations = BinaryActivations | StandardizedActivations
"""What segmentation embeddings weigh: a layer's activations on N images, over a grid."""


def measure_scale(
    batches: Iterable[np.ndarray], chosen: Bool[np.ndarray, " N"] | None = None
) -> ActivationScale:
    """Mean and standard deviation of every filter over positions and images.

    Args:
      batches: activations, float [n, h, w, K], of consecutive images.
      chosen: which of the N images count, such as the train images; all by default.

    Raises:
      Net2VecError: no image was chosen, or the layer has no spatial extent.

    Examples:
      >>> scale = measure_scale([np.array([0.0, 2.0, 4.0]).reshape(1, 1, 3, 1)])
      >>> float(scale.mean[0]), round(float(scale.deviation[0]), 3)
      (2.0, 1.633)
    """
    count, first, mean, square = 0, 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        _check_grid(batch)
        kept = slice(None) if chosen is None else chosen[first : first + len(batch)]
        first += len(batch)
        values = np.asarray(batch[kept], np.float64).reshape(-1, batch.shape[-1])
        if not len(values):
            continue
        # Batches are joined as Chan, Golub and LeVeque (1979) do: no difference of large squares.
        change = values.mean(0) - mean
        total = count + len(values)
        square = square + values.var(0) * len(values) + change**2 * (count * len(values) / total)
        mean = mean + change * (len(values) / total)
        count = total
    if not count:
        raise Net2VecError("there are no activations to measure the mean and deviation of")
    deviation = np.sqrt(square / count)
    flat = deviation <= 1e-7 * np.abs(mean)
    return ActivationScale(mean.astype(np.float32), np.where(flat, 1, deviation).astype(np.float32))


def collect_standardized_activations(
    batches: Iterable[np.ndarray], scale: ActivationScale, images: int | None = None
) -> StandardizedActivations:
    """Standardised activations of all images, in memory: 4 · N · h · w · K bytes.

    Args:
      batches: activations, float [n, h, w, K], of consecutive images.
      scale: of K filters.
      images: N, if it is known: what is standardised is then not held twice.

    Raises:
      Net2VecError: no batch, no spatial extent, or another number of filters than the scale has.
    """
    values, first, grid = None, 0, (0, 0)
    parts: list[np.ndarray] = []
    for batch in batches:
        _check_grid(batch)
        if batch.shape[-1] != len(scale.mean):
            raise Net2VecError(
                f"{batch.shape[-1]} filters in the activations, but a scale of {len(scale.mean)}"
            )
        grid = batch.shape[1:3]
        part = ((batch - scale.mean) / scale.deviation).astype(np.float32, copy=False)
        part = part.reshape(len(batch), math.prod(grid), -1)
        if images is None:
            parts.append(part)
            continue
        if values is None:
            values = np.empty((images, *part.shape[1:]), np.float32)
        values[first : first + len(part)] = part
        first += len(part)
    if values is None and not parts:
        raise Net2VecError("there are no activations")
    return StandardizedActivations(np.concatenate(parts) if values is None else values, grid)


def _check_grid(batch: np.ndarray) -> None:
    if batch.ndim != 4:
        raise Net2VecError(
            f"activations of shape {batch.shape} have no spatial extent; the segmentation probe "
            "needs [N, h, w, K]: probe a convolutional layer, or use classification"
        )
