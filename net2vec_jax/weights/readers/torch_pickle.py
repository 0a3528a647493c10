"""The pickle inside a PyTorch file: tensors as records, records as arrays, nothing executed.

A pickle can ask for any function to be called. Here it gets those few that describe tensors,
replaced by functions that keep their arguments. A record is checked against the file's storages
before it becomes an array.
"""

from __future__ import annotations

import math
import mmap
import pickle
import reprlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple

import ml_dtypes
import numpy as np

ByteOrder = Literal["little", "big"]

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

MOST_AXES = 64
"""Axes of an array in numpy."""

# Where each storage's bytes lie in the file: {key: (first byte, bytes)}.
Storages = Mapping[str, tuple[int, int]]


class RefusedError(Exception):
    """Why a file is refused; the caller adds the file's name."""


class StorageKind(NamedTuple):
    """What `torch.FloatStorage` and the like stand for: the type of a storage's numbers.

    The type is named: numpy's own objects must not be in a pickle's reach, which can set the state
    of whatever it holds, also of what the whole process shares. Named tuples cannot be changed.
    """

    name: str


class StorageRecord(NamedTuple):
    """A run of numbers in the file: `elements` of them from element `first` of storage `key`."""

    key: str
    dtype: np.dtype
    elements: int
    first: int = 0


class TensorRecord(NamedTuple):
    """A tensor as the pickle describes it; offset and strides in elements; nothing checked yet."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    return TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _make_dictionary(items: Any = ()) -> dict:
    pairs = [(key, value) for key, value in items]
    _check_keys([key for key, _ in pairs])
    return dict(pairs)


# What a pickle may ask for. Nothing here does more than keep its arguments.
_KNOWN_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _make_dictionary,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): StorageKind(name) for name in STORAGE_DTYPES},
}


# A pickle of a hundred bytes can name a tuple of two equal tuples of two equal tuples …, whose hash
# takes years: only plain values become keys, and there are no sets.
def _check_keys(keys: Iterable[Any]) -> None:
    for key in keys:
        if type(key) not in _KEY_TYPES:
            raise RefusedError(f"its pickle has a key of type {type(key).__name__}")


def _set_item(unpickler: Any) -> None:
    _check_keys(unpickler.stack[-2:-1])
    _OPERATIONS[pickle.SETITEM[0]](unpickler)


def _set_items(unpickler: Any) -> None:
    _check_keys(unpickler.stack[::2])  # what lies above the last mark
    _OPERATIONS[pickle.SETITEMS[0]](unpickler)


def _load_dictionary(unpickler: Any) -> None:
    _check_keys(unpickler.stack[::2])
    _OPERATIONS[pickle.DICT[0]](unpickler)


def _drop_attributes(unpickler: Any) -> None:
    """Torch keeps _metadata in the attributes of dictionaries; nothing else may be changed."""
    unpickler.stack.pop()
    if type(unpickler.stack[-1]) is not dict:
        raise pickle.UnpicklingError("it sets attributes")


_KEY_TYPES = (str, bytes, int, float, bool, type(None))
_OPERATIONS: Mapping[int, Any] = pickle._Unpickler.dispatch
_SETS = (pickle.EMPTY_SET[0], pickle.ADDITEMS[0], pickle.FROZENSET[0])


class TensorUnpickler(pickle._Unpickler):
    """Unpickles containers, numbers, strings and tensor records; refuses everything else.

    Python's own unpickler, some of whose operations are replaced.
    """

    dispatch: ClassVar = {
        **{code: operation for code, operation in _OPERATIONS.items() if code not in _SETS},
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _load_dictionary,
        pickle.BUILD[0]: _drop_attributes,
    }

    def __init__(self, file: BinaryIO) -> None:
        # Checkpoints of Python 2 hold byte strings; latin-1 decodes any of them.
        super().__init__(file, encoding="latin1")
        self.dtypes: dict[str, np.dtype] = {}  # of each storage met, by its key

    def find_class(self, module: str, name: str) -> Any:
        """The record maker of an admitted global."""
        try:
            return _KNOWN_GLOBALS[module, name]
        except KeyError:
            raise RefusedError(
                f"refuses to run code: the pickle asks for {module}.{name}; "
                "only tensors are read, so save the model's state_dict()"
            ) from None

    def persistent_load(self, pid: Any) -> StorageRecord:
        """The storage that a persistent identity describes."""
        match pid:
            case ("storage", StorageKind(name), str(key), _, int(size)):
                record = StorageRecord(key, STORAGE_DTYPES[name], size)
            case ("storage", StorageKind(name), str(key), _, int(size), None):
                record = StorageRecord(key, STORAGE_DTYPES[name], size)
            case ("storage", StorageKind(name), str(key), _, int(_), (_, int(first), int(size))):
                record = StorageRecord(key, STORAGE_DTYPES[name], size, first)  # torch < 0.4
            case _:
                shown = reprlib.repr(pid)
                raise RefusedError(f"its pickle names what is no storage: {shown:.200}")
        self.dtypes[key] = record.dtype
        return record

    def load(self) -> Any:
        """The pickled object, with records in place of tensors."""
        try:
            return super().load()
        except RefusedError:
            raise
        except Exception as error:  # a damaged pickle raises nearly any type
            raise RefusedError(
                f"its pickle is damaged or truncated ({type(error).__name__}: {error!s:.200})"
            ) from error


def as_array(
    tensor: TensorRecord, storages: Storages, contents: mmap.mmap, byte_order: ByteOrder
) -> np.ndarray:
    """The array that a record describes, once it is known to lie within its storage."""
    storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
    if not isinstance(storage, StorageRecord) or storage.key not in storages:
        raise RefusedError("has a storage that the file does not hold")
    # repr() of what a pickle holds may take for ever, where lists hold each other; reprlib's not.
    numbers = [offset, *shape, *strides] if _are_tuples(shape, strides) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        shown = ", ".join(map(reprlib.repr, (offset, shape, strides)))
        raise RefusedError(f"has offset, shape and strides {shown}")
    start, size = storages[storage.key]
    first = storage.first + offset
    elements = math.prod(shape)
    last = first + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    end = min(storage.first + storage.elements, size // storage.dtype.itemsize)
    # An element count beyond the storage's would be legal with strides of zero, but huge to copy.
    if elements and (storage.first < 0 or last >= end or elements > end - storage.first):
        raise RefusedError(
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
    # The stride of an axis of length 1 may be anything, and overflow.
    steps = [
        step * dtype.itemsize if length > 1 else 0
        for length, step in zip(shape, strides, strict=True)
    ]
    array = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
    if byte_order != sys.byteorder:
        array = array.astype(byte_ordered)
    if dtype == ml_dtypes.bfloat16:
        return np.ascontiguousarray(array).view(ml_dtypes.bfloat16).astype(np.float32)
    return array


def _are_tuples(shape: Any, strides: Any) -> bool:
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        return False
    return len(shape) == len(strides) <= MOST_AXES
