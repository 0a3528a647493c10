"""The penalty of every head, chosen by inner validation: on train images only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads, draw_entries, join_heads
from net2vec_jax.probes.segmentation.image_blocks import Entries
from net2vec_jax.probes.segmentation.optimum import (
    OptimumConfig,
    measure_loss,
    train_to_optimum,
)

FEWEST_IMAGES = 8
"""A head with fewer train images, or all in one group, takes the default penalty."""
DEFAULT_PENALTY = 1.0


def split_entries(
    heads: Heads,
    masks: ConceptMasks,
    entries: Entries,
    most: int,
    *,
    key: Array,
    cluster: Int[np.ndarray, " N"] | None = None,
) -> Int[np.ndarray, " Q"]:
    """An inner split of every head's entries: 0 to train on, 1 to judge by, -1 not used.

    A quarter judges. Images are drawn by their concept's label number and their own index alone, so
    that a head's split does not depend on the others.

    Args:
      heads: H heads.
      masks: the concepts' masks.
      entries: Q (head, image) entries.
      most: entries of a head that are used.
      key: PRNG key.
      cluster: of every image, such as its film: no cluster is torn. None: each is its own.
    """
    unit = entries.image if cluster is None else cluster[entries.image]
    drawn = draw_entries(key, masks.catalog.numbers, heads.concept[entries.head], unit)
    order = np.lexsort([entries.image, unit, drawn, entries.head])
    head, unit = entries.head[order], unit[order]
    count = np.bincount(head, minlength=len(heads))
    rank = np.arange(len(head)) - np.repeat(np.cumsum(count) - count, count)
    begins = np.r_[True, (np.diff(head) != 0) | (np.diff(unit) != 0)]
    begin = rank[np.maximum.accumulate(np.where(begins, np.arange(len(head)), 0))]
    used = np.minimum(count, most)[head]
    judges = begin < used / 4
    judging = np.bincount(head, judges, len(heads)).astype(int)[head]
    split = np.where(judges, 1, np.where(rank < np.maximum(used, judging + 1), 0, -1))
    trains = np.bincount(head, split == 0, len(heads))
    possible = (count >= FEWEST_IMAGES) & (trains > 0)
    out = np.empty(len(head), np.int64)
    out[order] = np.where(possible[head], split, -1)
    return out


def choose_penalties(
    heads: Heads,
    activations: SpatialActivations,
    masks: ConceptMasks,
    entries: Entries,
    config: OptimumConfig,
    *,
    key: Array,
    cluster: Int[np.ndarray, " N"] | None = None,
    progress: str = "",
) -> Float[np.ndarray, " H"]:
    """The penalty under which each head has the smallest loss on images that it was not trained on.

    Heads are trained with every penalty of `config.l2`, all at once.

    Args:
      heads: H heads.
      activations: of all N images.
      masks: the concepts' masks.
      entries: what the heads are trained on.
      config: penalties, and when to stop.
      key: PRNG key of the inner split.
      cluster: of every image, see `split_entries`.
      progress: name of a progress bar; none is shown by default.
    """
    split = split_entries(heads, masks, entries, config.selection_images, key=key, cluster=cluster)
    judged = np.unique(entries.head[split == 1])
    chosen = np.full(len(heads), DEFAULT_PENALTY, np.float32)
    if len(config.l2) == 1:
        chosen[:] = config.l2
    if not len(judged) or len(config.l2) == 1:
        return chosen
    place = np.full(len(heads), -1)
    place[judged] = np.arange(len(judged))
    copies = len(config.l2)

    def repeat(which: np.ndarray) -> Entries:
        part = entries.select(which)
        head = np.concatenate([place[part.head] + len(judged) * copy for copy in range(copies)])
        return Entries(head, np.tile(part.image, copies), np.tile(part.pair, copies))

    candidates = join_heads([heads.select(judged)] * copies)
    quick = OptimumConfig(
        l2=config.l2, loss_share=config.selection_share, most_steps=config.most_steps // 4
    )
    penalties = np.repeat(np.array(config.l2, np.float32), len(judged))
    trained = train_to_optimum(
        candidates, activations, masks, repeat(split == 0), penalties, quick, progress=progress
    )
    losses = measure_loss(
        trained.weights, trained.bias, candidates, activations, masks, repeat(split == 1)
    ).reshape(copies, -1)
    chosen[judged] = np.array(config.l2, np.float32)[losses.argmin(axis=0)]
    return chosen
