"""AlexNet in two groups (Krizhevsky et al. 2012), as Caffe's model zoo has it; 227 pixels.

Caffe has two versions: in CaffeNet pooling comes before local response normalisation, in the other
behind it, as in the paper. Filters are taken behind the ReLU. With 227 pixels the maps measure
55² × 96 (conv1), 27² × 256 (conv2), 13² × 384 (conv3, conv4), 13² × 256 (conv5) and 6² × 256
(pool5).
"""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import Convolution, convolve
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.sequential import FULLY_CONNECTED, ClassifierNetwork

DEEPER = ("conv3", "conv4", "conv5", "pool5", *FULLY_CONNECTED)


class GroupedAlexNet(ClassifierNetwork):
    """What `CaffeNet` and `CaffeAlexNet` share; layers are named as Caffe's blobs.

    All but the logits `fc8` are at least 0. The convolutional layers take any image of 39 pixels or
    more a side; `fc6` and what follows only those whose `pool5` measures 6 × 6, as from 227 pixels.
    """

    smallest_input = 39
    round_up = True
    pooled = 6

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, 96, 11, stride=4, padding=0, rngs=rngs)
        self.conv2 = Convolution(96, 256, 5, padding=2, groups=2, rngs=rngs)
        self.conv3 = Convolution(256, 384, 3, padding=1, rngs=rngs)
        self.conv4 = Convolution(384, 384, 3, padding=1, groups=2, rngs=rngs)
        self.conv5 = Convolution(384, 256, 3, padding=1, groups=2, rngs=rngs)
        self.add_classifier(256, classes, {}, rngs)

    def compute(self, name: str, values: Array) -> Array:
        """The response of a layer to that of the layer before."""
        if name == "conv1":
            return relu(self._convolve_images(values))
        return super().compute(name, values)

    def pool_for_classifier(self, values: Float[Array, "N h w K"]) -> Float[Array, "N 6 6 K"]:
        """The map itself, if it is of the size that Caffe's `fc6` takes."""
        if values.shape[1:3] != (self.pooled, self.pooled):
            raise Net2VecError(
                f"fc6 needs a pool5 of {self.pooled} × {self.pooled}, as images of 227 × 227 "
                f"pixels give; these give {values.shape[1]} × {values.shape[2]}"
            )
        return values

    def _convolve_images(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N h w 96"]:
        """`conv1`, with a row and a column of padding where no window reaches them.

        They change nothing; but on CPU, XLA's convolution takes twice the time without padding.
        """
        kernel, stride = self.conv1.kernel[...], self.conv1.stride
        spare = (stride - 1 - (length - kernel.shape[0]) % stride for length in images.shape[1:3])
        rows, columns = ((0, min(1, length)) for length in spare)
        values = convolve(images, kernel, stride, (rows, columns))
        return (
            values if self.conv1.bias is None else values + self.conv1.bias[...][None, None, None]
        )


class CaffeNet(GroupedAlexNet):
    """Layers `conv1`, `pool1`, `norm1`, `conv2`, `pool2`, `norm2`, `conv3` … `conv5`, …, `fc8`.

    Caffe's bvlc_reference_caffenet.
    """

    layers = ("conv1", "pool1", "norm1", "conv2", "pool2", "norm2", *DEEPER)


class CaffeAlexNet(GroupedAlexNet):
    """Layers `conv1`, `norm1`, `pool1`, `conv2`, `norm2`, `pool2`, `conv3` … `conv5`, …, `fc8`.

    Caffe's bvlc_alexnet.
    """

    layers = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2", *DEEPER)
