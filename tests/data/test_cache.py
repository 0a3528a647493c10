"""What is read from the packed cache equals what decoding gives; changes are noticed."""

import dataclasses
import errno
import multiprocessing
import os
import shutil
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import ListDataset, make_catalog

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data import cache as packed
from net2vec_jax.data import cache_entries as packed_entries
from net2vec_jax.data.bad_images import ImageSubset
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.cache import PackedImages, load_concept_masks, load_packed_images
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, LabelledImage, map_in_order
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks, collect_concept_masks
from net2vec_jax.data.scenes.concepts import SCENE_CONCEPTS
from net2vec_jax.data.scenes.draw import draw_scenes

CHOICES = ("union", "containing", "first_available")


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Four small images of objects and a scene."""
    rng = np.random.default_rng(0)
    examples = []
    for index, split in enumerate(["train", "train", "val", "val"]):
        planes = {"object": rng.integers(0, 4, (1, 9, 5)).astype(np.int32)}
        image = rng.integers(0, 256, (18, 10, 3)).astype(np.uint8)
        labels = ImageLabels(planes, {"scene": (7,)})
        examples.append(LabelledImage(f"x/{index}.jpg", split, image, labels))
    write_broden(tmp_path / "small", examples, {1: "dog", 2: "cat", 3: "cow", 7: "street-s"})
    return tmp_path / "small"


def forbid(*_: object, **__: object) -> None:
    raise AssertionError("decoded although it is cached")


def assert_same_masks(one: ConceptMasks, other: ConceptMasks) -> None:
    for field in dataclasses.fields(ConceptMasks):
        values = [getattr(masks, field.name) for masks in (one, other)]
        if isinstance(values[0], np.ndarray):
            assert values[0].dtype == values[1].dtype, field.name
            np.testing.assert_array_equal(*values, err_msg=field.name)
        else:
            assert values[0] == values[1], field.name


def assert_same_images(one: ConceptDataset, other: ConceptDataset) -> None:
    assert len(one) == len(other)
    for index in range(len(one)):
        np.testing.assert_array_equal(one.image(index), other.image(index))


def entries(folder: Path) -> list[str]:
    """The folders in a cache, without the digests of their names."""
    return sorted(path.name.rsplit("-", 2)[0] for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("choice", CHOICES)
def test_scenes_as_a_broden_directory_and_as_a_cache_have_the_same_masks(
    choice: CategoryChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = list(draw_scenes(12, workers=1))
    names = {number: name for number, (name, _) in SCENE_CONCEPTS.items()}
    write_broden(tmp_path / "scenes", examples, names)
    dataset = BrodenDataset(tmp_path / "scenes")
    drawn = ListDataset(
        dataset.catalog, dataset.categories, [example.labels for example in examples],
        dataset.segmentation_size, dataset.is_val,
    )  # fmt: skip
    expected = collect_concept_masks(drawn, category_choice=choice)
    assert_same_masks(collect_concept_masks(dataset, category_choice=choice), expected)
    assert_same_masks(load_concept_masks(dataset, category_choice=choice), expected)
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    assert_same_masks(load_concept_masks(dataset, category_choice=choice), expected)


def test_camvid_from_the_directory_and_from_the_cache(
    camvid: BrodenDataset, camvid_masks: ConceptMasks, user_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The directory may not be written to, whoever runs the test.
    monkeypatch.setattr(packed_entries, "_may_write", lambda folder: user_cache in folder.parents)
    assert_same_masks(load_concept_masks(camvid), camvid_masks)
    decoded = list(map_in_order(lambda i: zlib.crc32(camvid.image(i)), range(len(camvid))))
    load_packed_images(camvid)
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    monkeypatch.setattr(BrodenDataset, "image", forbid)
    assert_same_masks(load_concept_masks(camvid), camvid_masks)
    cached = load_packed_images(camvid)
    assert [zlib.crc32(cached.image(index)) for index in range(len(cached))] == decoded


def test_images_are_decoded_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = BrodenDataset(directory)
    assert_same_images(load_packed_images(dataset), dataset)
    decoded = [dataset.image(index) for index in range(len(dataset))]
    monkeypatch.setattr(BrodenDataset, "image", forbid)
    again = load_packed_images(BrodenDataset(directory))
    assert isinstance(again, PackedImages)
    np.testing.assert_array_equal([again.image(index) for index in range(len(again))], decoded)
    for name in ("name", "catalog", "categories", "image_names", "segmentation_size"):
        assert getattr(again, name) == getattr(dataset, name)
    assert again.fingerprint == dataset.fingerprint
    assert_same_masks(load_concept_masks(again), collect_concept_masks(dataset))
    with monkeypatch.context() as patch:
        patch.setattr(BrodenDataset, "labels", forbid)
        assert_same_masks(load_concept_masks(dataset), load_concept_masks(again))
    for one, other in zip(
        again.labels(1).planes["object"], dataset.labels(1).planes["object"], strict=True
    ):
        np.testing.assert_array_equal(one, other)


def rewrite_plane(directory: Path) -> None:
    """The same bytes but one, so that the size stays."""
    path = directory / "images/x/1_object.png"
    shutil.copy(directory / "images/x/2_object.png", path)


def rewrite_image(directory: Path) -> None:
    shutil.copy(directory / "images/x/0.jpg", directory / "images/x/1.jpg")


def rewrite_index(directory: Path) -> None:
    path = directory / "index.csv"
    path.write_text(path.read_text().replace("x/1_object.png", "x/2_object.png"))


def rename_concept(directory: Path) -> None:
    path = directory / "label.csv"
    path.write_text(path.read_text().replace("dog", "ape"))


@pytest.mark.parametrize("change", [rewrite_plane, rewrite_image, rewrite_index, rename_concept])
def test_a_changed_file_is_noticed(directory: Path, change: Callable[[Path], None]) -> None:
    before = BrodenDataset(directory)
    load_packed_images(before)
    load_concept_masks(before)
    change(directory)
    after = BrodenDataset(directory)
    assert_same_images(load_packed_images(after), after)
    assert_same_masks(load_concept_masks(after), collect_concept_masks(after))
    assert entries(directory / ".net2vec_jax") == ["images", "masks-union"]  # no stale ones


def test_a_file_of_the_same_size_is_noticed_by_its_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = BrodenDataset(directory)
    load_concept_masks(dataset)
    path = directory / "images/x/1_object.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    with pytest.raises(AssertionError, match="decoded although"):
        load_concept_masks(BrodenDataset(directory))


def test_other_categories_have_entries_of_their_own(directory: Path) -> None:
    everything = BrodenDataset(directory)
    objects = BrodenDataset(directory, categories=["object"])
    for _ in range(2):
        for dataset in (everything, objects):
            assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert entries(directory / ".net2vec_jax") == ["masks-union", "masks-union"]


def test_images_left_out_and_other_sizes_have_entries_of_their_own(directory: Path) -> None:
    everything = BrodenDataset(directory)
    some = ImageSubset(everything, [0, 3], {"x/1.jpg": "bad", "x/2.jpg": "bad"})
    larger = BrodenDataset(directory)
    larger.image_size = (19, 10)
    for _ in range(2):
        for dataset in (everything, some, larger):
            assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert entries(directory / ".net2vec_jax") == ["masks-union"] * 3


def test_a_moved_directory_keeps_its_cache(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_concept_masks(BrodenDataset(directory))
    (tmp_path / "elsewhere").mkdir()
    moved = directory.rename(tmp_path / "elsewhere" / directory.name)
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    load_concept_masks(BrodenDataset(moved))


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "noise", "other type", "range"])
def test_a_damaged_entry_is_made_again(directory: Path, damage: str) -> None:
    dataset = BrodenDataset(directory)
    load_concept_masks(dataset)
    (path,) = directory.glob(".net2vec_jax/masks-*/pair_image.npy")
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage in ("other type", "range"):
        np.save(path, np.load(path).astype("f4") if damage == "other type" else np.load(path) + 9)
    else:
        content = {"empty": b"", "short": whole[:-3], "noise": whole[:10] + b"(((" + whole[13:]}
        path.write_bytes(content[damage])
    assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert path.read_bytes() == whole


class ListWithFiles(ListDataset):
    """A dataset that is not in a directory of its own."""

    def source_files(self) -> list[Path]:
        return [Path(__file__)]


def test_a_dataset_without_marks_or_directory(user_cache: Path) -> None:
    labels = [ImageLabels({"object": np.zeros((1, 3, 4), np.int32)}, {})] * 2
    dataset = ListWithFiles(make_catalog(2), ("object",), labels, (3, 4))
    for _ in range(2):
        assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
        assert_same_images(load_packed_images(dataset), dataset)
    assert entries(user_cache / "packed" / "list") == ["images", "masks-union"]


def test_a_directory_without_write_permission_is_left_alone(
    directory: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.chmod(0o555)  # root could write all the same
    dataset = BrodenDataset(directory)
    expected = collect_concept_masks(dataset)
    assert_same_masks(load_concept_masks(dataset), expected)
    assert not (directory / ".net2vec_jax").exists()
    (folder,) = (user_cache / "packed").iterdir()
    assert entries(folder) == ["masks-union"]
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    assert_same_masks(load_concept_masks(dataset), expected)
    directory.chmod(0o755)


def test_a_cache_beside_data_that_became_read_only_is_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_concept_masks(BrodenDataset(directory))
    for path in (directory, directory / ".net2vec_jax"):
        path.chmod(0o555)
    monkeypatch.setattr(BrodenDataset, "labels", forbid)
    load_concept_masks(BrodenDataset(directory))
    for path in (directory, directory / ".net2vec_jax"):
        path.chmod(0o755)


def test_without_any_writable_folder_nothing_is_kept(
    directory: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(packed_entries, "_may_write", lambda _: False)
    dataset = BrodenDataset(directory)
    assert load_packed_images(dataset) is dataset
    assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert not (directory / ".net2vec_jax").exists()
    assert not user_cache.exists()
    message = capsys.readouterr().err
    assert "small is not kept: " in message
    assert "may not be written to" in message
    assert "NET2VEC_JAX_CACHE" in message


def leftovers(*folders: Path) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if path.suffix != ".lock"]


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_full_disk_leaves_nothing_and_decoding_goes_on(
    when: str, directory: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    if when == "before":
        usage = shutil._ntuple_diskusage(1, 1, 1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    else:

        def fail(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(packed_entries.os, "fsync", fail)
    dataset = BrodenDataset(directory)
    assert load_packed_images(dataset) is dataset
    assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert not leftovers(directory / ".net2vec_jax", user_cache)
    assert "too little space is left" in capsys.readouterr().err


def test_a_bad_image_is_an_error_and_leaves_nothing(directory: Path) -> None:
    dataset = BrodenDataset(directory)
    path = directory / "images/x/3.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Net2VecError, match=r"3\.jpg cannot be decoded"):
        load_packed_images(dataset)
    assert not leftovers(directory / ".net2vec_jax")


def test_files_that_change_while_they_are_read_are_not_kept(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    decode = BrodenDataset.labels

    def decode_and_change(dataset: BrodenDataset, index: int) -> ImageLabels:
        labels = decode(dataset, index)
        os.utime(directory / "images/x/0_object.png", ns=(0, time.time_ns()))
        return labels

    monkeypatch.setattr(BrodenDataset, "labels", decode_and_change)
    load_concept_masks(BrodenDataset(directory))
    assert not leftovers(directory / ".net2vec_jax")
    assert "changed while they were read" in capsys.readouterr().err


def load_slowly(directory: Path, pause: float, counts: Path) -> None:
    """In a process of its own: every decoded image leaves a line in `counts`."""
    decode = BrodenDataset.image

    def slow(dataset: BrodenDataset, index: int) -> np.ndarray:
        with counts.open("a") as file:
            file.write(f"{index}\n")
        time.sleep(pause)
        return decode(dataset, index)

    BrodenDataset.image = slow
    loaded = load_packed_images(BrodenDataset(directory))
    assert isinstance(loaded, PackedImages)


def start(directory: Path, pause: float, counts: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(
        target=load_slowly, args=(directory, pause, counts)
    )
    process.start()
    return process


def test_two_processes_decode_once(directory: Path, tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    processes = [start(directory, 0.1, counts) for _ in range(2)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    decoded = sorted(map(int, counts.read_text().split()))
    assert decoded == [0, *range(4)]  # the first one twice, for its shape
    dataset = BrodenDataset(directory)
    assert_same_images(load_packed_images(dataset), dataset)


def test_a_killed_writer_leaves_nothing_that_is_read(directory: Path, tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    process = start(directory, 30, counts)
    deadline = time.monotonic() + 60
    while not counts.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    (partial,) = (directory / ".net2vec_jax").glob("*.partial")
    dataset = BrodenDataset(directory)
    assert_same_images(load_packed_images(dataset), dataset)
    assert not partial.exists()
    assert entries(directory / ".net2vec_jax") == ["images"]


def test_a_dataset_whose_changes_would_go_unnoticed_is_not_kept(
    user_cache: Path, capsys: pytest.CaptureFixture
) -> None:
    labels = [ImageLabels({"object": np.ones((1, 3, 4), np.int32)}, {})] * 2
    dataset = ListDataset(make_catalog(2), ("object",), labels, (3, 4))
    assert load_packed_images(dataset) is dataset
    assert_same_masks(load_concept_masks(dataset), collect_concept_masks(dataset))
    assert not user_cache.exists()
    assert "does not say which files it is read from" in capsys.readouterr().err


def test_images_of_several_sizes_are_refused(user_cache: Path) -> None:
    labels = [ImageLabels({"object": np.zeros((1, 3, 4), np.int32)}, {})] * 2
    dataset = ListWithFiles(make_catalog(2), ("object",), labels, (3, 4))
    images = [np.zeros((6, 8, 3), np.uint8), np.zeros((6, 9, 3), np.uint8)]
    dataset.image = lambda index: images[index]
    with pytest.raises(Net2VecError, match=r"image 1\.jpg has shape \(6, 9, 3\)"):
        packed.load_packed_images(dataset)
    assert not leftovers(user_cache)
