"""Flags of the segmentation probe and its presets."""

from __future__ import annotations

import dataclasses

from net2vec_jax.activations.thresholds import Method
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.probes.segmentation.model import Loss
from net2vec_jax.probes.segmentation.training import SegmentationConfig
from net2vec_jax.runs.layer_flags import LayerFlags, PresetName


@dataclasses.dataclass(frozen=True)
class Preset:
    """What a preset stands for where a flag leaves it open."""

    batch_size: int
    category_choice: CategoryChoice
    legacy_single_image_scale: bool


PRESETS = {
    "paper": Preset(64, "union", False),
    "reference_code": Preset(16, "first_available", True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationFlags(LayerFlags):
    """Flags of the segmentation probe.

    Attributes:
      preset: "paper" (batch 64, masks are the union over a concept's categories) or
        "reference_code" (batch 16, the original's choice of category, its preprocessing and its
        scale of single-image batches).
      epochs: passes over each concept's train images.
      batch_size: images per step; by default the preset's (64; 16).
      learning_rate: of SGD with momentum 0.9.
      loss: "linear" as the original, or "bce".
      shuffle: draw a new order of the images every epoch.
      quantile: fraction of a filter's activations above its threshold.
      quantile_method: how a quantile between two values is read, by numpy's names.
      subset_seeds: repetitions of the embeddings of few filters; by default as many as --seeds.
    """

    preset: PresetName = "paper"
    epochs: int = 30
    batch_size: int | None = None
    learning_rate: float = 1e-4
    loss: Loss = "linear"
    shuffle: bool = False
    quantile: float = 0.005
    quantile_method: Method = "hazen"
    subset_seeds: int | None = None

    def check(self) -> None:
        """Refuse flags that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        super().check()
        if not 1 <= self.seeds_of_subsets() <= self.seeds:
            raise Net2VecError(f"--subset-seeds must lie in 1 … --seeds, which is {self.seeds}")

    def seeds_of_subsets(self) -> int:
        """Repetitions of the embeddings of few filters."""
        return self.seeds if self.subset_seeds is None else self.subset_seeds

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
