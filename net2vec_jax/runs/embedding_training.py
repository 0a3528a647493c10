"""Training embeddings of a layer by a preset, whichever activations that preset weighs."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.standardized import (
    ActivationScale,
    SpatialActivations,
    collect_standardized_activations,
    measure_scale,
)
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads, make_subset_heads
from net2vec_jax.probes.segmentation.controls import exchange_masks
from net2vec_jax.probes.segmentation.decision import choose_levels
from net2vec_jax.probes.segmentation.evaluation import SegmentationCounts, evaluate_segmentation
from net2vec_jax.probes.segmentation.image_blocks import train_entries
from net2vec_jax.probes.segmentation.optimum import train_to_optimum
from net2vec_jax.probes.segmentation.penalties import choose_penalties
from net2vec_jax.probes.segmentation.training import (
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.runs.files import TrainedHeads, join_trained
from net2vec_jax.runs.probe import Problem, announce_signed
from net2vec_jax.runs.settings import SegmentationSettings
from net2vec_jax.stats.metrics import iou


def measure_thresholds(
    problem: Problem, settings: SegmentationSettings, *, progress: bool
) -> Float[np.ndarray, " K"]:
    """T_k of every filter."""
    return problem.layer.thresholds(
        quantile=settings.quantile, method=settings.quantile_method, progress=progress
    )


def measure_train_scale(problem: Problem) -> ActivationScale:
    """Mean and deviation of every filter over the train images."""
    return measure_scale(problem.layer.batches(), ~problem.masks.is_val)


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingTraining:
    """Trains and evaluates embeddings of a layer.

    Attributes:
      problem: the layer and the masks.
      settings: of the training.
      thresholds: of the filters, float32 [K].
      scale: of the activations, where the preset standardises them.
      progress: show progress bars.
    """

    problem: Problem
    settings: SegmentationSettings
    thresholds: np.ndarray
    scale: ActivationScale | None
    progress: bool = False

    @property
    def key(self) -> Array:
        """PRNG key of everything that is drawn."""
        return jax.random.key(self.settings.seed)

    @property
    def masks(self) -> ConceptMasks:
        """Masks of the concepts."""
        return self.problem.masks

    @cached_property
    def activations(self) -> SpatialActivations:
        """What the embeddings weigh."""
        if self.scale is None:
            return self.binary
        layer = self.problem.layer
        return collect_standardized_activations(layer.batches(), self.scale, len(layer))

    @cached_property
    def binary(self) -> BinaryActivations:
        """Activations above their thresholds."""
        return self.problem.layer.binary(self.thresholds)

    def probe_single_filters(self) -> Float[np.ndarray, "2 C K"]:
        """Set IoU of every concept with every filter, as the paper has it; [train, val]."""
        if self.scale is None:
            announce_signed(self.problem.layer)
        counts = probe_single_filters(self.binary, self.masks, progress=self.name("single filters"))
        return iou(*counts)

    def train(self) -> TrainedHeads:
        """Embeddings of all concepts over all filters, and over few if the settings ask for it."""
        settings, filters = self.settings, self.problem.layer.filters
        sizes = settings.subset_sizes(filters)
        full = make_segmentation_heads(
            self.masks, filters=filters, key=self.key, seeds=settings.seeds
        )
        trained = self.train_heads(full, self.choose_penalties(full), "embeddings")
        if not sizes:
            return trained
        repeated = full.seed < settings.seeds_of_subsets()
        subsets = make_subset_heads(full.select(repeated), trained.weights[repeated], sizes)
        penalties = None
        if trained.l2 is not None:
            penalties = np.tile(trained.l2[repeated], len(sizes))
        return join_trained([trained, self.train_heads(subsets, penalties, "filter subsets")])

    def choose_penalties(self, full: Heads) -> Float[np.ndarray, " H"] | None:
        """The penalty of each head, of embeddings that are trained to their optimum."""
        if self.scale is None:
            return None
        return choose_penalties(
            full, self.activations, self.masks, train_entries(full, self.masks),
            self.settings.optimum(), key=self.key, cluster=self.masks.image_groups,
            progress=self.name("penalties"),
        )  # fmt: skip

    def train_heads(
        self,
        heads: Heads,
        penalties: Float[np.ndarray, " H"] | None,
        name: str,
        targets: np.ndarray | None = None,
    ) -> TrainedHeads:
        """Train by the preset; on the masks of `targets` instead of the images' own, if given."""
        masks = self.masks
        if penalties is None:
            result = train_segmentation_heads(
                heads,
                self.binary,
                masks if targets is None else exchange_masks(masks, targets),
                self.settings.training(),
                key=self.key,
                progress=self.name(name),
            )
            return TrainedHeads(heads, result.weights, heads.initial_bias, result.loss)
        entries = train_entries(heads, masks, targets)
        found = train_to_optimum(
            heads, self.activations, masks, entries, penalties, self.settings.optimum(),
            progress=self.name(name),
        )  # fmt: skip
        decision = found.bias + choose_levels(found.weights, entries, self.activations, masks)
        return TrainedHeads(
            heads, found.weights, found.bias, found.loss[None], decision=decision,
            loss_share=found.loss_share, l2=found.l2,
        )  # fmt: skip

    def count(
        self, heads: Heads, weights: np.ndarray, level: np.ndarray, name: str = ""
    ) -> SegmentationCounts:
        """What heads mark on the images of their concepts."""
        return evaluate_segmentation(
            weights, heads, self.activations, self.masks, level=level, progress=self.name(name)
        )

    def name(self, name: str) -> str:
        """Of a progress bar; empty for none."""
        return name if self.progress else ""
