"""MobileNetV2 (Sandler et al. 2018) as torchvision has it, 224 pixels.

Seventeen inverted bottlenecks. Batch normalisation (ε = 1e-5) is folded into the convolutions when
weights are ported.
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

STEM_FILTERS, HEAD_FILTERS = 32, 1280


def _lay_out_blocks() -> tuple[BlockShape, ...]:
    """The 17 blocks from the seven stages of the paper's table 2."""
    stages = (  # expansion, output channels, repeats, stride
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    blocks, inputs = [], STEM_FILTERS
    for expansion, outputs, repeats, stride in stages:
        for place in range(repeats):
            blocks.append(
                BlockShape(inputs, outputs, 3, 1 if place else stride, expansion, padding=1)
            )
            inputs = outputs
    return tuple(blocks)


BLOCKS = _lay_out_blocks()


def _name_layers() -> tuple[str, ...]:
    names = ["stem"]
    for number, shape in enumerate(BLOCKS, 1):
        if shape.expansion > 1:
            names.append(f"block{number}_expand")
        names += [f"block{number}_depthwise", f"block{number}"]
    return (*names, "head", "logits")


class MobileNetV2(Network):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 1 … 17), `head`, `logits`.

    A block has the number that it has in torchvision's `features`. With 224 pixels the maps measure
    112² × 32 (stem), 112² × 16 (block1), 56² × 24 (2, 3), 28² × 32 (4 … 6), 14² × 64 (7 … 10),
    14² × 96 (11 … 13), 7² × 160 (14 … 16), 7² × 320 (17) and 7² × 1280 (head). `stem`, `head`,
    `_expand` and `_depthwise` lie in [0, 6]; a block's output may have any sign. `block1` has no
    expansion.
    """

    layers = _name_layers()
    aliases = MappingProxyType(
        {"features.0": "stem"}
        | {f"features.{number}": f"block{number}" for number in range(1, len(BLOCKS) + 1)}
        | {
            f"features.{len(BLOCKS) + 1}": "head",
            "features": "head",
            "classifier.1": "logits",
            "classifier": "logits",
        }
    )

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        self.stem = Convolution(3, STEM_FILTERS, 3, stride=2, padding=1, rngs=rngs)
        self.blocks = nnx.List([InvertedBottleneck(shape, rngs=rngs) for shape in BLOCKS])
        self.head = Convolution(BLOCKS[-1].outputs, HEAD_FILTERS, 1, padding=0, rngs=rngs)
        self.logits = Linear(HEAD_FILTERS, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu6(self.stem(images))
        yield "stem", values
        for number, block in enumerate(self.blocks, 1):
            for suffix, response in block.responses(values):
                yield f"block{number}{suffix}", response
            values = response
        values = relu6(self.head(values))
        yield "head", values
        yield "logits", self.logits(values.mean((1, 2)))


def mobilenet_v2_rules() -> dict[str, Rule]:
    """Every parameter's origin in torchvision's state dict."""
    rules = folded_rules("stem", "features.0.0", "features.0.1")
    for number, shape in enumerate(BLOCKS, 1):
        ours, theirs = f"blocks.{number - 1}", f"features.{number}.conv"
        depthwise = int(shape.expansion > 1)  # place of the depthwise convolution
        if depthwise:
            rules |= folded_rules(f"{ours}.expand", f"{theirs}.0.0", f"{theirs}.0.1")
        rules |= folded_rules(
            f"{ours}.depthwise", f"{theirs}.{depthwise}.0", f"{theirs}.{depthwise}.1"
        )
        rules |= folded_rules(
            f"{ours}.project", f"{theirs}.{depthwise + 1}", f"{theirs}.{depthwise + 2}"
        )
    end = f"features.{len(BLOCKS) + 1}"
    rules |= folded_rules("head", f"{end}.0", f"{end}.1")
    return rules | plain_rules("logits", "classifier.1", LINEAR)
