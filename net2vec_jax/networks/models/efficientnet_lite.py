"""EfficientNet-Lite0 (Tan and Le 2019, its Lite variant of 2020), ImageNet, 224 × 224.

Mobile inverted bottlenecks without squeeze and excitation: 1×1 expansion, depthwise k×k, 1×1
projection, ReLU6 behind the first two, nothing behind the last. Convolutions pad as TensorFlow's
SAME. Batch normalisation (ε = 0.001) is folded into the convolutions when weights are ported;
that costs no accuracy beyond float32's rounding and saves a pass over every map.
"""

from __future__ import annotations

from types import MappingProxyType

from net2vec_jax.networks.layers.inverted_bottleneck import (
    BlockShape,
    Keys,
    MobileNetwork,
    lay_out_blocks,
    name_layers,
)

STAGES = (  # expansion, output channels, repeats, stride, kernel size
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class EfficientNetLite0(MobileNetwork):
    """Layers `stem`, `blockI_expand`, `blockI_depthwise`, `blockI` (I = 0 … 15), `head`, `logits`.

    With H × W = 224 × 224 the maps measure 112² × 32 (stem), 112² × 16 (block0), 56² × 24 (1, 2),
    28² × 40 (3, 4), 14² × 80 (5 … 7), 14² × 112 (8 … 10), 7² × 192 (11 … 14), 7² × 320 (15) and
    7² × 1280 (head). `stem`, `head`, `_expand` and `_depthwise` lie in [0, 6]; a block's output is
    taken after the residual addition and may have any sign. `block0` has no expansion.
    """

    shapes = lay_out_blocks(STAGES, "SAME")
    first = 0
    epsilon = 1e-3
    keys = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
    logits_key = "_fc"
    layers = name_layers(shapes, first)
    aliases = MappingProxyType({f"_blocks.{n}": f"block{n}" for n in range(16)} | {"_fc": "logits"})

    @classmethod
    def block_keys(cls, number: int, shape: BlockShape) -> tuple[str, list[Keys]]:
        """As PyPI's efficientnet-lite-pytorch names them."""
        expand = [("_expand_conv", "_bn0")] if shape.expansion > 1 else []
        others = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        return f"_blocks.{number}", expand + others
