"""Fill a Flax module with the weights of another framework, strictly.

A `Rule` says which keys of the file make one parameter, and its `Layout` how. Every parameter is
filled exactly once, every key of the file is used or ignored by name, and every shape agrees;
otherwise one error lists all that is missing, unexpected or mismatched, and nothing is ported.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
from flax import nnx

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.layouts import Shape
from net2vec_jax.weights.rules import Rule

AnyModule = TypeVar("AnyModule", bound=nnx.Module)

# Counters that torch's batch normalisation keeps for training.
IGNORED_KEYS = ("*num_batches_tracked",)
ALIGNMENT = 64

# Regular expressions and what their matches become: how keys of older files are spelt today.
Renames = tuple[tuple[str, str], ...]


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

    The only copy on a CPU, where `device_put` takes over memory that begins at a multiple of 64
    bytes as it is.
    """
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    placed = buffer[first : first + size].view(np.float32)
    np.copyto(placed.reshape(converted.shape), converted, casting="same_kind")
    return jax.device_put(placed.reshape(shape))


def _listed(keys: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
