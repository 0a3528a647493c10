"""Blocks that several networks share: convolution, depthwise convolution, linear layer, pooling.

Arrays are NHWC, kernels HWIO; everything is float32 with full-precision products, because filters
are compared with thresholds in the far tail of their distribution, which TensorFloat-32 moves.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
PRECISION = lax.Precision.HIGHEST

Padding = Literal["SAME"] | int
Pads = tuple[tuple[int, int], tuple[int, int]]  # (above, below), (left, right)


def _explicit_padding(
    padding: Padding, size: tuple[int, int], kernel: tuple[int, int], stride: int
) -> Pads:
    """Pixels added around a map of the given height and width."""
    if padding == "SAME":
        return tuple(lax.padtype_to_pads(size, kernel, (stride, stride), "SAME"))
    return ((padding, padding), (padding, padding))


class Convolution(nnx.Module):
    """A convolution with bias.

    Attributes:
      kernel: [height, width, in / groups, out].
      bias: [out].
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        padding: Padding = "SAME",
        depthwise: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights: He's normal kernel, zero bias.

        Args:
          inputs: channels that come in.
          outputs: channels that go out.
          size: of the kernel along either side.
          stride: along either axis.
          padding: pixels added on every side, or TensorFlow's "SAME": ⌈size / stride⌉ go out, and
            an odd pixel of padding is added below and on the right.
          depthwise: one kernel per channel.
          rngs: source of the random kernel.
        """
        shape = (size, size, 1 if depthwise else inputs, outputs)
        deviation = (2.0 / (size * size * shape[2])) ** 0.5
        self.kernel = nnx.Param(deviation * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.stride = stride
        self.padding = padding
        self.depthwise = depthwise

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """The convolution of the images."""
        kernel, stride = self.kernel[...], self.stride
        size = kernel.shape[:2]
        padding = _explicit_padding(self.padding, images.shape[1:3], size, stride)
        if self.depthwise:
            values = convolve_depthwise(images, kernel, stride, padding)
        elif size == (1, 1) and stride == 1 and not any(map(any, padding)):
            values = lax.dot_general(
                images, kernel[0, 0], (((3,), (0,)), ((), ())), precision=PRECISION
            )
        else:
            values = convolve(images, kernel, stride, padding)
        return values + self.bias[...][None, None, None, :]


def convolve_depthwise(
    images: Float[Array, "N H W K"],
    kernel: Float[Array, "k k 1 K"],
    stride: int,
    padding: Pads,
) -> Float[Array, "N h w K"]:
    """Convolve every channel with its own kernel, in the form that suits the platform.

    XLA's own depthwise convolution takes 25 to 50 times longer on CPU than a sum of shifted maps.
    """
    return lax.platform_dependent(
        images,
        kernel,
        cpu=lambda images, kernel: sum_shifted(images, kernel, stride, padding),
        default=lambda images, kernel: convolve(
            images, kernel, stride, padding, groups=images.shape[-1]
        ),
    )


def sum_shifted(
    images: Float[Array, "N H W K"],
    kernel: Float[Array, "k k 1 K"],
    stride: int,
    padding: Pads,
) -> Float[Array, "N h w K"]:
    """A depthwise convolution as k² shifted maps, each scaled and added."""
    rows, columns = kernel.shape[:2]
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height = (padded.shape[1] - rows) // stride + 1
    width = (padded.shape[2] - columns) // stride + 1
    taps = [
        padded[
            :,
            row : row + stride * (height - 1) + 1 : stride,
            column : column + stride * (width - 1) + 1 : stride,
            :,
        ]
        * kernel[row, column][None, None]
        for row in range(rows)
        for column in range(columns)
    ]
    return functools.reduce(jnp.add, taps)


def convolve(
    images: Float[Array, "N H W I"],
    kernel: Float[Array, "k k i O"],
    stride: int,
    padding: Pads,
    *,
    groups: int = 1,
) -> Float[Array, "N h w O"]:
    """XLA's convolution; with groups, i = I / groups."""
    return lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
        precision=PRECISION,
    )


class Linear(nnx.Module):
    """A fully connected layer with bias.

    Attributes:
      kernel: [in, out].
      bias: [out].
    """

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        """Random weights: He's normal kernel, zero bias."""
        deviation = (2.0 / inputs) ** 0.5
        self.kernel = nnx.Param(deviation * jax.random.normal(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, vectors: Float[Array, "N I"]) -> Float[Array, "N O"]:
        """vectors · kernel + bias."""
        return jnp.matmul(vectors, self.kernel[...], precision=PRECISION) + self.bias[...][None]


def max_pool(images: Float[Array, "N H W K"], size: int, stride: int) -> Float[Array, "N h w K"]:
    """Largest value in windows of size × size, without padding."""
    return lax.reduce_window(
        images, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID"
    )


def adaptive_average_pool(
    images: Float[Array, "N H W K"], height: int, width: int
) -> Float[Array, "N height width K"]:
    """Means over height × width windows that cover the map, as torch's AdaptiveAvgPool2d.

    Window i of n along an axis of length s covers ⌊i·s/n⌋ … ⌈(i+1)·s/n⌉ − 1; neighbours overlap
    where n does not divide s.
    """
    for axis, outputs in ((1, height), (2, width)):
        size = images.shape[axis]
        if size == outputs:
            continue
        windows = [
            lax.slice_in_dim(
                images, i * size // outputs, -(-(i + 1) * size // outputs), axis=axis
            ).mean(axis, keepdims=True)
            for i in range(outputs)
        ]
        images = jnp.concatenate(windows, axis)
    return images


def relu(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(values, 0)."""
    return jnp.maximum(values, 0.0)


def relu6(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Values clipped to [0, 6]."""
    return jnp.clip(values, 0.0, 6.0)
