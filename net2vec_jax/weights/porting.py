"""Fill a Flax module with the weights of another framework, strictly.

A `Rule` says which keys of the file make one parameter, and a `Layout` how. Every parameter is
filled exactly once, every key of the file is used or ignored by name, and every shape agrees;
otherwise one error lists all that is missing, unexpected or mismatched, and nothing is ported.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from net2vec_jax.errors import Net2VecError

Shape = tuple[int, ...]
AnyModule = TypeVar("AnyModule", bound=nnx.Module)

# Counters that torch's batch normalisation keeps for training.
IGNORED_KEYS = ("*num_batches_tracked",)


@dataclass(frozen=True)
class Layout:
    """How arrays of the file become one parameter.

    Attributes:
      file_shapes: the shapes that the arrays must have, from the parameter's shape.
      convert: the parameter from the arrays, in float32.
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


def linear_after_map(height: int, width: int) -> Layout:
    """A linear layer on a flattened map: torch flattens [channels, height, width], we NHWC.

    Args:
      height: of the map.
      width: of the map.
    """

    def convert(kernel: np.ndarray) -> np.ndarray:
        outputs, inputs = kernel.shape
        by_position = kernel.reshape(outputs, inputs // (height * width), height, width)
        return by_position.transpose(2, 3, 1, 0).reshape(inputs, outputs)

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


def folded_bias(epsilon: float) -> Layout:
    """The bias that `folded_kernel` leaves: bias − mean · weight / √(variance + ε).

    The arrays are the normalisation's weight, bias, mean and variance.

    Args:
      epsilon: ε of the batch normalisation.
    """

    def convert(
        weight: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray
    ) -> np.ndarray:
        scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        return bias - mean * scale

    return Layout(lambda shape: (shape,) * 4, convert)


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


def folded_rules(
    parameters: str, convolution: str, normalisation: str, *, epsilon: float
) -> dict[str, Rule]:
    """Rules of a convolution without bias whose batch normalisation is folded in.

    Args:
      parameters: path of the layer in the Flax module.
      convolution: path of the convolution in the file.
      normalisation: path of the batch normalisation in the file.
      epsilon: ε of the batch normalisation.

    Returns:
      {path of the parameter: rule}.
    """
    weight, bias, mean, variance = (
        f"{normalisation}.{name}" for name in ("weight", "bias", "running_mean", "running_var")
    )
    return {
        f"{parameters}.kernel": Rule(
            (f"{convolution}.weight", weight, variance), folded_kernel(epsilon)
        ),
        f"{parameters}.bias": Rule((weight, bias, mean, variance), folded_bias(epsilon)),
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
                # A copy: the array may be a view of a file that changes.
                jnp.array(rule.layout.convert(*(weights[key] for key in rule.keys)), jnp.float32)
            ),
        )
        for path, rule in rules.items()
    ]
    return nnx.merge(definition, nnx.from_flat_state(filled))


def _listed(keys: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
