"""The image towers of CLIP (Radford et al. 2021), 224 pixels: ViT-B/16, ViT-B/32 and ResNet-50.

The last layer, `embedding`, is what CLIP compares with texts; its length is not yet 1. The ResNet
begins with three convolutions, averages where torchvision's strides, and pools with attention.
"""

from __future__ import annotations

from types import MappingProxyType

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.attention import attend
from net2vec_jax.networks.layers.blocks import (
    PRECISION,
    Convolution,
    LayerNormalisation,
    Linear,
    draw_normal,
)
from net2vec_jax.networks.layers.nonlinearities import quick_gelu, relu
from net2vec_jax.networks.layers.pooling import average_pool
from net2vec_jax.networks.models.resnet import Bottleneck, Stages
from net2vec_jax.networks.models.vision_transformer import Keys, Size, VisionTransformer
from net2vec_jax.networks.network import Network, Steps
from net2vec_jax.weights.layouts import SAME, Rule

VIT_EMBEDDING, RESNET_EMBEDDING = 512, 1024


class Projection(nnx.Module):
    """A linear layer without bias, laid out as here.

    Attributes:
      kernel: [in, out].
    """

    def __init__(self, inputs: int, outputs: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights."""
        deviation = inputs**-0.5
        self.kernel = nnx.Param(draw_normal(deviation, rngs.params(), (inputs, outputs)))
        self.key = key

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the kernel comes from."""
        return {"kernel": Rule((key,), SAME)}

    def __call__(self, vectors: Float[Array, "N I"]) -> Float[Array, "N O"]:
        """vectors · kernel."""
        return jnp.matmul(vectors, self.kernel[...], precision=PRECISION)


class ClipViT(VisionTransformer):
    """A vision transformer of 224 × 224 pixels only; behind `norm_class` comes `embedding`, 512.

    The original normalises the class token alone; `norm` shows the patches' tokens as that
    normalisation leaves them.
    """

    keys = Keys(
        patches="visual.conv1",
        class_token="visual.class_embedding",
        positions="visual.positional_embedding",
        norm="visual.ln_post",
        block="visual.transformer.resblocks.{}",
        norms=("ln_1", "ln_2"),
        attention=("attn.in_proj_", "attn.out_proj"),
        inner=("mlp.c_fc", "mlp.c_proj"),
        activation="mlp.gelu",
    )
    head = "embedding"
    patches_bias = False
    epsilon = 1e-5
    activation = staticmethod(quick_gelu)
    smallest_input = 224

    def __init__(self, *, classes: int = 0, rngs: nnx.Rngs) -> None:
        """Random weights; there are no classes."""
        super().__init__(rngs=rngs)
        width = self.size.width
        self.first_norm = LayerNormalisation(width, epsilon=self.epsilon, key="visual.ln_pre")
        self.embedding = Projection(width, VIT_EMBEDDING, key="visual.proj", rngs=rngs)

    @classmethod
    def other_names(cls) -> dict[str, str]:
        """More of the original's module paths."""
        return {"visual": "embedding"}

    def begin(self, patches: Float[Array, "N h w D"]) -> Float[Array, "N L D"]:
        """What the first block takes."""
        return self.first_norm(super().begin(patches))


class ClipViTB16(ClipViT):
    """Patches of 16 pixels: maps are 14² × 768, those of `blockI_mlp` 14² × 3072."""

    size = Size(768, 12, 12, patch=16, grid=14)


class ClipViTB32(ClipViT):
    """Patches of 32 pixels: maps are 7² × 768, those of `blockI_mlp` 7² × 3072."""

    size = Size(768, 12, 12, patch=32, grid=7)


class AveragingBottleneck(Bottleneck):
    """A bottleneck that takes means of 2 × 2 pixels where others have a stride of 2."""

    def __init__(self, inputs: int, width: int, stride: int, *, key: str, rngs: nnx.Rngs) -> None:
        """Random weights; `width` channels inside, four times as many at the end."""
        super().__init__(inputs, width, 1, key=key, rngs=rngs)
        self.pool_size = stride

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """The block's output, at least 0."""
        values = relu(self.conv2(relu(self.conv1(images))))
        values = self.conv3(average_pool(values, self.pool_size))
        images = average_pool(images, self.pool_size)
        return relu(values + (images if self.downsample is None else self.downsample(images)))


class AttentionPool(nnx.Module):
    """The mean of all places looks at them and at itself, and is projected."""

    def __init__(
        self, width: int, outputs: int, heads: int, grid: int, *, key: str, rngs: nnx.Rngs
    ) -> None:
        """Random weights, for maps of grid × grid places."""
        self.key, self.heads, self.grid = key, heads, grid
        shape = (1, 1 + grid * grid, width)
        self.positions = nnx.Param(draw_normal(width**-0.5, rngs.params(), shape))
        self.q_proj, self.k_proj, self.v_proj = (Linear(width, width, rngs=rngs) for _ in "qkv")
        self.c_proj = Linear(width, outputs, rngs=rngs)

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the positions come from."""
        return {"positions": Rule((f"{key}.positional_embedding",), SAME)}

    def __call__(self, images: Float[Array, "N h w K"]) -> Float[Array, "N O"]:
        """One vector for each image."""
        count, height, width, channels = images.shape
        if (height, width) != (self.grid, self.grid):
            side = 32 * self.grid
            raise Net2VecError(
                f"a map of {height} × {width} places; CLIP's attention pooling knows the positions "
                f"of {self.grid} × {self.grid}: resize the images to {side} × {side} pixels, or "
                "ask for layers before `embedding`"
            )
        tokens = images.reshape(count, height * width, channels)
        tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], axis=1)
        tokens = tokens + self.positions[...]
        queries, keys, values = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        return self.c_proj(attend(queries, keys, values, self.heads))[:, 0]


class ClipResNet50(Network):
    """Layers `conv1`, `conv2`, `conv3`, `pool1`, `layer1_block0`, …, `layer4`, `embedding`.

    With 224 pixels `conv3` measures 112² × 64, `pool1` 56² × 64, and the four stages 56², 28², 14²
    and 7², of 256 to 2048 filters. All but the embedding, 1024 numbers, are at least 0. Images of
    other sizes have all layers but the embedding.
    """

    stages = Stages((3, 4, 6, 3), AveragingBottleneck)
    layers = (
        *("conv1", "conv2", "conv3", "pool1"),
        *(name for name, _ in stages.modules()),
        "embedding",
    )
    aliases = MappingProxyType(
        {f"visual.relu{number}": f"conv{number}" for number in (1, 2, 3)}
        | {f"visual.{path}": name for name, path in stages.modules()}
        | {f"visual.layer{stage}": f"layer{stage}" for stage in range(1, 5)}
        | {"visual.avgpool": "pool1", "visual.attnpool": "embedding", "visual": "embedding"}
    )
    smallest_input = 32

    def __init__(self, *, classes: int = 0, rngs: nnx.Rngs) -> None:
        """Random weights; there are no classes."""
        for number, inputs, outputs in ((1, 3, 32), (2, 32, 32), (3, 32, 64)):
            made = Convolution(
                inputs,
                outputs,
                3,
                stride=2 if number == 1 else 1,
                padding=1,
                key=f"visual.conv{number}",
                norm=f"visual.bn{number}",
                rngs=rngs,
            )
            setattr(self, f"conv{number}", made)
        self.blocks, inputs = self.stages.build(rngs, around="visual.")
        self.embedding = AttentionPool(
            inputs, RESNET_EMBEDDING, 32, 7, key="visual.attnpool", rngs=rngs
        )

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = images
        for name in self.layers[:3]:
            values = yield name, relu(getattr(self, name)(values))
        values = yield "pool1", average_pool(values, 2)
        for block, (name, _) in zip(self.blocks, self.stages.modules(), strict=True):
            values = yield name, block(values)
        yield "embedding", self.embedding(values)
