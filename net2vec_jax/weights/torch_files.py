"""Read PyTorch's `.pth` and `.pt` state dicts without torch and without running pickled code.

Such a file is a pickle that says how to rebuild tensors, and the raw numbers of their storages:
since torch 1.6 as uncompressed members of a zip archive, before that one after the other in one
file. A pickle can ask for any function to be called; here only the few that describe tensors are
known, and they are replaced by records, which are checked against the storages before an array is
made. The arrays are views of the memory-mapped file.
"""

from __future__ import annotations

import collections
import io
import math
import mmap
import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from net2vec_jax.errors import Net2VecError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_MAGIC = b"PK"
_ORDERS = {"<": "little", ">": "big"}
_NATIVE_ORDER = "<" if sys.byteorder == "little" else ">"

STORAGE_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "DoubleStorage": np.float64,
        "FloatStorage": np.float32,
        "HalfStorage": np.float16,
        "BFloat16Storage": ml_dtypes.bfloat16,
        "LongStorage": np.int64,
        "IntStorage": np.int32,
        "ShortStorage": np.int16,
        "CharStorage": np.int8,
        "ByteStorage": np.uint8,
        "BoolStorage": np.bool_,
        "ComplexFloatStorage": np.complex64,
        "ComplexDoubleStorage": np.complex128,
    }.items()
}


def load_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict.

    A checkpoint that wraps its state dict (`{"state_dict": …, "epoch": …}`) is unwrapped, and the
    `module.` that torch's DataParallel puts before every key is removed.

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
    except _RefusedError as error:
        raise Net2VecError(f"{path}: {error}") from error
    except (OSError, ValueError, MemoryError) as error:  # a directory, an empty or unreadable file
        raise Net2VecError(f"{path}: cannot be read as a PyTorch file ({error})") from error


class _RefusedError(Exception):
    """Why a file is refused; the caller adds the file's name."""


@dataclass(frozen=True, eq=False)
class _StorageRecord:
    """A run of numbers in the file: `elements` of them from element `first` of storage `key`."""

    key: str
    dtype: np.dtype
    elements: int
    first: int = 0


@dataclass(frozen=True, eq=False)
class _TensorRecord:
    """A tensor as the pickle describes it; offset and strides in elements; nothing checked yet."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _TensorRecord:
    return _TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _shape(*dimensions: Any) -> tuple:
    return tuple(*dimensions)


# What a pickle may ask for. Nothing here does more than keep its arguments.
_KNOWN_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _shape,
    **{("torch", name): dtype for name, dtype in STORAGE_DTYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers, strings and tensor records; refuses everything else."""

    def __init__(self, file: BinaryIO) -> None:
        # Checkpoints of Python 2 hold byte strings; latin-1 decodes any of them.
        super().__init__(file, encoding="latin1")
        self.dtypes: dict[str, np.dtype] = {}  # of each storage met, by its key

    def find_class(self, module: str, name: str) -> Any:
        """The record maker of an admitted global."""
        try:
            return _KNOWN_GLOBALS[module, name]
        except KeyError:
            raise _RefusedError(
                f"refuses to run code: the pickle asks for {module}.{name}; "
                "only tensors are read, so save the model's state_dict()"
            ) from None

    def persistent_load(self, identity: Any) -> _StorageRecord:
        """The storage that a persistent identity describes."""
        match identity:
            case ("storage", np.dtype() as dtype, str(key), _, int(size)):
                record = _StorageRecord(key, dtype, size)
            case ("storage", np.dtype() as dtype, str(key), _, int(size), None):
                record = _StorageRecord(key, dtype, size)
            case ("storage", np.dtype() as dtype, str(key), _, int(_), (_, int(first), int(size))):
                record = _StorageRecord(key, dtype, size, first)  # a view, torch < 0.4
            case _:
                raise _RefusedError(f"its pickle names what is no storage: {identity!r:.200}")
        self.dtypes[key] = dtype
        return record

    def load(self) -> Any:
        """The pickled object, with records in place of tensors."""
        try:
            return super().load()
        except _RefusedError:
            raise
        except Exception as error:  # a damaged pickle raises nearly any type
            raise _RefusedError(
                f"its pickle is damaged or truncated ({type(error).__name__}: {error})"
            ) from error


# Where each storage's bytes lie in the file: {key: (first byte, bytes)}.
_Storages = dict[str, tuple[int, int]]


