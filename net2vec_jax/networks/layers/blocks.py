"""Layers with weights that several networks share: convolutions, linear and affine layers.

A layer knows where its weights are in the original's file: at `key`, by default the name of the
attribute that holds it (`net2vec_jax.weights.porting.find_rules`).

Arrays are NHWC, kernels HWIO. Products have full precision, because filters are compared with
thresholds in the far tail of their distribution, which TensorFloat-32 moves. Every layer computes
in the type of its input and weights: float32, or bfloat16 where that was asked for.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from net2vec_jax.weights.layouts import (
    CONVOLUTION,
    LINEAR,
    SAME,
    Rule,
    affine_rules,
    folded_rules,
    linear_after_map,
    scaled_rules,
)

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
PRECISION = lax.Precision.HIGHEST
DRAWN = (2**14, 2**18, *(2**exponent for exponent in range(20, 32)))
"""How many random numbers there are programs for."""

Padding = Literal["SAME"] | int
Pads = tuple[tuple[int, int], tuple[int, int]]  # (above, below), (left, right)


def _explicit_padding(
    padding: Padding, size: tuple[int, ...], kernel: tuple[int, int], stride: int
) -> Pads:
    """Pixels added around a map of the given height and width."""
    if padding == "SAME":
        rows, columns = lax.padtype_to_pads(size, kernel, (stride, stride), "SAME")
        return rows, columns
    return ((padding, padding), (padding, padding))


def draw_normal(deviation: float, key: Array, shape: tuple[int, ...]) -> Array:
    """`deviation * jax.random.normal(key, shape)`, from a few programs for all shapes.

    Numbers follow from the key and their place, not from the shape, and a program for each shape
    of a network takes its compiler a quarter of a minute.
    """
    size = math.prod(shape)
    drawn = jax.random.normal(key, (next(n for n in DRAWN if n >= size),))
    if not isinstance(drawn, jax.core.Tracer):
        drawn = np.asarray(drawn)  # what JAX does with it is a program for each shape, too
    return jnp.asarray(deviation * drawn[:size].reshape(shape))


class Convolution(nnx.Module):
    """A convolution, with bias unless it was built without.

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
        groups: int = 1,
        bias: bool = True,
        key: str | None = None,
        norm: str | None = None,
        epsilon: float = 1e-5,
        own_bias: bool = False,
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
          groups: the channels are divided into so many groups, each with kernels of its own; as
            many as inputs make a depthwise convolution, one kernel per channel.
          bias: whether there is one; there is none where a normalisation takes it away anyhow.
          key: of the original's convolution, see above.
          norm: of a batch normalisation behind it in the original, which is folded into it.
          epsilon: ε of the batch normalisation; 1e-5 is torch's default.
          own_bias: whether the original's convolution has a bias beside the normalisation's.
          rngs: source of the random kernel.
        """
        shape = (size, size, inputs // groups, outputs)
        deviation = (2.0 / (size * size * shape[2])) ** 0.5
        self.kernel = nnx.Param(draw_normal(deviation, rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.stride = stride
        self.padding: Padding = padding
        self.groups = groups
        self.key, self.norm, self.epsilon, self.own_bias = key, norm, epsilon, own_bias

    def rules(self, key: str) -> dict[str, Rule]:
        """Where kernel and bias come from."""
        if self.norm is not None:
            return folded_rules(key, self.norm, self.epsilon, own_bias=self.own_bias)
        bias = {} if self.bias is None else {"bias": Rule((f"{key}.bias",), SAME)}
        return {"kernel": Rule((f"{key}.weight",), CONVOLUTION), **bias}

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        """The convolution of the images."""
        kernel, stride = self.kernel[...], self.stride
        rows, columns, inputs, _ = kernel.shape
        padding = _explicit_padding(self.padding, images.shape[1:3], (rows, columns), stride)
        if self.groups > 1 and inputs == 1:
            values = convolve_depthwise(images, kernel, stride, padding)
        elif self.groups > 1:
            values = convolve_grouped(images, kernel, stride, padding, self.groups)
        elif (rows, columns) == (1, 1) and not any(map(any, padding)):
            values = lax.dot_general(
                images[:, ::stride, ::stride],
                kernel[0, 0],
                (((3,), (0,)), ((), ())),
                precision=PRECISION,
            )
        else:
            values = convolve(images, kernel, stride, padding)
        return values if self.bias is None else values + self.bias[...][None, None, None, :]


def convolve_depthwise(
    images: Float[Array, "N H W K"], kernel: Float[Array, "k k 1 K"], stride: int, padding: Pads
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def sum_shifted(
    images: Float[Array, "N H W K"], kernel: Float[Array, "k k 1 K"], stride: int, padding: Pads
) -> Float[Array, "N h w K"]:
    """A depthwise convolution as k² shifted maps, each scaled and added.

    So is its gradient; differentiated by itself, it takes two to seven times as long on CPU.
    """
    return _sum_shifted(images, kernel, stride, padding)


def _sum_shifted(images: Array, kernel: Array, stride: int, padding: Pads) -> Array:
    rows, columns = kernel.shape[:2]
    padded = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    height = (padded.shape[1] - rows) // stride + 1
    width = (padded.shape[2] - columns) // stride + 1
    rise, run = stride * (height - 1) + 1, stride * (width - 1) + 1
    taps = [
        lax.slice(
            padded,
            (0, row, column, 0),
            (len(padded), row + rise, column + run, padded.shape[3]),
            (1, stride, stride, 1),
        )
        * kernel[row : row + 1, column : column + 1]
        for row in range(rows)
        for column in range(columns)
    ]
    return functools.reduce(jnp.add, taps)


def _keep_inputs(
    images: Array, kernel: Array, stride: int, padding: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _sum_shifted(images, kernel, stride, padding), (images, kernel)


def _sum_shifted_back(
    stride: int, padding: Pads, inputs: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    images, kernel = inputs
    steps = [
        -(-(size + sum(pads)) // stride)
        for size, pads in zip(images.shape[1:3], padding, strict=True)
    ]

    def gather(row: int, column: int) -> Array:
        """Of every stride-th padded row and column: what the taps gave that met these."""
        if row >= kernel.shape[0] or column >= kernel.shape[1]:  # no tap did
            return jnp.zeros((len(images), *steps, images.shape[3]), gradient.dtype)
        taps = kernel[row::stride, column::stride][::-1, ::-1]
        (above, left), (height, width) = taps.shape[:2], gradient.shape[1:3]
        pads = ((above - 1, steps[0] - height), (left - 1, steps[1] - width))
        return _sum_shifted(gradient, taps, 1, pads)

    if stride == 1:
        padded = gather(0, 0)
    else:
        rows = [jnp.stack([gather(r, c) for c in range(stride)], 3) for r in range(stride)]
        shape = (len(images), steps[0] * stride, steps[1] * stride, images.shape[3])
        padded = jnp.stack(rows, 2).reshape(shape)
    (top, _), (left, _) = padding
    own = padded[:, top : top + images.shape[1], left : left + images.shape[2]]
    _, pull = jax.vjp(lambda kernel: _sum_shifted(images, kernel, stride, padding), kernel)
    return own, *pull(gradient)


sum_shifted.defvjp(_keep_inputs, _sum_shifted_back)


def convolve_grouped(
    images: Float[Array, "N H W I"],
    kernel: Float[Array, "k k i O"],
    stride: int,
    padding: Pads,
    groups: int,
) -> Float[Array, "N h w O"]:
    """A convolution in groups of channels, in the form that suits the platform.

    On CPU XLA's own takes up to 25 times longer than one convolution per group, one after the
    other; a loop over the groups compiles in a quarter of the time of as many convolutions.
    """

    def convolve_apart(images: Array, kernel: Array) -> Array:
        parts = (
            jnp.moveaxis(array.reshape(*array.shape[:3], groups, -1), 3, 0)
            for array in (images, kernel)
        )
        found = lax.map(lambda part: convolve(part[0], part[1], stride, padding), tuple(parts))
        return jnp.moveaxis(found, 0, 3).reshape(*found.shape[1:4], -1)

    return lax.platform_dependent(
        images,
        kernel,
        cpu=convolve_apart,
        default=lambda images, kernel: convolve(images, kernel, stride, padding, groups=groups),
    )


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

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        key: str | None = None,
        grid: tuple[int, int] | None = None,
        scale: str | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Random weights: He's normal kernel, zero bias.

        Args:
          inputs: numbers that come in.
          outputs: numbers that go out.
          key: of the original's layer; behind a last "_" comes "weight" without a dot.
          grid: (height, width) of the map that is flattened in front of it, if there is one.
          scale: key of the factors by which the original multiplies the result, if there are any.
          rngs: source of the random kernel.
        """
        deviation = (2.0 / inputs) ** 0.5
        self.kernel = nnx.Param(draw_normal(deviation, rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self.key, self.grid, self.scale = key, grid, scale

    def rules(self, key: str) -> dict[str, Rule]:
        """Where kernel and bias come from."""
        if self.scale is not None:
            return scaled_rules(key, self.scale)
        layout = LINEAR if self.grid is None else linear_after_map(*self.grid)
        key = key if key.endswith("_") else f"{key}."
        return {"kernel": Rule((f"{key}weight",), layout), "bias": Rule((f"{key}bias",), SAME)}

    def __call__(self, vectors: Float[Array, "*axes I"]) -> Float[Array, "*axes O"]:
        """vectors · kernel + bias."""
        bias = self.bias[...].reshape(*(1,) * (vectors.ndim - 1), -1)
        return jnp.matmul(vectors, self.kernel[...], precision=PRECISION) + bias


class Affine(nnx.Module):
    """One factor and one addend per channel: what a batch normalisation does once it is trained.

    Where a normalisation follows a convolution, both are folded into it instead.

    Attributes:
      scale: [K].
      bias: [K].
    """

    def __init__(self, channels: int, *, key: str | None = None) -> None:
        """The identity; `key` is that of the original's batch normalisation."""
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.key = key

    def rules(self, key: str) -> dict[str, Rule]:
        """Where scale and bias come from: a batch normalisation with ε = 1e-5, torch's default."""
        return affine_rules(key, 1e-5)

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        """values · scale + bias."""
        return values * self.scale[...][None, None, None] + self.bias[...][None, None, None]


class LayerNormalisation(nnx.Module):
    """Zero mean and unit variance over the last axis, then one factor and addend per channel.

    Attributes:
      scale: [K].
      bias: [K].
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-6, key: str | None = None) -> None:
        """Factors 1, addends 0; `epsilon` is added to the variance, `key` the original's."""
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.epsilon, self.key = epsilon, key

    def rules(self, key: str) -> dict[str, Rule]:
        """Where scale and bias come from."""
        return {"scale": Rule((f"{key}.weight",), SAME), "bias": Rule((f"{key}.bias",), SAME)}

    def __call__(self, values: Float[Array, "*axes K"]) -> Float[Array, "*axes K"]:
        """The normalised values; mean and variance are taken in float32."""
        wide = values.astype(jnp.float32)
        centred = wide - wide.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        ranks = (1,) * (values.ndim - 1)
        scale = self.scale[...].reshape(*ranks, -1)
        bias = self.bias[...].reshape(*ranks, -1)
        return (centred * lax.rsqrt(variance + self.epsilon)).astype(values.dtype) * scale + bias
