"""What is no weight file is named, whatever its suffix."""

import gzip
import warnings
import zipfile

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.files import read_weight_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102530333\n"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".caffemodel", ".h5", ".npz", ""])
@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (b"", "is empty"),
        (POINTER, "Git LFS pointer.*`git lfs pull`"),
        (b"../../.git/annex/objects/ab/cd/MD5E-s1--x.pth/x.pth", "git-annex pointer"),
        (b"\n<!DOCTYPE html><html>" + b"x" * 9000, "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page or an XML"),
        (b'{"error": "Not Found"}', "is JSON"),
        (b'{"modelTopology": {}}', r"TensorFlow\.js"),
        ("404: Not Found — see ü".encode(), "is text"),
        (b'name: "AlexNet"\nlayer {\n}', r"description of a Caffe network.*\.caffemodel"),
        (gzip.compress(b"x" * 100, mtime=0), "compressed by gzip; unpack it"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite"),
        (b"\x81\xa6params\x80", "msgpack"),
        (b"GGUF\3\0\0\0", "GGUF"),
        (b"\x93NUMPY\1\0v\0", "a single array"),
        (b"\n\x1e\n\x05input\x12\x0bPlaceholder", "a TensorFlow graph"),
        (b"PK\x03\x04", "no whole zip archive"),
        (b"\xf0\x9f\x92\x00" * 9, "no weight file of a known kind|is no .caffemodel"),
    ],
)
def test_other_files_are_named(tmp_path, suffix, contents, complaint):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(contents)
    with pytest.raises(Net2VecError, match=rf"weights{suffix}: .*({complaint})"):
        read_weight_file(path)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["net/data.pkl", "net/constants.pkl", "net/code/a.py"], "TorchScript.*state_dict"),
        (["version", "serialized_exported_program.json"], "exported program"),
        (["metadata.json", "model.weights.h5"], "Keras 3.*model.weights.h5 inside"),
        (["weights/a.pth", "README.md"], "zip archive of weights/a.pth, README.md; unpack it"),
    ],
)
def test_other_archives_are_named(tmp_path, names, complaint):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(Net2VecError, match=complaint):
        read_weight_file(tmp_path / "a.pth")


def test_a_script_of_torch_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out
        script = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        script.save(str(tmp_path / "a.pt"))
    with pytest.raises(Net2VecError, match=r"TorchScript.*torch\.jit\.load\(FILE\)\.state_dict"):
        read_weight_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["saved_model.pb"], "TensorFlow SavedModel"),
        (["_METADATA", "manifest.ocdbt"], "an Orbax checkpoint"),
        (["__0_0.distcp", ".metadata"], r"torch\.distributed"),
        (["archive/data.pkl"], "an unpacked PyTorch file"),
        (["model.json", "group1-shard1of1"], r"TensorFlow\.js"),
        (["README.md"], "a folder without weights"),
        (["a.pth", "b.safetensors"], r"several weight files; give one of a\.pth, b\.safetensors"),
    ],
)
def test_folders_without_one_weight_file_are_named(tmp_path, names, complaint):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(Net2VecError, match=complaint):
        read_weight_file(tmp_path)


def test_parts_of_tensorflow_models_are_named(tmp_path):
    for name in ("model.ckpt.data-00000-of-00001", "model.ckpt.index", "group1-shard1of3"):
        (tmp_path / name).write_bytes(b"\xff\xfe\0\1" * 9)
        with pytest.raises(Net2VecError, match="part of a TensorFlow model"):
            read_weight_file(tmp_path / name)
