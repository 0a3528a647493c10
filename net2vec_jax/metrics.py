"""How well a prediction marks a concept: pure functions.

Metrics are sums (intersection, union) until the very end, so that padded, sharded and streamed
batches add up exactly; a ratio is taken once. Set IoU is a ratio of sums over images, individual
IoU a ratio per image (reference spec, section 4).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.probes.overlap import Overlap

EPSILON = 1e-20
"""Added to every union, so that an empty union gives IoU 0 (spec section 4)."""


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Intersection over union in [0, 1], float64, of the same shape; 0 where the union is empty."""
    return np.asarray(intersection, np.float64) / (np.asarray(union, np.float64) + EPSILON)


def choose_best_filters(set_iou: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best filter of each concept, chosen on train and reported on both splits (spec section 4).

    Args:
      set_iou: of every filter with every concept, [2, C, K]; the first axis is train, val.

    Returns:
      (filter int64 [C], the first of several; its train IoU [C]; its val IoU [C]).
    """
    train, val = set_iou
    best = train.argmax(axis=1)
    rows = np.arange(len(best))
    return best, train[rows, best], val[rows, best]


def sum_by_group(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums of integer `values` [P] over the entries of each `group` [P] in 0 … groups-1, int64."""
    total = np.zeros(groups, np.int64)
    np.add.at(total, group, np.asarray(values, np.int64))
    return total


def set_iou(overlap: Overlap, group: np.ndarray, groups: int) -> np.ndarray:
    """IoU of each group as a ratio of sums over its pairs (spec section 4).

    Args:
      overlap: intersections and unions, integers [P].
      group: to which group each pair belongs, integers [P] in 0 … groups-1.
      groups: how many groups there are.

    Returns:
      float64 [groups] in [0, 1]; 0 for a group without pairs.
    """
    intersection = sum_by_group(np.asarray(overlap.intersection), group, groups)
    return iou(intersection, sum_by_group(np.asarray(overlap.union), group, groups))


def bootstrap_set_iou(
    overlap: Overlap,
    group: np.ndarray,
    groups: int,
    *,
    key: Array,
    samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of `set_iou` over the images of each group.

    Every sample redraws each group's pairs with replacement; all groups are drawn at once.

    Args:
      overlap: intersections and unions, integers [P].
      group: to which group each pair belongs, integers [P] in 0 … groups-1, in ascending order.
      groups: how many groups there are.
      key: PRNG key.
      samples: number of bootstrap samples.
      confidence: nominal coverage of the interval, in (0, 1).

    Returns:
      (low, high), float64 [groups]; NaN for a group without pairs.
    """
    if len(group) == 0:
        return np.full(groups, np.nan), np.full(groups, np.nan)
    size = np.bincount(group, minlength=groups)
    start = np.cumsum(size) - size
    ratios = np.asarray(
        _bootstrap_ratios(
            key,
            jnp.asarray(overlap.intersection, jnp.float32),
            jnp.asarray(overlap.union, jnp.float32),
            jnp.asarray(group, jnp.int32),
            jnp.asarray(start[group], jnp.int32),
            jnp.asarray(size[group], jnp.int32),
            groups=groups,
            samples=samples,
        ),
        np.float64,
    )
    ratios[:, size == 0] = np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail], axis=0)
    return low, high


@jax.jit(static_argnames=("groups", "samples"))
def _bootstrap_ratios(
    key: Array,
    intersection: Float[Array, " P"],
    union: Float[Array, " P"],
    group: Int[Array, " P"],
    start: Int[Array, " P"],
    size: Int[Array, " P"],
    *,
    groups: int,
    samples: int,
) -> Float[Array, "samples groups"]:
    def one(key: Array) -> Float[Array, " groups"]:
        place = jnp.floor(jax.random.uniform(key, group.shape) * size).astype(jnp.int32)
        drawn = start + jnp.minimum(place, size - 1)  # a uniform just below 1 may round up
        sums = [jax.ops.segment_sum(x[drawn], group, groups) for x in (intersection, union)]
        return sums[0] / jnp.maximum(sums[1], 1.0)

    return jax.lax.map(one, jax.random.split(key, samples))


def mean_over_batches(values: np.ndarray, batch_size: int) -> np.ndarray:
    """Unweighted mean of the batches' means, as the reference averages accuracy (spec Q-10, B-25).

    An image of a short last batch weighs more than the others.

    Args:
      values: per image, in order, [..., P].
      batch_size: images per batch.

    Returns:
      [...]; NaN where P is 0.
    """
    values = np.asarray(values, np.float64)
    images = values.shape[-1]
    if not images:
        return np.full(values.shape[:-1], np.nan)
    starts = np.arange(0, images, batch_size)
    sizes = np.minimum(batch_size, images - starts)
    return (np.add.reduceat(values, starts, axis=-1) / sizes).mean(axis=-1)
