"""Read PyTorch's `.pth` and `.pt` state dicts without torch and without running pickled code.

Such a file is a pickle that says how to rebuild tensors, and the raw numbers of their storages:
since torch 1.6 as uncompressed members of a zip archive, before that one after the other in one
file. A pickle can ask for any function to be called; here only the few that describe tensors are
known, and they are replaced by records, which are checked against the storages before an array is
made. The arrays are views of the memory-mapped file.
"""

from __future__ import annotations

import io
import mmap
import reprlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.torch_pickle import (
    ByteOrder,
    RefusedError,
    Storages,
    TensorRecord,
    TensorUnpickler,
    as_array,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_MAGIC = b"PK"
# Under which key checkpoints keep the state dict.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")

Entry = TypeVar("Entry")


def load_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict.

    A checkpoint that wraps its state dict (`{"state_dict": …, "epoch": …}`) is unwrapped, and the
    `module.` that torch's DataParallel puts into keys is removed.

    Args:
      path: a file written by `torch.save`, in the zip format or the one before torch 1.6.

    Returns:
      {key: array}, in the order of the file; the arrays are read-only views of the file, except
      that bfloat16, which numpy lacks, becomes float32.

    Raises:
      Net2VecError: the file is missing, truncated or no such file; its pickle asks for anything
        but tensors; a tensor reaches beyond its storage.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(len(ZIP_MAGIC))
            file.seek(0)
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            read = _read_zip if head == ZIP_MAGIC else _read_legacy
            saved, storages, byte_order = read(file, contents)
        return _as_arrays(_state_dict(saved), storages, contents, byte_order)
    except FileNotFoundError as error:
        raise Net2VecError(f"{path}: there is no such weight file") from error
    except RefusedError as error:
        raise Net2VecError(f"{path}: {error}") from error
    except (OSError, ValueError, MemoryError, RecursionError) as error:
        # A directory, an empty or unreadable file; a pickle nested beyond all measure.
        raise Net2VecError(f"{path}: cannot be read as a PyTorch file ({error})") from error


def _read_zip(file: BinaryIO, contents: mmap.mmap) -> tuple[Any, Storages, ByteOrder]:
    """The pickled object, the storages and the byte order of a zip archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except Exception as error:  # a damaged directory raises more than BadZipFile
        raise RefusedError(f"is no whole zip archive ({error}); download it again") from error
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedError("is a zip archive without a data.pkl, so no PyTorch file")
    folder = pickles[0].removesuffix("data.pkl")
    spans = {name: _member_span(contents, info) for name, info in members.items()}

    def member(name: str) -> bytes:
        start, size = spans[folder + name]
        return contents[start : start + size]

    order = member("byteorder") if folder + "byteorder" in spans else b"little"
    if order not in (b"little", b"big"):
        raise RefusedError(f"its byte order is {reprlib.repr(order)}, not little or big")
    storages = {
        name.removeprefix(folder + "data/"): span
        for name, span in spans.items()
        if name.startswith(folder + "data/")
    }
    saved = TensorUnpickler(io.BytesIO(member("data.pkl"))).load()
    return saved, storages, "little" if order == b"little" else "big"


def _member_span(contents: mmap.mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and size of an uncompressed member; the directory's word is checked."""
    start = info.header_offset
    header = contents[start : start + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise RefusedError(f"its zip member {info.filename} lies outside the file")
    if info.compress_type != zipfile.ZIP_STORED:
        raise RefusedError(f"its zip member {info.filename} is compressed; torch.save never does")
    start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if start + info.file_size > len(contents):
        raise RefusedError(f"is truncated: its zip member {info.filename} ends beyond the file")
    return start, info.file_size


def _read_legacy(file: BinaryIO, contents: mmap.mmap) -> tuple[Any, Storages, ByteOrder]:
    """The same of the format before torch 1.6: five pickles, then the storages one by one."""
    try:
        magic = TensorUnpickler(file).load()
    except RefusedError as error:
        raise RefusedError(f"is no PyTorch file: {error}") from error
    if magic != LEGACY_MAGIC:
        raise RefusedError(f"is no PyTorch file: it opens with {reprlib.repr(magic)}")
    protocol, system = TensorUnpickler(file).load(), TensorUnpickler(file).load()
    match protocol, system:
        case int(version), {"little_endian": bool(little)} if version == LEGACY_PROTOCOL:
            byte_order = "little" if little else "big"
        case _:
            shown = f"{reprlib.repr(protocol)}, {reprlib.repr(system)}"
            raise RefusedError(f"its header is unknown: {shown}")
    unpickler = TensorUnpickler(file)
    saved = unpickler.load()
    keys = TensorUnpickler(file).load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RefusedError("is damaged: its list of storages is none")
    storages: Storages = {}
    position = file.tell()
    for key in keys:
        if key not in unpickler.dtypes:
            raise RefusedError(f"is damaged: no tensor uses its storage {key!r:.60}")
        elements = int.from_bytes(contents[position : position + 8], byte_order)
        size = elements * unpickler.dtypes[key].itemsize
        position += 8
        if position + size > len(contents):
            raise RefusedError(
                f"is truncated: storage {key} has {size} bytes, but the file ends after "
                f"{max(len(contents) - position, 0)} of them"
            )
        storages[key] = (position, size)
        position += size
    return saved, storages, byte_order


def _state_dict(saved: Any) -> dict[str, TensorRecord]:
    """The tensors by key, without the wrapping of checkpoints and of DataParallel."""
    if isinstance(saved, dict):
        for key in WRAPPERS:
            if isinstance(saved.get(key), dict):
                saved = saved[key]
                break
    if not isinstance(saved, dict):
        raise RefusedError(f"holds no state dict but an object of type {type(saved).__name__}")
    if not saved:
        raise RefusedError("holds an empty state dict")
    for key, value in saved.items():
        if not isinstance(key, str) or not isinstance(value, TensorRecord):
            raise RefusedError(
                f"holds no state dict: its entry {reprlib.repr(key)} is of type "
                f"{type(value).__name__}, not a tensor"
            )
    return strip_wrappers(saved)


def strip_wrappers(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries without the `module` that torch's DataParallel puts into their keys.

    It stands first in every key where the whole model was wrapped, or further on in some where a
    part of it was ("features.module.0.weight"). Keys stay as they are where two would become one.
    """
    stripped = {
        ".".join(part for part in key.split(".") if part != "module"): entry
        for key, entry in entries.items()
    }
    return stripped if len(stripped) == len(entries) else dict(entries)


def _as_arrays(
    tensors: dict[str, TensorRecord], storages: Storages, contents: mmap.mmap, byte_order: ByteOrder
) -> dict[str, np.ndarray]:
    arrays = {}
    for key, tensor in tensors.items():
        try:
            arrays[key] = as_array(tensor, storages, contents, byte_order)
        except RefusedError as error:
            raise RefusedError(f"its tensor {key} {error}") from error
    return arrays
