"""Ported networks on disk come back as they were, or are refused."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from orbax.checkpoint import v1 as orbax

import net2vec_jax
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.ported import PortedDescription, load_ported, read_description, save_ported

DESCRIPTION = PortedDescription(
    network="tiny",
    fingerprint="ab" * 32,
    classes=365,
    mean=(123.675, 116.28, 103.53),
    deviation=(58.395, 57.12, 57.375),
    input_size=227,
    source="drawn from a seed – “tiny”",
)


class _Layer(nnx.Module):
    def __init__(self, *shape, rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jax.random.normal(rngs.params(), shape[-1:]))


class _Tiny(nnx.Module):
    def __init__(self, *, rngs, width=4):
        self.first = _Layer(3, 5, 2, width, rngs=rngs)
        # More than ten, so that an order by text would be another.
        self.layers = nnx.List([_Layer(2, 3, rngs=rngs) for _ in range(12)])


def _abstract(**kwargs):
    return nnx.eval_shape(lambda: _Tiny(rngs=nnx.Rngs(0), **kwargs))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ported") / "tiny"
    save_ported(directory, _Tiny(rngs=nnx.Rngs(1)), DESCRIPTION)
    return directory


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def test_parameters_come_back_bit_by_bit(whole):
    module = load_ported(whole, _abstract())
    saved = dict(nnx.to_flat_state(nnx.state(_Tiny(rngs=nnx.Rngs(1)))))
    loaded = dict(nnx.to_flat_state(nnx.state(module)))
    assert saved.keys() == loaded.keys()
    for key, variable in saved.items():
        np.testing.assert_array_equal(loaded[key][...], variable[...], strict=True)
        assert isinstance(loaded[key][...], jax.Array)
        assert loaded[key][...].sharding == jnp.zeros(1).sharding
        assert type(loaded[key]) is nnx.Param
    assert isinstance(module, _Tiny)
    assert [path.name for path in whole.parent.iterdir()] == ["tiny"]


def test_what_orbax_wrote_by_its_first_interface_is_read(golden_dir):
    module = nnx.eval_shape(lambda: _Layer(2, 3, rngs=nnx.Rngs(0)))
    loaded = load_ported(golden_dir / "orbax_v0" / "ported", module)
    np.testing.assert_array_equal(loaded.kernel[...], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(loaded.bias[...], np.arange(3) / 4)


def test_description_comes_back(whole):
    assert read_description(whole) == DESCRIPTION
    assert DESCRIPTION.version == net2vec_jax.__version__


def test_directories_can_be_moved(copy, tmp_path):
    moved = tmp_path / "moved"
    copy.rename(moved)
    load_ported(moved, _abstract())


def test_the_device_that_saved_them_need_not_exist(copy):
    stored = copy / "parameters" / "state" / "_sharding"
    assert "cpu:0" in stored.read_text()
    stored.write_text(stored.read_text().replace("cpu:0", "cuda:7"))
    path = copy / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))
    load_ported(copy, _abstract())


def test_the_given_module_stays_as_it_is(whole):
    module = _Tiny(rngs=nnx.Rngs(2))
    before = np.array(module.first.bias[...])
    load_ported(whole, module)
    np.testing.assert_array_equal(module.first.bias[...], before)


def test_nothing_is_overwritten(whole, tmp_path):
    for taken in (whole, whole / "network.json", tmp_path):
        with pytest.raises(Net2VecError, match="exists already; choose a new directory"):
            save_ported(taken, _Tiny(rngs=nnx.Rngs(2)), DESCRIPTION)
    load_ported(whole, _abstract())


def test_what_a_killed_run_left_is_replaced(tmp_path):
    left = tmp_path / "a.partial" / "parameters"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    save_ported(tmp_path / "a", _Tiny(rngs=nnx.Rngs(1)), DESCRIPTION)
    load_ported(tmp_path / "a", _abstract())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Net2VecError, match=r"file/a cannot be written"):
        save_ported(tmp_path / "file" / "a", _Tiny(rngs=nnx.Rngs(1)), DESCRIPTION)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(orbax, "save", fail)
    with pytest.raises(Net2VecError, match=r"a cannot be written .*No space left"):
        save_ported(tmp_path / "a", _Tiny(rngs=nnx.Rngs(1)), DESCRIPTION)
    assert list(tmp_path.iterdir()) == []


def test_one_error_lists_everything_that_does_not_fit(whole):
    def changed():
        module = _Tiny(rngs=nnx.Rngs(0), width=6)
        module.last = _Layer(2, 2, rngs=nnx.Rngs(0))
        module.layers[3].bias = nnx.Param(jnp.zeros(3, jnp.float16))
        del module.layers[11]
        return module

    with pytest.raises(Net2VecError) as caught:
        load_ported(whole, nnx.eval_shape(changed))
    for part in (
        f"the weights in {whole} do not fit _Tiny",
        "missing last.bias, last.kernel",
        "unexpected layers.11.bias, layers.11.kernel",
        "first.kernel is float32 (3, 5, 2, 4), not float32 (3, 5, 2, 6)",
        "layers.3.bias is float32 (3,), not float16 (3,)",
    ):
        assert part in str(caught.value)


def test_missing_and_foreign_directories_are_refused(tmp_path):
    with pytest.raises(Net2VecError, match="no such directory of ported weights"):
        load_ported(tmp_path / "none", _abstract())
    (tmp_path / "file.pth").write_text("")
    with pytest.raises(Net2VecError, match="no such directory of ported weights"):
        load_ported(tmp_path / "file.pth", _abstract())
    with pytest.raises(Net2VecError, match=r"holds no ported weights: it has no network\.json"):
        load_ported(tmp_path, _abstract())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 4}, r"has format 4, and this release of net2vec_jax reads 3"),
        ({"format": None}, "has format None"),
        ({"classes": "365"}, r"network\.json is damaged \(ValueError: classes is '365'\)"),
        ({"classes": True}, "classes is True"),
        ({"mean": [1.0, 2.0]}, "mean is"),
        ({"mean": "123"}, "mean is"),
        ({"mean": [1, 2, None]}, r"network\.json is damaged"),
        ({"deviation": 3}, r"network\.json is damaged"),
        ({"colour": "red"}, "unexpected: .*colour"),
        ({"files": 3}, r"network\.json is damaged"),
    ],
)
def test_descriptions_that_are_none_are_refused(copy, change, message):
    path = copy / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Net2VecError, match=message):
        read_description(copy)


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", "\x00\x00"])
def test_damaged_descriptions_are_refused(copy, text):
    (copy / "network.json").write_text(text)
    with pytest.raises(
        Net2VecError, match=r"network\.json is damaged .*remove the directory and port again"
    ):
        load_ported(copy, _abstract())


def test_every_file_that_is_missing_shorter_or_changed_is_noticed(whole, copy):
    files = [path for path in (copy / "parameters").rglob("*") if path.is_file()]
    assert len(files) > 5
    module = _abstract()
    for path in files:
        contents = path.read_bytes()
        changed = bytearray(contents)
        if contents:
            changed[len(changed) // 2] ^= 1
        for damaged in (None, contents[:-1] or b"x", bytes(changed) or b"y"):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(Net2VecError, match=rf"{re.escape(str(path))} is damaged .the file"):
                load_ported(copy, module)
        path.write_bytes(contents)
    load_ported(copy, module)


def test_what_orbax_cannot_read_is_refused(copy):
    path = copy / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {}}))
    shutil.rmtree(copy / "parameters")
    with pytest.raises(
        Net2VecError, match=r"copy/parameters is damaged .*remove the directory and port again"
    ):
        load_ported(copy, _abstract())
