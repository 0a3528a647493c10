"""Activations on disk: the same values back, complete or not at all, of one origin."""

from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.activations.compute import store_activations
from net2vec_jax.activations.store import CHUNK_IMAGES, ActivationStore, ActivationWriter
from net2vec_jax.core.errors import Net2VecError

ORIGIN = {"network": "toy", "layer": "conv1", "dataset": "abc"}


def write(directory: Path, values: np.ndarray, batch: int = 50) -> ActivationStore:
    writer = ActivationWriter(directory, values.shape, ORIGIN)
    for start in range(0, len(values), batch):
        writer.write(values[start : start + batch])
    return writer.finish()


@pytest.mark.parametrize("shape", [(2 * CHUNK_IMAGES + 5, 3, 2, 4), (3, 5), (1, 1, 1, 1)])
def test_values_survive_bit_for_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write(tmp_path / "conv1", values)
    store = ActivationStore(tmp_path / "conv1")
    assert store.shape == shape
    assert len(store) == shape[0]
    assert store.values_per_filter == values.size // shape[-1]
    assert store.origin == ORIGIN
    for size in (1, 7, 1000):
        np.testing.assert_array_equal(np.concatenate(list(store.batches(size))), values)


@pytest.mark.parametrize("shape", [(2 * CHUNK_IMAGES + 5, 3, 2, 4), (70, 5)])
def test_chosen_images_are_read_in_their_order(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    store = write(tmp_path / "conv1", values)
    for images in ([66, 3, 0, 69, 3], range(5, 9), [], np.array([shape[0] - 1], np.int32)):
        read = store.read(images)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values[np.asarray(images, int)])
    for wrong in (shape[0], -1):
        with pytest.raises(Net2VecError, match=f"{shape[0]} images, .* no image {wrong}"):
            store.read([0, wrong])


def test_incomplete_store_does_not_appear(tmp_path: Path) -> None:
    writer = ActivationWriter(tmp_path / "conv1", (10, 2), ORIGIN)
    writer.write(np.zeros((4, 2), np.float32))
    with pytest.raises(Net2VecError, match="conv1: 4 of 10 images"):
        writer.finish()
    assert not (tmp_path / "conv1").exists()
    with pytest.raises(Net2VecError, match="conv1 holds no complete activations"):
        ActivationStore(tmp_path / "conv1")
    write(tmp_path / "conv1", np.ones((10, 2), np.float32))  # a later run starts over
    assert [path.name for path in tmp_path.iterdir()] == ["conv1"]


def test_activations_of_another_network_are_refused(tmp_path: Path) -> None:
    store = write(tmp_path / "conv1", np.zeros((2, 3), np.float32))
    store.check_origin(ORIGIN)
    with pytest.raises(Net2VecError, match="conv1 holds activations of another network: 'toy'"):
        store.check_origin(ORIGIN | {"network": "other"})
    with pytest.raises(Net2VecError, match="another preprocessing: None"):
        store.check_origin(ORIGIN | {"preprocessing": "own"})


def test_damaged_values_name_the_store(tmp_path: Path) -> None:
    store = write(tmp_path / "conv1", np.random.default_rng(0).random((9, 40)).astype(np.float32))
    for path in (tmp_path / "conv1" / "values").rglob("*"):
        if path.is_file() and path.name != "zarr.json":
            path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(Net2VecError, match="conv1 is damaged"):
        list(store.batches())
    with pytest.raises(Net2VecError, match="conv1 is damaged"):
        store.read([3])


def test_several_layers_are_stored_in_one_pass(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = rng.random((5, 2, 2, 3)).astype(np.float32)
    two = rng.random((5, 7)).astype(np.float32)
    batches = ({"one": one[s], "two": two[s]} for s in (slice(0, 3), slice(3, 5)))
    directories = {name: tmp_path / name for name in ("one", "two")}
    stores = store_activations(batches, directories, 5, {"one": ORIGIN, "two": ORIGIN})
    np.testing.assert_array_equal(np.concatenate(list(stores["one"].batches())), one)
    np.testing.assert_array_equal(np.concatenate(list(stores["two"].batches())), two)
