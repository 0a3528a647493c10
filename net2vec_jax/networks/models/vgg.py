"""VGG (Simonyan and Zisserman 2014), 224 pixels: 3 × 3 convolutions in five stages of equal width.

Filters are taken behind the ReLU. A stage's maps measure 224² × 64, 112² × 128, 56² × 256,
28² × 512 and 14² × 512. With batch normalisation the network is the same, once that is folded into
the convolutions; and so is the one of the authors' Caffe file, but for the names in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from flax import nnx

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.sequential import FULLY_CONNECTED, ClassifierNetwork

WIDTHS = (64, 128, 256, 512, 512)
KEYS = MappingProxyType({"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"})


def place_maps(per_stage: tuple[int, ...], *, normalised: bool = False) -> Mapping[str, int]:
    """Every convolution and pooling layer with its place in torchvision's `features`.

    Args:
      per_stage: the number of convolutions of each of the five stages.
      normalised: a batch normalisation comes behind each; and behind that, or else the convolution,
        its ReLU. A pooling layer takes one place.
    """
    places, place = {}, 0
    for stage, convolutions in enumerate(per_stage, 1):
        for number in range(1, convolutions + 1):
            places[f"conv{stage}_{number}"] = place
            place += 3 if normalised else 2
        places[f"pool{stage}"] = place
        place += 1
    return MappingProxyType(places)


def name_places(places: Mapping[str, int], *, normalised: bool = False) -> Mapping[str, str]:
    """Torchvision's module paths: of the ReLU behind each convolution and of the pooling."""
    behind = 2 if normalised else 1
    aliases = {
        f"features.{place + (0 if name.startswith('pool') else behind)}": name
        for name, place in places.items()
    }
    linear = {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}
    return MappingProxyType(aliases | {"features": "pool5"} | linear | {"classifier": "fc8"})


class VGG(ClassifierNetwork):
    """Layers `conv1_1`, …, `pool1`, …, `pool5`, `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. Any image of 32 pixels or more a side will do: as in
    torchvision, `fc6` sees `pool5` averaged to 7 × 7, which changes nothing at 224.

    Attributes:
      places: see `place_maps`.
      normalised: whether torchvision's version has batch normalisations.
      caffe: whether the file is the authors', with names as ours.
    """

    places: ClassVar[Mapping[str, int]]
    normalised: ClassVar[bool] = False
    caffe: ClassVar[bool] = False
    smallest_input = 32
    pool_size = 2
    pooled = 7

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

    places = place_maps((2, 2, 3, 3, 3))
    layers = (*places, *FULLY_CONNECTED)
    aliases = name_places(places)


class CaffeVGG16(VGG16):
    """The authors' VGG16; layers as in `VGG16`."""

    caffe = True


class NormalisedVGG16(VGG):
    """VGG16 that was trained with batch normalisation; layers as in `VGG16`."""

    normalised = True
    places = place_maps((2, 2, 3, 3, 3), normalised=True)
    layers = (*places, *FULLY_CONNECTED)
    aliases = name_places(places, normalised=True)


class VGG19(VGG):
    """16 convolutions; layers as in `VGG`, from `conv1_1` to `conv5_4`."""

    places = place_maps((2, 2, 4, 4, 4))
    layers = (*places, *FULLY_CONNECTED)
    aliases = name_places(places)
