"""What both sides of the benchmark work on, so that what they compute can be compared.

A side has a method for every stage, which does the work once and returns an `Outcome`. Both use the
activations that ours computed. Torch does some stages on few concepts, as the outcome's work says.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmark.workers import Outcome
from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.data.open import open_dataset
from net2vec_jax.probes.classification.groups import (
    HeadGroups,
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.training import ClassificationConfig
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.probes.segmentation.training import SegmentationConfig, make_segmentation_heads

NETWORK = "efficientnet_lite0"
PREPROCESSING = "imagenet"
IMAGES_AT_ONCE = 64
GENTLE_RATE = 1e-3
"""Learning rate of classification; the published 0.1 amplifies rounding until weights differ."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both sides do.

    Attributes:
      dataset: a Broden directory, or "scenes".
      layer: of EfficientNet-Lite0.
      epochs: of both trainings.
      concepts: how many concepts are trained, from the first one on; all if None.
      few: how many concepts torch does where it is timed on some only.
      seed: of initial weights and drawn images.
      folder: where ours leaves the activations for torch.
      form: how ours reads binary activations.
    """

    dataset: str
    layer: str
    epochs: int
    concepts: int | None
    few: int
    seed: int
    folder: Path
    form: Form | None = None

    def segmentation(self) -> SegmentationConfig:
        """Hyperparameters of the segmentation probe."""
        return SegmentationConfig(epochs=self.epochs, form=self.form)

    def classification(self) -> ClassificationConfig:
        """Hyperparameters of the classification probe."""
        return ClassificationConfig(epochs=self.epochs, learning_rate=GENTLE_RATE)


def timed_outcome(work: float, function: Callable[[], Any]) -> Outcome:
    """Run the function and say how long it took."""
    start = time.perf_counter()
    result = function()
    return Outcome(time.perf_counter() - start, work, result)


class Side:
    """What both sides know."""

    def __init__(self, settings: Settings) -> None:
        """Open the dataset; scenes are drawn if need be."""
        self.settings = settings
        self.dataset: ConceptDataset = open_dataset(
            settings.dataset, scenes_directory=settings.folder / "scenes"
        )

    @cached_property
    def activations(self) -> np.ndarray:
        """float32 [N, h, w, K], computed by ours."""
        return np.load(self.settings.folder / "activations.npy")

    @cached_property
    def binary(self) -> BinaryActivations:
        """Binary activations, from ours' thresholds."""
        return collect_binary_activations(self.batches, self.thresholds)

    @cached_property
    def thresholds(self) -> np.ndarray:
        """Exact thresholds."""
        return collect_thresholds(self.batches, self.activations[..., 0].size)

    @property
    def batches(self) -> list[np.ndarray]:
        """The activations in parts."""
        return np.array_split(self.activations, -(-len(self.activations) // IMAGES_AT_ONCE))

    @cached_property
    def masks(self) -> ConceptMasks:
        """Masks of all concepts."""
        return collect_concept_masks(self.dataset)

    @cached_property
    def heads(self) -> Heads:
        """Heads over all filters, of as many concepts as are trained."""
        key = jax.random.key(self.settings.seed)
        heads = make_segmentation_heads(self.masks, filters=self.binary.filters, key=key)
        return heads.select(slice(0, self.settings.concepts))

    @cached_property
    def classification_heads(self) -> Heads:
        """Heads of the classification probe, over all filters."""
        key = jax.random.key(self.settings.seed)
        return make_classification_heads(self.masks, filters=self.activations.shape[-1], key=key)

    @cached_property
    def groups(self) -> HeadGroups:
        """Which images they see."""
        return group_heads(self.classification_heads, self.masks)

    def few(self) -> list[int]:
        """The trained concepts with the fewest images, as places in the heads."""
        images = self.masks.count_images()[0][self.heads.concept]
        return np.argsort(images, kind="stable")[: self.settings.few].tolist()

    def count_pairs(self, places: Sequence[int] | slice = slice(None), *, val: bool = True) -> int:
        """(Concept, image) pairs of some of the heads, train and, if asked for, val."""
        train_images, val_images = self.masks.count_images()
        images = train_images + val_images if val else train_images
        return int(images[self.heads.concept[places]].sum())
