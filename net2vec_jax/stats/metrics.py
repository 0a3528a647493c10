"""How well a prediction marks a concept: pure functions.

Metrics are sums (intersection, union) until the very end, so that padded, sharded and streamed
batches add up exactly; a ratio is taken once. Set IoU is a ratio of sums over images, individual
IoU a ratio per image (reference behaviour 4). Their intervals are in `intervals`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.stats.overlap import Overlap

EPSILON = 1e-20
"""Added to every union, so that an empty union gives IoU 0 (behaviour 4)."""


def iou(intersection: Array | np.ndarray, union: Array | np.ndarray) -> np.ndarray:
    """Intersection over union in [0, 1], float64, of the same shape; 0 where the union is empty."""
    return np.asarray(intersection, np.float64) / (np.asarray(union, np.float64) + EPSILON)


NO_FILTER = -1
"""In place of a concept's best filter where no filter overlaps it on train images."""


def choose_best_filters(
    set_iou: Float[np.ndarray, "2 C K"],
) -> tuple[Int[np.ndarray, " C"], Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    """Best filter of each concept, chosen on train and reported on both splits (behaviour 4).

    Args:
      set_iou: of every filter with every concept; the first axis is train, val.

    Returns:
      (filter, the first of several, or `NO_FILTER`; its train IoU; its val IoU); the IoUs are 0
      where there is none.

    Examples:
      >>> best, train, val = choose_best_filters(np.array([[[0.1, 0.3]], [[0.2, 0.25]]]))
      >>> int(best[0]), float(val[0])
      (1, 0.25)
    """
    train, val = set_iou
    best = train.argmax(axis=1)
    rows = np.arange(len(best))
    there = train[rows, best] > 0
    zero = train.dtype.type(0)
    return (
        np.where(there, best, NO_FILTER),
        np.where(there, train[rows, best], zero),
        np.where(there, val[rows, best], zero),
    )


def sum_by_group(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums of integer `values` [P] over the entries of each `group` [P] in 0 … groups-1, int64."""
    total = np.zeros(groups, np.int64)
    np.add.at(total, group, np.asarray(values, np.int64))
    return total


def set_iou(overlap: Overlap, group: np.ndarray, groups: int) -> np.ndarray:
    """IoU of each group as a ratio of sums over its pairs (behaviour 4).

    Args:
      overlap: intersections and unions, integers [P].
      group: to which group each pair belongs, integers [P] in 0 … groups-1.
      groups: how many groups there are.

    Returns:
      float64 [groups] in [0, 1]; 0 for a group without pairs.
    """
    intersection = sum_by_group(np.asarray(overlap.intersection), group, groups)
    return iou(intersection, sum_by_group(np.asarray(overlap.union), group, groups))


def mean_over_batches(values: np.ndarray, batch_size: int) -> np.ndarray:
    """Unweighted mean of the batches' means, as the reference averages accuracy (behaviour Q-10,
    B-25).

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
