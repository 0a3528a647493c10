"""VGG (Simonyan and Zisserman 2014), 224 pixels: 3 × 3 convolutions in five stages of equal width.

Filters are taken behind the ReLU. A stage's maps measure 224² × 64, 112² × 128, 56² × 256,
28² × 512 and 14² × 512. With batch normalisation the network is the same, once that is folded into
the convolutions; and so is the one of the authors' Caffe file, but for the names in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from flax import nnx

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.sequential import FULLY_CONNECTED, ClassifierNetwork

WIDTHS = (64, 128, 256, 512, 512)
KEYS = MappingProxyType({"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"})


class VGG(ClassifierNetwork):
    """Layers `conv1_1`, …, `pool1`, …, `pool5`, `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. Any image of 32 pixels or more a side will do: as in
    torchvision, `fc6` sees `pool5` averaged to 7 × 7, which changes nothing at 224.

    Attributes:
      per_stage: the number of convolutions of each of the five stages.
      places: of every convolution and pooling layer in torchvision's `features`.
      normalised: whether torchvision's version has batch normalisations.
      caffe: whether the file is the authors', with names as ours.
    """

    per_stage: ClassVar[tuple[int, ...]]
    places: ClassVar[Mapping[str, int]]
    normalised: ClassVar[bool] = False
    caffe: ClassVar[bool] = False
    smallest_input = 32
    pool_size = 2
    pooled = 7

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers, and torchvision's modules: what lies behind ReLU and pooling."""
        super().__init_subclass__(**options)
        places, aliases, place, step = {}, {}, 0, 3 if cls.normalised else 2
        for stage, convolutions in enumerate(cls.per_stage, 1):
            for number in range(1, convolutions + 1):
                name = f"conv{stage}_{number}"
                places[name], aliases[f"features.{place + step - 1}"] = place, name
                place += step
            places[f"pool{stage}"], aliases[f"features.{place}"] = place, f"pool{stage}"
            place += 1
        linear = {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}
        cls.places, cls.layers = MappingProxyType(places), (*places, *FULLY_CONNECTED)
        cls.aliases = MappingProxyType(
            aliases | {"features": "pool5"} | linear | {"classifier": "fc8"}
        )

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        inputs = 3
        for name, place in self.places.items():
            if name.startswith("pool"):
                continue
            width = WIDTHS[int(name[4]) - 1]
            key = None if self.caffe else f"features.{place}"
            norm = f"features.{place + 1}" if self.normalised else None
            layer = Convolution(
                inputs, width, 3, padding=1, key=key, norm=norm, own_bias=True, rngs=rngs
            )
            setattr(self, name, layer)
            inputs = width
        self.add_classifier(inputs, classes, {} if self.caffe else dict(KEYS), rngs)


class VGG16(VGG):
    """13 convolutions; layers as in `VGG`, from `conv1_1` to `conv5_3`."""

    per_stage = (2, 2, 3, 3, 3)


class CaffeVGG16(VGG16):
    """The authors' VGG16; layers as in `VGG16`."""

    caffe = True


class NormalisedVGG16(VGG):
    """VGG16 that was trained with batch normalisation; layers as in `VGG16`."""

    normalised = True
    per_stage = (2, 2, 3, 3, 3)


class VGG19(VGG):
    """16 convolutions; layers as in `VGG`, from `conv1_1` to `conv5_4`."""

    per_stage = (2, 2, 4, 4, 4)
