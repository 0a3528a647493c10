"""Densely connected networks (Huang et al. 2016) as torchvision has them, 224 pixels.

Within a dense block every layer sees the outputs of all before it, normalised for it alone: a batch
normalisation (ε = 1e-5) in front of a convolution cannot be folded into it, because a ReLU stands
between, and becomes an affine layer; one behind a convolution is folded.
"""

from __future__ import annotations

from types import MappingProxyType

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Affine, Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import average_pool, max_pool
from net2vec_jax.networks.network import Network, Steps

STEM_FILTERS, GROWTH, BOTTLENECK = 96, 48, 4
LAYERS_PER_BLOCK = (6, 12, 36, 24)

# Files written before 2018 put a dot into the names of a dense layer's parts: "norm.1", "conv.2".
RENAMES = ((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),)


class DenseLayer(nnx.Module):
    """What one layer adds: 1 × 1 and 3 × 3 convolutions of all that was before."""

    def __init__(self, inputs: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; `GROWTH` channels go out."""
        self.key = key
        width = BOTTLENECK * GROWTH
        self.norm1 = Affine(inputs)
        self.conv1 = Convolution(inputs, width, 1, padding=0, norm="norm2", rngs=rngs)
        self.conv2 = Convolution(width, GROWTH, 3, padding=1, bias=False, rngs=rngs)

    def __call__(self, images: Float[Array, "N h w I"]) -> Float[Array, "N h w 48"]:
        """The channels that the layer adds; of any sign."""
        return self.conv2(relu(self.conv1(relu(self.norm1(images)))))


class Transition(nnx.Module):
    """Between two dense blocks: half the channels, then half the size."""

    def __init__(self, inputs: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights."""
        self.key = key
        self.norm = Affine(inputs)
        self.conv = Convolution(inputs, inputs // 2, 1, padding=0, bias=False, rngs=rngs)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """Means over 2 × 2 of the convolution; the means are taken first, which is the same."""
        return self.conv(average_pool(relu(self.norm(images)), 2))


class DenseNet161(Network):
    """Layers `conv0`, `pool0`, `denseblock1`, `transition1`, …, `denseblock4`, `norm5`, `logits`.

    With 224 pixels `conv0` measures 112² × 96, `pool0` 56² × 96, and the dense blocks 56² × 384,
    28² × 768, 14² × 2112 and 7² × 2208. `conv0` and `norm5` are taken behind their ReLU and are at
    least 0 (torchvision rectifies `norm5` in place, so a hook there sees the same); the others may
    have any sign.
    """

    layers = (
        *("conv0", "pool0", "denseblock1", "transition1", "denseblock2", "transition2"),
        *("denseblock3", "transition3", "denseblock4", "norm5", "logits"),
    )
    aliases = MappingProxyType(
        {"features.relu0": "conv0", "features": "norm5", "classifier": "logits"}
        | {f"features.{name}": name for name in layers[1:-1]}
    )
    smallest_input = 29

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv0 = Convolution(
            3,
            STEM_FILTERS,
            7,
            stride=2,
            padding=3,
            key="features.conv0",
            norm="features.norm0",
            rngs=rngs,
        )
        inputs, blocks, transitions = STEM_FILTERS, [], []
        for number, count in enumerate(LAYERS_PER_BLOCK, 1):
            keys = [f"features.denseblock{number}.denselayer{n}" for n in range(1, count + 1)]
            dense = [
                DenseLayer(inputs + GROWTH * place, key=key, rngs=rngs)
                for place, key in enumerate(keys)
            ]
            blocks.append(nnx.List(dense))
            inputs += GROWTH * count
            if number < len(LAYERS_PER_BLOCK):
                key = f"features.transition{number}"
                transitions.append(Transition(inputs, key=key, rngs=rngs))
                inputs //= 2
        self.blocks, self.transitions = nnx.List(blocks), nnx.List(transitions)
        self.norm5 = Affine(inputs, key="features.norm5")
        self.logits = Linear(inputs, classes, key="classifier", rngs=rngs)

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = yield "conv0", relu(self.conv0(images))
        values = yield "pool0", max_pool(values, 3, 2, padding=1)
        for number, block in enumerate(self.blocks, 1):
            for layer in block:
                values = jnp.concatenate([values, layer(values)], axis=3)
            values = yield f"denseblock{number}", values
            if number <= len(self.transitions):
                values = yield f"transition{number}", self.transitions[number - 1](values)
        values = yield "norm5", relu(self.norm5(values))
        yield "logits", self.logits(values.mean((1, 2)))
