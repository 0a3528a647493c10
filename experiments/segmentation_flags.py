"""Flags of the segmentation probe and its presets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from net2vec_jax.activations.quantiles import Method
from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.probes.segmentation import SegmentationConfig
from net2vec_jax.probes.segmentation_model import Loss

Preprocessing = Literal["own", "imagenet", "reference_code"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a preset stands for where a flag leaves it open."""

    batch_size: int
    category_choice: CategoryChoice
    preprocessing: Preprocessing
    legacy_single_image_scale: bool


PRESETS = {
    "paper": Preset(64, "union", "own", False),
    "reference_code": Preset(16, "first_available", "reference_code", True),
}


@dataclasses.dataclass(frozen=True)
class SegmentationFlags:
    """Flags of the segmentation probe.

    Attributes:
      dataset: a Broden directory, or "scenes" (built in).
      network: name in the zoo.
      layer: name of the layer, or its torch module path.
      out: run directory; an unfinished run in it is resumed.
      weights: weight file of the network; by default the zoo's.
      preset: "paper" (batch 64, masks are the union over a concept's categories) or
        "reference_code" (batch 16, the original's choice of category, its preprocessing and its
        scale of single-image batches).
      preprocessing: of the images: the network's own, torchvision's "imagenet" mean and deviation,
        or the original code's; by default the preset's (own; reference_code).
      filters: also train embeddings of so many filters, those of largest weight, per concept.
      concepts: only these concepts, by name or number; all by default.
      epochs: passes over each concept's train images.
      batch_size: images per step; by default the preset's (64; 16).
      learning_rate: of SGD with momentum 0.9.
      loss: "linear" as the original, or "bce".
      shuffle: draw a new order of the images every epoch.
      quantile: fraction of a filter's activations above its threshold.
      quantile_method: how a quantile between two values is read, by numpy's names.
      seed: of initial weights, order and bootstrap.
      bootstrap_samples: of the intervals of val IoU.
      images_per_batch: images per forward pass.
      activations: folder of the stored activations; by default inside the run directory.
    """

    dataset: str
    network: str
    layer: str
    out: Path
    weights: str | None = None
    preset: Literal["paper", "reference_code"] = "paper"
    preprocessing: Preprocessing | None = None
    filters: tuple[int, ...] = ()
    concepts: tuple[str, ...] = ()
    epochs: int = 30
    batch_size: int | None = None
    learning_rate: float = 1e-4
    loss: Loss = "linear"
    shuffle: bool = False
    quantile: float = 0.005
    quantile_method: Method = "hazen"
    seed: int = 0
    bootstrap_samples: int = 1000
    images_per_batch: Annotated[int, tyro.conf.arg(name="images-per-batch")] = 32
    activations: Path | None = None

    def resolve_preprocessing(self) -> Preprocessing:
        """The preprocessing asked for, or the preset's."""
        return self.preprocessing or PRESETS[self.preset].preprocessing

    def training(self) -> SegmentationConfig:
        """Hyperparameters of the training."""
        preset = PRESETS[self.preset]
        return SegmentationConfig(
            epochs=self.epochs,
            batch_size=preset.batch_size if self.batch_size is None else self.batch_size,
            learning_rate=self.learning_rate,
            loss=self.loss,
            shuffle=self.shuffle,
            legacy_single_image_scale=preset.legacy_single_image_scale,
        )
