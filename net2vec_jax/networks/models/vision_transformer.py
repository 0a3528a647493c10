"""Vision transformer ViT-B/16 (Dosovitskiy et al. 2020) as torchvision has it, 224 pixels.

An image is 14 × 14 patches of 16 × 16 pixels, each a token, after a class token. Responses are
given on the grid of patches; the class token, which has no place there, is left out of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import PRECISION, Convolution, LayerNormalisation, Linear
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import LINEAR, SAME, Rule

PIXELS, PATCH, GRID = 224, 16, 14
BLOCKS, HEADS, WIDTH, INNER = 12, 12, 768, 3072
EPSILON = 1e-6


class PackedLinear(Linear):
    """The linear layers of queries, keys and values in one."""

    def rules(self, key: str) -> dict[str, Rule]:
        """Where kernel and bias come from."""
        return {
            "kernel": Rule(("in_proj_weight",), LINEAR),
            "bias": Rule(("in_proj_bias",), SAME),
        }


class Attention(nnx.Module):
    """Every token looks at every other, in 12 heads."""

    key = "self_attention"

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        """Random weights."""
        self.queries_keys_values = PackedLinear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.output = Linear(WIDTH, WIDTH, key="out_proj", rngs=rngs)

    def __call__(self, tokens: Float[Array, "N L D"]) -> Float[Array, "N L D"]:
        """What each token takes from the others."""
        images, length, _ = tokens.shape
        joint = self.queries_keys_values(tokens).reshape(images, length, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = jnp.moveaxis(joint, (2, 3), (0, 2))
        queries = queries * (WIDTH // HEADS) ** -0.5
        scores = jnp.einsum("nhqd,nhkd->nhqk", queries, keys, precision=PRECISION)
        shares = jax.nn.softmax(scores, axis=-1)
        taken = jnp.einsum("nhqk,nhkd->nqhd", shares, values, precision=PRECISION)
        return self.output(taken.reshape(images, length, WIDTH))


class Block(nnx.Module):
    """Attention and two linear layers, each behind a normalisation and added to its input."""

    def __init__(self, *, key: str | None = None, rngs: nnx.Rngs) -> None:
        """Random weights; `key` is the block's in torchvision's file."""
        self.key = key
        self.norm1 = LayerNormalisation(WIDTH, epsilon=EPSILON, key="ln_1")
        self.attention = Attention(rngs=rngs)
        self.norm2 = LayerNormalisation(WIDTH, epsilon=EPSILON, key="ln_2")
        self.expand = Linear(WIDTH, INNER, key="mlp.0", rngs=rngs)
        self.project = Linear(INNER, WIDTH, key="mlp.3", rngs=rngs)

    def responses(self, tokens: Float[Array, "N L D"]) -> Iterator[tuple[str, Array]]:
        """("_mlp", the inner layer behind its GELU) and ("", the block's output)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        inner = gelu(self.expand(self.norm2(tokens)))
        yield "_mlp", inner
        yield "", tokens + self.project(inner)


class VisionTransformer(Network):
    """Layers `block0_mlp`, `block0`, …, `block11`, `norm`, `logits`.

    The images must measure 224 × 224. `blockI` and `norm` are 14² × 768 of any sign; `blockI_mlp`
    is 14² × 3072, the hidden layer behind its GELU, at least -0.17.
    """

    layers = (
        *(f"block{number}{suffix}" for number in range(BLOCKS) for suffix in ("_mlp", "")),
        "norm",
        "logits",
    )
    aliases = MappingProxyType(
        {f"encoder.layers.encoder_layer_{number}": f"block{number}" for number in range(BLOCKS)}
        | {f"encoder.layers.encoder_layer_{n}.mlp.1": f"block{n}_mlp" for n in range(BLOCKS)}
        | {"encoder.ln": "norm", "encoder": "norm", "heads.head": "logits", "heads": "logits"}
    )
    smallest_input = PIXELS

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        self.patches = Convolution(
            3, WIDTH, PATCH, stride=PATCH, padding=0, key="conv_proj", rngs=rngs
        )
        self.class_token = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        shape = (1, 1 + GRID * GRID, WIDTH)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), shape))
        keys = [f"encoder.layers.encoder_layer_{number}" for number in range(BLOCKS)]
        self.blocks = nnx.List([Block(key=key, rngs=rngs) for key in keys])
        self.norm = LayerNormalisation(WIDTH, epsilon=EPSILON, key="encoder.ln")
        self.logits = Linear(WIDTH, classes, key="heads.head", rngs=rngs)

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the network's own parameters come from."""
        return {
            "class_token": Rule(("class_token",), SAME),
            "positions": Rule(("encoder.pos_embedding",), SAME),
        }

    def responses(self, images: Float[Array, "N 224 224 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        patches = self.patches(images).reshape(images.shape[0], GRID * GRID, WIDTH)
        first = jnp.broadcast_to(self.class_token[...], (images.shape[0], 1, WIDTH))
        tokens = jnp.concatenate([first.astype(patches.dtype), patches], axis=1)
        tokens = tokens + self.positions[...]
        for number, block in enumerate(self.blocks):
            for suffix, response in block.responses(tokens):
                yield f"block{number}{suffix}", _on_grid(response)
                tokens = response if not suffix else tokens
        tokens = self.norm(tokens)
        yield "norm", _on_grid(tokens)
        yield "logits", self.logits(tokens[:, 0])

    def _check(self, images: Array | np.ndarray) -> None:
        super()._check(images)
        if images.shape[1:3] != (PIXELS, PIXELS):
            raise Net2VecError(
                f"images of {images.shape[1]} × {images.shape[2]} pixels; the transformer's "
                f"positions are those of {PIXELS} × {PIXELS} pixels: resize the images"
            )


def _on_grid(tokens: Float[Array, "N L D"]) -> Float[Array, "N 14 14 D"]:
    """The patches' tokens, row by row."""
    return tokens[:, 1:].reshape(tokens.shape[0], GRID, GRID, tokens.shape[2])
