"""A weight file's format is known by its contents; models in several files are read as one."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.files import read_weight_file

ARRAYS = {"a": np.ones((2, 2), np.float32), "b": np.zeros((3, 2), np.float32)}


def test_contents_and_not_names_choose_the_reader(tmp_path):
    torch = pytest.importorskip("torch")
    files = [tmp_path / "0.pth", tmp_path / "1.safetensors", tmp_path / "2.npz"]
    torch.save({key: torch.from_numpy(array) for key, array in ARRAYS.items()}, files[0])
    save_file(ARRAYS, files[1])
    np.savez(files[2], **ARRAYS)
    for file in files:
        for name in (
            "a.bin",
            "a.th",
            "a.pyth",
            "a.safetensors",
            "a.pth?download=true",
            "a",
            "a.h5",
        ):
            found = read_weight_file(shutil.copy(file, tmp_path / name)).arrays
            np.testing.assert_array_equal(found["a"], 1)


def test_caffe_files_are_read_by_the_caffe_reader(tmp_path):
    (tmp_path / "a.caffemodel").write_bytes(b"no protobuf\xff")
    with pytest.raises(Net2VecError, match=r"a\.caffemodel: is no \.caffemodel"):
        read_weight_file(tmp_path / "a.caffemodel")


def test_missing_files_are_refused(tmp_path):
    for name in ("none.h5", "none", "model.safetensors.index.json"):
        with pytest.raises(Net2VecError, match="no such weight file"):
            read_weight_file(tmp_path / name)


def test_checkpoint_keys_are_for_checkpoints(tmp_path):
    save_file(ARRAYS, tmp_path / "a.safetensors")
    with pytest.raises(Net2VecError, match="one set of weights; leave out --checkpoint-key ema"):
        read_weight_file(tmp_path / "a.safetensors", "ema")


@pytest.fixture(params=["safetensors", "bin"])
def sharded(request, tmp_path):
    """A folder with a model in two files."""
    names = [f"model-0000{n}-of-00002.{request.param}" for n in (1, 2)]
    for name, key in zip(names, ARRAYS, strict=True):
        if request.param == "safetensors":
            save_file({key: ARRAYS[key]}, tmp_path / name)
        else:
            torch = pytest.importorskip("torch")
            torch.save({key: torch.from_numpy(ARRAYS[key])}, tmp_path / name)
    index = {"metadata": {}, "weight_map": dict(zip(ARRAYS, names, strict=True))}
    (tmp_path / f"model.{request.param}.index.json").write_text(json.dumps(index))
    return tmp_path


def test_models_in_several_files_are_read_as_one(sharded):
    [index] = sharded.glob("*.index.json")
    for given in (sharded, index):
        found = read_weight_file(given)
        assert list(found.arrays) == ["a", "b"]
        assert found.files == (index, *sorted(sharded.glob("model-*")))


def test_a_part_of_a_model_is_refused(sharded):
    part = min(sharded.glob("model-*"))
    with pytest.raises(Net2VecError, match=r"one of 2 parts.*give model\.\w+\.index\.json"):
        read_weight_file(part)
    part.unlink()
    with pytest.raises(Net2VecError, match=rf"its files {part.name} are missing"):
        read_weight_file(sharded)


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ('{"weight_map": {"a": "../a.safetensors"}}', "names no files beside it"),
        ('{"weight_map": {}}', "names no files"),
        ('{"weight_map": [1]}', "no index"),
        ("[1]", "no index"),
        ("version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        ('{"weight_map": {"a": "a.bin", "c": "a.bin"}}', "its files lack c"),
    ],
)
def test_damaged_indices_are_refused(tmp_path, index, complaint):
    save_file(ARRAYS, tmp_path / "a.bin")
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(Net2VecError, match=complaint):
        read_weight_file(path)


def test_folders_of_the_hub_are_read(tmp_path):
    for name in ("model.safetensors", "tf_model.h5", "flax_model.msgpack", "training.bin"):
        save_file(ARRAYS, tmp_path / name)
    assert read_weight_file(tmp_path).files == (tmp_path / "model.safetensors",)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert read_weight_file(tmp_path).files == (tmp_path / "pytorch_model.bin",)
