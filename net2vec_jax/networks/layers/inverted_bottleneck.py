"""The block of MobileNetV2 and EfficientNet (Sandler et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Padding
from net2vec_jax.networks.layers.nonlinearities import relu6


@dataclass(frozen=True)
class BlockShape:
    """One block: channels that come in and go out, and its depthwise convolution."""

    inputs: int
    outputs: int
    size: int
    stride: int
    expansion: int
    padding: Padding = "SAME"


class InvertedBottleneck(nnx.Module):
    """A mobile inverted bottleneck; without expansion it begins with the depthwise convolution."""

    def __init__(self, shape: BlockShape, *, rngs: nnx.Rngs) -> None:
        """Random weights of the given shape."""
        inner = shape.inputs * shape.expansion
        if shape.expansion > 1:
            self.expand = Convolution(shape.inputs, inner, 1, rngs=rngs)
        self.depthwise = Convolution(
            inner,
            inner,
            shape.size,
            stride=shape.stride,
            padding=shape.padding,
            groups=inner,
            rngs=rngs,
        )
        self.project = Convolution(inner, shape.outputs, 1, rngs=rngs)
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
