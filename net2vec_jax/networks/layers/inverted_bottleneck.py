"""MobileNetV2 and EfficientNet (Sandler et al. 2018): networks of inverted bottlenecks.

1 × 1 expansion, depthwise k × k, 1 × 1 projection; an activation behind the first two, nothing
behind the last. Batch normalisation is folded into the convolutions when weights are ported; that
costs no accuracy beyond float32's rounding and saves a pass over every map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear, Padding
from net2vec_jax.networks.layers.nonlinearities import relu6
from net2vec_jax.networks.network import Network, Steps

STEM_FILTERS, HEAD_FILTERS = 32, 1280
Keys = tuple[str, str]  # of a convolution and of the batch normalisation behind it
StageShape = tuple[int, int, int, int, int]
"""Expansion, output channels, repeats, first stride, kernel size."""


@dataclass(frozen=True)
class BlockShape:
    """One block: where it is, channels that come in and go out, its depthwise convolution.

    Attributes:
      stage: from 1.
      place: in the stage, from 0.
      inputs: channels that come in.
      outputs: channels that go out.
      size: of the depthwise kernel.
      stride: of the depthwise convolution.
      expansion: channels inside, for each that comes in.
      padding: of the depthwise convolution.
    """

    stage: int
    place: int
    inputs: int
    outputs: int
    size: int
    stride: int
    expansion: int
    padding: Padding

    @property
    def inner(self) -> int:
        """Channels inside."""
        return self.inputs * self.expansion


def lay_out_blocks(stages: Sequence[StageShape], *, same: bool) -> tuple[BlockShape, ...]:
    """The blocks of stages.

    Args:
      stages: of the network.
      same: whether convolutions pad as TensorFlow's SAME, or by half their size on every side.
    """
    blocks, inputs = [], STEM_FILTERS
    for stage, (expansion, outputs, repeats, stride, size) in enumerate(stages, 1):
        padding = "SAME" if same else size // 2
        for place in range(repeats):
            stride = 1 if place else stride
            blocks.append(
                BlockShape(stage, place, inputs, outputs, size, stride, expansion, padding)
            )
            inputs = outputs
    return tuple(blocks)


class SqueezeExcitation(nnx.Module):
    """A factor in (0, 1) for every channel of an image, from the means of all (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; `squeezed` channels lie between the two layers."""
        self.key = key
        self.fc1 = Convolution(channels, squeezed, 1, padding=0, rngs=rngs)
        self.fc2 = Convolution(squeezed, channels, 1, padding=0, rngs=rngs)

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The values times the factors."""
        squeezed = jax.nn.silu(self.fc1(values.mean((1, 2), keepdims=True)))
        return values * jax.nn.sigmoid(self.fc2(squeezed))


class InvertedBottleneck(nnx.Module):
    """A mobile inverted bottleneck; without expansion it begins with the depthwise convolution."""

    def __init__(
        self, shape: BlockShape, network: type[MobileNetwork], *, key: str, rngs: nnx.Rngs
    ) -> None:
        """Random weights of the given shape, for a kind of network; `key` is the block's."""
        self.key = key
        parts = network.part_keys(shape)
        *_, depthwise, project = parts

        def convolve(
            inputs: int, outputs: int, size: int, keys: Keys, **options: Any
        ) -> Convolution:
            key, norm = keys
            options |= {"key": key, "norm": norm, "epsilon": network.epsilon, "rngs": rngs}
            return Convolution(inputs, outputs, size, **options)

        self.expand = convolve(shape.inputs, shape.inner, 1, parts[0]) if len(parts) > 2 else None
        options = {"stride": shape.stride, "padding": shape.padding, "groups": shape.inner}
        self.depthwise = convolve(shape.inner, shape.inner, shape.size, depthwise, **options)
        excitation = network.excitation_key(shape)
        squeezed = max(1, shape.inputs // 4)
        self.excite = (
            SqueezeExcitation(shape.inner, squeezed, key=excitation, rngs=rngs)
            if excitation is not None
            else None
        )
        self.project = convolve(shape.inner, shape.outputs, 1, project)
        self.adds_input = shape.stride == 1 and shape.inputs == shape.outputs
        self.activate = network.activate

    def steps(self, images: Float[Array, "N H W I"], name: str) -> Steps:
        """The responses `name`_expand, `name`_depthwise and `name`, which the block returns."""
        values = images
        if self.expand is not None:
            values = yield f"{name}_expand", self.activate(self.expand(values))
        values = yield f"{name}_depthwise", self.activate(self.depthwise(values))
        if self.excite is not None:
            values = self.excite(values)
        values = self.project(values)
        return (yield name, values + images if self.adds_input else values)


class MobileNetwork(Network):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI`, …, `head`, `logits`.

    A subclass gives its stages, and says how the original names what is in them.

    Attributes:
      stages: of the network.
      first: number of the first block.
      head_place: of the head in torchvision's `features`, from which it has its other keys.
      same: see `lay_out_blocks`.
      epsilon: ε of the batch normalisations.
      keys: those of the stem and the head.
      logits_key: that of the last layer.
      shapes: of the blocks.
    """

    stages: ClassVar[Sequence[StageShape]]
    first: ClassVar[int]
    head_place: ClassVar[int | None] = None
    same: ClassVar[bool] = False
    epsilon: ClassVar[float] = 1e-5
    keys: ClassVar[tuple[Keys, Keys]]
    logits_key: ClassVar[str] = "classifier.1"
    shapes: ClassVar[tuple[BlockShape, ...]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers that the stages make up."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "stages"):
            return
        cls.shapes = lay_out_blocks(cls.stages, same=cls.same)
        names, aliases = ["stem"], {cls.logits_key: "logits"}
        if cls.head_place:
            stem, head = "features.0", f"features.{cls.head_place}"
            cls.keys = (f"{stem}.0", f"{stem}.1"), (f"{head}.0", f"{head}.1")
            aliases |= {stem: "stem", head: "head", "features": "head", "classifier": "logits"}
        for number, shape in enumerate(cls.shapes, cls.first):
            parts = ("_expand", "_depthwise", "") if shape.expansion > 1 else ("_depthwise", "")
            names += [f"block{number}{part}" for part in parts]
            aliases[cls.block_key(number, shape)] = f"block{number}"
        cls.layers = (*names, "head", "logits")
        cls.aliases = MappingProxyType(aliases)

    @staticmethod
    def activate(values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """What is behind all convolutions but a block's last."""
        return relu6(values)

    @classmethod
    def block_key(cls, number: int, shape: BlockShape) -> str:
        """The key of a block."""
        raise NotImplementedError

    @classmethod
    def part_keys(cls, shape: BlockShape) -> list[Keys]:
        """The keys of a block's two or three convolutions, seen from it."""
        raise NotImplementedError

    @classmethod
    def excitation_key(cls, shape: BlockShape) -> str | None:
        """The key of a block's squeeze and excitation, seen from it; None where it has none."""
        return None

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        (stem, stem_norm), (head, head_norm) = self.keys
        options = {"epsilon": self.epsilon, "rngs": rngs}
        padding = "SAME" if self.same else 1
        self.stem = Convolution(
            3, STEM_FILTERS, 3, stride=2, padding=padding, key=stem, norm=stem_norm, **options
        )
        self.blocks = nnx.List(
            InvertedBottleneck(shape, type(self), key=self.block_key(number, shape), rngs=rngs)
            for number, shape in enumerate(self.shapes, self.first)
        )
        self.head = Convolution(
            self.shapes[-1].outputs, HEAD_FILTERS, 1, key=head, norm=head_norm, **options
        )
        self.logits = Linear(HEAD_FILTERS, classes, key=self.logits_key, rngs=rngs)

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = yield "stem", self.activate(self.stem(images))
        for number, block in enumerate(self.blocks, self.first):
            values = yield from block.steps(values, f"block{number}")
        values = yield "head", self.activate(self.head(values))
        yield "logits", self.logits(values.mean((1, 2)))
