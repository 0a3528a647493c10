"""The pickle inside a PyTorch file: tensors as records, records as arrays, nothing executed.

A pickle can ask for any function to be called and for any class. Here it gets those few functions
that describe tensors, replaced by ones that keep their arguments. All else becomes a
`PickledObject`, which knows its name and does nothing: settings and the like lie beside weights.
A record is checked against the file's storages before it becomes an array.
"""

from __future__ import annotations

import math
import mmap
import pickle
import re
import reprlib
import sys
from collections.abc import Mapping
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
        "QInt8Storage": np.int8,
        "QUInt8Storage": np.uint8,
        "QInt32Storage": np.int32,
        "UntypedStorage": np.uint8,
    }.items()
}
# Types of numbers that torch keeps in untyped storages, beside which it names them.
NAMED_DTYPES: dict[str, np.dtype] = {
    **{kind.name: kind for kind in STORAGE_DTYPES.values()},
    **{name: np.dtype(name) for name in ("uint16", "uint32", "uint64")},
}

MOST_AXES = 64
"""Axes of an array in numpy."""
MOST_NAME = 100
"""Characters of a class's name."""

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


class Global(NamedTuple):
    """What a pickle names without being given it: a class, a function, a dtype."""

    name: str

    def __call__(self, *args: Any) -> PickledObject:
        """An object of this class, or what this function would return."""
        return PickledObject(self.name, args)


class PickledObject(dict):
    """An object whose class is not run: its name, what it was made with and its state.

    It has the entries of the object where that is a kind of dictionary.
    """

    __match_args__ = ("kind", "args")

    def __init__(self, kind: str, args: tuple = ()) -> None:
        super().__init__()
        self.kind, self.args = kind, args
        self.state: Any = None

    def __call__(self, *_: Any) -> PickledObject:
        """What a method would return."""
        return PickledObject(self.kind)

    def append(self, _: Any) -> None:
        """Items of lists and sets are dropped."""

    extend = add = append

    def __repr__(self) -> str:  # what it holds may hold each other
        return f"<{self.kind}>"

    @property
    def is_model(self) -> bool:
        """Whether it is a torch.nn.Module."""
        return type(self.state) is dict and "_parameters" in self.state


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

    def __repr__(self) -> str:
        return "<tensor>"


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    return TensorRecord(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, _: Any, args: Any, *__: Any) -> Any:
    """A tensor of a subclass, or with attributes, which are dropped."""
    if not isinstance(function, Global) and function not in (_rebuild_tensor, _rebuild_parameter):
        raise pickle.UnpicklingError("it rebuilds a tensor by what is no function")
    return function(*args)


def _make_dictionary(items: Any = ()) -> dict:
    return {key: value for key, value in items if type(key) in _KEY_TYPES}


def _make_default_dictionary(*_: Any) -> dict:
    return {}


def _encode(text: Any = "", *_: Any) -> bytes:
    """Bytes, which the older pickle protocols write as text."""
    return text.encode("latin1") if isinstance(text, str) else b""


# What a pickle may ask for. Nothing here does more than keep its arguments.
_KNOWN_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _make_dictionary,
    ("collections", "defaultdict"): _make_default_dictionary,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _encode,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _rebuild_parameter,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _rebuild_parameter,
    ("torch._utils", "_rebuild_xla_tensor"): _rebuild_parameter,
    ("torch.nn.parameter", "Parameter"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type"): _rebuild_from_type,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch", "Size"): tuple,
    **{
        (module, name): StorageKind(name)
        for module in ("torch", "torch.cuda", "torch.storage")
        for name in STORAGE_DTYPES
    },
}


# A pickle of a hundred bytes can name a tuple of two equal tuples of two equal tuples …, whose hash
# takes years: entries whose key is not a plain value are left out, and sets hold nothing.
def _set_items(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _keep_items(unpickler.stack[-1], items)


def _set_item(unpickler: Any) -> None:
    value, key = unpickler.stack.pop(), unpickler.stack.pop()
    _keep_items(unpickler.stack[-1], [key, value])


def _load_dictionary(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    unpickler.append(_keep_items({}, items))


def _keep_items(entries: Any, items: list) -> Any:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) in _KEY_TYPES:
            entries[key] = value
    return entries


def _load_empty_set(unpickler: Any) -> None:
    unpickler.append(PickledObject("builtins.set"))


def _load_frozen_set(unpickler: Any) -> None:
    unpickler.pop_mark()
    _load_empty_set(unpickler)


def _make_object(unpickler: Any) -> None:
    args = unpickler.stack.pop()
    unpickler.stack[-1] = unpickler.stack[-1](*args)


def _make_object_by_keywords(unpickler: Any) -> None:
    unpickler.stack.pop()
    _make_object(unpickler)


def _set_state(unpickler: Any) -> None:
    """Only objects that do nothing have a state; that of dictionaries, _metadata, is dropped."""
    state, subject = unpickler.stack.pop(), unpickler.stack[-1]
    if type(subject) is PickledObject:
        subject.state = state
    elif type(subject) not in (dict, TensorRecord):
        raise pickle.UnpicklingError("it sets attributes")


_KEY_TYPES = (str, bytes, int, float, bool, type(None))
_OPERATIONS: Mapping[int, Any] = pickle._Unpickler.dispatch
_EXTENSIONS = (pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0])


