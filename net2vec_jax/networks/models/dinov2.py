"""DINOv2 (Oquab et al. 2023), with registers too (Darcet et al. 2023): patches of 14 pixels.

The positions were trained for 37 × 37 patches. For others they are resampled as the original does:
bicubically; without registers from places that a grid larger by 0.1 patch has, with registers from
the exact ones, but smoothed first where the grid gets smaller.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import PRECISION
from net2vec_jax.networks.models.vision_transformer import Keys, Size, VisionTransformer
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import SAME, Rule

PATCH, GRID = 14, 37
OFFSET = 0.1  # of the original without registers, which wanted to be safe from rounding


class DinoV2(VisionTransformer):
    """A vision transformer without labels; its last layer is `norm_class`.

    Takes images of any height and width that 14 divides: h and w are a 14th of them. 224 pixels
    make 16 × 16 patches.
    """

    keys = Keys(
        patches="patch_embed.proj",
        class_token="cls_token",
        positions="pos_embed",
        norm="norm",
        block="blocks.{}",
        norms=("norm1", "norm2"),
        attention=("attn.qkv", "attn.proj"),
        inner=("mlp.fc1", "mlp.fc2"),
        activation="mlp.act",
        scales=("ls1.gamma", "ls2.gamma"),
    )
    smallest_input = side_multiple = PATCH

    def __init__(self, *, classes: int = 0, rngs: nnx.Rngs) -> None:
        """Random weights; there are no classes."""
        super().__init__(rngs=rngs)
        if self.size.registers:
            self.registers = nnx.Param(jnp.zeros((1, self.size.registers, self.size.width)))

    def rules(self, key: str) -> dict[str, Rule]:
        """Where the network's own parameters come from."""
        registers = {"registers": Rule(("register_tokens",), SAME)} if self.size.registers else {}
        return super().rules(key) | registers

    def begin(self, patches: Float[Array, "N h w D"]) -> Float[Array, "N L D"]:
        """What the first block takes: registers have no positions."""
        tokens = super().begin(patches)
        if not self.size.registers:
            return tokens
        registers = self._repeat(self.registers, tokens)
        return jnp.concatenate([tokens[:, :1], registers, tokens[:, 1:]], axis=1)

    def locate(self, height: int, width: int) -> Float[Array, "1 L D"]:
        """The positions of the class token and of a grid of patches."""
        positions = self.positions[...].astype(jnp.float32)
        if height == width == GRID:
            return positions
        antialias = self.size.registers > 0
        rows, columns = (
            jnp.asarray(resample_bicubically(GRID, length, 0.0 if antialias else OFFSET, antialias))
            for length in (height, width)
        )
        patches = positions[0, 1:].reshape(GRID, GRID, -1)
        patches = jnp.einsum("hi,wj,ijk->hwk", rows, columns, patches, precision=PRECISION)
        return jnp.concatenate([positions[:, :1], patches.reshape(1, height * width, -1)], axis=1)

    def _check(self, images: Array | np.ndarray) -> None:
        Network._check(self, images)  # of any size


def resample_bicubically(
    inputs: int, outputs: int, offset: float, antialias: bool
) -> Float[np.ndarray, "outputs inputs"]:
    """The matrix that resamples a line of values, as torch's `interpolate(mode="bicubic")`.

    Args:
      inputs: number of values.
      outputs: number wanted.
      offset: added to `outputs` where places are counted, not where values are.
      antialias: whether values are smoothed first where there get fewer; the cubic's parameter is
        then −0.5, otherwise −0.75.
    """
    step = float(np.float32(inputs / (outputs + offset)))
    centres = step * (np.arange(outputs) + 0.5) - 0.5
    spread, sharpness = (max(step, 1.0), -0.5) if antialias else (1.0, -0.75)
    reach = int(2 * spread) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)
    distances = np.abs(taps - centres[:, None]) / spread
    near = ((sharpness + 2) * distances - (sharpness + 3)) * distances**2 + 1
    far = sharpness * (((distances - 5) * distances + 8) * distances - 4)
    shares = np.where(distances <= 1, near, np.where(distances < 2, far, 0.0))
    if antialias:  # values beyond the edge have no share; otherwise the last one stands for them
        shares *= (taps >= 0) & (taps < inputs)
        shares /= shares.sum(axis=1, keepdims=True)
    matrix = np.zeros((outputs, inputs))
    rows = np.broadcast_to(np.arange(outputs)[:, None], taps.shape)
    np.add.at(matrix, (rows, taps.clip(0, inputs - 1)), shares)
    return matrix.astype(np.float32)


DINOV2S = {
    "dinov2_vits14": DinoV2.sized("DinoV2Small", size=Size(384, 6, 12, PATCH, GRID)),
    "dinov2_vitb14": DinoV2.sized("DinoV2Base", size=Size(768, 12, 12, PATCH, GRID)),
    "dinov2_vitl14": DinoV2.sized("DinoV2Large", size=Size(1024, 16, 24, PATCH, GRID)),
}
DINOV2S |= {
    f"{name}_reg": DinoV2.sized(
        f"{small.__name__}Registers", size=dataclasses.replace(small.size, registers=4)
    )
    for name, small in DINOV2S.items()
}
