"""ConvNeXt (Liu et al. 2022) as torchvision has it, and V2 (Woo et al. 2023), 224 pixels.

A block is a 7 × 7 depthwise convolution, a layer normalisation and two linear layers with a GELU
between, added to its input. The factor that the first version applies before the addition is folded
into the second linear layer when weights are ported. V2 normalises the responses behind the GELU.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, LayerNormalisation, Linear
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.layers.stages import StagedNetwork
from net2vec_jax.networks.network import Steps
from net2vec_jax.weights.layouts import SAME, Rule

EXPANSION = 4
EPSILON = 1e-6
BAND_PIXELS = 1500
"""At least so many pixels, of all images together, go through a block's linear layers at a time on
CPU; fewer do not make up for reading the kernels again."""


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
        return {"scale": Rule((f"{key}.gamma",), SAME), "bias": Rule((f"{key}.beta",), SAME)}

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The normalised values; norms are taken in float32."""
        norm = jnp.sqrt(jnp.square(values.astype(jnp.float32)).sum((1, 2), keepdims=True))
        share = (norm / (norm.mean(-1, keepdims=True) + EPSILON)).astype(values.dtype)
        scale, bias = self.scale[...][None, None, None], self.bias[...][None, None, None]
        return values * (1 + scale * share) + bias


class Block(nnx.Module):
    """A block; its output may have any sign."""

    def __init__(
        self, channels: int, *, second: bool = False, key: str | None = None, rngs: nnx.Rngs
    ) -> None:
        """Random weights, of the second version or the first; `key` is the block's in the file."""
        self.key = key
        depthwise, norm, expand, project = (
            ("dwconv", "norm", "pwconv1", "pwconv2")
            if second
            else ("block.0", "block.2", "block.3", "block.5")
        )
        inner = EXPANSION * channels
        self.depthwise = Convolution(
            channels, channels, 7, padding=3, groups=channels, key=depthwise, rngs=rngs
        )
        self.norm = LayerNormalisation(channels, key=norm)
        self.expand = Linear(channels, inner, key=expand, rngs=rngs)
        self.compete = ResponseNormalisation(inner, key="grn") if second else None
        scale = None if second else "layer_scale"
        self.project = Linear(inner, channels, key=project, scale=scale, rngs=rngs)

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


class ConvNeXt(StagedNetwork):
    """Layers `stem`, `stage1_block0`, …, `stage1`, `downsample2`, …, `stage4`, `logits`.

    With 224 pixels the stages measure 56², 28², 14² and 7². All layers may have any sign.

    Attributes:
      second: whether it is of the second version, with Facebook's names; or else torchvision's.
      head_keys: the original's names of the normalisation in front of the logits, and of these.
    """

    second: ClassVar[bool] = False
    stem_keys = ("features.0.0", "features.0.1")
    head_keys: ClassVar[tuple[str, str]] = ("classifier.0", "classifier.2")
    other_aliases = MappingProxyType(
        {"features.0": "stem", "features": "stage4"}
        | {"classifier.2": "logits", "classifier": "logits"}
    )
    epsilon = EPSILON
    smallest_input = 32

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        width, (norm, logits) = self.add_stages(rngs), self.head_keys
        self.norm = LayerNormalisation(width, key=norm)
        self.logits = Linear(width, classes, key=logits, rngs=rngs)

    def make_downsample(self, width: int, key: str, rngs: nnx.Rngs) -> Downsample:
        """A normalisation and a convolution."""
        return Downsample(width // 2, width, key=key, rngs=rngs)

    def make_block(self, width: int, key: str, rngs: nnx.Rngs) -> Block:
        """As the version has it."""
        return Block(width, second=self.second, key=key, rngs=rngs)

    def finish(self, values: Float[Array, "N h w K"]) -> Steps:
        """`logits`."""
        yield "logits", self.logits(self.norm(values.mean((1, 2))))


class ConvNeXtV2(ConvNeXt):
    """The same layers; see `ResponseNormalisation`."""

    second = True
    stem_keys = ("downsample_layers.0.0", "downsample_layers.0.1")
    downsample_key = "downsample_layers.{index}"
    block_key = "stages.{index}.{place}"
    head_keys = ("norm", "head")
    other_aliases = MappingProxyType({"downsample_layers.0": "stem", "head": "logits"})


CONVNEXTS = {
    "convnext_tiny": ConvNeXt.sized("ConvNeXtTiny", blocks=(3, 3, 9, 3), width=96),
    "convnext_small": ConvNeXt.sized("ConvNeXtSmall", blocks=(3, 3, 27, 3), width=96),
    "convnext_base": ConvNeXt.sized("ConvNeXtBase", blocks=(3, 3, 27, 3), width=128),
    "convnextv2_atto": ConvNeXtV2.sized("ConvNeXtV2Atto", blocks=(2, 2, 6, 2), width=40),
    "convnextv2_femto": ConvNeXtV2.sized("ConvNeXtV2Femto", blocks=(2, 2, 6, 2), width=48),
    "convnextv2_pico": ConvNeXtV2.sized("ConvNeXtV2Pico", blocks=(2, 2, 6, 2), width=64),
    "convnextv2_nano": ConvNeXtV2.sized("ConvNeXtV2Nano", blocks=(2, 2, 8, 2), width=80),
    "convnextv2_tiny": ConvNeXtV2.sized("ConvNeXtV2Tiny", blocks=(3, 3, 9, 3), width=96),
    "convnextv2_base": ConvNeXtV2.sized("ConvNeXtV2Base", blocks=(3, 3, 27, 3), width=128),
}
