"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016) as torchvision and as Caffe have them.

Fire modules: a 1 × 1 convolution squeezes the channels, then 1 × 1 and 3 × 3 convolutions side by
side expand them. Filters are taken behind the ReLU. 1.1 has a smaller first kernel and pools
earlier.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.sequential import SequentialNetwork

# Squeezed channels, channels of either expansion.
FIRES = MappingProxyType({f"fire{n}": (n // 2 * 16, n // 2 * 64) for n in range(2, 10)})


class Fire(nnx.Module):
    """Squeezes the channels and expands them in two branches."""

    key = ""  # those of its convolutions are complete

    def __init__(
        self, inputs: int, squeezed: int, expanded: int, *, keys: list[str], rngs: nnx.Rngs
    ) -> None:
        """Random weights; 2 · `expanded` channels go out; `keys` are the convolutions'."""
        squeeze, small, large = keys
        self.squeeze = Convolution(inputs, squeezed, 1, padding=0, key=squeeze, rngs=rngs)
        self.expand1x1 = Convolution(squeezed, expanded, 1, padding=0, key=small, rngs=rngs)
        self.expand3x3 = Convolution(squeezed, expanded, 3, padding=1, key=large, rngs=rngs)

    def __call__(self, images: Float[Array, "N h w I"]) -> Float[Array, "N h w O"]:
        """Both branches' responses, at least 0."""
        squeezed = relu(self.squeeze(images))
        return relu(jnp.concatenate([self.expand1x1(squeezed), self.expand3x3(squeezed)], axis=3))


class SqueezeNet(SequentialNetwork):
    """Layers `conv1`, `pool1`, `fire2`, `fire3`, …, `fire9`, `conv10`, `logits`.

    `conv10` has a filter per class, and the logits are its means: all layers are at least 0, the
    logits too.

    Attributes:
      stem: filters and size of `conv1`.
      order: the layers before `conv10`.
      caffe: whether weights and aliases have Caffe's names.
    """

    stem: ClassVar[tuple[int, int]]
    order: ClassVar[tuple[str, ...]]
    caffe: ClassVar[bool] = False
    round_up = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers, and the original's modules."""
        super().__init_subclass__(**options)
        cls.layers = (*cls.order, "conv10", "logits")
        if cls.caffe:
            aliases = {f"{fire}/concat": fire for fire in FIRES} | {"pool10": "logits"}
        else:
            aliases = {f"features.{place}": name for place, name in enumerate(cls.order, 1)}
            aliases |= {"features": "fire9", "classifier.2": "conv10"}
            aliases |= {"classifier.3": "logits", "classifier": "logits"}
        cls.aliases = MappingProxyType(aliases)

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        caffe, (inputs, size) = self.caffe, self.stem
        key = "conv1" if caffe else "features.0"
        self.conv1 = Convolution(3, inputs, size, stride=2, padding=0, key=key, rngs=rngs)
        for place, name in enumerate(self.order, 1):
            if name not in FIRES:
                continue
            parts = ("squeeze1x1" if caffe else "squeeze", "expand1x1", "expand3x3")
            around = f"{name}/" if caffe else f"features.{place}."
            keys = [around + part for part in parts]
            squeezed, expanded = FIRES[name]
            setattr(self, name, Fire(inputs, squeezed, expanded, keys=keys, rngs=rngs))
            inputs = 2 * expanded
        key = "conv10" if caffe else "classifier.1"
        self.conv10 = Convolution(inputs, classes, 1, padding=0, key=key, rngs=rngs)


class SqueezeNet10(SqueezeNet):
    """SqueezeNet 1.0; layers `conv1`, `pool1`, `fire2` … `fire4`, `pool4`, …, `conv10`, `logits`.

    With 224 pixels the maps measure 109² × 96 (conv1), 54² × 128 (fire2, 3), 54² × 256 (4), 27² ×
    256 (5), 27² × 384 (6, 7), 27² × 512 (8) and 13² × 512 (9).
    """

    stem = (96, 7)
    order = (
        *("conv1", "pool1", "fire2", "fire3", "fire4", "pool4"),
        *("fire5", "fire6", "fire7", "fire8", "pool8", "fire9"),
    )
    smallest_input = 21


class SqueezeNet11(SqueezeNet):
    """SqueezeNet 1.1; layers `conv1`, `pool1`, `fire2`, `fire3`, `pool3`, …, `conv10`, `logits`.

    With 224 pixels the maps measure 111² × 64 (conv1), 55² × 128 (fire2, 3), 27² × 256 (4, 5),
    13² × 384 (6, 7) and 13² × 512 (8, 9).
    """

    stem = (64, 3)
    order = (
        *("conv1", "pool1", "fire2", "fire3", "pool3", "fire4", "fire5", "pool5"),
        *("fire6", "fire7", "fire8", "fire9"),
    )
    smallest_input = 17


class CaffeSqueezeNet10(SqueezeNet10):
    """`SqueezeNet10` with the names of its authors' Caffe file."""

    caffe = True


class CaffeSqueezeNet11(SqueezeNet11):
    """`SqueezeNet11` with the names of its authors' Caffe file."""

    caffe = True
