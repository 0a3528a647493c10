"""Fill a Flax module with the weights of another framework, strictly.

The module's layers say where their parameters come from (`find_rules`). Every parameter is filled
exactly once, every key of the file is used or ignored by name, and every shape agrees; otherwise
one error lists all that is missing, unexpected or mismatched, and nothing is ported.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from flax import nnx

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.weights.layouts import Rule, Shape, reverse_inputs

AnyModule = TypeVar("AnyModule", bound=nnx.Module)

# Counters that torch's batch normalisation keeps for training.
IGNORED_KEYS = ("*num_batches_tracked",)
MOST_LISTED = 12
ALIGNMENT = 64
CAFFE_NAMES = {"weight": "0", "bias": "1"}

# Regular expressions and what their matches become: how keys of older files are spelt today.
Renames = tuple[tuple[str, str], ...]


@runtime_checkable
class Portable(Protocol):
    """A module that says where its own parameters come from."""

    def rules(self, key: str) -> dict[str, Rule]:
        """Its parameters' origins by their names.

        Args:
          key: the module's own key in the file, seen from the module that holds it, as the keys of
            the rules are.
        """
        ...


def find_rules(
    module: nnx.Module, *, caffe: bool = False, reverse_channels: bool | None = None
) -> dict[str, Rule]:
    """Every parameter's origin, by its path with dots ("blocks.3.expand.kernel").

    A module's key in the file is its attribute `key`, or else the name of the attribute that holds
    it: where these are the file's names already, nothing has to be said. Keys are seen from the
    module around, those of a list's items from the module around the list.

    Args:
      module: of layers that are `Portable`; it may be abstract.
      caffe: the file is Caffe's, which numbers a layer's arrays.
      reverse_channels: the file's network sees images as blue, green and red, so that the kernels
        that see the image are turned around; by default as Caffe's.
    """
    reverse_channels = caffe if reverse_channels is None else reverse_channels
    modules = dict(nnx.iter_modules(module))

    def locate(path: tuple) -> tuple[str, str]:
        """Key of what is around a module, and its own key seen from there."""
        if not path:
            return "", ""
        around, key = path[:-1], getattr(modules[path], "key", None)
        if key is None:
            key = str(path[-1])
        else:
            while around and isinstance(modules[around], nnx.List):
                around = around[:-1]
        return _join(*locate(around)), key

    found: dict[str, Rule] = {}
    for path, layer in modules.items():
        if not isinstance(layer, Portable):
            continue
        around, own = locate(path)
        for name, rule in layer.rules(own).items():
            keys, layout = tuple(_join(around, key) for key in rule.keys), rule.layout
            if caffe:
                keys = tuple(re.sub(r"\w+$", lambda end: CAFFE_NAMES[end[0]], key) for key in keys)
            if reverse_channels and getattr(layer, name).shape[2:3] == (3,):  # sees the image
                layout = reverse_inputs(layout)
            found[_join(*map(str, path), name)] = Rule(keys, layout)
    return found


def _join(*parts: str) -> str:
    return ".".join(filter(None, parts))


def rename_keys(weights: Mapping[str, np.ndarray], renames: Renames) -> dict[str, np.ndarray]:
    """The arrays under today's keys.

    Args:
      weights: arrays by key.
      renames: applied to every key, one after the other.
    """
    renamed = {}
    for key, array in weights.items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        renamed[key] = array
    return renamed


def port_weights(
    module: AnyModule,
    weights: Mapping[str, np.ndarray],
    *,
    caffe: bool = False,
    reverse_channels: bool | None = None,
    ignored: Sequence[str] = IGNORED_KEYS,
    origin: str = "weights",
    advice: str = "",
) -> AnyModule:
    """A copy of a module whose parameters come from `weights`, in float32.

    Args:
      module: gives structure, shapes and origins; its own values are not used, so it may be
        abstract, as `nnx.eval_shape` makes it.
      weights: arrays by key, as `read_weight_file` finds them.
      caffe: see `find_rules`.
      reverse_channels: see `find_rules`.
      ignored: shell patterns of keys that have no counterpart in the module.
      origin: names the weights in errors.
      advice: what errors say of the likely reason.

    Raises:
      Net2VecError: keys are missing, unexpected, of another shape or not numbers; or numbers are
        impossible: not finite, also as float32, or a negative variance. The message lists all.
    """
    definition, state = nnx.split(module)
    leaves = {".".join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}
    rules = find_rules(module, caffe=caffe, reverse_channels=reverse_channels)
    if leaves.keys() != rules.keys():
        raise ValueError(f"rules and parameters differ: {sorted(leaves.keys() ^ rules.keys())}")
    used = {key for rule in rules.values() for key in rule.keys}
    unexpected = [
        key
        for key in weights
        if key not in used and not any(fnmatch.fnmatchcase(key, pattern) for pattern in ignored)
    ]
    mismatched: dict[str, str] = {}
    reshaped = dict(weights)
    for path, rule in rules.items():
        expected_shapes = rule.layout.file_shapes(leaves[path][1].shape)
        for key, expected in zip(rule.keys, expected_shapes, strict=True):
            array = weights.get(key)
            if array is None:
                continue
            if drop_ones(array.shape) == drop_ones(expected):
                reshaped[key] = array.reshape(expected)
            else:
                mismatched[key] = f"{key} has shape {array.shape}, not {expected}"
            if array.dtype.kind in "iu":
                mismatched[key] = f"{key} has integers ({array.dtype}), as quantised weights"
            elif array.dtype.kind != "f":
                mismatched[key] = f"{key} has type {array.dtype}, not a real number's"
    weights = reshaped
    check_fit(
        f"{origin} do not fit {type(module).__name__}",
        missing=sorted(used - weights.keys()),
        unexpected=unexpected,
        mismatched=list(mismatched.values()),
        advice=advice,
    )
    impossible = {key: reason for key in used if (reason := _find_fault(key, weights[key]))}
    filled = []
    for name, rule in rules.items():
        path, leaf = leaves[name]
        if impossible.keys() & rule.keys:
            continue
        placed = _place(rule.layout.convert(*(weights[key] for key in rule.keys)), leaf.shape)
        if not _is_finite(placed):
            impossible[rule.keys[-1]] = "exceeds float32 once it is ported"
        filled.append((path, leaf.replace(jax.device_put(placed))))
    if impossible:
        listed = (f"{key} {reason}" for key, reason in sorted(impossible.items()))
        raise Net2VecError(
            f"{origin} hold impossible numbers, which training or a conversion to half precision "
            f"leaves behind: {list_names(listed, most=MOST_LISTED)}; take an earlier checkpoint, "
            "or the weights in float32"
        )
    return nnx.merge(definition, nnx.from_flat_state(filled))


def _find_fault(key: str, array: np.ndarray) -> str:
    """What is wrong with the numbers of an array that a network needs; empty if nothing is."""
    if not _is_finite(array):
        return f"is NaN or infinite at {np.count_nonzero(~np.isfinite(array))} places"
    if key.endswith("running_var") and array.min(initial=0) < 0:
        return f"is a variance below 0 at {np.count_nonzero(array < 0)} places"
    return ""


def _is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are finite; by their sum, which takes no memory."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64))) or bool(np.isfinite(array).all())


def drop_ones(shape: Shape) -> Shape:
    """A shape without its axes of length 1.

    What one library keeps as a linear layer is a 1 × 1 convolution of another.
    """
    return tuple(length for length in shape if length != 1)


def check_fit(
    refusal: str,
    *,
    missing: Sequence[str],
    unexpected: Sequence[str],
    mismatched: Sequence[str],
    advice: str = "",
) -> None:
    """Raise one Net2VecError that lists all that does not fit, if anything."""
    problems = {"missing": missing, "unexpected": unexpected, "mismatched": mismatched}
    listed = [f"{kind} {list_names(n, most=MOST_LISTED)}" for kind, n in problems.items() if n]
    if listed:
        raise Net2VecError(f"{refusal}: {'; '.join([*listed, *filter(None, [advice])])}")


def _place(converted: np.ndarray, shape: Shape) -> np.ndarray:
    """A float32 copy to be put on a device; a copy, since the array may be a view of a file.

    The only copy on a CPU, where `device_put` takes over memory that begins at a multiple of 64
    bytes as it is.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    placed = buffer[first : first + size].view(np.float32)
    with np.errstate(over="ignore"):  # refused by the caller, by name
        np.copyto(placed.reshape(converted.shape), converted, casting="same_kind")
    return placed.reshape(shape)
