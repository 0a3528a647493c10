"""Fill a Flax module with the weights of another framework, strictly.

A `Rule` says which keys of the file make one parameter, and a `Layout` how. Every parameter is
filled exactly once, every key of the file is used or ignored by name, and every shape agrees;
otherwise one error lists all that is missing, unexpected or mismatched, and nothing is ported.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from net2vec_jax.errors import Net2VecError

Shape = tuple[int, ...]
AnyModule = TypeVar("AnyModule", bound=nnx.Module)

# Counters that torch's batch normalisation keeps for training.
IGNORED_KEYS = ("*num_batches_tracked",)
ALIGNMENT = 64


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


def plain_rules(parameters: str, key: str, kernel: Layout) -> dict[str, Rule]:
    """Rules of a layer with kernel and bias.

    Args:
      parameters: path of the layer in the Flax module, "fc7".
      key: path of the layer in the file, "classifier.4".
      kernel: layout of its kernel.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.kernel": Rule((f"{key}.weight",), kernel),
        f"{parameters}.bias": Rule((f"{key}.bias",), SAME),
    }


def kernel_rules(parameters: str, key: str) -> dict[str, Rule]:
    """The rule of a convolution without bias.

    Args:
      parameters: path of the layer in the Flax module.
      key: path of the layer in the file.

    Returns:
      {path of the parameter: rule}.
    """
    return {f"{parameters}.kernel": Rule((f"{key}.weight",), CONVOLUTION)}


def caffe_rules(parameters: str, layer: str, kernel: Layout) -> dict[str, Rule]:
    """Rules of a layer with kernel and bias in a Caffe file, where blobs are numbered.

    Args:
      parameters: path of the layer in the Flax module, "fc7".
      layer: name of the layer in the file.
      kernel: layout of its kernel.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.kernel": Rule((f"{layer}.0",), kernel),
        f"{parameters}.bias": Rule((f"{layer}.1",), SAME),
    }


def scale_rules(parameters: str, key: str) -> dict[str, Rule]:
    """Rules of a layer with scale and bias per channel, such as a layer normalisation.

    Args:
      parameters: path of the layer in the Flax module.
      key: path of the layer in the file.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.scale": Rule((f"{key}.weight",), SAME),
        f"{parameters}.bias": Rule((f"{key}.bias",), SAME),
    }


def _normalisation_keys(normalisation: str) -> tuple[str, str, str, str]:
    names = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, variance = (f"{normalisation}.{name}" for name in names)
    return weight, bias, mean, variance


def affine_rules(parameters: str, normalisation: str, *, epsilon: float = 1e-5) -> dict[str, Rule]:
    """Rules of a batch normalisation that becomes an affine layer of its own.

    Args:
      parameters: path of the layer in the Flax module.
      normalisation: path of the batch normalisation in the file.
      epsilon: ε of the batch normalisation; 1e-5 is torch's default.

    Returns:
      {path of the parameter: rule}.
    """
    weight, bias, mean, variance = _normalisation_keys(normalisation)
    return {
        f"{parameters}.scale": Rule((weight, variance), normalisation_scale(epsilon)),
        f"{parameters}.bias": Rule((weight, bias, mean, variance), folded_bias(epsilon)),
    }


def folded_rules(
    parameters: str,
    convolution: str,
    normalisation: str,
    *,
    epsilon: float = 1e-5,
    has_bias: bool = False,
) -> dict[str, Rule]:
    """Rules of a convolution whose batch normalisation is folded in.

    Args:
      parameters: path of the layer in the Flax module.
      convolution: path of the convolution in the file.
      normalisation: path of the batch normalisation in the file.
      epsilon: ε of the batch normalisation; 1e-5 is torch's default.
      has_bias: whether the convolution has a bias of its own.

    Returns:
      {path of the parameter: rule}.
    """
    weight, bias, mean, variance = _normalisation_keys(normalisation)
    own = (f"{convolution}.bias",) if has_bias else ()
    return {
        f"{parameters}.kernel": Rule(
            (f"{convolution}.weight", weight, variance), folded_kernel(epsilon)
        ),
        f"{parameters}.bias": Rule(
            (weight, bias, mean, variance, *own), folded_bias(epsilon, has_bias=has_bias)
        ),
    }


def port_weights(
    module: AnyModule,
    weights: Mapping[str, np.ndarray],
    rules: Mapping[str, Rule],
    *,
    ignored: Sequence[str] = IGNORED_KEYS,
    origin: str = "weights",
) -> AnyModule:
    """A copy of a module whose parameters come from `weights`, in float32.

    Args:
      module: gives structure and shapes; its own values are not used, so it may be abstract, as
        `nnx.eval_shape` makes it.
      weights: arrays by key, as `load_torch_file` returns them.
      rules: for every parameter, by its path with dots ("blocks.3.expand.kernel").
      ignored: shell patterns of keys that have no counterpart in the module.
      origin: names the weights in errors.

    Raises:
      Net2VecError: keys are missing, unexpected, of another shape or not numbers; the message
        lists all of them.
    """
    definition, state = nnx.split(module)
    parameters = {".".join(map(str, path)): path for path, _ in nnx.to_flat_state(state)}
    if parameters.keys() != rules.keys():
        raise ValueError(f"rules and parameters differ: {sorted(parameters.keys() ^ rules.keys())}")
    leaves = dict(nnx.to_flat_state(state))
    used = {key for rule in rules.values() for key in rule.keys}
    missing = sorted(used - weights.keys())
    unexpected = [
        key
        for key in weights
        if key not in used and not any(fnmatch.fnmatchcase(key, pattern) for pattern in ignored)
    ]
    mismatched: dict[str, str] = {}
    for path, rule in rules.items():
        expected_shapes = rule.layout.file_shapes(leaves[parameters[path]].shape)
        for key, expected in zip(rule.keys, expected_shapes, strict=True):
            if key in weights and weights[key].shape != expected:
                mismatched[key] = f"{key} has shape {weights[key].shape}, not {expected}"
            elif key in weights and weights[key].dtype.kind not in "fiu":
                mismatched[key] = f"{key} has type {weights[key].dtype}, not a real number's"
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "mismatched": list(mismatched.values()),
    }
    if any(problems.values()):
        raise Net2VecError(
            f"{origin} do not fit {type(module).__name__}: "
            + "; ".join(f"{kind} {_listed(keys)}" for kind, keys in problems.items() if keys)
        )
    filled = [
        (
            parameters[path],
            leaves[parameters[path]].replace(
                _place(
                    rule.layout.convert(*(weights[key] for key in rule.keys)),
                    leaves[parameters[path]].shape,
                )
            ),
        )
        for path, rule in rules.items()
    ]
    return nnx.merge(definition, nnx.from_flat_state(filled))


def _place(converted: np.ndarray, shape: Shape) -> jax.Array:
    """A float32 copy on the default device; a copy, since the array may be a view of a file.

    The only copy on a CPU: JAX takes over memory as it is that begins at a multiple of 64 bytes.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    placed = buffer[first : first + size].view(np.float32)
    np.copyto(placed.reshape(converted.shape), converted, casting="same_kind")
    return jnp.asarray(placed.reshape(shape))


def _listed(keys: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
