"""Flags of the segmentation probe and its presets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from net2vec_jax.activations.collect import ComputeType
from net2vec_jax.activations.quantiles import Method
from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.errors import Net2VecError
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationFlags:
    """Flags of the segmentation probe.

    Attributes:
      dataset: a Broden directory, or "scenes" (built in).
      network: name in the zoo; or FILE.py:FUNCTION or package.module:FUNCTION, a function of your
        own without arguments that returns a LoadedNetwork (docs/own_models.md). This runs the
        code in that file. Required unless --activation-array is given.
      layer: one or several layers, each by its name or its torch module path. Several are computed
        in one pass, and the results of each lie in a directory OUT/LAYER of their own. Required
        unless --activation-array is given.
      out: run directory; an unfinished run in it is resumed.
      weights: weight file of the network; by default the zoo's.
      activation_array: activations computed elsewhere, instead of a network: a .npy file, or the
        directory of a zarr or N5 array, [images, height, width, filters], in the order of the
        dataset's images. --network and --layer are then only names for the tables; by default
        "array" and the file's.
      channels_first: the --activation-array is [images, filters, height, width].
      preset: "paper" (batch 64, masks are the union over a concept's categories) or
        "reference_code" (batch 16, the original's choice of category, its preprocessing and its
        scale of single-image batches).
      preprocessing: of the images: the network's own, torchvision's "imagenet" mean and deviation,
        or the original code's; by default the preset's (own; reference_code).
      dtype: what the network computes in. "bfloat16" is for accelerators, where it saves memory and
        time; activations of EfficientNet-Lite0 then differ by 6 %, and a tenth to a fifth of the
        active positions are others.
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
    network: str | None = None
    layer: tuple[str, ...] = ()
    out: Path
    weights: str | None = None
    activation_array: Path | None = None
    channels_first: bool = False
    preset: Literal["paper", "reference_code"] = "paper"
    preprocessing: Preprocessing | None = None
    dtype: ComputeType = "float32"
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

    def check(self) -> None:
        """Refuse flags that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        if self.activation_array is None:
            missing = [name for name in ("network", "layer") if not getattr(self, name)]
            if missing:
                raise Net2VecError(
                    f"--{missing[0]} is missing; give --network and --layer, or --activation-array"
                )
            if self.channels_first:
                raise Net2VecError("--channels-first is about an --activation-array; give one")
            return
        if len(self.layer) > 1:
            raise Net2VecError(
                f"--activation-array is of one layer, but --layer names {len(self.layer)}"
            )
        idle = {
            "--weights": self.weights is not None,
            "--preprocessing": self.preprocessing is not None,
            "--dtype": self.dtype != "float32",
            "--activations": self.activations is not None,
        }
        for flag, is_given in idle.items():
            if is_given:
                raise Net2VecError(f"{flag} has no effect on an --activation-array; leave it out")

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
