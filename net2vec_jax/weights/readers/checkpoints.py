"""Find the state dict inside a training checkpoint, by its structure.

A checkpoint keeps it beside epoch, optimiser and settings, under a name that no rule governs, or
several of them: raw and averaged weights, teacher and student.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import list_names
from net2vec_jax.weights.readers.torch_pickle import (
    Global,
    PickledObject,
    RefusedError,
    TensorRecord,
    is_tensor,
)

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
"""Under which keys checkpoints keep what they are about, the most usual first."""
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?|shadow|polyak|momentum|target)(?![a-z])")
NO_NETWORK = re.compile(r"optim|sched|scaler|(?<![a-z])rng")
MOST_LEVELS = 4
SMALLEST_SHARE = 0.2
"""A state dict with fewer tensors than this share of the largest one's is that of a part."""


@dataclass(frozen=True)
class WeightFile:
    """What was read of a weight file.

    Attributes:
      arrays: {key: array}, in the order of the file.
      checkpoint_key: where in the checkpoint they stood, with dots between the levels
        ("state_dict_ema", "teacher.backbone"); None where the file holds nothing around them.
      other_keys: the checkpoint's other state dicts, which `checkpoint_key` can ask for.
      files: what was read: one file, or the index and the shards of a model in several.
    """

    arrays: dict[str, np.ndarray]
    checkpoint_key: str | None = None
    other_keys: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class StateDict:
    """A dictionary of tensors somewhere in a checkpoint: its place and its tensors."""

    path: tuple[str, ...]
    tensors: dict[str, Any]

    @property
    def key(self) -> str:
        """The place with dots, as users spell it."""
        return ".".join(self.path)

    def __str__(self) -> str:
        return f"{self.key:.60} ({len(self.tensors)} tensors)"


def choose_state_dict(
    saved: Any, checkpoint_key: str | None = None
) -> tuple[dict[str, TensorRecord | PickledObject], str | None, tuple[str, ...]]:
    """The tensors by key, where they stand, and where others do.

    Of several state dicts the one with the usual name is taken, rather the raw than the averaged
    weights; small ones, such as those of a loss, are never taken unasked. Those of a list or tuple
    are named by their places, from "0".

    Args:
      saved: what the file holds, with records in place of tensors.
      checkpoint_key: the place of the state dict, if it is asked for.

    Raises:
      RefusedError: there is none, there are several, or there is none at the place asked for; it
        holds an object that is no tensor.
    """
    if type(saved) in (list, tuple):
        named = {str(n): v for n, v in enumerate(saved) if isinstance(v, dict) and not is_tensor(v)}
        saved = named or saved
    found = _find_state_dicts(saved)
    if not found:
        raise RefusedError(_describe_contents(saved))
    candidates = found if checkpoint_key is None else _match_key(found, checkpoint_key)
    [chosen, *rivals] = _choose_by_convention(candidates)
    if rivals:
        named = list_names(map(str, (chosen, *rivals)), most=20)
        raise RefusedError(
            f"holds the weights of several networks: {named}; choose by --checkpoint-key "
            f"{chosen.key:.60} (checkpoint_key=… in Python)"
        )
    others = tuple(state.key for state in found if state.key not in ("", chosen.key))
    return _check_entries(chosen), chosen.key or None, others


def _find_state_dicts(saved: Any) -> list[StateDict]:
    """All dictionaries in the first levels that hold more tensors than other things."""
    found, level = [], [((), saved)]
    seen: dict[int, dict[str, Any] | None] = {}  # a pickle may hold a dictionary a million times
    for _ in range(MOST_LEVELS + 1):
        inner = []
        for path, entries in level:
            if id(entries) in seen:
                if tensors := seen[id(entries)]:
                    found.append(StateDict(path, tensors))
                continue
            seen[id(entries)] = None
            if not isinstance(entries, dict):
                continue
            named = {key: value for key, value in entries.items() if isinstance(key, str)}
            inner += [
                ((*path, key), value)
                for key, value in named.items()
                if isinstance(value, dict) and not NO_NETWORK.search(key.lower())
            ]
            count = sum(map(is_tensor, named.values()))
            others = sum(not isinstance(value, _PLAIN) for value in entries.values()) - count
            if count > others:
                seen[id(entries)] = named
                found.append(StateDict(path, named))
        level = inner
    with_kernels = [state for state in found if any(map(_is_kernel, state.tensors.values()))]
    return with_kernels or found