def _read_zip(file: BinaryIO, contents: mmap.mmap) -> tuple[Any, _Storages, str]:
    """The pickled object, the storages and the byte order of a zip archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _RefusedError(f"is no whole zip archive ({error}); download it again") from error
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _RefusedError("is a zip archive without a data.pkl, so no PyTorch file")
    folder = pickles[0].removesuffix("data.pkl")
    spans = {name: _member_span(contents, info) for name, info in members.items()}

    def member(name: str) -> bytes:
        start, size = spans[folder + name]
        return contents[start : start + size]

    order = member("byteorder") if folder + "byteorder" in spans else b"little"
    if order not in (b"little", b"big"):
        raise _RefusedError(f"its byte order is {order!r:.40}, not little or big")
    storages = {
        name.removeprefix(folder + "data/"): span
        for name, span in spans.items()
        if name.startswith(folder + "data/")
    }
    saved = _TensorUnpickler(io.BytesIO(member("data.pkl"))).load()
    return saved, storages, "<" if order == b"little" else ">"


def _member_span(contents: mmap.mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and size of an uncompressed member; the directory's word is checked."""
    start = info.header_offset
    header = contents[start : start + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise _RefusedError(f"its zip member {info.filename} lies outside the file")
    if info.compress_type != zipfile.ZIP_STORED:
        raise _RefusedError(f"its zip member {info.filename} is compressed; torch.save never does")
    start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    if start + info.file_size > len(contents):
        raise _RefusedError(f"is truncated: its zip member {info.filename} ends beyond the file")
    return start, info.file_size


def _read_legacy(file: BinaryIO, contents: mmap.mmap) -> tuple[Any, _Storages, str]:
    """The same of the format before torch 1.6: five pickles, then the storages one by one."""
    try:
        magic = _TensorUnpickler(file).load()
    except _RefusedError as error:
        raise _RefusedError(f"is no PyTorch file: {error}") from error
    if magic != LEGACY_MAGIC:
        raise _RefusedError(f"is no PyTorch file: it opens with {magic!r:.60}")
    protocol, system = _TensorUnpickler(file).load(), _TensorUnpickler(file).load()
    match protocol, system:
        case int(version), {"little_endian": bool(little)} if version == LEGACY_PROTOCOL:
            byte_order = "<" if little else ">"
        case _:
            raise _RefusedError(f"its header is unknown: {protocol!r:.60}, {system!r:.200}")
    unpickler = _TensorUnpickler(file)
    saved = unpickler.load()
    keys = _TensorUnpickler(file).load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _RefusedError("is damaged: its list of storages is none")
    storages: _Storages = {}
    position = file.tell()
    for key in keys:
        if key not in unpickler.dtypes:
            raise _RefusedError(f"is damaged: no tensor uses its storage {key!r:.60}")
        elements = int.from_bytes(contents[position : position + 8], _ORDERS[byte_order])
        size = elements * unpickler.dtypes[key].itemsize
        position += 8
        if position + size > len(contents):
            raise _RefusedError(
                f"is truncated: storage {key} has {size} bytes, but the file ends after "
                f"{max(len(contents) - position, 0)} of them"
            )
        storages[key] = (position, size)
        position += size
    return saved, storages, byte_order


def _state_dict(saved: Any) -> dict[str, _TensorRecord]:
    """The tensors by key, without the wrapping of checkpoints and of DataParallel."""
    if isinstance(saved, dict) and isinstance(saved.get("state_dict"), dict):
        saved = saved["state_dict"]
    if not isinstance(saved, dict):
        raise _RefusedError(f"holds no state dict but an object of type {type(saved).__name__}")
    if not saved:
        raise _RefusedError("holds an empty state dict")
    for key, value in saved.items():
        if not isinstance(key, str) or not isinstance(value, _TensorRecord):
            raise _RefusedError(
                f"holds no state dict: its entry {key!r:.60} is of type {type(value).__name__}, "
                "not a tensor"
            )
    prefix = "module."
    if all(key.startswith(prefix) for key in saved):
        return {key.removeprefix(prefix): value for key, value in saved.items()}
    return dict(saved)


def _as_arrays(
    tensors: dict[str, _TensorRecord], storages: _Storages, contents: mmap.mmap, byte_order: str
) -> dict[str, np.ndarray]:
    arrays = {}
    for key, tensor in tensors.items():
        try:
            arrays[key] = _as_array(tensor, storages, contents, byte_order)
        except _RefusedError as error:
            raise _RefusedError(f"its tensor {key} {error}") from error
    return arrays


def _as_array(
    tensor: _TensorRecord, storages: _Storages, contents: mmap.mmap, byte_order: str
) -> np.ndarray:
    """The array that a record describes, once it is known to lie within its storage."""
    storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
    if not isinstance(storage, _StorageRecord) or storage.key not in storages:
        raise _RefusedError("has a storage that the file does not hold")
    numbers = [offset, *shape, *strides] if _are_tuples(shape, strides) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _RefusedError(f"has offset {offset!r:.40}, shape {shape!r:.80}, {strides!r:.80}")
    start, size = storages[storage.key]
    first = storage.first + offset
    elements = math.prod(shape)
    last = first + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    end = min(storage.first + storage.elements, size // storage.dtype.itemsize)
    # An element count beyond the storage's would be legal with strides of zero, but huge to copy.
    if elements and (storage.first < 0 or last >= end or elements > end - storage.first):
        raise _RefusedError(
            f"(offset {offset}, shape {shape}, strides {strides}) reaches beyond its storage of "
            f"{max(end - storage.first, 0)} elements"
        )
    dtype = storage.dtype
    if not elements:
        return np.zeros(shape, np.float32 if dtype == ml_dtypes.bfloat16 else dtype)
    byte_ordered = np.dtype(np.uint16) if dtype == ml_dtypes.bfloat16 else dtype
    flat = np.frombuffer(
        contents,
        byte_ordered.newbyteorder(byte_order),
        count=last - first + 1,
        offset=start + first * dtype.itemsize,
    )
    array = np.lib.stride_tricks.as_strided(
        flat, shape, [step * dtype.itemsize for step in strides], writeable=False
    )
    if byte_order != _NATIVE_ORDER:
        array = array.astype(byte_ordered)
    if dtype == ml_dtypes.bfloat16:
        return np.ascontiguousarray(array).view(ml_dtypes.bfloat16).astype(np.float32)
    return array


def _are_tuples(shape: Any, strides: Any) -> bool:
    return isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
