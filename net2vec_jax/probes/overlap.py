"""Pixels that a prediction shares with its target, and pixels of either: what probes count.

Counts are sums, so that padded, sharded and streamed batches add up exactly; `metrics` takes the
ratios.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool


class Overlap(NamedTuple):
    """Pixels that prediction and target share, and pixels of either; integers of one shape."""

    intersection: Array
    union: Array


def count_overlap(prediction: Bool[Array, "*P Y X"], target: Bool[Array, "*P Y X"]) -> Overlap:
    """Pixels in both and in either of two masks, int32 [*P]."""
    intersection = jnp.sum(prediction & target, axis=(-2, -1), dtype=jnp.int32)
    union = jnp.sum(prediction | target, axis=(-2, -1), dtype=jnp.int32)
    return Overlap(intersection, union)
