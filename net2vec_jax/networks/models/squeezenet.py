"""SqueezeNet 1.1 (Iandola et al. 2016) as torchvision has it, 224 pixels.

Fire modules: a 1 × 1 convolution squeezes the channels, then 1 × 1 and 3 × 3 convolutions side by
side expand them. Filters are taken behind the ReLU.
"""

from __future__ import annotations

from types import MappingProxyType

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.sequential import SequentialNetwork

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
# What lies between and behind the fire modules, by its place.
OTHERS = {1: "conv1", 2: "pool1", 5: "pool3", 8: "pool5"}
PLACES = dict(sorted((OTHERS | {place: name for name, place, _, _ in FIRES}).items()))


class Fire(nnx.Module):
    """Squeezes the channels and expands them in two branches."""

    def __init__(
        self, inputs: int, squeezed: int, expanded: int, *, key: str, rngs: nnx.Rngs
    ) -> None:
        """Random weights; 2 · `expanded` channels go out."""
        self.key = key
        self.squeeze = Convolution(inputs, squeezed, 1, padding=0, rngs=rngs)
        self.expand1x1 = Convolution(squeezed, expanded, 1, padding=0, rngs=rngs)
        self.expand3x3 = Convolution(squeezed, expanded, 3, padding=1, rngs=rngs)

    def __call__(self, images: Float[Array, "N h w I"]) -> Float[Array, "N h w O"]:
        """Both branches' responses, at least 0."""
        squeezed = relu(self.squeeze(images))
        return relu(jnp.concatenate([self.expand1x1(squeezed), self.expand3x3(squeezed)], axis=3))


class SqueezeNet(SequentialNetwork):
    """Layers `conv1`, `pool1`, `fire2`, `fire3`, `pool3`, …, `fire9`, `conv10`, `logits`.

    With 224 pixels the maps measure 111² × 64 (conv1), 55² × 128 (fire2, 3), 27² × 256 (4, 5),
    13² × 384 (6, 7) and 13² × 512 (8, 9). `conv10` has a filter per class, and the logits are its
    means: all layers are at least 0, the logits too.
    """

    layers = (*PLACES.values(), "conv10", "logits")
    aliases = MappingProxyType(
        {f"features.{place}": name for place, name in PLACES.items()}
        | {"features": "fire9", "classifier.2": "conv10"}
        | {"classifier.3": "logits", "classifier": "logits"}
    )
    smallest_input = 17
    round_up = True

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        self.conv1 = Convolution(
            3, STEM_FILTERS, 3, stride=2, padding=0, key="features.0", rngs=rngs
        )
        inputs = STEM_FILTERS
        for name, place, squeezed, expanded in FIRES:
            fire = Fire(inputs, squeezed, expanded, key=f"features.{place}", rngs=rngs)
            setattr(self, name, fire)
            inputs = 2 * expanded
        self.conv10 = Convolution(inputs, classes, 1, padding=0, key="classifier.1", rngs=rngs)
