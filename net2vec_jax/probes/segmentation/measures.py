"""What stands beside an embedding's set IoU: its rivals, and its scores over all val images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.all_images import AllImageScores
from net2vec_jax.probes.segmentation.rivals import RIVAL_LABELS, Rivals
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.stats.intervals import bootstrap_set_iou, effective_images
from net2vec_jax.stats.metrics import NO_FILTER, set_iou

ALL_IMAGE_MEASURES = {
    "val_iou_all_images": "iou",
    "val_average_precision": "average_precision",
    "val_precision": "precision",
    "val_recall": "recall",
    "val_f1": "f1",
}
"""Columns, and what they are called in `AllImageScores`; each has …_low and …_high."""


def measure_rivals(
    rivals: Rivals,
    *,
    key: Array,
    bootstrap_samples: int = 1000,
    cluster: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Float[np.ndarray, " B"]]:
    """Val set IoU of every rival of B concepts, with bootstrap intervals.

    Args:
      rivals: of B concepts.
      key: PRNG key of the bootstrap.
      bootstrap_samples: how often the val images are redrawn.
      cluster: film, patient or scene of each image; None: each image is its own.

    Returns:
      By column: single_same_rule_filter (NaN where there is none) and …_sign; NAME_val_iou,
      NAME_val_iou_low, NAME_val_iou_high of every kind of rival, NaN of one that was left out.
    """
    none = rivals.filter == NO_FILTER
    columns = {
        "single_same_rule_filter": np.where(none, np.nan, rivals.filter),
        "single_same_rule_sign": np.where(none, np.nan, rivals.sign).astype(np.float64),
    }
    val = np.flatnonzero(rivals.is_val)
    row, count = rivals.row[val], len(rivals.concept)
    units = None if cluster is None else cluster[rivals.image[val]]
    for name in RIVAL_LABELS:
        columns |= dict.fromkeys(
            (f"{name}_val_iou{end}" for end in ("", "_low", "_high")), np.full(count, np.nan)
        )
        if name not in rivals.names:
            continue
        overlap = rivals.overlap(name, val)
        low, high = bootstrap_set_iou(
            overlap, row, count, cluster=units, key=key, samples=bootstrap_samples
        )
        columns[f"{name}_val_iou"] = set_iou(overlap, row, count)
        columns[f"{name}_val_iou_low"], columns[f"{name}_val_iou_high"] = low, high
    return columns


def measure_embeddings(
    heads: Heads,
    scores: HeadScores,
    overlaps: ImageOverlaps,
    rivals: Rivals,
    all_images: AllImageScores,
    *,
    of_heads: Mapping[str, Float[np.ndarray, " H"]],
    everything: Float[np.ndarray, " C"],
    key: Array,
    bootstrap_samples: int = 1000,
    cluster: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Float[np.ndarray, " G"]]:
    """Columns beside the set IoU of G embeddings, in the order of `scores`.

    Args:
      heads: H heads.
      scores: of the G embeddings.
      overlaps: of the heads' predictions.
      rivals: of the concepts; their scores are the same for every number of filters.
      all_images: scores over all val images, in the order of `scores`.
      of_heads: further values of heads, such as their decision thresholds; means over repetitions.
      everything: set IoU of marking every pixel of a concept's val images, by place.
      key: PRNG key of the bootstrap.
      bootstrap_samples: how often the val images are redrawn.
      cluster: film, patient or scene of each image; None: each image is its own.
    """
    of_concept = measure_rivals(
        rivals, key=key, bootstrap_samples=bootstrap_samples, cluster=cluster
    )
    place = np.searchsorted(rivals.concept, scores.concept)
    columns = {name: values[place] for name, values in of_concept.items()}
    columns["everything_val_iou"] = everything[scores.concept]
    for name, attribute in ALL_IMAGE_MEASURES.items():
        score = getattr(all_images, attribute)
        columns[name] = score.value
        columns[f"{name}_low"], columns[f"{name}_high"] = score.low, score.high
    embedding = _number_embeddings(heads, scores)
    repetitions = np.bincount(embedding, minlength=len(scores))
    for name, values in of_heads.items():
        columns[name] = np.bincount(embedding, values, len(scores)) / repetitions
    val = overlaps.is_val & (heads.seed == 0)[overlaps.head]
    row = embedding[overlaps.head[val]]
    order = np.argsort(row, kind="stable")
    image = overlaps.image[val][order]
    columns["effective_images"] = effective_images(
        overlaps.union[val][order], row[order], len(scores),
        cluster=None if cluster is None else cluster[image],
    )  # fmt: skip
    return columns


def _number_embeddings(heads: Heads, scores: HeadScores) -> Int[np.ndarray, " H"]:
    """Row of the scores that each head belongs to."""
    known = {key: row for row, key in enumerate(zip(scores.concept, scores.filters, strict=True))}
    return np.array([known[key] for key in zip(heads.concept, heads.filters, strict=True)], int)
