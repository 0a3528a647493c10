"""Read the weights of a `.caffemodel`, in both of Caffe's layer formats, without Caffe.

The file is one protobuf message: layers, in them blobs, in them numbers. It is memory-mapped; the
long runs of numbers are cut out of it as views, and protobuf parses what is left.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.caffe_messages import LAYER_FIELDS, NUMBER_FIELDS, message_classes

VARINT, LENGTH_DELIMITED = 0, 2
FIXED_SIZES = {1: 8, 5: 4}
"""Kinds of fields in protobuf's encoding; those of fixed size with their bytes."""
# Layers whose kernel is a matrix, by their name today and their number before 2015.
INNER_PRODUCT = ("InnerProduct", 14)
V0_LAYER = b"\x0a"  # how a layer of the format before 2013 begins: its field 1
LONGEST_VARINT = 10
MOST_AXES = 32
"""Axes of a blob in Caffe."""


class _DamagedError(Exception):
    """Why a file is no caffemodel; the caller adds the file's name."""


def load_caffe_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the weights of all layers.

    Args:
      path: a .caffemodel file, with layers as Caffe writes them since 2015 or as before.

    Returns:
      {"layer.number": float32 or float64 array}, in the order of the file: "conv1.0" is the kernel
      [out, in / groups, height, width], "fc6.0" the matrix [out, in], and ".1" the bias [out].

    Raises:
      Net2VecError: the file is missing, truncated, no caffemodel or of the format before 2013; a
        blob's shape and number of values disagree; two layers have one name.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _read_layers(contents)
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such weight file") from error
    except _DamagedError as error:
        raise Net2VecError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # a directory, an empty or unreadable file
        raise Net2VecError(f"{path}: cannot be read as a .caffemodel file ({error})") from error


def _read_layers(contents: mmap.mmap) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    seen: set[str] = set()
    for field in _fields(contents, 0, len(contents)):
        if field.number not in LAYER_FIELDS or field.kind != LENGTH_DELIMITED:
            continue
        kind, blob_field = LAYER_FIELDS[field.number]
        layer, cut = _parse(kind, contents, field, {blob_field})
        blobs = cut[blob_field]
        if not blobs:
            if kind == "V1LayerParameter" and contents[field.start : field.start + 1] == V0_LAYER:
                raise _DamagedError(
                    "is of the format before 2013; convert it with Caffe's upgrade_net_proto_binary"
                )
            continue
        if layer.name in seen:
            raise _DamagedError(f"is damaged: two layers with weights are named {layer.name!r:.60}")
        seen.add(layer.name)
        for place, blob in enumerate(blobs):
            key = f"{layer.name}.{place}"
            arrays[key] = _read_blob(contents, blob, key, is_matrix=layer.type in INNER_PRODUCT)
    if not arrays:
        raise _DamagedError("holds no layers with weights, so it is no .caffemodel")
    return arrays


class _Field(NamedTuple):
    """A field of a message: its number and kind, its first byte, and where its contents lie."""

    number: int
    kind: int
    first: int
    start: int
    end: int


def _parse(
    kind: str, contents: mmap.mmap, message: _Field, cut: Collection[int]
) -> tuple[Any, dict[int, list[_Field]]]:
    """A message without the length-delimited fields of the given numbers; and those fields."""
    from google.protobuf.message import DecodeError

    apart: dict[int, list[_Field]] = {number: [] for number in cut}
    kept = bytearray()
    for field in _fields(contents, message.start, message.end):
        if field.number in apart and field.kind == LENGTH_DELIMITED:
            apart[field.number].append(field)
        else:
            kept += contents[field.first : field.end]
    try:
        return message_classes()[kind].FromString(bytes(kept)), apart
    except DecodeError as error:
        raise _DamagedError(f"is no .caffemodel, or is damaged ({error})") from error


def _fields(contents: mmap.mmap, position: int, end: int) -> Iterator[_Field]:
    """The fields of the message that lies between two positions."""
    while position < end:
        first = position
        tag, position = _varint(contents, position, end)
        number, kind = tag >> 3, tag & 7
        if number == 0 or kind not in (VARINT, LENGTH_DELIMITED, *FIXED_SIZES):
            raise _DamagedError("is no .caffemodel, or is damaged: it is no protobuf message")
        start = position
        if kind == VARINT:
            _, position = _varint(contents, position, end)
        elif kind == LENGTH_DELIMITED:
            size, start = _varint(contents, position, end)
            position = start + size
        else:
            position += FIXED_SIZES[kind]
        if position > end:
            raise _DamagedError(
                f"is truncated, or no .caffemodel: what begins at byte {first} should end at byte "
                f"{position}, but only {end} are there; download it again"
            )
        yield _Field(number, kind, first, start, position)


def _varint(contents: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number of variable length and the position behind it."""
    value = 0
    for place, byte in enumerate(contents[position : min(position + LONGEST_VARINT, end)]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, position + place + 1
    raise _DamagedError("is truncated, or no .caffemodel: a number in it has no end")


def _read_blob(contents: mmap.mmap, field: _Field, key: str, *, is_matrix: bool) -> np.ndarray:
    """A blob's values in their shape.

    Before 2015 every blob had four axes: a matrix was [1, 1, out, in], a bias [1, 1, 1, out].
    """
    blob, cut = _parse("BlobProto", contents, field, NUMBER_FIELDS)
    runs = []
    for number, (name, dtype) in NUMBER_FIELDS.items():
        if name is None:
            continue
        runs += [np.asarray(getattr(blob, name), dtype)] if getattr(blob, name) else []
        for run in cut[number]:
            values, rest = divmod(run.end - run.start, np.dtype(dtype).itemsize)
            if rest:
                raise _DamagedError(f"is damaged: its blob {key} ends within a number")
            runs.append(np.frombuffer(contents, dtype, values, run.start))
    values = runs[0] if len(runs) == 1 else np.concatenate([np.zeros(0, np.float32), *runs])
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
        axes = 1 if not key.endswith(".0") else 2 if is_matrix else 4
        if shape[: 4 - axes] != (1,) * (4 - axes):
            raise _DamagedError(
                f"is damaged: its blob {key} has shape {shape}; expected at most {axes} axes "
                "longer than 1"
            )
        shape = shape[4 - axes :]
    # The product of a long list of numbers would take for ever.
    if len(shape) > MOST_AXES or min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise _DamagedError(
            f"is damaged: its blob {key:.80} has shape {shape!s:.200}, but {len(values)} values"
        )
    return values.reshape(shape)
