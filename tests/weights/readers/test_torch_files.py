"""Reading PyTorch files: what torch wrote comes back, what is damaged or hostile is refused."""

import argparse
import collections
import datetime
import enum
import io
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from torch_tar import NUMBERS, tar_file

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.files import read_weight_file
from net2vec_jax.weights.readers.torch_files import LEGACY_MAGIC, LEGACY_PROTOCOL


def _embed(value) -> bytes:
    """The opcodes that push a plain value, to be set into a pickle written by hand."""
    return pickle.dumps(value, 2)[2:-1]


def _tensor(shape, strides, *, key="0", offset=0, elements=24, storage="FloatStorage") -> bytes:
    identity = b"(" + _embed("storage") + f"ctorch\n{storage}\n".encode()
    identity += _embed(key) + _embed("cpu") + _embed(elements) + b"tQ"
    rest = _embed(offset) + _embed(shape) + _embed(strides) + _embed(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + rest + b"NtR"


def _state(**entries: bytes) -> bytes:
    pairs = b"".join(_embed(key) + code for key, code in entries.items())
    return b"\x80\x02}(" + pairs + b"u."


PLAIN = _state(a=_tensor((2, 3), (3, 1)))


def _zip_file(path: Path, code: bytes, storages: dict[str, bytes] | None = None, **kwargs) -> Path:
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        archive.writestr("archive/data.pkl", code)
        for key, data in (storages or {"0": NUMBERS.tobytes()}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def _legacy_file(path: Path, code: bytes, data: np.ndarray = NUMBERS) -> Path:
    header = [LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}]
    body = b"".join(pickle.dumps(value, 2) for value in header) + code + pickle.dumps(["0"], 2)
    path.write_bytes(body + data.size.to_bytes(8, "little") + data.tobytes())
    return path


WRITERS = pytest.mark.parametrize("write", [_zip_file, _legacy_file], ids=["zip", "legacy"])


@WRITERS
def test_strides_and_offsets_select_from_the_storage(tmp_path, write):
    code = _state(
        whole=_tensor((2, 3, 4), (12, 4, 1)),
        transposed=_tensor((4, 3), (1, 4), offset=12),
        scalar=_tensor((), (), offset=5),
        empty=_tensor((0, 3), (3, 1)),
        repeated=_tensor((5, 2), (0, 1)),
        odd_stride=_tensor((1, 2), (2**70, 1)),
    )
    read = read_weight_file(write(tmp_path / "a.pth", code)).arrays
    whole = NUMBERS.reshape(2, 3, 4)
    np.testing.assert_array_equal(read["whole"], whole)
    np.testing.assert_array_equal(read["transposed"], whole[1].T)
    np.testing.assert_array_equal(read["scalar"], 5.0)
    assert read["empty"].shape == (0, 3)
    np.testing.assert_array_equal(read["repeated"], np.tile([[0.0, 1.0]], (5, 1)))
    np.testing.assert_array_equal(read["odd_stride"], [[0.0, 1.0]])
    assert list(read) == ["whole", "transposed", "scalar", "empty", "repeated", "odd_stride"]


def test_arrays_share_the_file_and_cannot_change_it(tmp_path):
    code = _state(a=_tensor((24,), (1,)), b=_tensor((12,), (2,)))
    read = read_weight_file(_zip_file(tmp_path / "a.pth", code)).arrays
    assert np.shares_memory(read["a"], read["b"])
    assert not read["a"].flags.writeable


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_what_torch_writes(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    values = torch.arange(120, dtype=torch.float32).reshape(4, 5, 6) / 7
    tensors = {
        "permuted": values.permute(2, 0, 1)[1:4],
        "row": values[2],
        "parameter": torch.nn.Parameter(values.clone()),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    } | {
        str(dtype): values.to(dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.uint8)
    }
    path = tmp_path / "a.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    read = read_weight_file(path).arrays
    assert list(read) == list(tensors)
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        expected = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        np.testing.assert_array_equal(read[key], expected.numpy(), strict=True)


def test_state_dict_of_a_module_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "a.pth")
    assert list(read_weight_file(tmp_path / "a.pth").arrays) == list(module.state_dict())


class _Command:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@WRITERS
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickled_code_does_not_run(tmp_path, write, protocol):
    """Beside the weights it is left out; in their place it is refused."""
    trace = tmp_path / "trace"
    evil = pickle.dumps(_Command(f"touch {trace}"), protocol)[2 * (protocol > 0) : -1]
    evil = evil[9:] if protocol == 4 else evil  # without the length of the frame
    tensor = _tensor((2, 2), (2, 1))
    beside = _state(config=evil, state_dict=_state(a=tensor)[2:-1])
    assert list(read_weight_file(write(tmp_path / "evil.pth", beside)).arrays) == ["a"]
    path = write(tmp_path / "evil.pth", _state(**{"a": tensor, "c": tensor, "b.w": evil}))
    with pytest.raises(
        Net2VecError, match=r"evil\.pth: its entry 'b\.w' is an object of \w+\.system"
    ):
        read_weight_file(path)
    assert not trace.exists()


@WRITERS
@pytest.mark.parametrize(
    "tensor",
    [
        _tensor((25,), (1,)),
        _tensor((2,), (24,)),
        _tensor((2,), (1,), offset=23),
        _tensor((25,), (1,), elements=1 << 40),
        _tensor((5,), (1,), elements=4),
        _tensor((1 << 40, 1 << 20), (0, 0)),
        _tensor((1 << 62, 1 << 62), (1, 1)),
        _tensor((-2,), (1,)),
        _tensor((2,), (-1,), offset=5),
        _tensor((2,), (1,), offset=-1),
        _tensor((2,), (1, 1)),
        _tensor((2.0,), (1,)),
        _tensor(None, None),
    ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, write, tensor):
    with pytest.raises(Net2VecError, match=r"a\.pth: its tensor wrong"):
        read_weight_file(write(tmp_path / "a.pth", _state(right=_tensor((2,), (1,)), wrong=tensor)))


def test_storage_that_the_file_lacks_is_refused(tmp_path):
    path = _zip_file(tmp_path / "a.pth", _state(a=_tensor((2,), (1,), key="7")))
    with pytest.raises(Net2VecError, match="tensor a has a storage that the file does not hold"):
        read_weight_file(path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (_state(), "empty state dict"),
        (b"\x80\x02K\x01.", "no state dict but an object of type int"),
        (b"\x80\x02}(", "damaged or truncated"),
        (b"(" * 100 + b"t" * 100 + b"Q.", "names what is no storage"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, code, message):
    with pytest.raises(Net2VecError, match=message):
        read_weight_file(_zip_file(tmp_path / "a.pth", code))


def test_zip_without_tensors_and_compressed_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(Net2VecError, match=r"a zip archive of letter\.txt"):
        read_weight_file(tmp_path / "a.pth")
    path = _zip_file(tmp_path / "b.pth", PLAIN, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(Net2VecError, match="is compressed"):
        read_weight_file(path)


@WRITERS
def test_every_truncation_is_refused(tmp_path, write):
    path = write(tmp_path / "a.pth", PLAIN)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Net2VecError, match=r"a\.pth"):
            read_weight_file(path)


@WRITERS
@hypothesis.given(data=st.data())
@hypothesis.settings(
    max_examples=200, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_damaged_bytes_are_read_or_refused_but_never_crash(tmp_path, write, data):
    path = write(tmp_path / "a.pth", PLAIN)
    contents = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(contents)
    try:
        for array in read_weight_file(path).arrays.values():
            array.sum()
    except Net2VecError:
        pass


def test_big_endian_files_are_turned(tmp_path):
    path = tmp_path / "a.pth"
    _zip_file(path, PLAIN, {"0": NUMBERS.astype(">f4").tobytes()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    np.testing.assert_array_equal(read_weight_file(path).arrays["a"], NUMBERS[:6].reshape(2, 3))


def test_views_of_the_oldest_format_are_read(tmp_path):
    view = _embed(("0", 4, 6))
    identity = b"(" + _embed("storage") + b"ctorch\nFloatStorage\n"
    identity += _embed("0") + _embed("cpu") + _embed(24) + view + b"tQ"
    code = b"ctorch._utils\n_rebuild_tensor\n(" + identity + _embed(1) + _embed((2,)) + _embed((3,))
    read = read_weight_file(_legacy_file(tmp_path / "a.pth", _state(a=code + b"tR"))).arrays
    np.testing.assert_array_equal(read["a"], [5.0, 8.0])


@pytest.mark.parametrize("legacy", [False, True])
def test_types_that_numpy_lacks_are_refused_by_name(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    values = torch.ones(2, 2)
    odd = {
        r"of type torch\.float8_e4m3fn; convert it": values.to(torch.float8_e4m3fn),
        "sparse; save its to_dense": values.to_sparse(),
        "on the meta device": values.to("meta"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are on their way out
        odd["quantised; save its dequantize"] = torch.quantize_per_tensor(
            values, 0.1, 0, torch.qint8
        )
    path = tmp_path / "a.pth"
    for complaint, tensor in odd.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = {"a": values, "b.weight": tensor}
            torch.save(state, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(Net2VecError, match=rf"its tensor b\.weight is {complaint}"):
            read_weight_file(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_with_attributes_of_subclasses_and_of_untyped_storages_are_read(
    tmp_path, legacy, monkeypatch
):
    torch = pytest.importorskip("torch")

    Image = type("Image", (torch.Tensor,), {"__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Image", Image, raising=False)
    values = torch.arange(4, dtype=torch.float32).reshape(2, 2)
    parameter = torch.nn.Parameter(values.clone())
    marked = values.clone()
    marked.no_decay = parameter.no_decay = True  # type: ignore[attr-defined]
    unsigned = values.to(torch.uint16)
    state = {"a": parameter, "b": marked, "c": values.as_subclass(Image), "d": unsigned}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    found = read_weight_file(tmp_path / "a.pth").arrays
    for key in "abc":
        np.testing.assert_array_equal(found[key], values.numpy(), strict=True)
    np.testing.assert_array_equal(found["d"], unsigned.numpy(), strict=True)


class _Settings(dict):
    """A dictionary of a class of one's own, with a state beside its entries."""


class _Kind(enum.Enum):
    FIRST = 1


@pytest.mark.parametrize("legacy", [False, True])
def test_objects_beside_the_weights_do_not_matter(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    settings = _Settings(lr=0.1)
    settings.owner = "me"  # type: ignore[attr-defined]
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    extras = {
        "args": argparse.Namespace(lr=0.1, path=Path("/data")),
        "best": np.float64(71.2),
        "curve": np.arange(3.0),
        "drops": collections.Counter({30: 1}),
        "groups": collections.defaultdict(list, {(1, 2): [3]}),
        "recent": collections.deque([1, 2], 3),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "classes": {1, 2},
        "frozen": frozenset({1}),
        "kind": _Kind.FIRST,
        "by_kind": {_Kind.FIRST: 1},
        "time": datetime.datetime(2020, 1, 1),
        "settings": settings,
        "activation": torch.nn.functional.relu,
        "method": settings.keys,
        "rng": (torch.get_rng_state(), np.random.default_rng(0).bit_generator.state),
        "optimizer": optimizer.state_dict(),
        "complex": 1j,
        "slice": slice(1),
    }
    state = _Settings(module.state_dict())
    torch.save(
        _Settings(state_dict=state, **extras),
        tmp_path / "a.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    found = read_weight_file(tmp_path / "a.pth").arrays
    assert list(found) == ["weight", "bias"]
    np.testing.assert_array_equal(found["weight"], module.weight.detach().numpy())


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays_of_numpy_are_read(tmp_path, protocol):
    arrays = {
        "a": NUMBERS.reshape(2, 3, 4),
        "by_columns": np.asfortranarray(NUMBERS.reshape(4, 6)),
        "big_endian": NUMBERS.astype(">f4"),
        "bytes": np.arange(3, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float16),
        "flags": np.array([True, False]),
        "scalar": np.array(3.0),
    }
    saved = {"model": arrays, "__author__": "somebody", "lr": np.float32(0.1)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(saved, protocol))
    found = read_weight_file(tmp_path / "a.pkl").arrays
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array.astype(array.dtype.newbyteorder("=")))
        assert found[key].dtype.isnative


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_tensors_that_torch_did_not_save_itself_are_read(tmp_path, protocol):
    torch = pytest.importorskip("torch")
    values = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {"a": values[1:].T, "b": values, "c": torch.tensor([1.5]).bfloat16()}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(state, protocol))
    for key, array in read_weight_file(tmp_path / "a.pkl").arrays.items():
        np.testing.assert_array_equal(array, state[key].float().numpy(), strict=True)


def test_pickled_arrays_of_anything_but_numbers_are_refused(tmp_path):
    arrays = {"a": NUMBERS, "c": NUMBERS, "b": np.array(["x"], object)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, 2))
    with pytest.raises(Net2VecError, match="its tensor b is a numpy array of type"):
        read_weight_file(tmp_path / "a.pkl")


def test_tar_files_of_the_oldest_torch_are_read(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(tar_file())
    found = read_weight_file(path).arrays
    np.testing.assert_array_equal(found["a.weight"], NUMBERS.reshape(4, 6), strict=True)
    np.testing.assert_array_equal(found["view"], NUMBERS[6:12].reshape(3, 2).T, strict=True)
    assert not found["a.weight"].flags.writeable
    assert np.shares_memory(found["a.weight"], found["view"])


def test_torch_reads_the_tar_file_alike(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "a.pth").write_bytes(tar_file())
    expected = torch.load(tmp_path / "a.pth", weights_only=False)
    for key, array in read_weight_file(tmp_path / "a.pth").arrays.items():
        np.testing.assert_array_equal(array, expected[key].numpy(), strict=True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sys_info": {"little_endian": False}}, "its header is unknown"),
        ({"names": ["a.txt", "b.txt", "c", "d"]}, "a tar archive of a.txt, b.txt, .*unpack it"),
        ({"elements": 2**50}, "is truncated: storage 7"),
        ({"shape": (5, 6)}, "reaches beyond its storage"),
        ({"axes": 10**6}, "has 1000000 axes"),
        ({"root": 8}, "is no part of a storage"),
    ],
)
def test_damaged_tar_files_are_refused(tmp_path, changes, complaint):
    (tmp_path / "a.pth").write_bytes(tar_file(**changes))
    with pytest.raises(Net2VecError, match=complaint):
        read_weight_file(tmp_path / "a.pth")


def test_every_truncation_of_a_tar_file_is_refused(tmp_path):
    whole = tar_file()
    for length in range(0, len(whole) - 10240, 97):
        (tmp_path / "a.pth").write_bytes(whole[:length])
        with pytest.raises(Net2VecError, match=r"a\.pth"):
            read_weight_file(tmp_path / "a.pth")


def test_the_helper_writes_what_pickle_reads():
    assert pickle.load(io.BytesIO(_state(a=_embed([1, (2,)])))) == {"a": [1, (2,)]}
