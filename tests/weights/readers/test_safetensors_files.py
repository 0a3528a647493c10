"""Safetensors files: every type, and every kind of damage."""

import json

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save_file

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.safetensors_files import load_safetensors_file

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7,
    "conv.bias": np.array([1.5, -2.0], np.float16),
    "count": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


@pytest.fixture
def path(tmp_path):
    save_file(ARRAYS, tmp_path / "weights.safetensors", metadata={"format": "np"})
    return tmp_path / "weights.safetensors"


def test_arrays_come_back(path):
    found = load_safetensors_file(path)
    assert found.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert found[key].dtype == array.dtype
        np.testing.assert_array_equal(found[key], array)


def test_bfloat16_is_widened(tmp_path):
    values = np.array([[1.0, -0.5, 3e38]]).astype(ml_dtypes.bfloat16)
    body = values.tobytes()
    header = {"a": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, len(body)]}}
    _write(tmp_path / "a.safetensors", header, body)
    found = load_safetensors_file(tmp_path / "a.safetensors")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def _write(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_types_that_numpy_lacks_are_refused(tmp_path):
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    _write(tmp_path / "a.safetensors", header, b"ab")
    with pytest.raises(Net2VecError, match=r"a\.safetensors: its tensor a is of type F8_E4M3"):
        load_safetensors_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        ["a"],
        {},
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header):
    _write(tmp_path / "a.safetensors", header, bytes(8))
    with pytest.raises(Net2VecError, match=r"a\.safetensors: "):
        load_safetensors_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_truncated_files_are_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Net2VecError, match=r"weights\.safetensors: cannot be read"):
        load_safetensors_file(path)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(place=st.integers(0, 400), byte=st.integers(0, 255))
def test_no_damaged_byte_raises_anything_else(path, place, byte):
    contents = bytearray(path.read_bytes())
    contents[place % len(contents)] = byte
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(contents)
    try:
        load_safetensors_file(damaged)
    except Net2VecError as error:
        assert str(damaged) in str(error)
