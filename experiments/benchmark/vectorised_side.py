"""The benchmark's stages in PyTorch as fast as we can write them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from experiments.benchmark.problem import timed_outcome
from experiments.benchmark.torch_side import TorchSide
from experiments.benchmark.workers import Outcome
from experiments.torch_reference.classification import draw_all_images
from experiments.torch_reference.vectorised import (
    collect_thresholds_vectorised,
    evaluate_segmentation_vectorised,
    probe_single_filters_vectorised,
    train_classification_vectorised,
    train_segmentation_vectorised,
)
from net2vec_jax.stats.metrics import iou


class VectorisedSide(TorchSide):
    """PyTorch with all concepts in one program, on all the work."""

    def quantiles(self) -> Outcome:
        """Exact thresholds."""
        values = self.activations
        return timed_outcome(values.size, lambda: collect_thresholds_vectorised(values))

    def single_filters(self) -> Outcome:
        """Every filter with every concept."""
        binary, masks = self.binary, self.masks
        outcome = timed_outcome(
            len(masks.pair_image) * binary.filters,
            lambda: probe_single_filters_vectorised(binary, masks),
        )
        few = self.heads.concept[self.few()]
        counts = [values[:, few] for values in outcome.result]
        return dataclasses.replace(outcome, result=np.stack(counts))

    def segmentation(self) -> Outcome:
        """Embeddings of all concepts at once; the time to build the tensors is left out."""
        config = self.settings.segmentation()
        weights, _, seconds = train_segmentation_vectorised(
            self.heads, self.binary, self.masks, config
        )
        return Outcome(seconds, self.count_pairs(val=False) * config.epochs, weights)

    def evaluation(self) -> Outcome:
        """Overlap of all embeddings on all images."""
        heads, binary, masks = self.heads, self.binary, self.masks

        def evaluate() -> np.ndarray:
            found = evaluate_segmentation_vectorised(heads.initial_weights, heads, binary, masks)
            return iou(*(values[1] for values in found))[self.few()]

        return timed_outcome(self.count_pairs(), evaluate)

    def classification(self) -> Outcome:
        """All classification embeddings at once, the images that ours draws."""
        groups, config = self.groups, self.settings.classification()
        heads, key = self.classification_heads, jax.random.key(self.settings.seed)
        images, shows = draw_all_images(groups, key, config.epochs)
        pooled = self.activations.mean((1, 2))
        return timed_outcome(
            int(groups.count.sum()) * config.epochs,
            lambda: train_classification_vectorised(
                pooled, images, shows, groups.count, heads.initial_weights, heads.initial_bias,
                config,
            ),
        )  # fmt: skip
