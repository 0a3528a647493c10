"""ConvNeXt (Liu et al. 2022) as torchvision has it, 224 pixels.

A block is a 7 × 7 depthwise convolution, a layer normalisation and two linear layers with a GELU
between, added to its input. The factor that torchvision applies before the addition is folded into
the second linear layer when weights are ported.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, LayerNormalisation, Linear
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import Layout, Rule

BLOCKS, CHANNELS = (3, 3, 9, 3), (96, 192, 384, 768)  # of the four stages
EXPANSION = 4
BAND_PIXELS = 1500
"""At least so many pixels, of all images together, go through a block's linear layers at a time on
CPU; fewer do not make up for reading the kernels again."""

# The second linear layer [out, in] and its bias [out], times the factor [out, 1, 1] of the block.
_SCALED_KERNEL = Layout(
    lambda shape: (shape[::-1], (shape[1], 1, 1)),
    lambda kernel, factor: (kernel.astype(np.float64) * factor[:, :, 0]).T,
)
_SCALED_BIAS = Layout(
    lambda shape: (shape, (*shape, 1, 1)),
    lambda bias, factor: bias.astype(np.float64) * factor[:, 0, 0],
)


class ScaledLinear(Linear):
    """A block's second linear layer, the block's factor included."""

    def rules(self, key: str) -> dict[str, Rule]:
        """Where kernel and bias come from."""
        return {
            "kernel": Rule((f"{key}.weight", "layer_scale"), _SCALED_KERNEL),
            "bias": Rule((f"{key}.bias", "layer_scale"), _SCALED_BIAS),
        }


class Block(nnx.Module):
    """A block; its output may have any sign."""

    def __init__(self, channels: int, *, key: str | None = None, rngs: nnx.Rngs) -> None:
        """Random weights; `key` is the block's in torchvision's file."""
        self.key = key
        self.depthwise = Convolution(
            channels, channels, 7, padding=3, groups=channels, key="block.0", rngs=rngs
        )
        self.norm = LayerNormalisation(channels, key="block.2")
        self.expand = Linear(channels, EXPANSION * channels, key="block.3", rngs=rngs)
        self.project = ScaledLinear(EXPANSION * channels, channels, key="block.5", rngs=rngs)

    def __call__(self, images: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The block's output."""
        return lax.platform_dependent(
            images, self.depthwise(images), cpu=self._add_in_bands, default=self._add
        )

    def _add(
        self, images: Float[Array, "N h w K"], values: Float[Array, "N h w K"]
    ) -> Float[Array, "N h w K"]:
        """The images, plus what the rest of the block makes of the convolved ones."""
        return images + self.project(gelu(self.expand(self.norm(values))))

    def _add_in_bands(
        self, images: Float[Array, "N h w K"], values: Float[Array, "N h w K"]
    ) -> Float[Array, "N h w K"]:
        """The same, some rows at a time, so that what lies between stays in the processor's cache.

        Takes a third of the time in the first stage.
        """
        rows = _count_rows(*images.shape[:3])

        def add(band: Array, images: Array) -> Array:
            parts = (
                lax.dynamic_slice_in_dim(array, band * rows, rows, axis=1)
                for array in (images, values)
            )
            return lax.dynamic_update_slice_in_dim(images, self._add(*parts), band * rows, axis=1)

        return lax.fori_loop(0, images.shape[1] // rows, add, images)


def _count_rows(images: int, height: int, width: int) -> int:
    """Rows of each band: the fewest that divide the height and make up `BAND_PIXELS`, or all."""
    fits = (rows for rows in range(1, height) if height % rows == 0)
    return next((rows for rows in fits if images * rows * width >= BAND_PIXELS), height)


class Downsample(nnx.Module):
    """A layer normalisation and a 2 × 2 convolution of stride 2, between two stages."""

    def __init__(self, inputs: int, outputs: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights."""
        self.key = key
        self.norm = LayerNormalisation(inputs, key="0")
        self.convolution = Convolution(inputs, outputs, 2, stride=2, padding=0, key="1", rngs=rngs)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """Half the size."""
        return self.convolution(self.norm(images))


def _list_modules() -> Iterator[tuple[str, str, str, int]]:
    """Every layer's name, its module's name here, torchvision's path, and stage.

    The last block of a stage is named as the stage, since its output is the stage's.
    """
    for stage, blocks in enumerate(BLOCKS, 1):
        if stage > 1:
            name = f"downsample{stage}"
            yield name, name, f"features.{2 * stage - 2}", stage
        for place in range(blocks):
            module = f"stage{stage}_block{place}"
            name = f"stage{stage}" if place == blocks - 1 else module
            yield name, module, f"features.{2 * stage - 1}.{place}", stage


MODULES = tuple(_list_modules())


class ConvNeXtTiny(Network):
    """Layers `stem`, `stage1_block0`, …, `stage1`, `downsample2`, …, `stage4`, `logits`.

    18 blocks; 96, 192, 384 and 768 filters. With 224 pixels the stages measure 56², 28², 14² and
    7². All layers may have any sign.
    """

    layers = ("stem", *(name for name, *_ in MODULES), "logits")
    aliases = MappingProxyType(
        {"features.0": "stem"}
        | {path: name for name, _, path, _ in MODULES}
        | {f"features.{2 * stage - 1}": f"stage{stage}" for stage in range(1, 5)}
        | {"features": "stage4", "classifier.2": "logits", "classifier": "logits"}
    )
    smallest_input = 32

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        width = CHANNELS[0]
        self.stem = Convolution(3, width, 4, stride=4, padding=0, key="features.0.0", rngs=rngs)
        self.stem_norm = LayerNormalisation(width, key="features.0.1")
        for name, module, key, stage in MODULES:
            width = CHANNELS[stage - 1]
            if name.startswith("downsample"):
                made = Downsample(CHANNELS[stage - 2], width, key=key, rngs=rngs)
            else:
                made = Block(width, key=key, rngs=rngs)
            setattr(self, module, made)
        self.norm = LayerNormalisation(width, key="classifier.0")
        self.logits = Linear(width, classes, key="classifier.2", rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = self.stem_norm(self.stem(images))
        yield "stem", values
        for name, module, _, _ in MODULES:
            values = getattr(self, module)(values)
            yield name, values
        yield "logits", self.logits(self.norm(values.mean((1, 2))))
