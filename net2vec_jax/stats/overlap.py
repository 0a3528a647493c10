"""Pixels that a prediction shares with its target, and pixels of either: what probes count.

Counts are sums, so that padded, sharded and streamed batches add up exactly; `metrics` takes the
ratios.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool


class Overlap(NamedTuple):
    """Pixels that prediction and target share, and pixels of either; integers of one shape."""

    intersection: Array | np.ndarray
    union: Array | np.ndarray


def count_overlap(prediction: Bool[Array, "Y c X"], target: Bool[Array, "Y c X"]) -> Overlap:
    """Pixels in both and in either of c pairs of masks, rows first (`interpolation`), int32 [c]."""

    def count(pixels: Bool[Array, "Y c X"]) -> Array:
        # XLA's CPU sums of floats are vectorized, those of integers are not; exact below 2²⁴.
        exact = pixels.shape[0] * pixels.shape[2] < 2**24
        dtype = jnp.float32 if exact else jnp.int32
        return jnp.sum(pixels.astype(dtype), axis=(0, 2)).astype(jnp.int32)

    return Overlap(count(prediction & target), count(prediction | target))
