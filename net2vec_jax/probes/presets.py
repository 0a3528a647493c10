"""Presets: what both probes do where nothing else is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.networks.preprocessing import PreprocessingName

PresetName = Literal["paper", "reference_code"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A faithful way to run the probes.

    Attributes:
      name: what flags and run.json call it.
      batch_size: of the segmentation probe, images per step of a head.
      category_choice: which of a concept's categories its masks come from.
      legacy_single_image_scale: the original's gradient of batches of one image (behaviour Q-9).
      mean_over_batches: accuracy is the mean of batches' means, as the original's (behaviour Q-10).
      preprocessing: of the images.
    """

    name: PresetName
    batch_size: int
    category_choice: CategoryChoice
    legacy_single_image_scale: bool
    mean_over_batches: bool
    preprocessing: PreprocessingName


PAPER = Preset(
    "paper",
    batch_size=64,
    category_choice="union",
    legacy_single_image_scale=False,
    mean_over_batches=False,
    preprocessing="own",
)
"""The paper's settings, with the original code's bugs fixed; the default."""

REFERENCE_CODE = Preset(
    "reference_code",
    batch_size=16,
    category_choice="first_available",
    legacy_single_image_scale=True,
    mean_over_batches=True,
    preprocessing="reference_code",
)
"""What the original code did, so that its numbers can be reproduced."""

PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {preset.name: preset for preset in (PAPER, REFERENCE_CODE)}
)
