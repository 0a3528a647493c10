"""How arrays of a weight file become a Flax module's parameters: axes, folded normalisation."""

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
# A linear layer that the file holds as a convolution of 1 × 1.
LINEAR_AS_CONVOLUTION = Layout(
    lambda shape: ((*shape[::-1], 1, 1),), lambda kernel: kernel[:, :, 0, 0].T
)


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


def folded_kernel(epsilon: float) -> Layout:
    """A convolution's kernel with the batch normalisation behind it folded in.

    kernel · weight / √(variance + ε) per output channel; the arrays are the kernel, and the
    normalisation's weight and variance. Computed in float64, rounded once.

    Args:
      epsilon: ε of the batch normalisation.
    """

    def convert(kernel: np.ndarray, weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        return CONVOLUTION.convert(kernel) * scale[None, None, None, :]

    return Layout(
        lambda shape: (_reversed_kernel_shape(shape), shape[-1:], shape[-1:]),
        convert,
    )


def folded_bias(epsilon: float, *, has_bias: bool = False) -> Layout:
    """The bias that `folded_kernel` leaves: bias − mean · weight / √(variance + ε).

    The arrays are the normalisation's weight, bias, mean and variance, and the convolution's own
    bias if it has one, which is subtracted from the mean.

    Args:
      epsilon: ε of the batch normalisation.
      has_bias: whether the convolution has a bias of its own.
    """

    def convert(
        weight: np.ndarray,
        bias: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        *own: np.ndarray,
    ) -> np.ndarray:
        scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        centre = mean.astype(np.float64) - sum(own)
        return bias - centre * scale

    return Layout(lambda shape: (shape,) * (5 if has_bias else 4), convert)


def normalisation_scale(epsilon: float) -> Layout:
    """The factor of a batch normalisation by itself: weight / √(variance + ε), per channel.

    Args:
      epsilon: ε of the batch normalisation.
    """

    def convert(weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)

    return Layout(lambda shape: (shape, shape), convert)
