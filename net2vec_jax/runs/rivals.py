"""Training and evaluating what a run's embeddings are compared with."""

from __future__ import annotations

import numpy as np

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.responses import split_filters
from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.segmentation.best_filters import choose_signed_filters
from net2vec_jax.probes.segmentation.controls import (
    count_regions,
    exchange_targets,
    fit_location_prior,
)
from net2vec_jax.probes.segmentation.decision import choose_levels
from net2vec_jax.probes.segmentation.image_blocks import train_entries
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.runs.embedding_training import (
    EmbeddingTraining,
    measure_thresholds,
    measure_train_scale,
)
from net2vec_jax.runs.files import TrainedHeads
from net2vec_jax.runs.probe import Problem
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters, iou
from net2vec_jax.stats.overlap import Overlap


def train_rivals(training: EmbeddingTraining, trained: TrainedHeads) -> Rivals:
    """Evaluate everything that the embeddings are compared with, by their own decision rule.

    Args:
      training: of the embeddings.
      trained: the embeddings.
    """
    masks, settings = training.masks, training.settings
    first = (trained.heads.filters == ALL_FILTERS) & (trained.heads.seed == 0)
    full = trained.heads.select(first)
    filter_, sign, weights, level = _choose_single_filters(training, full)
    single = training.count(full, weights, level)
    pairs, none = single.pair, filter_[single.head] == NO_FILTER
    overlaps = {
        "single_same_rule": Overlap(
            np.where(none, 0, single.overlap.intersection),
            np.where(none, masks.area[pairs], single.overlap.union),
        ),
        "prior": count_regions(fit_location_prior(masks), masks, pairs),
    }
    if settings.controls:
        control = training.train_heads(
            full,
            None if trained.l2 is None else trained.l2[first],
            "controls",
            exchange_targets(masks, training.key),
        )
        overlaps["control"] = training.count(full, control.weights, control.level).overlap
    if settings.untrained and (untrained := _count_untrained(training, full)) is not None:
        overlaps["untrained"] = untrained
    return Rivals(
        names=tuple(overlaps),
        concept=full.concept,
        filter=filter_,
        sign=sign,
        row=single.head,
        image=masks.pair_image[pairs],
        is_val=masks.pair_is_val[pairs],
        intersection=np.stack([o.intersection for o in overlaps.values()]).astype(np.int32),
        union=np.stack([o.union for o in overlaps.values()]).astype(np.int32),
    )


def _count_untrained(training: EmbeddingTraining, full: Heads) -> Overlap | None:
    """What embeddings of the same network before its training mark, trained in the same way."""
    layer, settings = training.problem.read_untrained(), training.settings
    if layer is None:
        return None
    problem = Problem(lambda: layer, training.problem.read_masks)
    other = EmbeddingTraining(
        problem,
        settings,
        measure_thresholds(problem, settings, progress=False),
        None if training.scale is None else measure_train_scale(problem),
    )
    trained = other.train_heads(full, other.choose_penalties(full), "")
    return other.count(full, trained.weights, trained.level).overlap


def _choose_single_filters(
    training: EmbeddingTraining, full: Heads
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best single filter under the embeddings' rule: its number, sign, weights and level.

    Of binary activations the rule has no freedom: a pixel is marked where the upsampled map is
    above 0.
    """
    masks, activations = training.masks, training.activations
    rows = np.arange(len(full))
    weights = np.zeros(full.initial_weights.shape, np.float32)
    if isinstance(activations, BinaryActivations):
        overlap = probe_single_filters(
            activations, masks, level=0.0, progress=training.name("single filters, same rule")
        )
        filter_ = choose_best_filters(iou(*overlap))[0][full.concept].astype(np.int32)
        weights[rows, np.maximum(filter_, 0)] = 1
        layer = training.problem.layer
        filter_, sign = split_filters(filter_, layer.filters, layer.responses)
        return filter_, sign.astype(np.float32), weights, np.zeros(len(full), np.float32)
    entries = train_entries(full, masks)
    filter_, sign = choose_signed_filters(activations, masks, entries, len(full))
    weights[rows, filter_] = sign
    return filter_, sign, weights, choose_levels(weights, entries, activations, masks)
