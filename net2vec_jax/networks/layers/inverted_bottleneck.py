"""MobileNetV2 and EfficientNet (Sandler et al. 2018): networks of inverted bottlenecks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear, Padding
from net2vec_jax.networks.layers.nonlinearities import relu6
from net2vec_jax.networks.network import Network

STEM_FILTERS, HEAD_FILTERS = 32, 1280
Keys = tuple[str, str]  # of a convolution and of the batch normalisation behind it


@dataclass(frozen=True)
class BlockShape:
    """One block: channels that come in and go out, and its depthwise convolution."""

    inputs: int
    outputs: int
    size: int
    stride: int
    expansion: int
    padding: Padding = "SAME"


def lay_out_blocks(
    stages: Sequence[tuple[int, int, int, int, int]], padding: Padding
) -> tuple[BlockShape, ...]:
    """The blocks of stages: expansion, output channels, repeats, first stride, kernel size."""
    blocks, inputs = [], STEM_FILTERS
    for expansion, outputs, repeats, stride, size in stages:
        for place in range(repeats):
            stride = 1 if place else stride
            blocks.append(BlockShape(inputs, outputs, size, stride, expansion, padding))
            inputs = outputs
    return tuple(blocks)


class InvertedBottleneck(nnx.Module):
    """A mobile inverted bottleneck; without expansion it begins with the depthwise convolution."""

    def __init__(
        self,
        shape: BlockShape,
        *,
        key: str,
        parts: Sequence[Keys],
        epsilon: float,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights of the given shape; `parts` are the keys of its two or three layers."""
        self.key = key
        *_, depthwise, project = parts
        inner = shape.inputs * shape.expansion

        def convolve(
            inputs: int, outputs: int, size: int, keys: Keys, **options: Any
        ) -> Convolution:
            key, norm = keys
            options |= {"key": key, "norm": norm, "epsilon": epsilon, "rngs": rngs}
            return Convolution(inputs, outputs, size, **options)

        if shape.expansion > 1:
            self.expand = convolve(shape.inputs, inner, 1, parts[0])
        options = {"stride": shape.stride, "padding": shape.padding, "groups": inner}
        self.depthwise = convolve(inner, inner, shape.size, depthwise, **options)
        self.project = convolve(inner, shape.outputs, 1, project)
        self.expands = shape.expansion > 1
        self.adds_input = shape.stride == 1 and shape.inputs == shape.outputs

    def responses(self, images: Float[Array, "N H W I"]) -> Iterator[tuple[str, Array]]:
        """("_expand", …), ("_depthwise", …) and ("", the block's output), one by one."""
        values = images
        if self.expands:
            values = relu6(self.expand(values))
            yield "_expand", values
        values = relu6(self.depthwise(values))
        yield "_depthwise", values
        values = self.project(values)
        yield "", values + images if self.adds_input else values


class MobileNetwork(Network):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI`, …, `head`, `logits`.

    Attributes:
      shapes: those of the blocks.
      first: number of the first block.
      epsilon: ε of the batch normalisations.
      keys: those of the stem and the head.
      logits_key: that of the last layer.
    """

    shapes: ClassVar[tuple[BlockShape, ...]]
    first: ClassVar[int]
    epsilon: ClassVar[float]
    keys: ClassVar[tuple[Keys, Keys]]
    logits_key: ClassVar[str]

    @classmethod
    def block_keys(cls, number: int, shape: BlockShape) -> tuple[str, list[Keys]]:
        """The key of a block, and those of its two or three layers seen from it."""
        raise NotImplementedError

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        (stem, stem_norm), (head, head_norm) = self.keys
        shapes, epsilon = self.shapes, self.epsilon
        self.stem = Convolution(
            3,
            STEM_FILTERS,
            3,
            stride=2,
            padding=shapes[0].padding,
            key=stem,
            norm=stem_norm,
            epsilon=epsilon,
            rngs=rngs,
        )
        blocks = []
        for number, shape in enumerate(shapes, self.first):
            key, parts = self.block_keys(number, shape)
            block = InvertedBottleneck(shape, key=key, parts=parts, epsilon=epsilon, rngs=rngs)
            blocks.append(block)
        self.blocks = nnx.List(blocks)
        self.head = Convolution(
            shapes[-1].outputs,
            HEAD_FILTERS,
            1,
            key=head,
            norm=head_norm,
            epsilon=epsilon,
            rngs=rngs,
        )
        self.logits = Linear(HEAD_FILTERS, classes, key=self.logits_key, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu6(self.stem(images))
        yield "stem", values
        for number, block in enumerate(self.blocks, self.first):
            for suffix, response in block.responses(values):
                yield f"block{number}{suffix}", response
                values = response if not suffix else values
        values = relu6(self.head(values))
        yield "head", values
        yield "logits", self.logits(values.mean((1, 2)))


def name_layers(shapes: Sequence[BlockShape], first: int) -> tuple[str, ...]:
    """The layers of a `MobileNetwork`."""
    names = ["stem"]
    for number, shape in enumerate(shapes, first):
        parts = ("_expand", "_depthwise", "") if shape.expansion > 1 else ("_depthwise", "")
        names += [f"block{number}{part}" for part in parts]
    return (*names, "head", "logits")
