"""Swin transformers (Liu et al. 2021) as torchvision has them, 224 pixels.

Attention inside windows of 7 × 7 places, which every other block shifts by 3. Maps of any size are
padded to whole windows, as in torchvision.
"""

from __future__ import annotations

from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.attention import attend
from net2vec_jax.networks.layers.blocks import PRECISION, LayerNormalisation, Linear, draw_normal
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.layers.stages import StagedNetwork
from net2vec_jax.networks.network import Steps
from net2vec_jax.weights.layouts import LINEAR, SAME, Rule

WINDOW, HEAD_WIDTH, EPSILON = 7, 32, 1e-5
APART = -100.0  # added to the scores of places that the shift has brought into one window


def _relative_places() -> np.ndarray:
    """[49, 49]: for two places of a window, the row of the table of biases."""
    rows, columns = np.divmod(np.arange(WINDOW**2), WINDOW)
    down, right = (place[:, None] - place[None] + WINDOW - 1 for place in (rows, columns))
    return down * (2 * WINDOW - 1) + right


RELATIVE_PLACES = _relative_places()


class WindowAttention(nnx.Module):
    """Every place looks at those in its window.

    Attributes:
      table: [13², heads], added to the scores by how far two places are apart.
    """

    def __init__(self, width: int, *, shift: int, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; windows begin `shift` places further down and right."""
        self.key, self.shift, self.heads = key, shift, width // HEAD_WIDTH
        shape = ((2 * WINDOW - 1) ** 2, self.heads)
        self.table = nnx.Param(draw_normal(0.02, rngs.params(), shape))
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.proj = Linear(width, width, rngs=rngs)

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the table comes from."""
        return {"table": Rule((f"{key}.relative_position_bias_table",), SAME)}

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """What each place takes from the others."""
        _, height, width, _ = values.shape
        padding = [-length % WINDOW for length in (height, width)]
        values = jnp.pad(values, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)))
        padded = values.shape[1:3]
        shifts = [self.shift if length > WINDOW else 0 for length in padded]
        values = jnp.roll(values, [-shift for shift in shifts], axis=(1, 2))
        bias = self.table[...][RELATIVE_PLACES].transpose(2, 0, 1)[None, None]
        if any(shifts):
            bias = bias + jnp.asarray(_keep_apart(padded, shifts), bias.dtype)[None, :, None]
        queries, keys, values = jnp.split(self.qkv(_to_windows(values)), 3, axis=-1)
        taken = self.proj(attend(queries, keys, values, self.heads, bias))
        taken = _from_windows(taken, *padded)
        return jnp.roll(taken, shifts, axis=(1, 2))[:, :height, :width]


def _to_windows(values: Float[Array, "N h w K"]) -> Float[Array, "N windows 49 K"]:
    images, height, width, channels = values.shape
    shape = (images, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return values.reshape(shape).swapaxes(2, 3).reshape(images, -1, WINDOW**2, channels)


def _from_windows(
    values: Float[Array, "N windows 49 K"], height: int, width: int
) -> Float[Array, "N h w K"]:
    images, _, _, channels = values.shape
    shape = (images, height // WINDOW, width // WINDOW, WINDOW, WINDOW, channels)
    return values.reshape(shape).swapaxes(2, 3).reshape(images, height, width, channels)


def _keep_apart(size: tuple[int, ...], shifts: list[int]) -> Float[np.ndarray, "windows 49 49"]:
    """`APART` between places of a window that were no neighbours before the shift."""
    rows, columns = (
        np.digitize(np.arange(length), [length - WINDOW, length - shift])
        for length, shift in zip(size, shifts, strict=True)
    )
    parts = (3 * rows[:, None] + columns)[None, :, :, None]
    shape = (size[0] // WINDOW, WINDOW, size[1] // WINDOW, WINDOW)
    parts = parts.reshape(shape).swapaxes(1, 2).reshape(-1, WINDOW**2)
    return np.where(parts[:, :, None] == parts[:, None], 0.0, APART)


class Block(nnx.Module):
    """Attention and two linear layers, each behind a normalisation and added to its input."""

    def __init__(self, width: int, *, shift: int, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; `key` is the block's in torchvision's file."""
        self.key = key
        self.norm1 = LayerNormalisation(width, epsilon=EPSILON)
        self.attention = WindowAttention(width, shift=shift, key="attn", rngs=rngs)
        self.norm2 = LayerNormalisation(width, epsilon=EPSILON)
        self.expand = Linear(width, 4 * width, key="mlp.0", rngs=rngs)
        self.project = Linear(4 * width, width, key="mlp.3", rngs=rngs)

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """The block's output; it may have any sign."""
        values = values + self.attention(self.norm1(values))
        return values + self.project(gelu(self.expand(self.norm2(values))))


class Downsample(nnx.Module):
    """2 × 2 places become one: a normalisation and a linear layer without bias."""

    def __init__(self, inputs: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; twice as many channels go out."""
        self.key = key
        self.norm = LayerNormalisation(4 * inputs, epsilon=EPSILON)
        deviation = (2 * inputs) ** -0.5
        shape = (4 * inputs, 2 * inputs)
        self.kernel = nnx.Param(draw_normal(deviation, rngs.params(), shape))

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the kernel comes from."""
        return {"kernel": Rule((f"{key}.reduction.weight",), LINEAR)}

    def __call__(self, values: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """Half the size, rounded up."""
        height, width = values.shape[1:3]
        values = jnp.pad(values, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        places = [values[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        joined = self.norm(jnp.concatenate(places, axis=-1))
        return jnp.matmul(joined, self.kernel[...], precision=PRECISION)


class Swin(StagedNetwork):
    """Layers `stem`, `stage1_block0`, …, `stage1`, `downsample2`, …, `stage4`, `norm`, `logits`.

    With 224 pixels the stages measure 56², 28², 14² and 7². All layers may have any sign.
    """

    stem_keys = ("features.0.0", "features.0.2")
    head = ("norm", "logits")
    other_aliases = MappingProxyType({"features.0": "stem", "features": "stage4", "head": "logits"})
    epsilon = EPSILON
    smallest_input = 4

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        width = self.add_stages(rngs)
        self.norm = LayerNormalisation(width, epsilon=EPSILON)
        self.logits = Linear(width, classes, key="head", rngs=rngs)

    def make_downsample(self, width: int, key: str, rngs: nnx.Rngs) -> Downsample:
        """Joins 2 × 2 places."""
        return Downsample(width // 2, key=key, rngs=rngs)

    def make_block(self, width: int, key: str, rngs: nnx.Rngs) -> Block:
        """Every other block has shifted windows."""
        shift = WINDOW // 2 if int(key.rsplit(".", 1)[1]) % 2 else 0
        return Block(width, shift=shift, key=key, rngs=rngs)

    def finish(self, values: Float[Array, "N h w K"]) -> Steps:
        """`norm` and `logits`."""
        values = yield "norm", self.norm(values)
        yield "logits", self.logits(values.mean((1, 2)))


SWINS = {  # with 96 or 128 filters in the first stage and eight times as many in the last
    "swin_t": Swin.sized("SwinTiny", width=96, blocks=(2, 2, 6, 2)),
    "swin_s": Swin.sized("SwinSmall", width=96, blocks=(2, 2, 18, 2)),
    "swin_b": Swin.sized("SwinBase", width=128, blocks=(2, 2, 18, 2)),
}
