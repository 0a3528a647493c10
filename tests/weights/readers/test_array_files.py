"""Named arrays in .npz archives and in Keras' HDF5 files."""

import io
import json
import zipfile

import ml_dtypes
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers import array_files
from net2vec_jax.weights.readers.files import read_weight_file

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_npz_come_back(tmp_path, save):
    arrays = {"conv/kernel": KERNEL, "step": np.array(3), "half": KERNEL.astype(np.float16)}
    turned = {"turned": KERNEL.astype(">f4"), "note": np.array("text")}
    rounded = KERNEL.astype(ml_dtypes.bfloat16)
    save(tmp_path / "a.npz", **arrays, **turned, rounded=rounded)
    (tmp_path / "a.npz").rename(tmp_path / "a.bin")
    found = read_weight_file(tmp_path / "a.bin").arrays
    assert list(found) == [*arrays, "turned", "rounded"]
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array, strict=True)
    np.testing.assert_array_equal(found["turned"], KERNEL, strict=True)
    np.testing.assert_array_equal(found["rounded"], rounded.astype(np.float32), strict=True)


def test_python_objects_in_npz_are_refused_and_not_run(tmp_path):
    np.savez(tmp_path / "a.npz", state={"a": KERNEL})
    with pytest.raises(Net2VecError, match=r"a\.npz: .* holds Python objects; save plain arrays"):
        read_weight_file(tmp_path / "a.npz")


def test_archives_that_would_fill_the_memory_are_refused(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros(0))
    header = file.getvalue().replace(b"(0,)", b"(99999999999,)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header[:128] + bytes(300_000_000))
    with pytest.raises(Net2VecError, match="of memory"):
        read_weight_file(tmp_path / "a.npz")


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def test_weights_of_keras_are_named_by_their_path(tmp_path, h5py):
    """The layouts of Keras 1 and 2, of a whole model in them, and of Keras 3."""
    for name, root, path in (
        ("weights.h5", "", "conv1/conv1/kernel:0"),
        ("model.h5", "model_weights/", "conv1/conv1/kernel:0"),
        ("weights.hdf5", "", "layers/conv2d/vars/0"),
    ):
        with h5py.File(tmp_path / name, "w") as file:
            file[root + path] = KERNEL
            file["optimizer_weights/iterations"] = 3
            file.attrs["model_config"] = json.dumps({})
        found = read_weight_file(tmp_path / name).arrays
        assert list(found) == [path]
        np.testing.assert_array_equal(found[path], KERNEL, strict=True)


def test_hdf5_files_do_not_reach_beyond_themselves(tmp_path, h5py):
    (tmp_path / "secret").write_bytes(bytes(96))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = KERNEL
        file["linked"] = h5py.ExternalLink("b.h5", "/")
    assert list(read_weight_file(tmp_path / "a.h5").arrays) == ["a"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        outside = [(str(tmp_path / "secret"), 0, 96)]
        file.create_dataset("a", (24,), "f4", external=outside)
    with pytest.raises(Net2VecError, match="in other files"):
        read_weight_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (10**12,), "f4", chunks=(1000,))
    with pytest.raises(Net2VecError, match="of memory"):
        read_weight_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (10**7,), "f4", chunks=(1,))
    with pytest.raises(Net2VecError, match="more pieces than bytes"):
        read_weight_file(tmp_path / "a.h5")


def test_damaged_hdf5_files_are_refused(tmp_path, h5py):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(Net2VecError, match=r"a\.h5: cannot be read as an HDF5 file"):
        read_weight_file(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("empty")
    with pytest.raises(Net2VecError, match="holds no arrays of numbers"):
        read_weight_file(tmp_path / "a.h5")


def test_hdf5_files_without_end_are_refused(tmp_path, h5py, monkeypatch):
    monkeypatch.setattr(array_files, "MOST_SECONDS", 0.001)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = KERNEL
    with pytest.raises(Net2VecError, match="cannot be read within"):
        read_weight_file(tmp_path / "a.h5")


def test_without_h5py_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(Net2VecError, match=r"h5py is not installed.*net2vec_jax\[keras\]"):
        read_weight_file(tmp_path / "a.h5")
