"""Read PyTorch's state dicts, and plain pickles of arrays, without running pickled code.

Such a file is a pickle that says how to rebuild tensors, and the raw numbers of their storages:
since torch 1.6 as uncompressed members of a zip archive, before that one after the other in one
file, and before torch 0.1.10 as members of a tar archive. Only records are made of tensors, and
checked against the storages before an array is made. The arrays are views of the memory-mapped
file, but for those of plain pickles.
"""

from __future__ import annotations

import io
import mmap
import reprlib
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.weights.readers.checkpoints import WeightFile, choose_state_dict
from net2vec_jax.weights.readers.torch_pickle import (
    MOST_AXES,
    STORAGE_DTYPES,
    ByteOrder,
    PickledObject,
    RefusedError,
    StorageKind,
    StorageRecord,
    Storages,
    TensorRecord,
    TensorUnpickler,
    as_array,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_MAGIC = b"PK"
BYTES_STORAGE = "torch.storage._load_from_bytes"
TAR_MAGIC = slice(257, 262), b"ustar"


def read_torch_file(path: str | Path, checkpoint_key: str | None = None) -> WeightFile:
    """Read the tensors of a state dict.

    Args:
      path: a file written by `torch.save` in any of its three formats, or by `pickle.dump`.
      checkpoint_key: which state dict of a checkpoint; see `choose_state_dict`.

    Returns:
      The arrays, in the order of the file; they are read-only views of the file, except that
      bfloat16, which numpy lacks, becomes float32.

    Raises:
      Net2VecError: the file is truncated or no such file, or holds no state dict or several; a
        tensor is of a type that is not read, or reaches beyond its storage.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if contents[: len(ZIP_MAGIC)] == ZIP_MAGIC:
                read = _read_zip
            else:
                place, magic = TAR_MAGIC
                read = _read_tar if contents[place] == magic else _read_pickles
            saved, storages, byte_order = read(file, contents)
        tensors, key, others = choose_state_dict(saved, checkpoint_key)
        arrays, within = {}, {}
        for name, tensor in tensors.items():
            try:
                match tensor:
                    case TensorRecord(PickledObject(kind, (bytes(raw),))) if kind == BYTES_STORAGE:
                        arrays[name] = _read_storage_of_bytes(tensor, raw, within)
                    case _:
                        arrays[name] = as_array(tensor, storages, contents, byte_order)
            except RefusedError as error:
                raise RefusedError(f"its tensor {name} {error}") from error
        return WeightFile(arrays, key, others, (path,))
    except RefusedError as error:
        raise Net2VecError(f"{path}: {error}") from error
    except (OSError, ValueError, MemoryError, RecursionError, struct.error) as error:
        # An unreadable or truncated file; a pickle nested beyond all measure.
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
        raise RefusedError(f"its zip member {info.filename} is compressed; pack it by zip -0")
    start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if start + info.file_size > len(contents):
        raise RefusedError(f"is truncated: its zip member {info.filename} ends beyond the file")
    return start, info.file_size


def _read_pickles(file: BinaryIO, contents: mmap.mmap | bytes) -> tuple[Any, Storages, ByteOrder]:
    """The same of torch 0.1.10 to 1.5: five pickles, then the storages one by one.

    One pickle alone was not written by torch; it may hold arrays of numpy.
    """
    try:
        magic = TensorUnpickler(file).load()
    except RefusedError as error:
        raise RefusedError(f"is no PyTorch file: {error}") from error
    if magic != LEGACY_MAGIC:
        return magic, {}, "little"
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
    storages = {}
    for key in keys:
        if key not in unpickler.dtypes:
            raise RefusedError(f"is damaged: no tensor uses its storage {key!r:.60}")
        storages[key] = _skip_storage(file, contents, key, unpickler.dtypes[key], byte_order)
    return saved, storages, byte_order


def _read_storage_of_bytes(
    tensor: TensorRecord, raw: bytes, within: dict[int, tuple[Any, Storages, ByteOrder]]
) -> np.ndarray:
    """A tensor of a plain pickle, in which each storage is a whole file of torch's as bytes."""
    if id(raw) not in within:
        within[id(raw)] = _read_pickles(io.BytesIO(raw), raw)
    storage, storages, byte_order = within[id(raw)]
    return as_array(tensor._replace(storage=storage), storages, raw, byte_order)


def _skip_storage(
    file: BinaryIO, contents: mmap.mmap | bytes, key: Any, dtype: np.dtype, byte_order: ByteOrder
) -> tuple[int, int]:
    """First byte and size of a storage that begins here with its number of elements."""
    position = file.tell() + 8
    size = int.from_bytes(contents[position - 8 : position], byte_order) * dtype.itemsize
    if position + size > len(contents):
        raise RefusedError(
            f"is truncated: storage {key!r:.60} has {size} bytes, but the file ends after "
            f"{max(len(contents) - position, 0)} of them"
        )
    file.seek(position + size)
    return position, size


def _read_tar(file: BinaryIO, contents: mmap.mmap) -> tuple[Any, Storages, ByteOrder]:
    """The same of torch before 0.1.10: storages, tensors and the object that names them."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = {member.name: member.offset_data for member in archive}
    except Exception as error:  # a damaged archive raises more than TarError
        raise RefusedError(f"is no whole tar archive ({error!s:.200})") from error
    if not members.keys() >= {"sys_info", "pickle", "storages", "tensors"}:
        inside = list_names(members, most=5)
        raise RefusedError(f"is a tar archive of {inside:.300}; unpack it and give the weight file")

    def load(member: str | None = None) -> Any:
        if member:
            file.seek(members[member])
        return TensorUnpickler(file).load()

    match load("sys_info"):
        case {"little_endian": True}:
            pass
        case system:
            raise RefusedError(f"its header is unknown: {reprlib.repr(system)}")
    records: dict[int, StorageRecord] = {}
    storages: dict[str, tuple[int, int]] = {}
    for _ in range(_as_count(load("storages"))):
        match load():
            case (int(key), _, StorageKind(name)):
                dtype = STORAGE_DTYPES[name]
                storages[str(key)] = _skip_storage(file, contents, key, dtype, "little")
                elements = storages[str(key)][1] // dtype.itemsize
                records[key] = StorageRecord(str(key), dtype, elements)
            case other:
                raise RefusedError(f"is damaged: {reprlib.repr(other)} describes no storage")
    for view in load() or ():
        match view:
            case (int(key), int(root), int(first), int(elements)) if root in records:
                records[key] = records[root]._replace(first=first, elements=elements)
            case other:
                raise RefusedError(f"is damaged: {reprlib.repr(other)} is no part of a storage")
    tensors = {}
    for _ in range(_as_count(load("tensors"))):
        match load():
            case (int(key), int(storage), *_) if storage in records:
                axes, _padding = struct.unpack("<ii", file.read(8))
                if not 0 <= axes <= MOST_AXES:
                    raise RefusedError(f"is damaged: its tensor {key} has {axes} axes")
                *numbers, offset = struct.unpack(f"<{2 * axes + 1}q", file.read(16 * axes + 8))
                shape, strides = tuple(numbers[:axes]), tuple(numbers[axes:])
                tensors[str(key)] = TensorRecord(records[storage], offset, shape, strides)
            case other:
                raise RefusedError(f"is damaged: {reprlib.repr(other)} describes no tensor")
    file.seek(members["pickle"])
    return TensorUnpickler(file, tensors).load(), storages, "little"


def _as_count(value: Any) -> int:
    if type(value) is not int:
        raise RefusedError(f"is damaged: {reprlib.repr(value)} is no number of tensors")
    return value
