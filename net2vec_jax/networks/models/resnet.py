"""Residual networks (He et al. 2015) as torchvision has them, 224 pixels.

With bottlenecks of twice the width they are wide residual networks (Zagoruyko and Komodakis 2016),
with 3 × 3 convolutions in groups ResNeXt (Xie et al. 2017). Batch normalisation (ε = 1e-5) is
folded into the convolutions when weights are ported. A block's output is taken behind the ReLU that
follows the addition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import max_pool
from net2vec_jax.networks.network import Network, Steps

STEM_FILTERS = 64


class BasicBlock(nnx.Module):
    """Two 3 × 3 convolutions and a way around them."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; a 1 × 1 convolution leads around where the shape changes."""
        self.key = key
        self.conv1 = Convolution(inputs, width, 3, stride=stride, padding=1, norm="bn1", rngs=rngs)
        self.conv2 = Convolution(width, width, 3, padding=1, norm="bn2", rngs=rngs)
        self.downsample = _make_way_around(inputs, width, stride, rngs)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """The block's output, at least 0."""
        values = self.conv2(relu(self.conv1(images)))
        return relu(values + (images if self.downsample is None else self.downsample(images)))


class Bottleneck(nnx.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions and a way around them; the stride is in the 3 × 3."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        *,
        groups: int = 1,
        group_width: int = STEM_FILTERS,
        key: str,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights.

        Args:
          inputs: channels that come in.
          width: a quarter of the channels that go out.
          stride: of the 3 × 3 convolution.
          groups: of the 3 × 3 convolution.
          group_width: channels of a group in the first stage, where `width` is 64; more in others,
            as `width` grows.
          key: of the block.
          rngs: source of the random kernels.
        """
        self.key = key
        inner, outputs = width * group_width // STEM_FILTERS * groups, width * self.expansion
        self.conv1 = Convolution(inputs, inner, 1, padding=0, norm="bn1", rngs=rngs)
        self.conv2 = Convolution(
            inner, inner, 3, stride=stride, padding=1, groups=groups, norm="bn2", rngs=rngs
        )
        self.conv3 = Convolution(inner, outputs, 1, padding=0, norm="bn3", rngs=rngs)
        self.downsample = _make_way_around(inputs, outputs, stride, rngs)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """The block's output, at least 0."""
        values = self.conv3(relu(self.conv2(relu(self.conv1(images)))))
        return relu(values + (images if self.downsample is None else self.downsample(images)))


def _make_way_around(inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> Convolution | None:
    if inputs == outputs and stride == 1:
        return None
    return Convolution(
        inputs,
        outputs,
        1,
        stride=stride,
        padding=0,
        key="downsample.0",
        norm="downsample.1",
        rngs=rngs,
    )


@dataclass(frozen=True)
class Stages:
    """What distinguishes one residual network from another.

    Attributes:
      blocks: how many each of the four stages has.
      block: of which kind.
      groups: of the 3 × 3 convolutions; bottlenecks alone have more than one.
      group_width: channels of a group in the first stage; bottlenecks alone have another than 64.
    """

    blocks: tuple[int, int, int, int]
    block: type[BasicBlock] | type[Bottleneck]
    groups: int = 1
    group_width: int = STEM_FILTERS

    def modules(self) -> Iterator[tuple[str, str]]:
        """Every block's layer name and torchvision's module path.

        The last block of a stage is named as the stage, since its output is the stage's.
        """
        for stage, blocks in enumerate(self.blocks, 1):
            for place in range(blocks):
                last = place == blocks - 1
                yield f"layer{stage}" + ("" if last else f"_block{place}"), f"layer{stage}.{place}"

    def build(self, rngs: nnx.Rngs, *, around: str = "") -> tuple[nnx.List, int]:
        """Random weights, with `around` in front of the keys; and the channels that go out."""
        options = {}
        if self.block is Bottleneck:
            options = {"groups": self.groups, "group_width": self.group_width}
        inputs, blocks = STEM_FILTERS, []
        for _, path in self.modules():
            stage, place = map(int, path.removeprefix("layer").split("."))
            width, stride = STEM_FILTERS * 2 ** (stage - 1), 2 if stage > 1 and not place else 1
            key = around + path
            blocks.append(self.block(inputs, width, stride, key=key, rngs=rngs, **options))
            inputs = width * self.block.expansion
        return nnx.List(blocks), inputs

    def layers(self) -> tuple[str, ...]:
        """The names of all layers."""
        return ("conv1", "pool1", *(name for name, _ in self.modules()), "logits")

    def aliases(self) -> Mapping[str, str]:
        """Torchvision's module paths."""
        blocks = {path: name for name, path in self.modules()}
        return MappingProxyType({"relu": "conv1", "maxpool": "pool1", **blocks, "fc": "logits"})


class ResNet(Network):
    """Layers `conv1`, `pool1`, `layer1_block0`, …, `layer1`, …, `layer4`, `logits`.

    With 224 pixels `conv1` measures 112² × 64, `pool1` 56² × 64, and the four stages 56², 28², 14²
    and 7². All but the logits are at least 0.
    """

    stages: ClassVar[Stages]

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers that the stages make up."""
        super().__init_subclass__(**options)
        cls.layers, cls.aliases = cls.stages.layers(), cls.stages.aliases()

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, STEM_FILTERS, 7, stride=2, padding=3, norm="bn1", rngs=rngs)
        self.blocks, inputs = self.stages.build(rngs)
        self.logits = Linear(inputs, classes, key="fc", rngs=rngs)

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = yield "conv1", relu(self.conv1(images))
        values = yield "pool1", max_pool(values, 3, 2, padding=1)
        for block, (name, _) in zip(self.blocks, self.stages.modules(), strict=True):
            values = yield name, block(values)
        yield "logits", self.logits(values.mean((1, 2)))


def _sized(name: str, *stages: Any, **options: int) -> type[ResNet]:
    return ResNet.sized(name, stages=Stages(*stages, **options))


RESNETS = {  # twice the width, or so many groups, are those inside the bottlenecks
    "resnet18": _sized("ResNet18", (2, 2, 2, 2), BasicBlock),
    "resnet34": _sized("ResNet34", (3, 4, 6, 3), BasicBlock),
    "resnet50": _sized("ResNet50", (3, 4, 6, 3), Bottleneck),
    "resnet101": _sized("ResNet101", (3, 4, 23, 3), Bottleneck),
    "resnet152": _sized("ResNet152", (3, 8, 36, 3), Bottleneck),
    "wide_resnet50_2": _sized("WideResNet50", (3, 4, 6, 3), Bottleneck, group_width=128),
    "wide_resnet101_2": _sized("WideResNet101", (3, 4, 23, 3), Bottleneck, group_width=128),
    "resnext50_32x4d": _sized("ResNeXt50", (3, 4, 6, 3), Bottleneck, groups=32, group_width=4),
    "resnext101_32x8d": _sized("ResNeXt101", (3, 4, 23, 3), Bottleneck, groups=32, group_width=8),
}
