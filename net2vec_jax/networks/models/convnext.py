"""ConvNeXt (Liu et al. 2022) as torchvision has it, and V2 (Woo et al. 2023), 224 pixels.

A block is a 7 × 7 depthwise convolution, a layer normalisation and two linear layers with a GELU
between, added to its input. The factor that the first version applies before the addition is folded
into the second linear layer when weights are ported. V2 normalises the responses behind the GELU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, LayerNormalisation, Linear
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.network import Network, Steps
from net2vec_jax.weights.layouts import Layout, Rule

EXPANSION = 4
EPSILON = 1e-6
BAND_PIXELS = 1500
"""At least so many pixels, of all images together, go through a block's linear layers at a time on
CPU; fewer do not make up for reading the kernels again."""

# The second linear layer [out, in] and its bias [out], times the factor [out, 1, 1] of the block.
_SCALED_KERNEL = Layout(
    lambda shape: (shape[::-1], (shape[1], 1, 1)),
    lambda kernel, factor: (kernel.astype(np.float64) * factor[:, :, 0]).T,
)
_OF_A_MAP = Layout(lambda shape: ((1, 1, 1, *shape),), np.ravel)
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


@dataclass(frozen=True)
class Keys:
    """The original's names of the modules.

    In braces stand the stage's number from 0 (`index`), a block's place in it, and the numbers that
    torchvision gives to what is in front of a stage (`before`) and to the stage itself (`inside`).

    Attributes:
      stem: a convolution "….0" and a normalisation "….1".
      downsample: in front of a stage.
      block: of a stage.
      parts: depthwise convolution, normalisation and the two linear layers of a block.
      norm: in front of the logits.
      logits: the last layer.
    """

    stem: str
    downsample: str
    block: str
    parts: tuple[str, str, str, str]
    norm: str
    logits: str


TORCHVISION = Keys(
    "features.0",
    "features.{before}",
    "features.{inside}.{place}",
    ("block.0", "block.2", "block.3", "block.5"),
    "classifier.0",
    "classifier.2",
)
FACEBOOK = Keys(
    "downsample_layers.0",
    "downsample_layers.{index}",
    "stages.{index}.{place}",
    ("dwconv", "norm", "pwconv1", "pwconv2"),
    "norm",
    "head",
)


class ResponseNormalisation(nnx.Module):
    """Global response normalisation: channels compete by their norm over the map.

    x + scale · x · n / mean(n) + bias with n the norm of a channel over all places of an image.

    Attributes:
      scale: [K].
      bias: [K].
    """

    def __init__(self, channels: int, *, key: str) -> None:
        """The identity; `key` is the original's."""
        self.scale, self.bias = nnx.Param(jnp.zeros(channels)), nnx.Param(jnp.zeros(channels))
        self.key = key

    def rules(self, key: str) -> dict[str, Rule]:
        """Where scale and bias come from."""
        return {
            "scale": Rule((f"{key}.gamma",), _OF_A_MAP),
            "bias": Rule((f"{key}.beta",), _OF_A_MAP),
        }

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The normalised values; norms are taken in float32."""
        norm = jnp.sqrt(jnp.square(values.astype(jnp.float32)).sum((1, 2), keepdims=True))
        share = (norm / (norm.mean(-1, keepdims=True) + EPSILON)).astype(values.dtype)
        scale, bias = self.scale[...][None, None, None], self.bias[...][None, None, None]
        return values * (1 + scale * share) + bias


class Block(nnx.Module):
    """A block; its output may have any sign."""

    def __init__(
        self,
        channels: int,
        *,
        keys: Keys = TORCHVISION,
        key: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights; `key` is the block's in the original's file."""
        self.key = key
        depthwise, norm, expand, project = keys.parts
        inner = EXPANSION * channels
        self.depthwise = Convolution(
            channels, channels, 7, padding=3, groups=channels, key=depthwise, rngs=rngs
        )
        self.norm = LayerNormalisation(channels, key=norm)
        self.expand = Linear(channels, inner, key=expand, rngs=rngs)
        second = keys is FACEBOOK
        self.compete = ResponseNormalisation(inner, key="grn") if second else None
        self.project = (Linear if second else ScaledLinear)(inner, channels, key=project, rngs=rngs)

    def __call__(self, images: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The block's output."""
        if self.compete is not None:
            values = gelu(self.expand(self.norm(self.depthwise(images))))
            return images + self.project(self.compete(values))
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


class ConvNeXt(Network):
    """Layers `stem`, `stage1_block0`, …, `stage1`, `downsample2`, …, `stage4`, `logits`.

    The last block of a stage is named as the stage, since its output is the stage's. With 224
    pixels the stages measure 56², 28², 14² and 7²; each has twice the filters of the one before.
    All layers may have any sign.

    Attributes:
      blocks: how many each of the four stages has.
      width: filters of the first stage.
      keys: the original's names.
    """

    blocks: ClassVar[tuple[int, int, int, int]]
    width: ClassVar[int]
    keys: ClassVar[Keys] = TORCHVISION
    smallest_input = 32

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers, and the original's modules."""
        super().__init_subclass__(**options)
        modules = tuple(cls.modules())
        cls.layers = ("stem", *(name for name, *_ in modules), "logits")
        aliases = {cls.keys.stem: "stem", cls.keys.logits: "logits"}
        aliases |= {key: name for name, _, key, _ in modules}
        aliases |= {
            key.rsplit(".", 1)[0]: name for name, _, key, _ in modules if name.startswith("stage")
        }
        if cls.keys is TORCHVISION:
            aliases |= {"features": "stage4", "classifier": "logits"}
        cls.aliases = MappingProxyType(aliases)

    @classmethod
    def modules(cls) -> Iterator[tuple[str, str, str, int]]:
        """Every layer's name, its module's name here, the original's key, and stage from 0."""
        for index, blocks in enumerate(cls.blocks):
            numbers = {"index": index, "before": 2 * index, "inside": 2 * index + 1}
            if index:
                name = f"downsample{index + 1}"
                yield name, name, cls.keys.downsample.format(**numbers), index
            for place in range(blocks):
                module = f"stage{index + 1}_block{place}"
                name = f"stage{index + 1}" if place == blocks - 1 else module
                yield name, module, cls.keys.block.format(**numbers, place=place), index

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        width, keys = self.width, self.keys
        self.stem = Convolution(3, width, 4, stride=4, padding=0, key=f"{keys.stem}.0", rngs=rngs)
        self.stem_norm = LayerNormalisation(width, key=f"{keys.stem}.1")
        for name, module, key, stage in self.modules():
            width = self.width * 2**stage
            if name.startswith("downsample"):
                made = Downsample(width // 2, width, key=key, rngs=rngs)
            else:
                made = Block(width, keys=keys, key=key, rngs=rngs)
            setattr(self, module, made)
        self.norm = LayerNormalisation(width, key=keys.norm)
        self.logits = Linear(width, classes, key=keys.logits, rngs=rngs)

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = yield "stem", self.stem_norm(self.stem(images))
        for name, module, *_ in self.modules():
            values = yield name, getattr(self, module)(values)
        yield "logits", self.logits(self.norm(values.mean((1, 2))))


class ConvNeXtTiny(ConvNeXt):
    """18 blocks; 96, 192, 384 and 768 filters."""

    blocks, width = (3, 3, 9, 3), 96


class ConvNeXtSmall(ConvNeXt):
    """36 blocks; 96, 192, 384 and 768 filters."""

    blocks, width = (3, 3, 27, 3), 96


class ConvNeXtBase(ConvNeXt):
    """36 blocks; 128, 256, 512 and 1024 filters."""

    blocks, width = (3, 3, 27, 3), 128


class ConvNeXtV2Atto(ConvNeXt):
    """12 blocks; 40, 80, 160 and 320 filters."""

    blocks, width, keys = (2, 2, 6, 2), 40, FACEBOOK


class ConvNeXtV2Femto(ConvNeXt):
    """12 blocks; 48, 96, 192 and 384 filters."""

    blocks, width, keys = (2, 2, 6, 2), 48, FACEBOOK


class ConvNeXtV2Pico(ConvNeXt):
    """12 blocks; 64, 128, 256 and 512 filters."""

    blocks, width, keys = (2, 2, 6, 2), 64, FACEBOOK


class ConvNeXtV2Nano(ConvNeXt):
    """14 blocks; 80, 160, 320 and 640 filters."""

    blocks, width, keys = (2, 2, 8, 2), 80, FACEBOOK


class ConvNeXtV2Tiny(ConvNeXt):
    """18 blocks; 96, 192, 384 and 768 filters."""

    blocks, width, keys = (3, 3, 9, 3), 96, FACEBOOK


class ConvNeXtV2Base(ConvNeXt):
    """36 blocks; 128, 256, 512 and 1024 filters."""

    blocks, width, keys = (3, 3, 27, 3), 128, FACEBOOK
