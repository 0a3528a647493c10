"""Which keys of a weight file make a parameter, and how: axes, folded normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How arrays of the file become one parameter.

    Attributes:
      file_shapes: the shapes that the arrays must have, from the parameter's shape.
      convert: the parameter from the arrays. Its axes may still be split into several, so that
        reordering a large array needs no copy of it here.
    """

    file_shapes: Callable[[Shape], tuple[Shape, ...]]
    convert: Callable[..., np.ndarray]


@dataclass(frozen=True)
class Rule:
    """One parameter's origin: the keys of the file, and the layout that turns them into it."""

    keys: tuple[str, ...]
    layout: Layout


def _reversed_kernel_shape(shape: Shape) -> Shape:
    height, width, inputs, outputs = shape
    return (outputs, inputs, height, width)


# Vectors, and whatever both frameworks lay out alike.
SAME = Layout(lambda shape: (shape,), lambda array: array)
# Torch's [out, in, height, width] → [height, width, in, out]; depthwise kernels have in = 1.
CONVOLUTION = Layout(
    lambda shape: (_reversed_kernel_shape(shape),), lambda kernel: kernel.transpose(2, 3, 1, 0)
)
# Torch's [out, in] → [in, out].
LINEAR = Layout(lambda shape: (shape[::-1],), lambda kernel: kernel.T)


def reverse_inputs(layout: Layout) -> Layout:
    """A first layer trained on blue, green, red, for images in red, green, blue.

    Args:
      layout: of its kernel [height, width, 3, out].
    """
    return Layout(layout.file_shapes, lambda *arrays: layout.convert(*arrays)[:, :, ::-1])


def linear_after_map(height: int, width: int) -> Layout:
    """A linear layer on a flattened map: torch flattens [channels, height, width], we NHWC.

    Args:
      height: of the map.
      width: of the map.
    """

    def convert(kernel: np.ndarray) -> np.ndarray:
        outputs, inputs = kernel.shape
        by_position = kernel.reshape(outputs, inputs // (height * width), height, width)
        return by_position.transpose(2, 3, 1, 0)

    return Layout(lambda shape: (shape[::-1],), convert)


def scaled_rules(key: str, scale: str) -> dict[str, Rule]:
    """Rules of a linear layer times a factor per channel that goes out: `kernel` and `bias`.

    Args:
      key: the layer in the file.
      scale: the factors [out].
    """
    kernel = Layout(
        lambda shape: (shape[::-1], shape[1:]),
        lambda kernel, factor: (kernel.astype(np.float64) * factor[:, None]).T,
    )
    bias = Layout(
        lambda shape: (shape, shape), lambda bias, factor: bias.astype(np.float64) * factor
    )
    return {
        "kernel": Rule((f"{key}.weight", scale), kernel),
        "bias": Rule((f"{key}.bias", scale), bias),
    }


def affine_rules(norm: str, epsilon: float) -> dict[str, Rule]:
    """Rules of a batch normalisation that is an affine layer of its own: `scale` and `bias`.

    scale = weight / √(variance + ε) and bias − mean · scale, in float64, rounded once.

    Args:
      norm: the batch normalisation in the file.
      epsilon: ε.
    """
    weight, bias, mean, variance = _normalisation_keys(norm)
    return {
        "scale": Rule((weight, variance), Layout(lambda shape: (shape,) * 2, _scale_with(epsilon))),
        "bias": Rule(
            (weight, variance, bias, mean), Layout(lambda shape: (shape,) * 4, _bias_with(epsilon))
        ),
    }


def folded_rules(key: str, norm: str, epsilon: float, *, own_bias: bool = False) -> dict[str, Rule]:
    """Rules of a convolution with the batch normalisation behind it folded in: `kernel` and `bias`.

    As `affine_rules`, the kernel times the scale, and the convolution's own bias, if it has one,
    subtracted from the mean.

    Args:
      key: the convolution in the file.
      norm: the batch normalisation in the file.
      epsilon: ε of the batch normalisation.
      own_bias: whether the convolution has a bias of its own.
    """
    weight, bias, mean, variance = _normalisation_keys(norm)
    scale_of = _scale_with(epsilon)

    def fold(weight: np.ndarray, variance: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return CONVOLUTION.convert(kernel) * scale_of(weight, variance)[None, None, None, :]

    kernel = Layout(lambda shape: (shape[-1:], shape[-1:], _reversed_kernel_shape(shape)), fold)
    vectors = (weight, variance, bias, mean, *((f"{key}.bias",) if own_bias else ()))
    return {
        "kernel": Rule((weight, variance, f"{key}.weight"), kernel),
        "bias": Rule(vectors, Layout(lambda shape: (shape,) * len(vectors), _bias_with(epsilon))),
    }


def _normalisation_keys(norm: str) -> tuple[str, str, str, str]:
    return f"{norm}.weight", f"{norm}.bias", f"{norm}.running_mean", f"{norm}.running_var"


def _scale_with(epsilon: float) -> Callable[..., np.ndarray]:
    def scale(weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)

    return scale


def _bias_with(epsilon: float) -> Callable[..., np.ndarray]:
    scale_of = _scale_with(epsilon)

    def convert(
        weight: np.ndarray,
        variance: np.ndarray,
        bias: np.ndarray,
        mean: np.ndarray,
        *own: np.ndarray,
    ) -> np.ndarray:
        return bias - (mean.astype(np.float64) - sum(own)) * scale_of(weight, variance)

    return convert
