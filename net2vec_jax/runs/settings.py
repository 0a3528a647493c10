"""Settings of the probes, as keyword arguments and as flags: each declared once."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from net2vec_jax.activations.pooled import Pooling
from net2vec_jax.activations.responses import Responses, check_responses
from net2vec_jax.activations.thresholds import NO_THRESHOLD, QuantileMethod, threshold_position
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.classification.training import ClassificationConfig
from net2vec_jax.probes.presets import PRESETS, Preset, PresetName
from net2vec_jax.probes.segmentation.model import Loss
from net2vec_jax.probes.segmentation.optimum import OptimumConfig
from net2vec_jax.probes.segmentation.training import SegmentationConfig

RECIPE = ("epochs", "batch_size", "learning_rate", "loss", "shuffle")
"""Settings of the original's recipe, which mean nothing to the preset `converged`."""


def refuse_responses(responses: Responses, preset: Preset) -> None:
    """Refuse responses that mean nothing to a preset.

    Raises:
      Net2VecError: the preset weighs activations of either sign.
    """
    if check_responses(responses) != "positive" and preset.to_optimum:
        raise Net2VecError(
            f"--responses {responses} (responses={responses!r}) has no use with the preset "
            f"{preset.name}, whose embeddings weigh activations of either sign; leave it out"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """Settings that both probes share.

    Attributes:
      preset: "paper", "reference_code" to repeat what the original code did, or "converged" (of the
        segmentation probe).
      filters: also train embeddings of so many filters, those of largest weight, per concept.
      concepts: only these concepts, by name or number; all by default.
      seed: of initial weights, order, drawn images and bootstrap.
      seeds: repetitions, which differ in initial weights and drawn images; scores are their means.
      bootstrap_samples: of the intervals of val scores.
    """

    preset: PresetName = "paper"
    filters: tuple[int, ...] = ()
    concepts: tuple[str, ...] = ()
    seed: int = 0
    seeds: int = 1
    bootstrap_samples: int = 1000

    def __post_init__(self) -> None:
        """Lists and numbers of numpy become what run.json gives back."""
        concepts = (self.concepts,) if isinstance(self.concepts, str) else self.concepts
        for name, value in (
            ("filters", tuple(map(int, np.atleast_1d(self.filters)))),
            ("concepts", tuple(map(str, concepts))),
            ("seed", int(self.seed)),
        ):
            object.__setattr__(self, name, value)

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        if self.seeds < 1:
            raise Net2VecError(f"--seeds must be at least 1, not {self.seeds}")
        if self.preset not in PRESETS:
            raise Net2VecError(f"--preset {self.preset!r} is none of {', '.join(PRESETS)}")

    def find_preset(self) -> Preset:
        """The preset of this name."""
        return PRESETS[self.preset]

    def subset_sizes(self, filters: int) -> list[int]:
        """The numbers of filters that were asked for, ascending.

        Args:
          filters: K of the layer.

        Raises:
          Net2VecError: the layer does not have so many.
        """
        sizes = sorted(set(self.filters))
        if sizes and not 1 <= sizes[0] <= sizes[-1] <= filters:
            raise Net2VecError(f"--filters must lie in 1 … {filters}, not {sizes}")
        return sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationSettings(ProbeSettings):
    """Settings of the segmentation probe.

    Attributes:
      preset: "paper" (batch 64, masks are the union over a concept's categories),
        "reference_code" (batch 16, the original's choice of category, its preprocessing and its
        scale of single-image batches), or "converged" (every embedding at its optimum over
        standardised activations, with a penalty and a level chosen on train images).
      epochs: passes over each concept's train images.
      batch_size: images per step; by default the preset's (64; 16).
      learning_rate: of SGD with momentum 0.9.
      loss: "linear" as the original, or "bce".
      shuffle: draw a new order of the images every epoch.
      quantile: fraction of a filter's activations above its threshold; 1 for no threshold, as the
        original has it: a filter is active above 0.
      quantile_method: how a quantile between two values is read, by numpy's names.
      subset_seeds: repetitions of the embeddings of few filters; by default as many as --seeds.
      l2: penalties of the preset "converged" to choose from, in units of one image's loss per
        squared weight; by default 0.01, 0.1, 1 and 10.
      controls: also train embeddings on masks that were exchanged among each concept's images.
      untrained: also train embeddings of the network before its training: random weights, and
        normalisations that fit the images. Costs another pass over all images.
    """

    preset: PresetName = "paper"
    epochs: int = 30
    batch_size: int | None = None
    learning_rate: float = 1e-4
    loss: Loss = "linear"
    shuffle: bool = False
    quantile: float = 0.005
    quantile_method: QuantileMethod = "hazen"
    subset_seeds: int | None = None
    l2: tuple[float, ...] = ()
    controls: bool = True
    untrained: bool = False

    def __post_init__(self) -> None:
        """See `ProbeSettings`."""
        super().__post_init__()
        object.__setattr__(self, "l2", tuple(map(float, np.atleast_1d(self.l2))))

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        super().check()
        if not 1 <= self.seeds_of_subsets() <= self.seeds:
            raise Net2VecError(f"--subset-seeds must lie in 1 … --seeds, which is {self.seeds}")
        threshold_position(self.quantile)
        if not self.find_preset().to_optimum:
            if self.l2:
                raise Net2VecError("--l2 is of the preset converged; leave it out, or choose that")
            self.training()
            return
        defaults = SegmentationSettings()
        for name in RECIPE:
            if getattr(self, name) != getattr(defaults, name):
                flag = "--" + name.replace("_", "-")
                raise Net2VecError(
                    f"{flag} has no effect on the preset converged, which trains every embedding "
                    "to its optimum; leave it out"
                )
        if self.seeds > 1:
            raise Net2VecError(
                "--seeds has no effect on the preset converged: an embedding has one optimum, "
                "whatever it starts from; leave it out"
            )
        self.optimum()

    def resolve(self) -> SegmentationSettings:
        """The same settings with what the preset stands for."""
        if self.find_preset().to_optimum:
            return dataclasses.replace(self, l2=self.optimum().l2)
        return dataclasses.replace(self, batch_size=self.training().batch_size)

    def optimum(self) -> OptimumConfig:
        """Hyperparameters of the preset `converged`."""
        return OptimumConfig(l2=self.l2) if self.l2 else OptimumConfig()

    def seeds_of_subsets(self) -> int:
        """Repetitions of the embeddings of few filters."""
        return self.seeds if self.subset_seeds is None else self.subset_seeds

    def training(self) -> SegmentationConfig:
        """Hyperparameters of the training."""
        preset = self.find_preset()
        return SegmentationConfig(
            epochs=self.epochs,
            batch_size=preset.batch_size if self.batch_size is None else self.batch_size,
            learning_rate=self.learning_rate,
            loss=self.loss,
            shuffle=self.shuffle,
            legacy_single_image_scale=preset.legacy_single_image_scale,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationSettings(ProbeSettings):
    """Settings of the classification probe; the defaults are the published ones.

    Attributes:
      pooling: how a filter's activations become one number per image: "mean" or "max".
      quantile: 1 pools the activations themselves, as published; below 1 the binary activations
        above the threshold that this fraction of a filter's activations exceeds.
      standardize: train on pooled activations less their mean over train images, divided by their
        deviation, for layers whose scale the learning rate does not suit; the embeddings are
        scaled back, so that they act on activations as they are.
      epochs: passes over each concept's balanced train images.
      batch_size: images per step.
      learning_rate: of the first epochs.
      epochs_per_decay: the learning rate is divided by 10 whenever so many epochs have passed; 0
        keeps it.
      optimizer: "sgd" with momentum 0.9, or "adam".
      minimum_images: a concept needs so many images with it, and so many without, in either split.
    """

    pooling: Pooling = "mean"
    quantile: float = NO_THRESHOLD
    standardize: bool = False
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    epochs_per_decay: int = 15
    optimizer: Literal["sgd", "adam"] = "sgd"
    minimum_images: int = 5

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        super().check()
        if self.find_preset().to_optimum:
            raise Net2VecError(
                "--preset converged is of the segmentation probe; the classification probe has "
                "paper and reference_code"
            )
        if self.minimum_images < 1:
            raise Net2VecError(f"--minimum-images must be at least 1, not {self.minimum_images}")
        threshold_position(self.quantile)
        self.training()

    def training(self) -> ClassificationConfig:
        """Hyperparameters of the training."""
        return ClassificationConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            epochs_per_decay=self.epochs_per_decay or None,
            optimizer=self.optimizer,
        )
