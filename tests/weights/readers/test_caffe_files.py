"""Caffe's files, encoded here byte by byte after caffe.proto, in both of its layer formats."""

import struct

import hypothesis
import numpy as np
import pytest
from caffe_encoder import layer, legacy_blob, message, shaped_blob, v1_layer, varint
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.caffe_files import load_caffe_file

CONVOLUTION, INNER_PRODUCT = 4, 14  # of the enumeration that layers had before 2015
RNG = np.random.default_rng(0)
CONV_KERNEL = RNG.standard_normal((4, 2, 3, 5)).astype(np.float32)
CONV_BIAS = RNG.standard_normal(4).astype(np.float32)
FC_KERNEL = RNG.standard_normal((3, 8)).astype(np.float32)
FC_BIAS = RNG.standard_normal(3).astype(np.float32)
EXPECTED = {"conv1.0": CONV_KERNEL, "conv1.1": CONV_BIAS, "fc6.0": FC_KERNEL, "fc6.1": FC_BIAS}


def current_file(**options):
    return (
        message(1, b"CaffeNet")
        + layer("data", "Input", [])
        + layer(
            "conv1", "Convolution", [shaped_blob(a, **options) for a in (CONV_KERNEL, CONV_BIAS)]
        )
        + layer("relu1", "ReLU", [])
        + layer("fc6", "InnerProduct", [shaped_blob(a, **options) for a in (FC_KERNEL, FC_BIAS)])
    )


def v1_file():
    return (
        message(1, b"CaffeNet")
        + v1_layer("conv1", CONVOLUTION, [legacy_blob(CONV_KERNEL), legacy_blob(CONV_BIAS)])
        + v1_layer("relu1", 18, [])
        + v1_layer("fc6", INNER_PRODUCT, [legacy_blob(FC_KERNEL), legacy_blob(FC_BIAS)])
    )


def _assert_read(path, contents):
    path.write_bytes(contents)
    found = load_caffe_file(path)
    assert list(found) == list(EXPECTED)
    for key, array in EXPECTED.items():
        np.testing.assert_array_equal(found[key], array)


@pytest.mark.parametrize("options", [{}, {"double": True}])
def test_todays_layers_are_read(tmp_path, options):
    _assert_read(tmp_path / "a.caffemodel", current_file(**options))


def test_layers_from_before_2015_are_read(tmp_path):
    _assert_read(tmp_path / "a.caffemodel", v1_file())


def test_a_kernel_with_one_output_keeps_its_axes(tmp_path):
    kernel = np.ones((1, 1, 3, 3), np.float32)
    (tmp_path / "a.caffemodel").write_bytes(v1_layer("c", CONVOLUTION, [legacy_blob(kernel)]))
    assert load_caffe_file(tmp_path / "a.caffemodel")["c.0"].shape == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (b"", "holds no layers with weights"),
        (b"name: 'CaffeNet'\nlayer { name: 'conv1' }\n", "is no .caffemodel|is truncated"),
        (b"PK\x03\x04" + bytes(100), "is no .caffemodel|is truncated"),
        (bytes(50), "is no .caffemodel"),
        (message(1, b"CaffeNet"), "holds no layers with weights"),
        (layer("data", "Input", []), "holds no layers with weights"),
        (message(2, message(1, message(1, b"conv1"))), "format before 2013"),
        (current_file() + layer("fc6", "InnerProduct", [shaped_blob(FC_BIAS)]), "two layers"),
        (layer("a", "Scale", [message(7, message(1, varint(7))) + message(5, bytes(8))]), "shape"),
        (layer("a", "Scale", [message(5, bytes(7))]), "ends within a number"),
        (v1_layer("a", INNER_PRODUCT, [legacy_blob(CONV_KERNEL)]), "at most 2 axes"),
        (layer("a", "Scale", [message(7, message(1, varint(2**40) * 4))]), "0 values"),
    ],
)
def test_broken_files_are_refused(tmp_path, contents, complaint):
    (tmp_path / "a.caffemodel").write_bytes(contents)
    with pytest.raises(Net2VecError, match=complaint) as caught:
        load_caffe_file(tmp_path / "a.caffemodel")
    assert str(tmp_path / "a.caffemodel") in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(tmp_path, share):
    contents = current_file()
    (tmp_path / "a.caffemodel").write_bytes(contents[: int(share * len(contents))])
    with pytest.raises(Net2VecError, match="truncated"):
        load_caffe_file(tmp_path / "a.caffemodel")


def _read_or_refuse(path, contents):
    path.write_bytes(contents)
    try:
        load_caffe_file(path)
    except Net2VecError as error:
        assert str(path) in str(error)


SETTINGS = hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=150
)


@SETTINGS
@hypothesis.given(place=st.integers(0, 3000), byte=st.integers(0, 255), first=st.booleans())
def test_no_damaged_byte_raises_anything_else(tmp_path, place, byte, first):
    contents = bytearray(current_file() if first else v1_file())
    contents[place % len(contents)] = byte
    _read_or_refuse(tmp_path / "a.caffemodel", bytes(contents))


@SETTINGS
@hypothesis.given(contents=st.binary(min_size=1, max_size=200))
def test_no_bytes_raise_anything_else(tmp_path, contents):
    _read_or_refuse(tmp_path / "a.caffemodel", contents)


def test_numbers_are_little_endian(tmp_path):
    blob = message(7, message(1, varint(1))) + message(5, struct.pack("<f", 1.5))
    (tmp_path / "a.caffemodel").write_bytes(layer("a", "Scale", [blob]))
    assert load_caffe_file(tmp_path / "a.caffemodel")["a.0"].tolist() == [1.5]
