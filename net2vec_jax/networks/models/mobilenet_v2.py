"""MobileNetV2 (Sandler et al. 2018) as torchvision has it, 224 pixels.

Seventeen inverted bottlenecks. Batch normalisation (ε = 1e-5) is folded into the convolutions when
weights are ported.
"""

from __future__ import annotations

from net2vec_jax.networks.layers.inverted_bottleneck import BlockShape, Keys, MobileNetwork

STAGES = (  # the paper's table 2: expansion, output channels, repeats, stride; kernel size
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)


class MobileNetV2(MobileNetwork):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 1 … 17), `head`, `logits`.

    A block has the number that it has in torchvision's `features`. With 224 pixels the maps measure
    112² × 32 (stem), 112² × 16 (block1), 56² × 24 (2, 3), 28² × 32 (4 … 6), 14² × 64 (7 … 10),
    14² × 96 (11 … 13), 7² × 160 (14 … 16), 7² × 320 (17) and 7² × 1280 (head). `stem`, `head`,
    `_expand` and `_depthwise` lie in [0, 6]; a block's output may have any sign. `block1` has no
    expansion.
    """

    stages = STAGES
    first = 1
    head_place = 18

    @classmethod
    def block_key(cls, number: int, shape: BlockShape) -> str:
        """As torchvision names it."""
        return f"features.{number}"

    @classmethod
    def part_keys(cls, shape: BlockShape) -> list[Keys]:
        """As torchvision names them."""
        parts = ["conv.0", "conv.1"] if shape.expansion > 1 else ["conv.0"]
        last = len(parts)
        joined = [(f"{part}.0", f"{part}.1") for part in parts]
        return [*joined, (f"conv.{last}", f"conv.{last + 1}")]
