"""AlexNet in one tower (Krizhevsky 2014), as torchvision has it; 224 or 227 pixels (behaviour 2.2).

Filters are taken behind the ReLU. With 227 pixels the maps measure 56² × 64 (conv1), 27² × 192
(conv2), 13² × 384 (conv3), 13² × 256 (conv4, conv5) and 6² × 256 (pool5).
"""

from __future__ import annotations

from types import MappingProxyType

from flax import nnx

from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.layers.sequential import FULLY_CONNECTED, ClassifierNetwork

MAPS = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
MAP_PLACES = (1, 2, 4, 5, 7, 9, 11, 12)  # in torchvision's `features`; of convolutions, their ReLU


class AlexNet(ClassifierNetwork):
    """Layers `conv1`, `pool1`, `conv2`, `pool2`, `conv3` … `conv5`, `pool5`, `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. Any image of 63 pixels or more a side will do: as in
    torchvision, `fc6` sees `pool5` averaged to 6 × 6, which changes nothing at 224 or 227.
    """

    layers = (*MAPS, *FULLY_CONNECTED)
    aliases = MappingProxyType(
        {f"features.{place}": name for place, name in zip(MAP_PLACES, MAPS, strict=True)}
        | {"features": "pool5", "classifier.2": "fc6", "classifier.5": "fc7"}
        | {"classifier.6": "fc8", "classifier": "fc8"}
    )
    smallest_input = 63
    pooled = 6

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, 64, 11, stride=4, padding=2, key="features.0", rngs=rngs)
        self.conv2 = Convolution(64, 192, 5, padding=2, key="features.3", rngs=rngs)
        self.conv3 = Convolution(192, 384, 3, padding=1, key="features.6", rngs=rngs)
        self.conv4 = Convolution(384, 256, 3, padding=1, key="features.8", rngs=rngs)
        self.conv5 = Convolution(256, 256, 3, padding=1, key="features.10", rngs=rngs)
        keys = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
        self.add_classifier(256, classes, keys, rngs)
