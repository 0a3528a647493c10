"""Pickles in PyTorch files that would change this process, or never end, are refused at once."""

from __future__ import annotations

import pickle
import time
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers import torch_pickle
from net2vec_jax.weights.readers.files import read_weight_file


def embed(value: object) -> bytes:
    """The opcodes that push a plain value, to be set into a pickle written by hand."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(shape: object = (2, 3), strides: object = (3, 1), after_storage: bytes = b"") -> bytes:
    """A tensor of the file's only storage; `after_storage` may change the storage's record."""
    storage = b"(" + embed("storage") + b"ctorch\nFloatStorage\n"
    storage += embed("0") + embed("cpu") + embed(24) + b"tQ" + after_storage
    rest = embed(0) + embed(shape) + embed(strides) + embed(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"NtR"


def state(first: bytes = b"", key: bytes | None = None, value: bytes | None = None) -> bytes:
    """A state dict of one tensor."""
    entry = (key or embed("a")) + (value or tensor())
    return b"\x80\x02" + first + b"}(" + entry + b"u."


def load(folder: Path, code: bytes) -> dict[str, np.ndarray]:
    path = folder / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/data/0", np.arange(24, dtype=np.float32).tobytes())
    return read_weight_file(path).arrays


DTYPE_STATE = embed((3, ">", None, None, None, -1, -1, 0))
DEFAULTS = embed((None, {"__defaults__": (1, 2, 3, 4)}))


@pytest.mark.parametrize(
    "change",
    [
        b"ctorch\nBFloat16Storage\n" + DTYPE_STATE + b"b0",
        b"ctorch\nFloatStorage\n" + DTYPE_STATE + b"b0",
        b"ctorch\nFloatStorage\n" + embed({"name": 3}) + b"b0",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + DEFAULTS + b"b0",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + embed({"evil": 1}) + b"b0",
        b"ctorch._utils\n_rebuild_parameter\n" + DEFAULTS + b"b0",
        b"ctorch\nSize\n" + DEFAULTS + b"b0",
        b"ccollections\nOrderedDict\n" + DEFAULTS + b"b0",
    ],
)
def test_nothing_that_the_process_shares_can_be_changed(tmp_path: Path, change: bytes) -> None:
    """A pickle may set the state of what it holds; the next file must be read as before."""
    before = dict(torch_pickle.STORAGE_DTYPES)
    with pytest.raises(Net2VecError, match="its pickle is damaged"):
        load(tmp_path, state(first=change))
    assert before == torch_pickle.STORAGE_DTYPES
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2
    np.testing.assert_array_equal(load(tmp_path, state())["a"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "change", [{"first": "x"}, {"elements": []}, {"key": [1]}, {"dtype": "f4"}]
)
def test_records_cannot_be_changed(tmp_path: Path, change: dict) -> None:
    with pytest.raises(Net2VecError, match="its pickle is damaged"):
        load(tmp_path, state(value=tensor(after_storage=embed(change) + b"b")))


NESTED = b"K\x01" + b"2\x86" * 60
"""A tuple of two equal tuples of two equal tuples …: to be hashed 2⁶⁰ times."""


def nest_lists(depth: int) -> bytes:
    """A list of two equal lists of two equal lists …, filled from the outside in."""
    code = b"".join(b"]q" + bytes([n]) + b"0" for n in range(depth))
    for n in range(depth - 1):
        code += b"h" + bytes([n]) + b"(" + (b"h" + bytes([n + 1])) * 2 + b"e0"
    return code + b"h\x00"


@pytest.mark.parametrize(
    "code",
    [
        state(key=NESTED),
        state(value=NESTED),
        state(value=NESTED + b"Q"),
        state(value=b"ccollections\nOrderedDict\n]" + NESTED + embed(1) + b"\x86a\x85R"),
        state(value=nest_lists(60)),
        state(value=tensor(shape=(1,) * 5000, strides=(1,) * 5000)),
        state(value=nest_lists(60) + b"Q"),
        state(first=b"\x8d" + b"\xff" * 7 + b"\x00"),
        state(first=b"\x96" + b"\xff" * 6 + b"\x00\x00"),
    ],
)
def test_pickles_that_would_take_for_ever_are_refused_at_once(tmp_path: Path, code: bytes) -> None:
    start = time.process_time()
    with pytest.raises(Net2VecError) as refused:
        load(tmp_path, code)
    assert time.process_time() - start < 2
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "code",
    [
        b"(K\x01K\x02d",
        b"}(N\x85K\x02u",
        b"\x8f(K\x01\x90",
        b"(" + NESTED + b"\x91",
        b"}(" + NESTED + b"K\x02u",
        b"\x8f(" + NESTED + b"\x90",
        b"cbuiltins\nset\n(](" + NESTED + b"etR",
        b"cbuiltins\nrepr\n" + NESTED + b"\x85R",
    ],
)
def test_keys_are_plain_values(tmp_path: Path, code: bytes) -> None:
    """Others are left out, and sets hold nothing, so that nothing has to be hashed."""
    start = time.process_time()
    assert list(load(tmp_path, state(first=code + b"0"))) == ["a"]
    assert time.process_time() - start < 2


@pytest.mark.parametrize("first", [b"K\x01r\xff\xff\xff\x7f0", NESTED + b"0"])
def test_large_memo_indices_and_nested_values_cost_nothing(tmp_path: Path, first: bytes) -> None:
    assert list(load(tmp_path, state(first=first))) == ["a"]


def test_attributes_of_ordered_dictionaries_are_fine(tmp_path: Path) -> None:
    """Torch keeps its _metadata there."""
    ordered = b"\x80\x02ccollections\nOrderedDict\n)R(" + embed("a") + tensor() + b"u"
    assert list(load(tmp_path, ordered + embed({"_metadata": 1}) + b"b.")) == ["a"]
