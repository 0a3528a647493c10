"""Networks whose layers follow one another, each known by its name: AlexNet, VGG and their like."""

from __future__ import annotations

from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import (
    adaptive_average_pool,
    max_pool,
    normalise_local_responses,
)
from net2vec_jax.networks.network import Network, Steps

FULLY_CONNECTED = ("fc6", "fc7", "fc8")


class SequentialNetwork(Network):
    """Layers one behind the other; what a layer computes, its name or its module says.

    `poolI` is a maximum and `normI` a local response normalisation; behind a convolution comes its
    ReLU; any other module is called as it is, and `logits` of the means over all places.

    Attributes:
      pool_size: pixels along a side of the windows of maxima.
      round_up: see `max_pool`.
    """

    pool_size: ClassVar[int] = 3
    round_up: ClassVar[bool] = False

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = images
        for name in self.layers:
            values = yield name, self.compute(name, values)

    def compute(self, name: str, values: Array) -> Array:
        """The response of a layer to that of the layer before."""
        if name.startswith("pool"):
            return max_pool(values, self.pool_size, 2, round_up=self.round_up)
        if name.startswith("norm"):
            return normalise_local_responses(values)
        if name == "logits":
            values = values.mean((1, 2))
        layer = getattr(self, name, None)  # logits may be the means themselves
        if isinstance(layer, Convolution):
            return relu(layer(values))
        return values if layer is None else layer(values)


class ClassifierNetwork(SequentialNetwork):
    """Convolutions and pooling, and behind them three fully connected layers `fc6`, `fc7`, `fc8`.

    All but the logits `fc8` are at least 0. `fc6` sees the last map averaged to P × P places.

    Attributes:
      pooled: P, places along a side of the map that `fc6` sees.
    """

    pooled: ClassVar[int]

    def add_classifier(self, filters: int, classes: int, keys: dict[str, str], rngs: nnx.Rngs):
        """Random weights for a map of so many filters; `keys` by layer where they differ."""
        grid = (self.pooled, self.pooled)
        inputs = filters * self.pooled**2
        self.fc6 = Linear(inputs, 4096, key=keys.get("fc6"), grid=grid, rngs=rngs)
        self.fc7 = Linear(4096, 4096, key=keys.get("fc7"), rngs=rngs)
        self.fc8 = Linear(4096, classes, key=keys.get("fc8"), rngs=rngs)

    def compute(self, name: str, values: Array) -> Array:
        """The response of a layer to that of the layer before."""
        if name == "fc6":
            values = self.pool_for_classifier(values)
            return relu(self.fc6(values.reshape(values.shape[0], -1)))
        if name == "fc7":
            return relu(self.fc7(values))
        return super().compute(name, values)

    def pool_for_classifier(self, values: Float[Array, "N h w K"]) -> Float[Array, "N P P K"]:
        """The map that `fc6` sees; as in torchvision, any size will do."""
        return adaptive_average_pool(values, self.pooled, self.pooled)
