"""SqueezeNet 1.1 (Iandola et al. 2016) as torchvision has it, 224 pixels.

Fire modules: a 1 × 1 convolution squeezes the channels, then 1 × 1 and 3 × 3 convolutions side by
side expand them. Filters are taken behind the ReLU.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import max_pool
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import CONVOLUTION
from net2vec_jax.weights.rules import Rule, plain_rules

STEM_FILTERS = 64
# Layer, place in torchvision's `features`, squeezed channels, channels of either expansion.
FIRES = (
    ("fire2", 3, 16, 64),
    ("fire3", 4, 16, 64),
    ("fire4", 6, 32, 128),
    ("fire5", 7, 32, 128),
    ("fire6", 9, 48, 192),
    ("fire7", 10, 48, 192),
    ("fire8", 11, 64, 256),
    ("fire9", 12, 64, 256),
)


class Fire(nnx.Module):
    """Squeezes the channels and expands them in two branches."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, *, rngs: nnx.Rngs) -> None:
        """Random weights; 2 · `expanded` channels go out."""
        self.squeeze = Convolution(inputs, squeezed, 1, padding=0, rngs=rngs)
        self.expand1x1 = Convolution(squeezed, expanded, 1, padding=0, rngs=rngs)
        self.expand3x3 = Convolution(squeezed, expanded, 3, padding=1, rngs=rngs)

    def __call__(self, images: Float[Array, "N h w I"]) -> Float[Array, "N h w O"]:
        """Both branches' responses, at least 0."""
        squeezed = relu(self.squeeze(images))
        return relu(jnp.concatenate([self.expand1x1(squeezed), self.expand3x3(squeezed)], axis=3))


class SqueezeNet(Network):
    """Layers `conv1`, `pool1`, `fire2`, `fire3`, `pool3`, …, `fire9`, `conv10`, `logits`.

    With 224 pixels the maps measure 111² × 64 (conv1), 55² × 128 (fire2, 3), 27² × 256 (4, 5),
    13² × 384 (6, 7) and 13² × 512 (8, 9). `conv10` has a filter per class, and the logits are its
    means: all layers are at least 0, the logits too.
    """

    layers = (
        "conv1",
        "pool1",
        "fire2",
        "fire3",
        "pool3",
        "fire4",
        "fire5",
        "pool5",
        "fire6",
        "fire7",
        "fire8",
        "fire9",
        "conv10",
        "logits",
    )
    aliases = MappingProxyType(
        {
            "features.1": "conv1",
            "features.2": "pool1",
            "features.5": "pool3",
            "features.8": "pool5",
            **{f"features.{place}": name for name, place, _, _ in FIRES},
            "features": "fire9",
            "classifier.2": "conv10",
            "classifier.3": "logits",
            "classifier": "logits",
        }
    )
    smallest_input = 17

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        self.conv1 = Convolution(3, STEM_FILTERS, 3, stride=2, padding=0, rngs=rngs)
        inputs = STEM_FILTERS
        for name, _, squeezed, expanded in FIRES:
            setattr(self, name, Fire(inputs, squeezed, expanded, rngs=rngs))
            inputs = 2 * expanded
        self.conv10 = Convolution(inputs, classes, 1, padding=0, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu(self.conv1(images))
        yield "conv1", values
        for name in self.layers[1:-2]:
            if name.startswith("pool"):
                values = max_pool(values, 3, 2, round_up=True)
            else:
                values = getattr(self, name)(values)
            yield name, values
        values = relu(self.conv10(values))
        yield "conv10", values
        yield "logits", values.mean((1, 2))


def squeezenet_rules() -> dict[str, Rule]:
    """Every parameter's origin in torchvision's state dict."""
    rules = plain_rules("conv1", "features.0", CONVOLUTION)
    for name, place, _, _ in FIRES:
        for part in ("squeeze", "expand1x1", "expand3x3"):
            rules |= plain_rules(f"{name}.{part}", f"features.{place}.{part}", CONVOLUTION)
    return rules | plain_rules("conv10", "classifier.1", CONVOLUTION)
