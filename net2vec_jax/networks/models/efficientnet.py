"""EfficientNet-B0 as torchvision has it, and EfficientNet-Lite0 … 4 (Tan and Le 2019, 2020).

Mobile inverted bottlenecks. B0 has squeeze and excitation behind the depthwise convolutions, and
x · sigmoid(x) for activation. The Lite variants have neither: ReLU6 instead, and convolutions that
pad as TensorFlow's SAME, with ε = 0.001 in the batch normalisations. Wider and deeper ones keep
stem and head, and the repeats of the first and the last stage.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.inverted_bottleneck import (
    BlockShape,
    Keys,
    MobileNetwork,
    StageShape,
)

STAGES: tuple[StageShape, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def scale_stages(width: float, depth: float) -> tuple[StageShape, ...]:
    """The stages of a wider and deeper Lite network.

    Args:
      width: factor of the channels, which are rounded to multiples of 8.
      depth: factor of the repeats of all stages but the first and the last, rounded up.
    """

    def widen(channels: int) -> int:
        nearest = max(8, int(width * channels + 4) // 8 * 8)
        return nearest if nearest >= 0.9 * width * channels else nearest + 8

    ends, scaled = (STAGES[0], STAGES[-1]), []
    for stage in STAGES:
        expansion, channels, repeats, stride, size = stage
        repeats = repeats if stage in ends else math.ceil(depth * repeats)
        scaled.append((expansion, widen(channels), repeats, stride, size))
    return tuple(scaled)


class EfficientNetB0(MobileNetwork):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 0 … 15), `head`, `logits`.

    Maps measure as those of EfficientNet-Lite0. All may have any sign: `stem`, `head`, `_expand`
    and `_depthwise` are no smaller than -0.28. `_depthwise` is taken before the squeeze and
    excitation, a block's output after the residual addition. `block0` has no expansion.
    """

    stages = STAGES
    first = 0
    head_place = 8

    @staticmethod
    def activate(values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """values · sigmoid(values)."""
        return jax.nn.silu(values)

    @classmethod
    def block_key(cls, number: int, shape: BlockShape) -> str:
        """As torchvision names it."""
        return f"features.{shape.stage}.{shape.place}"

    @classmethod
    def part_keys(cls, shape: BlockShape) -> list[Keys]:
        """As torchvision names them."""
        places = (0, 1, 3) if shape.expansion > 1 else (0, 2)
        return [(f"block.{place}.0", f"block.{place}.1") for place in places]

    @classmethod
    def excitation_key(cls, shape: BlockShape) -> str | None:
        """As torchvision names it."""
        return "block.2" if shape.expansion > 1 else "block.1"


class EfficientNetLite(MobileNetwork):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 0, 1, …), `head`, `logits`.

    `stem`, `head`, `_expand` and `_depthwise` lie in [0, 6]; a block's output is taken after the
    residual addition and may have any sign. `block0` has no expansion. Each of the seven stages has
    the size of map that it has in the first.
    """

    scale: ClassVar[tuple[float, float]]  # of width and depth
    same = True
    first = 0
    epsilon = 1e-3
    keys = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
    logits_key = "_fc"

    def __init_subclass__(cls, **options: Any) -> None:
        """Scale the stages."""
        cls.stages = scale_stages(*cls.scale)
        super().__init_subclass__(**options)

    @classmethod
    def block_key(cls, number: int, shape: BlockShape) -> str:
        """As PyPI's efficientnet-lite-pytorch names it."""
        return f"_blocks.{number}"

    @classmethod
    def part_keys(cls, shape: BlockShape) -> list[Keys]:
        """As PyPI's efficientnet-lite-pytorch names them."""
        expand = [("_expand_conv", "_bn0")] if shape.expansion > 1 else []
        others = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        return expand + others


# At 224 pixels maps of the first measure 112² × 32 (stem), 112² × 16 (block0), 56² × 24 (1, 2),
# 28² × 40 (3, 4), 14² × 80 (5 to 7), 14² × 112 (8 to 10), 7² × 192 (11 to 14), 7² × 320 (15),
# 7² × 1280 (head); the others have 21, 21, 24 and 30 blocks.
EFFICIENTNET_LITES = [
    EfficientNetLite.sized(f"EfficientNetLite{number}", scale=scale)
    for number, scale in enumerate([(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8)])
]
