"""AlexNet in two groups (Krizhevsky et al. 2012), as Caffe's model zoo has it; 227 pixels.

Caffe has two versions: in CaffeNet pooling comes before local response normalisation, in the other
behind it, as in the paper. Filters are taken behind the ReLU. With 227 pixels the maps measure
55² × 96 (conv1), 27² × 256 (conv2), 13² × 384 (conv3, conv4), 13² × 256 (conv5) and 6² × 256
(pool5).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import Convolution, Linear, convolve
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import max_pool, normalise_local_responses
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, linear_after_map, reverse_inputs
from net2vec_jax.weights.rules import Rule, caffe_rules

POOLED = 6


class GroupedAlexNet(Network):
    """What `CaffeNet` and `CaffeAlexNet` share; layers are named as Caffe's blobs.

    All but the logits `fc8` are at least 0. The convolutional layers take any image of 39 pixels or
    more a side; `fc6` and what follows only those whose `pool5` measures 6 × 6, as from 227 pixels.
    """

    pools_first: ClassVar[bool]
    aliases = MappingProxyType({})
    smallest_input = 39

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, 96, 11, stride=4, padding=0, rngs=rngs)
        self.conv2 = Convolution(96, 256, 5, padding=2, groups=2, rngs=rngs)
        self.conv3 = Convolution(256, 384, 3, padding=1, rngs=rngs)
        self.conv4 = Convolution(384, 384, 3, padding=1, groups=2, rngs=rngs)
        self.conv5 = Convolution(384, 256, 3, padding=1, groups=2, rngs=rngs)
        self.fc6 = Linear(256 * POOLED * POOLED, 4096, rngs=rngs)
        self.fc7 = Linear(4096, 4096, rngs=rngs)
        self.fc8 = Linear(4096, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = images
        for stage, convolution in ((1, self._convolve_images), (2, self.conv2)):
            values = relu(convolution(values))
            yield f"conv{stage}", values
            if self.pools_first:
                values = max_pool(values, 3, 2, round_up=True)
                yield f"pool{stage}", values
            values = normalise_local_responses(values)
            yield f"norm{stage}", values
            if not self.pools_first:
                values = max_pool(values, 3, 2, round_up=True)
                yield f"pool{stage}", values
        values = relu(self.conv3(values))
        yield "conv3", values
        values = relu(self.conv4(values))
        yield "conv4", values
        values = relu(self.conv5(values))
        yield "conv5", values
        values = max_pool(values, 3, 2, round_up=True)
        yield "pool5", values
        if values.shape[1:3] != (POOLED, POOLED):
            raise Net2VecError(
                f"fc6 needs a pool5 of {POOLED} × {POOLED}, as images of 227 × 227 pixels give; "
                f"these of {images.shape[1]} × {images.shape[2]} give "
                f"{values.shape[1]} × {values.shape[2]}"
            )
        values = relu(self.fc6(values.reshape(values.shape[0], -1)))
        yield "fc6", values
        values = relu(self.fc7(values))
        yield "fc7", values
        yield "fc8", self.fc8(values)

    def _convolve_images(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N h w 96"]:
        """`conv1`, with a row and a column of padding where no window reaches them.

        They change nothing; but on CPU, XLA's convolution takes twice the time without padding.
        """
        kernel, stride = self.conv1.kernel[...], self.conv1.stride
        spare = (stride - 1 - (length - kernel.shape[0]) % stride for length in images.shape[1:3])
        rows, columns = ((0, min(1, length)) for length in spare)
        bias = self.conv1.bias[...][None, None, None, :]
        return convolve(images, kernel, stride, (rows, columns)) + bias


class CaffeNet(GroupedAlexNet):
    """Layers `conv1`, `pool1`, `norm1`, `conv2`, `pool2`, `norm2`, `conv3` … `conv5`, …, `fc8`.

    Caffe's bvlc_reference_caffenet.
    """

    pools_first = True
    layers = (
        "conv1",
        "pool1",
        "norm1",
        "conv2",
        "pool2",
        "norm2",
        "conv3",
        "conv4",
        "conv5",
        "pool5",
        "fc6",
        "fc7",
        "fc8",
    )


class CaffeAlexNet(GroupedAlexNet):
    """Layers `conv1`, `norm1`, `pool1`, `conv2`, `norm2`, `pool2`, `conv3` … `conv5`, …, `fc8`.

    Caffe's bvlc_alexnet.
    """

    pools_first = False
    layers = (
        "conv1",
        "norm1",
        "pool1",
        "conv2",
        "norm2",
        "pool2",
        "conv3",
        "conv4",
        "conv5",
        "pool5",
        "fc6",
        "fc7",
        "fc8",
    )


def caffe_alexnet_rules() -> dict[str, Rule]:
    """Every parameter's origin in the Caffe file of either version: trained on blue, green, red."""
    rules = caffe_rules("conv1", "conv1", reverse_inputs(CONVOLUTION))
    for name in ("conv2", "conv3", "conv4", "conv5"):
        rules |= caffe_rules(name, name, CONVOLUTION)
    rules |= caffe_rules("fc6", "fc6", linear_after_map(POOLED, POOLED))
    return rules | caffe_rules("fc7", "fc7", LINEAR) | caffe_rules("fc8", "fc8", LINEAR)
