"""Which (head, image) pairs form each optimisation step: the ragged schedule.

In an epoch, head i has ceil(n_i / B) batches. At step t every head that still has a batch takes
part with its own; the step's pairs are laid out in chunks of fixed size, so that all shapes are
static and the work is Σ n_i plus the padding of a step's last chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array

from net2vec_jax.core.errors import Net2VecError


class Schedule(NamedTuple):
    """One epoch of S steps in chunks of `size` pairs, for H heads.

    Null pairs, which fill up chunks, have scale 0 and point at pair 0 of head 0. Numpy arrays,
    until they are laid on the devices.
    """

    pair: Array | np.ndarray  # int32 [chunks, size]: index into the masks' pairs
    head: Array | np.ndarray  # int32 [chunks, size]
    scale: Array | np.ndarray  # float32 [chunks, size]: 1 / (images in the head's batch) or 0
    first_chunk: Array | np.ndarray  # int32 [S + 1]: step t has chunks first_chunk[t] … [t + 1] - 1
    batches: Array | np.ndarray  # int32 [H]: head i takes part in the steps below batches[i]


def lay_out_chunks(
    groups: Sequence[np.ndarray] | np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Slots of ragged groups in chunks of `size` that no two groups share.

    Args:
      groups: number of items of each group, integers [S].
      size: slots per chunk.

    Returns:
      (slot int64 [Σ groups] of every item in turn, first_chunk int32 [S + 1]).
    """
    groups = np.asarray(groups, np.int64)
    first_chunk = np.concatenate([[0], np.cumsum(-(-groups // size))])
    first_item = np.cumsum(groups) - groups
    within = np.arange(groups.sum()) - np.repeat(first_item, groups)
    return np.repeat(first_chunk[:-1] * size, groups) + within, first_chunk.astype(np.int32)


def make_schedule(
    images_per_head: np.ndarray,
    first_pair: np.ndarray,
    order: np.ndarray,
    *,
    batch_size: int,
    chunk_size: int,
    single_image_divisor: int = 1,
) -> Schedule:
    """Lay out one epoch.

    Args:
      images_per_head: n_i, train images of each head, integers [H], at least 1.
      first_pair: where each head's images begin in `order`, integers [H].
      order: pairs of the masks, integers; head i trains on `order[first_pair[i] :][: n_i]`, in
        batches of consecutive entries.
      batch_size: B.
      chunk_size: pairs per chunk.
      single_image_divisor: what the gradient of a batch of one image is divided by; the reference
        divides by Y (behaviour Q-9).

    Raises:
      Net2VecError: a head without images, or a size below 1.
    """
    if batch_size < 1 or chunk_size < 1:
        raise Net2VecError(f"batch size {batch_size} and chunk size {chunk_size} must be positive")
    images_per_head = np.asarray(images_per_head, np.int64)
    if len(images_per_head) and images_per_head.min() < 1:
        raise Net2VecError(f"head {int(images_per_head.argmin())} has no image to train on")
    head = np.repeat(np.arange(len(images_per_head)), images_per_head)
    place = np.arange(len(head)) - np.repeat(
        np.cumsum(images_per_head) - images_per_head, images_per_head
    )
    step = place // batch_size
    in_batch = np.minimum(batch_size, images_per_head[head] - step * batch_size)
    divisor = np.where(in_batch == 1, single_image_divisor, in_batch)
    pair = np.asarray(order)[np.asarray(first_pair)[head] + place]

    by_step = np.argsort(step, kind="stable")
    slot, first_chunk = lay_out_chunks(np.bincount(step), chunk_size)
    shape = (int(first_chunk[-1]), chunk_size)

    def lay(values: np.ndarray, dtype: type) -> np.ndarray:
        out = np.zeros(shape, dtype)
        out.reshape(-1)[slot] = values[by_step]
        return out

    return Schedule(
        pair=lay(pair, np.int32),
        head=lay(head, np.int32),
        scale=lay(1 / divisor, np.float32),
        first_chunk=first_chunk,
        batches=(-(-images_per_head // batch_size)).astype(np.int32),
    )


def pad_schedule(schedule: Schedule, *, chunks: int, steps: int, heads: int) -> Schedule:
    """The same schedule with more chunks, steps and heads, which do nothing."""

    def pad(
        values: Array | np.ndarray, size: int, mode: Literal["constant", "edge"] = "constant"
    ) -> np.ndarray:
        return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1), mode)

    return Schedule(
        pair=pad(schedule.pair, chunks),
        head=pad(schedule.head, chunks),
        scale=pad(schedule.scale, chunks),
        first_chunk=pad(schedule.first_chunk, steps + 1, "edge"),
        batches=pad(schedule.batches, heads),
    )
