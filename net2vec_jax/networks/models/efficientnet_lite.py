"""EfficientNet-Lite0 (Tan and Le 2019, its Lite variant of 2020), ImageNet, 224 × 224.

Mobile inverted bottlenecks without squeeze and excitation: 1×1 expansion, depthwise k×k, 1×1
projection, ReLU6 behind the first two, nothing behind the last. Convolutions pad as TensorFlow's
SAME. Batch normalisation (ε = 0.001) is folded into the convolutions when weights are ported;
that costs no accuracy beyond float32's rounding and saves a pass over every map.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.inverted_bottleneck import BlockShape, InvertedBottleneck
from net2vec_jax.networks.layers.nonlinearities import relu6
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import LINEAR
from net2vec_jax.weights.rules import Rule, folded_rules, plain_rules

EPSILON = 1e-3
STEM_FILTERS, HEAD_FILTERS = 32, 1280


def _lay_out_blocks() -> tuple[BlockShape, ...]:
    """The 16 blocks from the seven stages of the original table."""
    stages = (  # repeats, kernel size, stride, expansion, input, output channels
        (1, 3, 1, 1, 32, 16),
        (2, 3, 2, 6, 16, 24),
        (2, 5, 2, 6, 24, 40),
        (3, 3, 2, 6, 40, 80),
        (3, 5, 1, 6, 80, 112),
        (4, 5, 2, 6, 112, 192),
        (1, 3, 1, 6, 192, 320),
    )
    blocks = []
    for repeats, size, stride, expansion, inputs, outputs in stages:
        blocks.append(BlockShape(inputs, outputs, size, stride, expansion))
        blocks += [BlockShape(outputs, outputs, size, 1, expansion)] * (repeats - 1)
    return tuple(blocks)


BLOCKS = _lay_out_blocks()


def _name_layers() -> tuple[str, ...]:
    names = ["stem"]
    for number, shape in enumerate(BLOCKS):
        if shape.expansion > 1:
            names.append(f"block{number}_expand")
        names += [f"block{number}_depthwise", f"block{number}"]
    return (*names, "head", "logits")


class EfficientNetLite0(Network):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 0 … 15), `head`, `logits`.

    With H × W = 224 × 224 the maps measure 112² × 32 (stem), 112² × 16 (block0), 56² × 24 (1, 2),
    28² × 40 (3, 4), 14² × 80 (5 … 7), 14² × 112 (8 … 10), 7² × 192 (11 … 14), 7² × 320 (15) and
    7² × 1280 (head). `stem`, `head`, `_expand` and `_depthwise` lie in [0, 6]; a block's output is
    taken after the residual addition and may have any sign. `block0` has no expansion.
    """

    layers = _name_layers()
    aliases = MappingProxyType(
        {f"_blocks.{number}": f"block{number}" for number in range(len(BLOCKS))} | {"_fc": "logits"}
    )

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        self.stem = Convolution(3, STEM_FILTERS, 3, stride=2, rngs=rngs)
        self.blocks = nnx.List([InvertedBottleneck(shape, rngs=rngs) for shape in BLOCKS])
        self.head = Convolution(BLOCKS[-1].outputs, HEAD_FILTERS, 1, rngs=rngs)
        self.logits = Linear(HEAD_FILTERS, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu6(self.stem(images))
        yield "stem", values
        for number, block in enumerate(self.blocks):
            for suffix, response in block.responses(values):
                yield f"block{number}{suffix}", response
            values = response
        values = relu6(self.head(values))
        yield "head", values
        yield "logits", self.logits(values.mean((1, 2)))


def efficientnet_lite0_rules() -> dict[str, Rule]:
    """Every parameter's origin in the state dict of PyPI's efficientnet-lite-pytorch."""
    rules = folded_rules("stem", "_conv_stem", "_bn0", epsilon=EPSILON)
    for number, shape in enumerate(BLOCKS):
        parts = [("expand", "_expand_conv", "_bn0")] if shape.expansion > 1 else []
        parts += [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
        for part, convolution, normalisation in parts:
            torch_block = f"_blocks.{number}"
            rules |= folded_rules(
                f"blocks.{number}.{part}",
                f"{torch_block}.{convolution}",
                f"{torch_block}.{normalisation}",
                epsilon=EPSILON,
            )
    rules |= folded_rules("head", "_conv_head", "_bn1", epsilon=EPSILON)
    return rules | plain_rules("logits", "_fc", LINEAR)
