"""Reading PyTorch files: what torch wrote comes back, what is damaged or hostile is refused."""

import io
import pickle
import zipfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.torch_files import LEGACY_MAGIC, LEGACY_PROTOCOL, load_torch_file


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


NUMBERS = np.arange(24, dtype=np.float32)
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
    read = load_torch_file(write(tmp_path / "a.pth", code))
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
    read = load_torch_file(_zip_file(tmp_path / "a.pth", code))
    assert np.shares_memory(read["a"], read["b"])
    assert not read["a"].flags.writeable


@WRITERS
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net"])
def test_wrappings_are_removed(tmp_path, write, wrapper):
    tensors = _state(**{"module.a.weight": _tensor((2,), (1,)), "module.b": _tensor((2,), (1,))})
    code = tensors
    if wrapper:
        code = _state(epoch=_embed(3), arch=_embed("alexnet"), **{wrapper: tensors[2:-1]})
    assert list(load_torch_file(write(tmp_path / "a.pth", code))) == ["a.weight", "b"]


def test_a_wrapped_part_of_a_model_is_unwrapped(tmp_path):
    """Places365's AlexNet was trained with its convolutions in DataParallel."""
    keys = ("features.module.0.weight", "classifier.1.weight", "submodule.x")
    code = _state(**{key: _tensor((2,), (1,)) for key in keys})
    read = load_torch_file(_zip_file(tmp_path / "a.pth.tar", code))
    assert list(read) == ["features.0.weight", "classifier.1.weight", "submodule.x"]


def test_keys_that_would_collide_stay_as_they_are(tmp_path):
    code = _state(**{key: _tensor((2,), (1,)) for key in ("module.a", "a")})
    assert list(load_torch_file(_zip_file(tmp_path / "a.pth", code))) == ["module.a", "a"]


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
    read = load_torch_file(path)
    assert list(read) == list(tensors)
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        expected = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        np.testing.assert_array_equal(read[key], expected.numpy(), strict=True)


def test_state_dict_of_a_module_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "a.pth")
    assert list(load_torch_file(tmp_path / "a.pth")) == list(module.state_dict())


class _Command:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@WRITERS
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickled_code_is_refused_and_does_not_run(tmp_path, write, protocol):
    trace = tmp_path / "trace"
    code = pickle.dumps({"a": _Command(f"touch {trace}")}, protocol)
    path = write(tmp_path / "evil.pth", code)
    with pytest.raises(Net2VecError, match=r"evil\.pth: refuses to run code.* for \w+\.system"):
        load_torch_file(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "torch\nload", "torch._utils\n__builtins__", "collections\n_sys"]
)
def test_only_listed_globals_are_known(tmp_path, name):
    code = f"c{name}\n(tR.".encode()
    with pytest.raises(Net2VecError, match="refuses to run code"):
        load_torch_file(_zip_file(tmp_path / "a.pth", code))


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
        load_torch_file(write(tmp_path / "a.pth", _state(right=_tensor((2,), (1,)), wrong=tensor)))


def test_storage_that_the_file_lacks_is_refused(tmp_path):
    path = _zip_file(tmp_path / "a.pth", _state(a=_tensor((2,), (1,), key="7")))
    with pytest.raises(Net2VecError, match="tensor a has a storage that the file does not hold"):
        load_torch_file(path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (_state(), "empty state dict"),
        (b"\x80\x02K\x01.", "no state dict but an object of type int"),
        (_state(epoch=_embed(3)), "its entry 'epoch' is of type int, not a tensor"),
        (b"\x80\x02}(", "damaged or truncated"),
        (b"(" * 100 + b"t" * 100 + b"Q.", "names what is no storage"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, code, message):
    with pytest.raises(Net2VecError, match=message):
        load_torch_file(_zip_file(tmp_path / "a.pth", code))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "cannot be read"),
        (b"<html>404: Not Found</html>", "is no PyTorch file"),
        (pickle.dumps({"a": 1}), "is no PyTorch file: it opens with"),
        (b"PK\x03\x04 cut off", "is no whole zip archive"),
        (np.random.default_rng(0).bytes(500), "is no PyTorch file"),
    ],
)
def test_other_files_are_refused(tmp_path, contents, message):
    path = tmp_path / "a.pth"
    path.write_bytes(contents)
    with pytest.raises(Net2VecError, match=message):
        load_torch_file(path)


def test_missing_files_and_directories_are_refused(tmp_path):
    with pytest.raises(Net2VecError, match=r"none\.pth: there is no such weight file"):
        load_torch_file(tmp_path / "none.pth")
    with pytest.raises(Net2VecError, match="cannot be read"):
        load_torch_file(tmp_path)


def test_zip_without_tensors_and_compressed_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(Net2VecError, match=r"without a data\.pkl"):
        load_torch_file(tmp_path / "a.pth")
    path = _zip_file(tmp_path / "b.pth", PLAIN, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(Net2VecError, match="is compressed"):
        load_torch_file(path)


@WRITERS
def test_every_truncation_is_refused(tmp_path, write):
    path = write(tmp_path / "a.pth", PLAIN)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Net2VecError, match=r"a\.pth"):
            load_torch_file(path)


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
        for array in load_torch_file(path).values():
            array.sum()
    except Net2VecError:
        pass


def test_big_endian_files_are_turned(tmp_path):
    path = tmp_path / "a.pth"
    _zip_file(path, PLAIN, {"0": NUMBERS.astype(">f4").tobytes()})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    np.testing.assert_array_equal(load_torch_file(path)["a"], NUMBERS[:6].reshape(2, 3))


def test_views_of_the_oldest_format_are_read(tmp_path):
    view = _embed(("0", 4, 6))
    identity = b"(" + _embed("storage") + b"ctorch\nFloatStorage\n"
    identity += _embed("0") + _embed("cpu") + _embed(24) + view + b"tQ"
    code = b"ctorch._utils\n_rebuild_tensor\n(" + identity + _embed(1) + _embed((2,)) + _embed((3,))
    read = load_torch_file(_legacy_file(tmp_path / "a.pth", _state(a=code + b"tR")))
    np.testing.assert_array_equal(read["a"], [5.0, 8.0])


def test_the_helper_writes_what_pickle_reads():
    assert pickle.load(io.BytesIO(_state(a=_embed([1, (2,)])))) == {"a": [1, (2,)]}