_PLAIN = (str, bytes, int, float, type(None))


def _is_kernel(value: Any) -> bool:
    """Whether it has two axes or more, as no counter, bias or random state has."""
    if isinstance(value, TensorRecord):
        return isinstance(value.shape, tuple) and len(value.shape) > 1
    return isinstance(value, PickledObject)


def _match_key(found: list[StateDict], asked: str) -> list[StateDict]:
    """The state dict at a place, or those below it."""
    matching = [state for state in found if f"{state.key}.".startswith(f"{asked}.")]
    if matching:
        return [state for state in matching if state.key == asked] or matching
    places = [str(state) for state in found if state.path]
    if not places:
        raise RefusedError(f"holds one state dict and nothing around; no {asked!r:.60} to choose")
    raise RefusedError(
        f"holds no state dict at {asked!r:.60}; there are: {list_names(places, most=20)}"
    )


def _choose_by_convention(found: list[StateDict]) -> list[StateDict]:
    """The state dict of the network, or those among which only the user can choose."""
    largest = max(len(state.tensors) for state in found)
    found = [state for state in found if len(state.tensors) >= SMALLEST_SHARE * largest]
    found = [state for state in found if not _is_averaged(state)] or found
    for name in WRAPPERS:
        usual = [state for state in found if state.path[:1] == (name,)]
        if len(usual) == 1:
            return usual
    return found


def _is_averaged(state: StateDict) -> bool:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state.key).lower()
    return bool(AVERAGED.search(spaced))


def _check_entries(state: StateDict) -> dict[str, TensorRecord | PickledObject]:
    """The tensors alone; numbers, names, lists and settings beside them are dropped.

    An object under a key with a dot, as that of a module's parameter, stands for a tensor.
    """
    _refuse_quantised(state.tensors)
    tensors = {key: value for key, value in state.tensors.items() if is_tensor(value)}
    for key, value in state.tensors.items():
        if key in tensors or "." not in key or key.endswith("._extra_state"):
            continue
        if isinstance(value, PickledObject) and not value.kind.endswith(".scalar"):
            raise RefusedError(f"its entry {key!r:.80} is an object of {value.kind}, not a tensor")
    return tensors


def _refuse_quantised(entries: dict[Any, Any]) -> None:
    for key, value in entries.items():
        if isinstance(value, Global) and re.match(r"torch\.qu?int", value.name):
            raise RefusedError(f"its network is quantised ({key!r:.80}); save it before that")


def _describe_contents(saved: Any) -> str:
    """Why what a file holds is refused: it has no state dict."""
    entries = saved if type(saved) is dict else {"": saved}
    _refuse_quantised(entries)
    level, seen = [("", saved)], set()
    for _ in range(MOST_LEVELS + 1):
        inner = []
        for key, value in level:
            where = f"its entry {key!r:.60} is" if key else "holds"
            if id(value) in seen or is_tensor(value):
                continue
            seen.add(id(value))
            if isinstance(value, PickledObject) and (value.is_model or value is saved):
                what = "a whole model" if value.is_model else "an object"
                return (
                    f"{where} {what} of class {value.kind}, which only its own code can open; "
                    "there, save its weights with torch.save(model.state_dict(), FILE)"
                )
            if type(value) is list and value and key and all(map(is_tensor, value)):
                return (
                    f"{where} a list of {len(value)} tensors, without the names of weights; copy "
                    "them into the model (ema.copy_to) and save its state_dict()"
                )
            if type(value) is dict:
                inner += [
                    (f"{key}.{name}".strip("."), item)
                    for name, item in value.items()
                    if not NO_NETWORK.search(str(name).lower())
                ]
        level = inner
    if isinstance(saved, dict) and not is_tensor(saved):
        if not saved:
            return "holds an empty state dict"
        kinds = [f"{key!r:.40} ({_name_type(value)})" for key, value in saved.items()]
        return f"holds no state dict, whose entries are tensors, but {list_names(kinds, most=8)}"
    return (
        f"holds no state dict but {_name_type(saved)}, without the names of weights; save them "
        "with torch.save(model.state_dict(), FILE)"
    )


def _name_type(value: Any) -> str:
    if is_tensor(value):
        return "a tensor"
    kind = value.kind if isinstance(value, PickledObject) else type(value).__name__
    return f"an object of type {kind}"
