"""uint8 image → network input: (x − mean) / deviation per RGB channel, with x in [0, 255].

Three named presets: a network's "own" constants, those it was trained with; "imagenet", the usual
mean and deviation of torchvision; "reference_code", those of the original Net2Vec code
(behaviour Q-1: Caffe's mean, and one deviation, 255 · 0.224, for all channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from net2vec_jax.core.errors import Net2VecError, unknown_name_error

PreprocessingName = Literal["own", "imagenet", "reference_code"]


@dataclass(frozen=True)
class Preprocessing:
    """Normalises images; a pure function that `jax.jit` accepts as a static argument.

    Attributes:
      mean: of red, green and blue, on the scale 0 … 255.
      deviation: what each centred channel is divided by, on the same scale.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __call__(self, images: Real[Array | np.ndarray, "N H W 3"]) -> Float[Array, "N H W 3"]:
        """(images − mean) / deviation, float32; of pixels 0 … 255 of any type."""
        mean = jnp.array(self.mean, jnp.float32)[None, None, None, :]
        deviation = jnp.array(self.deviation, jnp.float32)[None, None, None, :]
        return (jnp.asarray(images).astype(jnp.float32) - mean) / deviation

    def invert(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N H W 3"]:
        """images · deviation + mean: network input as pixels 0 … 255, neither cut nor rounded."""
        mean = jnp.array(self.mean, jnp.float32)[None, None, None, :]
        deviation = jnp.array(self.deviation, jnp.float32)[None, None, None, :]
        return images * deviation + mean


# torchvision: (x/255 − (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
REFERENCE_CODE_PREPROCESSING = Preprocessing((124.6901, 118.6897, 109.5388), (57.12, 57.12, 57.12))
# TensorFlow's EfficientNet-Lite: (x − 127) / 128
CENTRED = Preprocessing((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))

# Modes of preprocessing that mean something else for a network; None where one makes no sense.
Overrides = tuple[tuple[str, Preprocessing | None], ...]


@dataclass(frozen=True)
class View:
    """How a network sees images.

    Attributes:
      own: the preprocessing that it was trained with.
      overrides: modes that do not mean for it what they mean for all.
    """

    own: Preprocessing
    overrides: Overrides = ()

    def preprocessing(self, mode: str) -> Preprocessing:
        """The preprocessing named "own", "imagenet" or "reference_code".

        Raises:
          Net2VecError: there is no such preprocessing, or it makes no sense for the network.
        """
        modes = {
            "own": self.own,
            "imagenet": IMAGENET,
            "reference_code": REFERENCE_CODE_PREPROCESSING,
        }
        modes |= dict(self.overrides)
        if mode not in modes:
            raise unknown_name_error("preprocessing", mode, modes)
        found = modes[mode]
        if found is None:
            raise Net2VecError(
                f"preprocessing {mode!r} divides by a deviation, but the network was trained on "
                "images that are not divided; use 'own' or 'reference_code'"
            )
        return found
