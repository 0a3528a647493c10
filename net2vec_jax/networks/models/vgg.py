"""VGG (Simonyan and Zisserman 2014), 224 pixels: 3 × 3 convolutions in five stages of equal width.

Filters are taken behind the ReLU. A stage's maps measure 224² × 64, 112² × 128, 56² × 256,
28² × 512 and 14² × 512. With batch normalisation the network is the same, once that is folded into
the convolutions; and so is the one of the authors' Caffe file, but for the names in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import adaptive_average_pool, max_pool
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, linear_after_map, reverse_inputs
from net2vec_jax.weights.rules import Rule, caffe_rules, folded_rules, plain_rules

WIDTHS = (64, 128, 256, 512, 512)
POOLED = 7


@dataclass(frozen=True)
class Convolutions:
    """Where the convolutions of a VGG are.

    Attributes:
      per_stage: how many each of the five stages has.
      normalised: whether torchvision's version has a batch normalisation behind each.
    """

    per_stage: tuple[int, int, int, int, int]
    normalised: bool = False

    def modules(self) -> Iterator[tuple[str, int | None]]:
        """Every layer's name and the number of its convolution in torchvision's `features`.

        A convolution is followed by its normalisation, if it has one, and its ReLU; a pooling layer
        has no number, and takes one place.
        """
        number = 0
        for stage, convolutions in enumerate(self.per_stage, 1):
            for place in range(1, convolutions + 1):
                yield f"conv{stage}_{place}", number
                number += 3 if self.normalised else 2
            yield f"pool{stage}", None
            number += 1

    def layers(self) -> tuple[str, ...]:
        """The names of all layers."""
        return (*(name for name, _ in self.modules()), "fc6", "fc7", "fc8")

    def aliases(self) -> Mapping[str, str]:
        """Torchvision's module paths: of the ReLU behind each convolution and of the pooling."""
        aliases, end = {}, 0
        for name, number in self.modules():
            if number is not None:
                end = number + (2 if self.normalised else 1)
            else:
                end += 1
            aliases[f"features.{end}"] = name
        linear = {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}
        return MappingProxyType(aliases | {"features": "pool5"} | linear | {"classifier": "fc8"})


class VGG(Network):
    """Layers `conv1_1`, …, `pool1`, …, `pool5`, `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. Any image of 32 pixels or more a side will do: as in
    torchvision, `fc6` sees `pool5` averaged to 7 × 7, which changes nothing at 224.
    """

    convolutions: ClassVar[Convolutions]
    smallest_input = 32

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        inputs = 3
        stages = zip(WIDTHS, self.convolutions.per_stage, strict=True)
        for stage, (width, convolutions) in enumerate(stages, 1):
            for place in range(1, convolutions + 1):
                layer = Convolution(inputs, width, 3, padding=1, rngs=rngs)
                setattr(self, f"conv{stage}_{place}", layer)
                inputs = width
        self.fc6 = Linear(inputs * POOLED * POOLED, 4096, rngs=rngs)
        self.fc7 = Linear(4096, 4096, rngs=rngs)
        self.fc8 = Linear(4096, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = images
        for name, _ in self.convolutions.modules():
            layer = getattr(self, name, None)
            values = max_pool(values, 2, 2) if layer is None else relu(layer(values))
            yield name, values
        values = adaptive_average_pool(values, POOLED, POOLED)
        values = relu(self.fc6(values.reshape(values.shape[0], -1)))
        yield "fc6", values
        values = relu(self.fc7(values))
        yield "fc7", values
        yield "fc8", self.fc8(values)

    @classmethod
    def rules(cls) -> dict[str, Rule]:
        """Every parameter's origin in torchvision's state dict."""
        rules: dict[str, Rule] = {}
        for name, number in cls.convolutions.modules():
            if number is None:
                continue
            key = f"features.{number}"
            if cls.convolutions.normalised:
                rules |= folded_rules(name, key, f"features.{number + 1}", has_bias=True)
            else:
                rules |= plain_rules(name, key, CONVOLUTION)
        rules |= plain_rules("fc6", "classifier.0", linear_after_map(POOLED, POOLED))
        rules |= plain_rules("fc7", "classifier.3", LINEAR)
        return rules | plain_rules("fc8", "classifier.6", LINEAR)

    @classmethod
    def caffe_rules(cls) -> dict[str, Rule]:
        """Every parameter's origin in the authors' Caffe file, trained on blue, green, red."""
        rules: dict[str, Rule] = {}
        for name, number in cls.convolutions.modules():
            if number is not None:
                kernel = reverse_inputs(CONVOLUTION) if number == 0 else CONVOLUTION
                rules |= caffe_rules(name, name, kernel)
        rules |= caffe_rules("fc6", "fc6", linear_after_map(POOLED, POOLED))
        return rules | caffe_rules("fc7", "fc7", LINEAR) | caffe_rules("fc8", "fc8", LINEAR)


class VGG16(VGG):
    """13 convolutions; layers as in `VGG`, from `conv1_1` to `conv5_3`."""

    convolutions = Convolutions((2, 2, 3, 3, 3))
    layers = convolutions.layers()
    aliases = convolutions.aliases()


class NormalisedVGG16(VGG):
    """VGG16 that was trained with batch normalisation; layers as in `VGG16`."""

    convolutions = Convolutions((2, 2, 3, 3, 3), normalised=True)
    layers = convolutions.layers()
    aliases = convolutions.aliases()


class VGG19(VGG):
    """16 convolutions; layers as in `VGG`, from `conv1_1` to `conv5_4`."""

    convolutions = Convolutions((2, 2, 4, 4, 4))
    layers = convolutions.layers()
    aliases = convolutions.aliases()
