"""AlexNet in one tower (Krizhevsky 2014), as torchvision has it; 224 or 227 pixels (spec 2.2).

Filters are taken behind the ReLU. With 227 pixels the maps measure 56² × 64 (conv1), 27² × 192
(conv2), 13² × 384 (conv3), 13² × 256 (conv4, conv5) and 6² × 256 (pool5).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import adaptive_average_pool, max_pool
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, linear_after_map
from net2vec_jax.weights.rules import Rule, plain_rules

POOLED = 6


class AlexNet(Network):
    """Layers `conv1`, `pool1`, `conv2`, `pool2`, `conv3` … `conv5`, `pool5`, `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. Any image of 63 pixels or more a side will do: as in
    torchvision, `fc6` sees `pool5` averaged to 6 × 6, which changes nothing at 224 or 227.
    """

    layers = (
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "conv3",
        "conv4",
        "conv5",
        "pool5",
        "fc6",
        "fc7",
        "fc8",
    )
    aliases = MappingProxyType(
        {
            "features.1": "conv1",
            "features.2": "pool1",
            "features.4": "conv2",
            "features.5": "pool2",
            "features.7": "conv3",
            "features.9": "conv4",
            "features.11": "conv5",
            "features.12": "pool5",
            "features": "pool5",
            "classifier.2": "fc6",
            "classifier.5": "fc7",
            "classifier.6": "fc8",
            "classifier": "fc8",
        }
    )
    smallest_input = 63

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, 64, 11, stride=4, padding=2, rngs=rngs)
        self.conv2 = Convolution(64, 192, 5, padding=2, rngs=rngs)
        self.conv3 = Convolution(192, 384, 3, padding=1, rngs=rngs)
        self.conv4 = Convolution(384, 256, 3, padding=1, rngs=rngs)
        self.conv5 = Convolution(256, 256, 3, padding=1, rngs=rngs)
        self.fc6 = Linear(256 * POOLED * POOLED, 4096, rngs=rngs)
        self.fc7 = Linear(4096, 4096, rngs=rngs)
        self.fc8 = Linear(4096, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu(self.conv1(images))
        yield "conv1", values
        values = max_pool(values, 3, 2)
        yield "pool1", values
        values = relu(self.conv2(values))
        yield "conv2", values
        values = max_pool(values, 3, 2)
        yield "pool2", values
        values = relu(self.conv3(values))
        yield "conv3", values
        values = relu(self.conv4(values))
        yield "conv4", values
        values = relu(self.conv5(values))
        yield "conv5", values
        values = max_pool(values, 3, 2)
        yield "pool5", values
        values = adaptive_average_pool(values, POOLED, POOLED)
        values = relu(self.fc6(values.reshape(values.shape[0], -1)))
        yield "fc6", values
        values = relu(self.fc7(values))
        yield "fc7", values
        yield "fc8", self.fc8(values)


def alexnet_rules() -> dict[str, Rule]:
    """Every parameter's origin in torchvision's state dict."""
    rules: dict[str, Rule] = {}
    for name, number in (("conv1", 0), ("conv2", 3), ("conv3", 6), ("conv4", 8), ("conv5", 10)):
        rules |= plain_rules(name, f"features.{number}", CONVOLUTION)
    rules |= plain_rules("fc6", "classifier.1", linear_after_map(POOLED, POOLED))
    rules |= plain_rules("fc7", "classifier.4", LINEAR)
    return rules | plain_rules("fc8", "classifier.6", LINEAR)
