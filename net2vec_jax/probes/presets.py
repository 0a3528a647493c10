"""Presets: what both probes do where nothing else is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.networks.preprocessing import PreprocessingName

PresetName = Literal["paper", "reference_code", "converged"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """A way to run the probes.

    Attributes:
      name: what flags and run.json call it.
      batch_size: of the segmentation probe, images per step of a head.
      category_choice: which of a concept's categories its masks come from.
      legacy_single_image_scale: the original's gradient of batches of one image (behaviour Q-9).
      mean_over_batches: accuracy is the mean of batches' means, as the original's (behaviour Q-10).
      preprocessing: of the images.
      to_optimum: segmentation embeddings over standardised activations, each at the optimum of its
        loss and with a level of its own, instead of the original's recipe.
    """

    name: PresetName
    batch_size: int
    category_choice: CategoryChoice
    legacy_single_image_scale: bool
    mean_over_batches: bool
    preprocessing: PreprocessingName
    to_optimum: bool = False

    @property
    def decision_rule(self) -> str:
        """Where a segmentation embedding, and a single filter under the same rule, marks pixels."""
        if self.to_optimum:
            return (
                "A pixel is marked where the upsampled map Σ w_k (A_k − μ_k) / σ_k is above a "
                "level chosen on train images; of a single filter, its sign and its level are."
            )
        return (
            "A pixel is marked where the upsampled map Σ w_k 1[A_k > T_k] is above 0; of a single "
            "filter, where its upsampled map 1[A_k > T_k] is."
        )


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

CONVERGED = dataclasses.replace(PAPER, name="converged", to_optimum=True)
"""The segmentation probe as an answer to the paper's question, not a repetition of its recipe:
logistic regression on standardised activations at its optimum, with a penalty chosen by inner
validation and a level chosen on train images, for every concept."""

PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {preset.name: preset for preset in (PAPER, REFERENCE_CODE, CONVERGED)}
)


def find_preset(preset: Preset | str) -> Preset:
    """A preset by its name; or the preset itself.

    Raises:
      Net2VecError: there is none of this name, or it is one of your own: settings are changed by
        arguments instead, so that every run says what it did.
    """
    name = preset if isinstance(preset, str) else preset.name
    found = next((known for known in PRESETS.values() if known.name == name), None)
    if found is None:
        raise unknown_name_error("preset", name, PRESETS)
    if isinstance(preset, Preset) and preset != found:
        raise Net2VecError(
            f"the preset {name!r} was changed; give the preset as it is, and what is to differ as "
            "arguments: batch_size=…, epochs=…"
        )
    return found
