"""Vision transformers (Dosovitskiy et al. 2020); torchvision's ViT-B/16.

An image is a grid of patches, each a token; before them come a class token and, in some networks,
registers (Darcet et al. 2023). Where the original scales what a block adds (DINOv2), the scale is
folded into the last linear layer of attention and of the inner layers when weights are ported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.attention import attend
from net2vec_jax.networks.layers.blocks import Convolution, LayerNormalisation, Linear, draw_normal
from net2vec_jax.networks.layers.nonlinearities import gelu
from net2vec_jax.networks.network import Network, Steps
from net2vec_jax.weights.layouts import SAME, Rule


@dataclass(frozen=True)
class Keys:
    """Where the weight file has what; those of a block are seen from the block.

    Attributes:
      patches: the convolution that makes tokens of patches.
      class_token: it.
      positions: of class token and patches.
      norm: the normalisation behind the last block.
      block: a block, with its number for {}.
      norms: the normalisations in front of attention and of the inner layer.
      attention: the linear layer of queries, keys and values in one, and the one behind.
      inner: the two linear layers behind attention.
      activation: the module between them, which alone is no key: for the layers' aliases.
      scales: what the original multiplies attention's and the inner layers' results with.
    """

    patches: str
    class_token: str
    positions: str
    norm: str
    block: str
    norms: tuple[str, str]
    attention: tuple[str, str]
    inner: tuple[str, str]
    activation: str
    scales: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True)
class Size:
    """What distinguishes transformers of one kind.

    Attributes:
      width: channels of a token.
      heads: of attention.
      blocks: their number.
      patch: pixels along a side of a patch.
      grid: patches along a side of the images that its positions were trained for.
      registers: tokens beside class and patches.
    """

    width: int
    heads: int
    blocks: int
    patch: int
    grid: int
    registers: int = 0


class Attention(nnx.Module):
    """Every token looks at every other."""

    key = ""  # its layers' keys are seen from the block

    def __init__(self, size: Size, keys: Keys, *, rngs: nnx.Rngs) -> None:
        """Random weights."""
        width, (joint, output) = size.width, keys.attention
        self.heads = size.heads
        self.queries_keys_values = Linear(width, 3 * width, key=joint, rngs=rngs)
        self.output = Linear(width, width, key=output, scale=keys.scales[0], rngs=rngs)

    def __call__(self, tokens: Float[Array, "N L D"]) -> Float[Array, "N L D"]:
        """What each token takes from the others."""
        queries, keys, values = jnp.split(self.queries_keys_values(tokens), 3, axis=-1)
        return self.output(attend(queries, keys, values, self.heads))


class Block(nnx.Module):
    """Attention and two linear layers, each behind a normalisation and added to its input."""

    def __init__(
        self,
        size: Size,
        keys: Keys,
        *,
        epsilon: float = 1e-6,
        activation: Callable[[Array], Array] = gelu,
        key: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights; `key` is the block's in the file."""
        width, inner, (expand, project) = size.width, 4 * size.width, keys.inner
        self.key, self.activation = key, activation
        self.norm1 = LayerNormalisation(width, epsilon=epsilon, key=keys.norms[0])
        self.attention = Attention(size, keys, rngs=rngs)
        self.norm2 = LayerNormalisation(width, epsilon=epsilon, key=keys.norms[1])
        self.expand = Linear(width, inner, key=expand, rngs=rngs)
        self.project = Linear(inner, width, key=project, scale=keys.scales[1], rngs=rngs)

    def attend(self, tokens: Float[Array, "N L D"]) -> tuple[Array, Array]:
        """The tokens behind attention, and the inner layer behind its nonlinearity."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens, self.activation(self.expand(self.norm2(tokens)))


class VisionTransformer(Network):
    """Layers `block0_mlp`, `block0`, `block0_class`, …, `norm`, `norm_class`, perhaps one more.

    `blockI` and `norm` are maps h × w × K of the patches' tokens, of any sign; `blockI_mlp` is
    h × w × 4K, the block's hidden layer behind its nonlinearity, at least -0.17. Tokens without a
    place are layers of their own, [N, K]: the class token in `blockI_class` and `norm_class`,
    registers in `blockI_register0`, …, `norm_register0`, … where the network has them.

    Attributes:
      size: width, depth, patches.
      keys: of the weight file.
      head: the layer that is computed from `norm_class`, if there is one.
      patches_bias: whether the convolution that makes tokens has one.
      epsilon: of the normalisations.
      activation: between a block's last two linear layers.
    """

    size: ClassVar[Size]
    keys: ClassVar[Keys]
    head: ClassVar[str | None] = None
    patches_bias: ClassVar[bool] = True
    epsilon: ClassVar[float] = 1e-6
    activation: ClassVar[Callable[[Array], Array]] = staticmethod(gelu)

    def __init_subclass__(cls, **options: bool) -> None:
        """The layers of a transformer whose size is known."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "size"):
            return
        size, keys = cls.size, cls.keys
        tokens = ("", *(f"_register{number}" for number in range(size.registers)), "_class")
        blocks = [f"block{number}" for number in range(size.blocks)]
        paths = {keys.block.format(number): block for number, block in enumerate(blocks)}
        cls.layers = (
            *(f"{block}{suffix}" for block in blocks for suffix in ("_mlp", *tokens)),
            *(f"norm{suffix}" for suffix in tokens),
            *((cls.head,) if cls.head else ()),
        )
        cls.aliases = MappingProxyType(
            paths
            | {f"{path}.{keys.activation}": f"{block}_mlp" for path, block in paths.items()}
            | {keys.norm: "norm"}
            | cls.other_names()
        )

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        """Random weights."""
        size, keys = self.size, self.keys
        self.patches = Convolution(
            3, size.width, size.patch, stride=size.patch, padding=0, bias=self.patches_bias,
            key=keys.patches, rngs=rngs,
        )  # fmt: skip
        self.class_token = nnx.Param(jnp.zeros((1, 1, size.width)))
        shape = (1, 1 + size.grid**2, size.width)
        self.positions = nnx.Param(draw_normal(0.02, rngs.params(), shape))
        options = {"epsilon": self.epsilon, "activation": self.activation, "rngs": rngs}
        self.blocks = nnx.List(
            [
                Block(size, keys, key=keys.block.format(number), **options)
                for number in range(size.blocks)
            ]
        )
        self.norm = LayerNormalisation(size.width, epsilon=self.epsilon, key=keys.norm)

    @classmethod
    def other_names(cls) -> dict[str, str]:
        """More of the original's module paths, each with its layer."""
        return {}

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the network's own parameters come from."""
        return {
            "class_token": Rule((self.keys.class_token,), SAME),
            "positions": Rule((self.keys.positions,), SAME),
        }

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        patches = self.patches(images)
        _, height, width, _ = patches.shape
        tokens = self.begin(patches)
        for number, block in enumerate(self.blocks):
            tokens, inner = block.attend(tokens)
            inner = yield from self._name_patches(f"block{number}_mlp", inner, height, width)
            tokens = tokens + block.project(inner)
            tokens = yield from self._name_tokens(f"block{number}", tokens, height, width)
        tokens = yield from self._name_tokens("norm", self.norm(tokens), height, width)
        if self.head is not None:
            yield self.head, getattr(self, self.head)(tokens[:, 0])

    def begin(self, patches: Float[Array, "N h w D"]) -> Float[Array, "N L D"]:
        """What the first block takes."""
        images, height, width, channels = patches.shape
        patches = patches.reshape(images, height * width, channels)
        positions = self.locate(height, width).astype(patches.dtype)
        return jnp.concatenate([self._repeat(self.class_token, patches), patches], 1) + positions

    def locate(self, height: int, width: int) -> Float[Array, "1 L D"]:
        """The positions of the class token and of the patches."""
        return self.positions[...]

    def _repeat(self, tokens: nnx.Param, patches: Float[Array, "N L D"]) -> Float[Array, "N M D"]:
        """The same tokens for every image."""
        values = tokens[...].astype(patches.dtype)
        return jnp.broadcast_to(values, (patches.shape[0], *values.shape[1:]))

    def _name_tokens(
        self, name: str, tokens: Float[Array, "N L D"], height: int, width: int
    ) -> Steps:
        """A response as a map, and each of its tokens without a place; returns the tokens."""
        tokens = yield from self._name_patches(name, tokens, height, width)
        others = {1 + number: f"_register{number}" for number in range(self.size.registers)}
        for place, suffix in (others | {0: "_class"}).items():
            token = tokens[:, place]
            found = yield f"{name}{suffix}", token
            tokens = tokens if found is token else tokens.at[:, place].set(found)
        return tokens

    def _name_patches(
        self, name: str, tokens: Float[Array, "N L D"], height: int, width: int
    ) -> Steps:
        """The patches' tokens as a map, row by row; returns all tokens."""
        first = 1 + self.size.registers
        patches = tokens[:, first:].reshape(tokens.shape[0], height, width, tokens.shape[2])
        found = yield name, patches
        if found is patches:
            return tokens
        found = found.reshape(tokens.shape[0], height * width, tokens.shape[2])
        return jnp.concatenate([tokens[:, :first], found], axis=1)

    def _check(self, images: Array | np.ndarray) -> None:
        super()._check(images)
        pixels = self.size.patch * self.size.grid
        if images.shape[1:3] != (pixels, pixels):
            raise Net2VecError(
                f"images of {images.shape[1]} × {images.shape[2]} pixels; the transformer's "
                f"positions are those of {pixels} × {pixels} pixels: resize the images"
            )


class ViTB16(VisionTransformer):
    """Torchvision's ViT-B/16, of 224 × 224 pixels only; behind `norm_class` come `logits`.

    Maps are 14² × 768, those of `blockI_mlp` 14² × 3072.
    """

    size = Size(768, 12, 12, patch=16, grid=14)
    keys = Keys(
        patches="conv_proj",
        class_token="class_token",
        positions="encoder.pos_embedding",
        norm="encoder.ln",
        block="encoder.layers.encoder_layer_{}",
        norms=("ln_1", "ln_2"),
        attention=("self_attention.in_proj_", "self_attention.out_proj"),
        inner=("mlp.0", "mlp.3"),
        activation="mlp.1",
    )
    head = "logits"
    smallest_input = 224

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits."""
        super().__init__(rngs=rngs)
        self.logits = Linear(self.size.width, classes, key="heads.head", rngs=rngs)

    @classmethod
    def other_names(cls) -> dict[str, str]:
        """More of torchvision's module paths."""
        return {"encoder": "norm", "heads.head": "logits", "heads": "logits"}
