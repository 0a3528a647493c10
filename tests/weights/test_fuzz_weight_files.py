"""Weight files of any contents are read, or refused with our own error; nothing else changes."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import caffe_encoder as caffe
import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from fuzz import damaged, fuzz_settings, read_or_refuse
from safetensors.numpy import save
from torch_tar import tar_file

from net2vec_jax.weights.readers import array_files, torch_pickle
from net2vec_jax.weights.readers.files import read_weight_file
from net2vec_jax.weights.readers.torch_files import LEGACY_MAGIC, LEGACY_PROTOCOL

NUMBERS = np.arange(24, dtype=np.float32)


def load_and_touch(path: Path) -> None:
    """Read a file, and every number of it, which a damaged file could lack."""
    for array in read_weight_file(path).arrays.values():
        # Tensors that repeat few numbers many times are legal; their views take no memory.
        assert array.size < 2**40
        if array.size < 10**6:
            array.tobytes()


def fuzz(folder: pytest.TempPathFactory, suffix: str, contents: bytes) -> bool:
    path = folder.getbasetemp() / f"fuzzed{suffix}"
    path.unlink(missing_ok=True)
    path.write_bytes(contents)
    kinds = copy.deepcopy(torch_pickle.STORAGE_DTYPES)
    read = read_or_refuse(lambda: load_and_touch(path))
    # A pickle can change what it gets hold of.
    assert kinds == torch_pickle.STORAGE_DTYPES
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2
    return read


def embed(value: object) -> bytes:
    """The opcodes that push a plain value, to be set into a pickle written by hand."""
    return pickle.dumps(value, 2)[2:-1]


STORAGE = (
    b"("
    + embed("storage")
    + b"ctorch\nFloatStorage\n"
    + embed("0")
    + embed("cpu")
    + embed(24)
    + b"tQ"
)
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE
    + embed(0) + embed((2, 3)) + embed((3, 1)) + embed(False) + b"NtR"
)  # fmt: skip
PICKLED = pickle.dumps(NUMBERS.reshape(2, 3, 4), 2)[2:-1]
ARRAY_PICKLES = [pickle.dumps({"model": {"a": NUMBERS, "b": NUMBERS}}, n) for n in (0, 2, 5)]
STATE = b"\x80\x02}(" + embed("a.weight") + TENSOR + embed("a.bias") + TENSOR + b"u."
# Pieces of pickles: opcodes alone, with good and bad arguments, and whole objects.
PIECES = [
    *(bytes([code]) for code in b"().012NbdeloQstuaR}]\x81\x85\x86\x87\x88\x89"),
    *(bytes([code]) for code in b"\x8f\x90\x91\x92\x93\x94"),
    *(b"q\x00", b"q\x01", b"h\x00", b"h\x01", b"r\xff\xff\xff\x7f", b"p5\n", b"g5\n", b"K\x05"),
    *(b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f"),
    *(b"X\x01\x00\x00\x00a", b"X\xff\xff\xff\xff", b"\x8d" + b"\xff" * 8, b"\x8e" + b"\xff" * 8),
    *(b"\x96" + b"\xff" * 8, b"\x95" + b"\xff" * 8, b"\x95\x04" + b"\0" * 7, b"\x97", b"\x98"),
    *(b"\x80\x02", b"\x80\x05", b"\x82\x01", b"I01\n", b"L99999999999999999999L\n", b"S'a'\n"),
    *(b"G" + b"\x7f\xf0" + b"\0" * 6, b"F1e999\n", b"Va\n", b"U\x01a", b"C\x01a"),
    *(b"ctorch\nSize\n", b"ctorch\nBFloat16Storage\n", b"ccollections\nOrderedDict\n"),
    *(b"ctorch._utils\n_rebuild_parameter\n", b"cos\nsystem\n", b"itorch\nSize\n"),
    *(embed((1, 2)), embed(-1), embed(2**70), embed("a"), embed({"__defaults__": (1,)}), embed([])),
    *(embed((3, ">", None, None, None, -1, -1, 0)), STORAGE, TENSOR, b"2\x86" * 45, b"2\x86b"),
    *(b"cargparse\nNamespace\n)\x81}b", b"cbuiltins\nset\n(]tR", b"c_codecs\nencode\n", PICKLED),
    *(b"ctorch._utils\n_rebuild_tensor_v3\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"),
    *(b"ctorch\nfloat8_e4m3fn\n", b"ctorch\nuint16\n", b"ctorch.storage\nUntypedStorage\n"),
    *(b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR", b"cnumpy.core.multiarray\n_reconstruct\n"),
]  # fmt: skip


def zip_file(code: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", NUMBERS.tobytes())
    return file.getvalue()


def legacy_file(code: bytes) -> bytes:
    header = [LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}]
    body = b"".join(pickle.dumps(value, 2) for value in header) + code + pickle.dumps(["0"], 2)
    return body + NUMBERS.size.to_bytes(8, "little") + NUMBERS.tobytes()


def rebuild(storage: bytes) -> bytes:
    rest = embed(0) + embed((2, 3)) + embed((3, 1)) + embed(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"NtR"


WITHIN = b"\x80\x02" + STORAGE + b"."
BYTES_STORAGE = b"ctorch.storage\n_load_from_bytes\n" + embed(legacy_file(WITHIN)) + b"\x85R"
# What sets the state of something, whole: single pieces rarely come together.
STATES = [
    *(embed(state) for state in ({"first": "x"}, {"dtype": "f4"}, {"key": [1]}, {"a": 1})),
    *(embed(state) for state in ((3, ">", None, None, None, -1, -1, 0), (None, {"a": 1}))),
]
CHANGES = [
    rebuild(BYTES_STORAGE),
    *(rebuild(STORAGE + state + b"b") for state in STATES),
    *(TENSOR + state + b"b" for state in STATES),
    *(b"ctorch\n" + kind + b"Storage\n" + state + b"b" for state in STATES for kind in
      (b"BFloat16", b"Float")),
    *(b"K\x05" + b"2\x86" * times for times in (3, 10, 45)),
]  # fmt: skip


@st.composite
def pickles(draw: st.DrawFn) -> bytes:
    """Pieces one after the other, alone or inside a sound state dict, or one changed object."""
    if draw(st.booleans()):
        change = draw(st.sampled_from(CHANGES))
        entry = draw(st.sampled_from([embed("a") + change, change + TENSOR]))
        return b"\x80\x02}(" + entry + embed("b") + TENSOR + b"u."
    pieces = st.one_of(st.sampled_from(PIECES), st.sampled_from(CHANGES))
    code = b"".join(draw(st.lists(pieces, max_size=draw(st.sampled_from([1, 3, 20])))))
    match draw(st.sampled_from(["alone", "value", "key", "first"])):
        case "alone":
            return b"\x80\x02" + code + b"."
        case "value":
            return b"\x80\x02}(" + embed("a") + code + b"u."
        case "key":
            return b"\x80\x02}(" + code + TENSOR + b"u."
        case _:
            return b"\x80\x02" + code + STATE[2:]


BYTES_PICKLE = b"\x80\x02}" + embed("a") + rebuild(BYTES_STORAGE) + b"s."
TORCH_FILES = st.one_of(
    damaged([zip_file(STATE), legacy_file(STATE)], PIECES),
    st.builds(lambda write, code: write(code), st.sampled_from([zip_file, legacy_file]), pickles()),
    damaged([STATE], PIECES).map(zip_file),
    damaged([STATE], PIECES).map(legacy_file),
    damaged([tar_file()], PIECES),
    damaged([*ARRAY_PICKLES, BYTES_PICKLE], PIECES),
    damaged(ARRAY_PICKLES, PIECES).map(zip_file),
    st.binary(max_size=200),
)


@fuzz_settings
@hypothesis.given(contents=TORCH_FILES)
def test_any_torch_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    fuzz(tmp_path_factory, ".pth", contents)


ARRAYS = {"a": NUMBERS.reshape(2, 3, 4), "b": np.zeros((0, 3), np.int8), "c": np.float64(1)[None]}
SAFETENSORS = save(ARRAYS, metadata={"format": "np"})
JSON = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"-1", b"1e9", b"null", b"true", b"99999999999999"),
    *(b'"a":', b'"dtype":"F64"', b'"BF16"', b'"F8_E4M3"', b'"data_offsets":[0,96]', b"\\u0000"),
    *(b'"__metadata__":{"a":"b"},', b"[" * 50, b'{"a":' * 50, b'"shape":[9223372036854775807,2]'),
]


@st.composite
def safetensors_with_headers(draw: st.DrawFn) -> bytes:
    """A damaged header of the right length before sound numbers."""
    length = int.from_bytes(SAFETENSORS[:8], "little")
    header = draw(damaged([SAFETENSORS[8 : 8 + length]], JSON))
    return struct.pack("<Q", len(header)) + header + SAFETENSORS[8 + length :]


@fuzz_settings
@hypothesis.given(
    contents=st.one_of(
        damaged([SAFETENSORS], JSON), safetensors_with_headers(), st.binary(max_size=200)
    )
)
def test_any_safetensors_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    fuzz(tmp_path_factory, ".safetensors", contents)


def npz_file(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, **ARRAYS)
    return file.getvalue()


NPZ_FILES = [npz_file(np.savez), npz_file(np.savez_compressed)]
HEADERS = [b"'descr': '<f8'", b"'|O'", b"(9999999999,)", b"(-1,)", b"\x93NUMPY"]


@fuzz_settings
@hypothesis.given(contents=st.one_of(damaged(NPZ_FILES, HEADERS), st.binary(max_size=200)))
def test_any_npz_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    fuzz(tmp_path_factory, ".npz", contents)


@fuzz_settings
@hypothesis.given(data=st.data())
def test_any_hdf5_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as archive:
        archive["model_weights/conv1/kernel:0"] = NUMBERS.reshape(2, 3, 4)
        archive.create_dataset("model_weights/b", data=NUMBERS, compression="gzip", chunks=(5,))
    contents = data.draw(damaged([file.getvalue()]))
    with mock.patch.object(array_files.subprocess, "run"):  # a process for each case takes long
        fuzz(tmp_path_factory, ".h5", contents)


INDEX = b'{"metadata": {"total_size": 9}, "weight_map": {"a": "a.bin", "b": "b.bin"}}'


@fuzz_settings
@hypothesis.given(contents=damaged([INDEX], [*JSON, b'"a.bin"', b'"../a"', b'"/dev/zero"', b"\\0"]))
def test_any_index_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    (tmp_path_factory.getbasetemp() / "a.bin").write_bytes(SAFETENSORS)
    fuzz(tmp_path_factory, ".safetensors.index.json", contents)


KERNEL, BIAS = NUMBERS.reshape(2, 3, 2, 2), NUMBERS[:2]
CAFFE_FILES = [
    caffe.layer("conv1", "Convolution", [caffe.shaped_blob(KERNEL), caffe.shaped_blob(BIAS)]),
    caffe.layer("fc6", "InnerProduct", [caffe.shaped_blob(NUMBERS.reshape(4, 6), double=True)])
    + caffe.layer("fc7", "InnerProduct", [caffe.shaped_blob(BIAS)]),
    caffe.v1_layer("conv1", 4, [caffe.legacy_blob(KERNEL), caffe.legacy_blob(BIAS)]),
]
FIELDS = [
    *(caffe.message(field, b"") for field in (1, 2, 4, 5, 6, 7, 8, 9, 100)),
    *(caffe.number(field, value) for field in (1, 2, 3, 4) for value in (0, 1, 2**31, 2**64 - 1)),
    *(caffe.message(7, caffe.message(1, b"\x02" * 200)), b"\x0b", b"\x0c", b"\x80" * 12, b"\x0f"),
    *(caffe.message(5, NUMBERS.tobytes()), caffe.message(6, bytes(7)), caffe.message(2, b"\x0a")),
]


@fuzz_settings
@hypothesis.given(
    contents=st.one_of(
        damaged(CAFFE_FILES, FIELDS),
        st.lists(st.sampled_from([*FIELDS, *CAFFE_FILES]), max_size=8).map(b"".join),
        st.lists(st.sampled_from(FIELDS), max_size=8).map(
            lambda fields: caffe.message(100, caffe.message(7, b"".join(fields)))
        ),
        st.binary(max_size=200),
    )
)
def test_any_caffe_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    fuzz(tmp_path_factory, ".caffemodel", contents)


def test_sound_files_are_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    """That the law above is not kept by refusing everything."""
    for suffix, files in (
        (
            ".pth",
            [
                zip_file(STATE),
                legacy_file(STATE),
                tar_file(),
                BYTES_PICKLE,
                *ARRAY_PICKLES,
                *NPZ_FILES,
            ],
        ),
        (".safetensors", [SAFETENSORS]),
        (".caffemodel", CAFFE_FILES),
    ):
        for contents in files:
            assert fuzz(tmp_path_factory, suffix, contents)
            assert not fuzz(tmp_path_factory, suffix, contents[: len(contents) // 3])