class TensorUnpickler(pickle._Unpickler):
    """Unpickles containers, numbers, strings, tensor records and objects that do nothing.

    Python's own unpickler, some of whose operations are replaced.
    """

    dispatch: ClassVar = {
        **{code: operation for code, operation in _OPERATIONS.items() if code not in _EXTENSIONS},
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _load_dictionary,
        pickle.EMPTY_SET[0]: _load_empty_set,
        pickle.FROZENSET[0]: _load_frozen_set,
        pickle.NEWOBJ[0]: _make_object,
        pickle.NEWOBJ_EX[0]: _make_object_by_keywords,
        pickle.BUILD[0]: _set_state,
    }

    def __init__(self, file: BinaryIO, tensors: Mapping[str, TensorRecord] | None = None) -> None:
        """Tensors by their identities are those of a file that keeps them beside the pickle."""
        # Checkpoints of Python 2 hold byte strings; latin-1 decodes any of them.
        super().__init__(file, encoding="latin1")
        self.dtypes: dict[str, np.dtype] = {}  # of each storage met, by its key
        self.tensors = tensors or {}

    def find_class(self, module: str, name: str) -> Any:
        """The record maker of a known global; of any other its name."""
        name = f"{module}.{name}" if (module, name) not in _KNOWN_GLOBALS else name
        return _KNOWN_GLOBALS.get((module, name)) or Global(repr(name)[1:-1][:MOST_NAME])

    def persistent_load(self, pid: Any) -> Any:
        """The storage, or else the class or tensor, that a persistent identity describes."""
        match pid:
            case str(key) if key in self.tensors:
                return self.tensors[key]
            case ("module", Global() as kind, *_):  # with its source code
                return kind
            case (Global() as kind, _, _):  # the same before torch 0.1.10
                return kind
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


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor or an array, though perhaps of a kind that is refused."""
    return isinstance(value, TensorRecord) or (
        isinstance(value, PickledObject) and bool(_TENSOR_KINDS.match(value.kind))
    )


_NUMPY_KINDS = re.compile(r"numpy\.(_?core)\.(multiarray\._reconstruct|numeric\._frombuffer)$")
_TENSOR_KINDS = re.compile(rf"{_NUMPY_KINDS.pattern}|torch\._utils\._rebuild_")
REFUSED_KINDS = {
    "torch._utils._rebuild_qtensor": "is quantised; save its dequantize()",
    "torch._utils._rebuild_sparse_tensor": "is sparse; save its to_dense()",
    "torch._utils._rebuild_meta_tensor_no_storage": "is on the meta device, so it has no numbers",
}


def as_array(
    tensor: TensorRecord | PickledObject,
    storages: Storages,
    contents: mmap.mmap | bytes,
    byte_order: ByteOrder,
) -> np.ndarray:
    """The array that a record describes, once it is known to be sound.

    Raises:
      RefusedError: it reaches beyond its storage, or is of a kind that is not read.
    """
    if isinstance(tensor, TensorRecord):
        return _view_storage(tensor, storages, contents, byte_order)
    if _NUMPY_KINDS.match(tensor.kind):
        return _numpy_array(tensor)
    match tensor.kind, tensor.args[:7]:
        case "torch._utils._rebuild_tensor_v3", (storage, *place, _, _, Global(name)):
            dtype = NAMED_DTYPES.get(name.removeprefix("torch."))
            if dtype is None or not isinstance(storage, StorageRecord) or len(place) != 3:
                raise RefusedError(f"is of type {name}; convert it with .float() and save it again")
            storage = storage._replace(dtype=dtype, elements=storage.elements // dtype.itemsize)
            return _view_storage(TensorRecord(storage, *place), storages, contents, byte_order)
    problem = f"is made by {tensor.kind}; save it as a plain tensor"
    raise RefusedError(REFUSED_KINDS.get(tensor.kind, problem))


NUMPY_CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")


def _numpy_array(pickled: PickledObject) -> np.ndarray:
    """An array that numpy has pickled: the type, the shape and the numbers as bytes."""
    match pickled.kind, pickled.args, pickled.state:
        case _, _, (int(), tuple(shape), PickledObject() as kind, bool(by_columns), raw):
            pass
        case _, (raw, PickledObject() as kind, tuple(shape), str(order)), _:
            by_columns = order == "F"
        case _:
            raise RefusedError("is a damaged array of numpy")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # pickled by Python 2
    match kind.args, kind.state:
        case (str(code), *_), (int(), str(order), *_) if code in NUMPY_CODES:
            dtype = np.dtype(code).newbyteorder(">" if order == ">" else "<")
        case _:
            raise RefusedError(f"is a numpy array of type {reprlib.repr(kind.args)}, not numbers")
    if not isinstance(raw, (bytes, bytearray)) or not _are_lengths(shape):
        raise RefusedError("is a damaged array of numpy")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise RefusedError(f"has shape {shape}, but {len(raw)} bytes")
    array = np.frombuffer(raw, dtype).reshape(shape, order="F" if by_columns else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _view_storage(
    tensor: TensorRecord, storages: Storages, contents: mmap.mmap | bytes, byte_order: ByteOrder
) -> np.ndarray:
    """The array that a record describes, once it is known to lie within its storage."""
    storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
    if not isinstance(storage, StorageRecord) or storage.key not in storages:
        raise RefusedError("has a storage that the file does not hold")
    # repr() of what a pickle holds may take for ever, where lists hold each other; reprlib's not.
    if not (_are_lengths(shape, strides, (offset,)) and len(shape) == len(strides)):
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


def _are_lengths(*lists: Any) -> bool:
    return all(
        isinstance(numbers, tuple)
        and len(numbers) <= MOST_AXES
        and all(type(number) is int and number >= 0 for number in numbers)
        for numbers in lists
    )
