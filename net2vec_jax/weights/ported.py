"""Ported networks on disk: a directory that holds a Flax module's parameters and what they are.

`network.json` is the description, `parameters/` an Orbax checkpoint with one float32 array for
every parameter, by its path with dots ("blocks.3.expand.kernel"). Nothing in it is executed. A
directory appears complete or not at all: it is written beside its place and then renamed. The
description knows every file's fingerprint, so that damage is noticed before anything is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

import net2vec_jax
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.cache import file_fingerprint
from net2vec_jax.weights.porting import check_fit

AnyModule = TypeVar("AnyModule", bound=nnx.Module)

DESCRIPTION_FILE = "network.json"
PARAMETERS_FOLDER = "parameters"
FORMAT = 3
"""Raised whenever older readers would misread a directory: 1 had all layers, 2 the usual ε."""


@dataclass(frozen=True)
class PortedDescription:
    """What a directory of ported weights holds.

    Attributes:
      network: the network's name in the zoo.
      fingerprint: SHA-256 of the weight file that was ported, 64 hexadecimal digits.
      classes: how many classes the network tells apart; 0 if it has no logits.
      mean: of red, green and blue on the scale 0 … 255; what it was trained with.
      deviation: what each centred channel is divided by, on the same scale.
      input_size: pixels along a side of the images that it was trained on.
      source: where the weights come from, in words.
      lacking_from: the first layer that the weights lack; empty if they lack none.
      epsilon: ε of its layer normalisations; 0 of the usual one.
      version: of net2vec_jax, which ported them.
    """

    network: str
    fingerprint: str
    classes: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    input_size: int
    source: str
    lacking_from: str = ""
    epsilon: float = 0.0
    version: str = net2vec_jax.__version__


def save_ported(directory: str | Path, module: nnx.Module, description: PortedDescription) -> None:
    """Store a ported network.

    Args:
      directory: a path where nothing is yet.
      module: the network.
      description: what it is.

    Raises:
      Net2VecError: there is something at the path already, or it cannot be written.
    """
    from orbax.checkpoint import v1 as orbax

    directory = Path(directory).absolute()
    partial = directory.with_name(directory.name + ".partial")
    try:
        if os.path.lexists(directory):
            raise Net2VecError(f"{directory} exists already; choose a new directory or remove it")
        if partial.exists():  # left by a run that was killed
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        values = {path: variable[...] for path, (_, variable) in _variables(module).items()}
        orbax.save(str(partial / PARAMETERS_FOLDER), values)
        files = _fingerprints(partial / PARAMETERS_FOLDER)
        record = {"format": FORMAT, **dataclasses.asdict(description), "files": files}
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (partial / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
        os.rename(partial, directory)
    except Net2VecError:
        raise
    except (OSError, ValueError) as error:  # tensorstore's own is a ValueError
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise Net2VecError(f"{directory} cannot be written ({reason})") from error


def is_ported(path: Path) -> bool:
    """Whether a path is a directory of ported weights."""
    return (path / DESCRIPTION_FILE).is_file()


def read_description(directory: str | Path) -> PortedDescription:
    """What a directory of ported weights holds.

    Raises:
      Net2VecError: there is no such directory, it holds something else, it is damaged, or a newer
        release wrote it.
    """
    return _read(Path(directory))[0]


def load_ported(directory: str | Path, module: AnyModule) -> AnyModule:
    """A copy of a module whose parameters come from a directory of ported weights.

    The arrays are placed on the default device as they are read.

    Args:
      directory: where `save_ported` stored them.
      module: gives structure and shapes; its own values are not used, so it may be abstract, as
        `nnx.eval_shape` makes it.

    Raises:
      Net2VecError: the directory is missing or damaged, or its parameters do not fit the module;
        the message lists what is missing, unexpected and mismatched.
    """
    from orbax.checkpoint import v1 as orbax

    directory = Path(directory).absolute()
    _, files = _read(directory)
    variables = _variables(module)
    parameters = directory / PARAMETERS_FOLDER
    found = _fingerprints(parameters)
    for name, fingerprint in files.items():
        if found.get(name) != fingerprint:
            state = "another than was written" if name in found else "missing"
            raise _damaged(parameters / name, f"the file is {state}")
    try:
        stored = orbax.metadata(str(parameters)).metadata
        refusal = f"the weights in {directory} do not fit {type(module).__name__}"
        _check_fit(refusal, stored, variables)
        default = jnp.zeros(()).sharding
        wanted = {
            path: jax.ShapeDtypeStruct(variable.shape, variable.dtype, sharding=default)
            for path, (_, variable) in variables.items()
        }
        values = orbax.load(str(parameters), wanted)
    except Net2VecError:
        raise
    except Exception as error:  # there is no end to how Orbax and tensorstore tell of damage
        raise _damaged(parameters, str(error) or type(error).__name__) from error
    filled = [(key, variable.replace(values[path])) for path, (key, variable) in variables.items()]
    return nnx.merge(nnx.graphdef(module), nnx.from_flat_state(filled))


def _variables(module: nnx.Module) -> dict[str, tuple[tuple, nnx.Variable]]:
    """Every variable of a module with its key in the state, by its path with dots."""
    flat = nnx.to_flat_state(nnx.state(module))
    return {".".join(map(str, key)): (key, variable) for key, variable in flat}


def _fingerprints(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_fingerprint(path) for path in files}


def _read(directory: Path) -> tuple[PortedDescription, dict[str, str]]:
    """The description, and the fingerprints of the files of the parameters."""
    path = directory / DESCRIPTION_FILE
    if not directory.is_dir():
        raise Net2VecError(f"{directory}: there is no such directory of ported weights")
    if not path.is_file():
        raise Net2VecError(f"{directory} holds no ported weights: it has no {DESCRIPTION_FILE}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        written = record.pop("format")
        if written not in (1, 2, FORMAT):
            raise Net2VecError(
                f"{directory} has format {written!r}, and this release of net2vec_jax reads "
                f"{FORMAT}; it was written by {record.get('version')!r}: use that release, or port "
                "the weights again"
            )
        files = dict(record.pop("files"))
        return _as_description(record), files
    except Net2VecError:
        raise
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _as_description(record: dict[str, Any]) -> PortedDescription:
    """The description in a JSON object; raises ValueError if it is not one."""
    fields = {field.name: field.type for field in dataclasses.fields(PortedDescription)}
    record = {"lacking_from": "", "epsilon": 0.0} | record
    if record.keys() != fields.keys():
        raise ValueError(f"missing or unexpected: {sorted(record.keys() ^ fields.keys())}")
    for name, kind in fields.items():
        value = record[name]
        if kind.startswith("tuple"):
            record[name] = tuple(map(float, value))
            fits = isinstance(value, list) and len(value) == 3
        else:
            fits = type(value).__name__ == kind
        if not fits:
            raise ValueError(f"{name} is {value!r}")
    return PortedDescription(**record)


def _check_fit(
    refusal: str, stored: Mapping[str, Any], variables: Mapping[str, tuple[tuple, nnx.Variable]]
) -> None:
    """Refuse stored arrays whose paths, shapes or types are not those of the module."""

    def describe(array: Any) -> str:
        return f"{array.dtype} {tuple(array.shape)}"

    wanted = {path: describe(variable) for path, (_, variable) in variables.items()}
    found = {path: describe(array) for path, array in stored.items()}
    check_fit(
        refusal,
        missing=sorted(wanted.keys() - found.keys()),
        unexpected=sorted(found.keys() - wanted.keys()),
        mismatched=[
            f"{path} is {found[path]}, not {wanted[path]}"
            for path in sorted(found.keys() & wanted.keys())
            if found[path] != wanted[path]
        ],
    )


def _damaged(path: Path, reason: str) -> Net2VecError:
    first_line = reason.strip().split("\n")[0][:200]
    return Net2VecError(f"{path} is damaged ({first_line}); remove the directory and port again")
