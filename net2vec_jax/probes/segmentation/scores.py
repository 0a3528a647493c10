"""Set IoU of segmentation embeddings on both splits, with intervals."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Int

from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import ALL_FILTERS, Heads, find_entries
from net2vec_jax.probes.scores import HeadScores, arrange_blocks, join_scores
from net2vec_jax.probes.segmentation.evaluation import SegmentationCounts
from net2vec_jax.stats.intervals import bootstrap_set_iou
from net2vec_jax.stats.metrics import set_iou
from net2vec_jax.stats.overlap import Overlap


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ImageOverlaps:
    """Overlap of every head's prediction with its concept, Q (head, image) entries.

    Attributes:
      head: row of the heads, ascending, int32 [Q].
      image: index of the image, int32 [Q].
      is_val: bool [Q].
      intersection: pixels, int32 [Q].
      union: pixels, int32 [Q].
    """

    head: np.ndarray
    image: np.ndarray
    is_val: np.ndarray
    intersection: np.ndarray
    union: np.ndarray

    @classmethod
    def of(cls, counts: SegmentationCounts, masks: ConceptMasks) -> ImageOverlaps:
        """What `evaluate_segmentation` counted on the pairs of `masks`."""
        return cls(
            head=counts.head,
            image=masks.pair_image[counts.pair],
            is_val=masks.pair_is_val[counts.pair],
            intersection=np.asarray(counts.overlap.intersection),
            union=np.asarray(counts.overlap.union),
        )

    def select_entries(self, chosen: np.ndarray) -> ImageOverlaps:
        """These entries only."""
        return jax.tree.map(lambda column: column[chosen], self)

    def select(self, chosen: np.ndarray) -> Overlap:
        """Pixels of these entries, of any shape."""
        return Overlap(self.intersection[chosen], self.union[chosen])


def score_segmentation(
    heads: Heads,
    overlaps: ImageOverlaps,
    *,
    key: Array,
    bootstrap_samples: int = 1000,
    cluster: Int[np.ndarray, " N"] | None = None,
) -> HeadScores:
    """Set IoU of every head and embedding (behaviour 5.10), with bootstrap intervals of val.

    Args:
      heads: H heads.
      overlaps: of their predictions with their concepts.
      key: PRNG key of the bootstrap.
      bootstrap_samples: how often the val images are redrawn.
      cluster: film, patient or scene of each image, whose images are redrawn together; None: each
        image is its own.
    """
    train, val = np.flatnonzero(~overlaps.is_val), np.flatnonzero(overlaps.is_val)
    train_iou, val_iou = (
        set_iou(overlaps.select(split), overlaps.head[split], len(heads)) for split in (train, val)
    )
    blocks = arrange_blocks(heads, [heads.filters == ALL_FILTERS, heads.filters != ALL_FILTERS])
    bounds = []
    for rows in blocks:
        entries, column = find_entries(rows, overlaps.head[val])
        bounds.append(
            bootstrap_set_iou(
                overlaps.select(val[entries if len(rows) > 1 else entries[0]]),
                column,
                rows.shape[1],
                key=key,
                samples=bootstrap_samples,
                cluster=None if cluster is None else cluster[overlaps.image[val[entries[0]]]],
            )
        )
    return join_scores(heads, train_iou, val_iou, blocks, bounds)
