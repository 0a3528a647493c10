"""Flags that all probes of a layer share: what is probed, with which images, where results go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from net2vec_jax.activations.compute import ComputeType
from net2vec_jax.activations.responses import Responses
from net2vec_jax.activations.store import StoredType
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.options import WeightOptions
from net2vec_jax.networks.preprocessing import PreprocessingName
from net2vec_jax.runs.settings import (
    ClassificationSettings,
    ProbeSettings,
    SegmentationSettings,
    refuse_responses,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerFlags(WeightOptions, ProbeSettings):
    """Flags that both probes of a layer share.

    Attributes:
      dataset: a Broden directory, a folder of your own images and masks or
        coco:ANNOTATIONS.json:IMAGES (docs/own_images.md), tfds:NAME (docs/tfds.md), or "scenes"
        (built in).
      network: name in the zoo; or FILE.py:FUNCTION or package.module:FUNCTION, a function of your
        own without arguments that returns a LoadedNetwork (docs/own_models.md). This runs the
        code in that file. Required unless --activation-array is given.
      layer: one or several layers, each by its name or its torch module path. Several are computed
        in one pass, and the results of each lie in a directory OUT/LAYER of their own. Required
        unless --activation-array is given.
      out: run directory; an unfinished run in it is resumed.
      weights: name of published weights ("imagenet", "places365"), a weight file (.pth, .pt,
        .safetensors, .caffemodel, …; docs/zoo.md), hf:OWNER/NAME or timm:NAME of the Hugging Face
        Hub, or a directory that experiments.port_weights wrote; by default the zoo's first, which
        are downloaded once.
      activation_array: activations computed elsewhere, instead of a network: a .npy file, or the
        directory of a zarr or N5 array, [images, height, width, filters], in the order of the
        dataset's images. --network and --layer are then only names for the tables; by default
        "array" and the file's.
      channels_first: the --activation-array is [images, filters, height, width].
      preprocessing: of the images: the network's own, torchvision's "imagenet" mean and deviation,
        or the original code's; by default the preset's (own; reference_code).
      dtype: what the network computes in. "bfloat16" is for accelerators, where it saves memory and
        time; activations of EfficientNet-Lite0 then differ by 6 %, and a tenth to a fifth of the
        active positions are others.
      responses: which side of its activations a filter responds with, for layers without a
        rectifier: "positive", "negative", or "both", where each filter k is two, +k and -k.
      images_per_batch: images per forward pass.
      activations: folder of what is kept of the activations; by default inside the run directory.
      keep_activations: also keep all values, "float32", or in half the space "bfloat16" or
        "float16", whose rounded values are then what everything reads. By default only what the
        probe needs is kept, a hundredth; analyses that need more compute the activations again.
      skip_bad_images: go on without the images that cannot be read, and list them in run.json; by
        default the run stops and lists them. Decodes every image once more.
      skip_bad_annotations: go on without the annotations of a COCO file that cannot be read (boxes
        without segmentation, polygons of two points, images that are not listed), and list them in
        run.json; by default the run stops and lists them.
      cache_data: decode images and labels once and keep them beside the dataset (or in the user's
        cache, if nothing may be written there) for all later runs.
    """

    dataset: str
    network: str | None = None
    layer: tuple[str, ...] = ()
    out: Path
    weights: str | None = None
    activation_array: Path | None = None
    channels_first: bool = False
    preprocessing: PreprocessingName | None = None
    dtype: ComputeType = "float32"
    responses: Responses = "positive"
    images_per_batch: Annotated[int, tyro.conf.arg(name="images-per-batch")] = 32
    activations: Path | None = None
    keep_activations: Annotated[StoredType | None, tyro.conf.arg(name="keep-activations")] = None
    skip_bad_images: Annotated[bool, tyro.conf.arg(name="skip-bad-images")] = False
    skip_bad_annotations: Annotated[bool, tyro.conf.arg(name="skip-bad-annotations")] = False
    cache_data: bool = True

    def check(self) -> None:
        """Refuse flags that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        super().check()
        refuse_responses(self.responses, self.find_preset())
        if self.activation_array is None:
            missing = [name for name in ("network", "layer") if not getattr(self, name)]
            if missing:
                raise Net2VecError(
                    f"--{missing[0]} is missing; give --network and --layer, or --activation-array"
                )
            if self.channels_first:
                raise Net2VecError("--channels-first is about an --activation-array; give one")
            if (self.mean or self.deviation) and self.resolve_preprocessing() != "own":
                raise Net2VecError(
                    f"--mean and --deviation are the network's own, but the preprocessing is "
                    f"{self.resolve_preprocessing()!r}: give --preprocessing own, or leave them out"
                )
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
            "--keep-activations": self.keep_activations is not None,
            "--skip-bad-images": self.skip_bad_images,
            **{f"--{name.replace('_', '-')}": True for name in self.chosen},
        }
        for flag, is_given in idle.items():
            if is_given:
                raise Net2VecError(f"{flag} has no effect on an --activation-array; leave it out")

    def resolve_preprocessing(self) -> PreprocessingName:
        """The preprocessing asked for, or the preset's."""
        return self.preprocessing or self.find_preset().preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationFlags(SegmentationSettings, LayerFlags):
    """Flags of the segmentation probe."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationFlags(ClassificationSettings, LayerFlags):
    """Flags of the classification probe."""
