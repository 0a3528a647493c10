"""Arrays computed elsewhere are read as they are, and refused where they cannot be meant."""

import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorstore

from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.core.errors import Net2VecError

VALUES = np.random.default_rng(0).normal(size=(11, 3, 2, 4)).astype(np.float32)


def write(path: Path, values: np.ndarray, driver: str = "npy", chunks: int = 4) -> Path:
    if driver == "npy":
        np.save(path, values)
        return path
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    if driver == "n5":
        spec["metadata"] = {"compression": {"type": "gzip"}}
    layout = tensorstore.ChunkLayout(chunk_shape=(chunks, *values.shape[1:]))
    array = tensorstore.open(
        spec, create=True, dtype=values.dtype, shape=values.shape, chunk_layout=layout
    )
    array.result().write(values).result()
    return path


@pytest.mark.parametrize("driver", ["npy", "zarr", "zarr3", "n5"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_values_are_read_as_they_are(driver: str, channels_first: bool, tmp_path: Path) -> None:
    stored = VALUES.transpose(0, 3, 1, 2) if channels_first else VALUES
    path = write(tmp_path / "array.npy", np.ascontiguousarray(stored), driver)
    array = ExternalActivations(path, channels_first=channels_first)
    assert array.shape == VALUES.shape
    assert len(array) == 11
    assert array.values_per_filter == 11 * 3 * 2
    for size in (None, 1, 4, 100):
        np.testing.assert_array_equal(np.concatenate(list(array.batches(size))), VALUES)
    for images in ([7, 0, 10, 7], range(3, 6), []):
        np.testing.assert_array_equal(array.read(images), VALUES[np.asarray(images, int)])
    with pytest.raises(Net2VecError, match="11 images, counted from 0; there is no image 11"):
        array.read([0, 11])


@pytest.mark.parametrize(
    ("driver", "dtype"),
    [
        ("npy", np.float16),
        ("npy", np.float64),
        ("npy", ">f4"),
        ("npy", ml_dtypes.bfloat16),
        ("zarr3", ml_dtypes.bfloat16),
    ],
)
def test_other_floats_become_float32(driver: str, dtype, tmp_path: Path) -> None:
    values = VALUES.astype(dtype)
    batches = list(ExternalActivations(write(tmp_path / "a.npy", values, driver)).batches())
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(batches), values.astype(np.float32))


def test_fortran_order_is_a_matter_of_the_file(tmp_path: Path) -> None:
    array = ExternalActivations(write(tmp_path / "a.npy", np.asfortranarray(VALUES)))
    np.testing.assert_array_equal(np.concatenate(list(array.batches(3))), VALUES)


@pytest.mark.parametrize("driver", ["npy", "zarr3"])
def test_fingerprint_is_of_the_contents(driver: str, tmp_path: Path) -> None:
    changed = VALUES.copy()
    changed[-1, -1, -1, -1] += 1
    one, same, other = (
        ExternalActivations(write(tmp_path / f"{name}.npy", values, driver, chunks)).fingerprint
        for name, values, chunks in (("a", VALUES, 4), ("b", VALUES, 2), ("c", changed, 4))
    )
    assert one == same != other


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_name_the_image(value: float, tmp_path: Path) -> None:
    values = VALUES.astype(np.float64)
    values[7, 0, 1, 2] = value
    array = ExternalActivations(write(tmp_path / "a.npy", values))
    with pytest.raises(Net2VecError, match=r"a\.npy: the activations of image 7 .* not finite"):
        list(array.batches(3))
    with pytest.raises(Net2VecError, match=r"a\.npy: the activations of image 7 .* not finite"):
        array.read([1, 7])
    assert array.read([1, 8]).shape == (2, *VALUES.shape[1:])


def test_another_number_of_images_is_refused(tmp_path: Path) -> None:
    array = ExternalActivations(write(tmp_path / "a.npy", VALUES))
    array.check_images(11)
    with pytest.raises(Net2VecError, match="activations of 11 images, but the dataset has 12"):
        array.check_images(12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 4), np.float32), r"has shape \(3, 4\), not \[N, h, w, K\]; .* the pooling"),
        (np.zeros((3, 9, 4), np.float32), r"\(3, 9, 4\), .*leave out class and register tokens"),
        (np.zeros((0, 2, 2, 4), np.float32), r"has shape \(0, 2, 2, 4\)"),
        (np.zeros((3, 2, 2, 4), np.int32), "holds int32; activations are floating.*as float32"),
        (np.zeros((3, 2, 2, 4), np.complex64), "holds complex64"),
        (np.array([{"code": 1}]), r"no \.npy file that can be read.*numpy\.stack a list"),
    ],
)
def test_other_arrays_are_refused(values: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(Net2VecError, match=message):
        ExternalActivations(write(tmp_path / "a.npy", values))


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Net2VecError, match=r"there is no array .*nothing\.npy"):
        ExternalActivations(tmp_path / "nothing.npy")
    with pytest.raises(Net2VecError, match="neither a zarr nor an N5 array"):
        ExternalActivations(tmp_path)
    (tmp_path / "text.npy").write_text("text")
    with pytest.raises(Net2VecError, match=r"text\.npy is no \.npy file"):
        ExternalActivations(tmp_path / "text.npy")
    (tmp_path / "empty.npy").touch()
    with pytest.raises(Net2VecError, match=r"empty\.npy is no \.npy file"):
        ExternalActivations(tmp_path / "empty.npy")
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(Net2VecError, match=r"two\.npz is an \.npz archive of a, b; save"):
        ExternalActivations(tmp_path / "two.npz")
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(Net2VecError, match="group cannot be opened as a zarr3 array"):
        ExternalActivations(tmp_path / "group")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("maps.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("maps.pt", b"PK\x03\x04" + bytes(100), "a PyTorch file"),
        ("maps.npy", b"PK\x03\x04" + bytes(100), "a zip archive"),
        ("maps.pkl", pickle.dumps([VALUES]), "a pickled Python object, which is not loaded"),
        ("maps.npy", b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        ("maps.npy", b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_other_files_are_named(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Net2VecError, match=rf"{name} is {kind}.*with numpy\.save"):
        ExternalActivations(tmp_path / name)


def test_torch_file_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "maps.npy", "w") as archive:
        archive.writestr("maps/data.pkl", b"")
    with pytest.raises(Net2VecError, match="is a PyTorch file"):
        ExternalActivations(tmp_path / "maps.npy")


@pytest.mark.parametrize(
    ("shape", "channels_first", "is_odd"),
    [((5, 4, 3, 3), False, True), ((5, 4, 3, 3), True, False), ((5, 3, 3, 4), False, False),
     ((5, 3, 3, 4), True, True), ((5, 3, 3, 3), False, False), ((5, 2, 3, 4), False, False)],
)  # fmt: skip
def test_axes_that_look_exchanged_are_noticed(
    shape: tuple, channels_first: bool, is_odd: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.npy", np.zeros(shape, np.float32))
    notice = ExternalActivations(path, channels_first=channels_first).notice
    assert bool(notice) == is_odd and (not is_odd or "--channels-first" in notice)


def test_truncated_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", VALUES)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(Net2VecError, match=r"a\.npy is no \.npy file that can be read"):
        ExternalActivations(path)
    path = write(tmp_path / "b", VALUES, "n5")
    for file in path.rglob("*"):
        if file.is_file() and file.name != "attributes.json":
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(Net2VecError, match="b is damaged"):
        ExternalActivations(path)
