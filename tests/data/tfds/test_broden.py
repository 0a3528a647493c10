"""A Broden directory, what is prepared from it for TFDS, and the scenes drawn for TFDS agree."""

import dataclasses
import shutil
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, LabelledImage, map_in_order
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.data.scenes.draw import SCENE_CONCEPTS, draw_scenes
from net2vec_jax.data.tfds import builders as tfds_builders
from net2vec_jax.data.tfds.broden import TfdsBrodenDataset
from net2vec_jax.data.tfds.builders import Broden, BrodenConfig, prepare_broden, prepare_scenes
from net2vec_jax.data.tfds.open import open_tfds

IMAGES = 20
NAMES = {1: "dog, small", 2: "größer", 300: "tail", 65535: "last"}


def assert_equal_labels(read: ImageLabels, expected: ImageLabels) -> None:
    assert list(read.planes) == list(expected.planes)
    for category, planes in expected.planes.items():
        assert read.planes[category].dtype == planes.dtype
        np.testing.assert_array_equal(read.planes[category], planes)
    assert list(read.whole_image.items()) == list(expected.whole_image.items())


def assert_equal_masks(read: ConceptMasks, expected: ConceptMasks) -> None:
    for field in dataclasses.fields(ConceptMasks):
        found, wanted = getattr(read, field.name), getattr(expected, field.name)
        if isinstance(wanted, np.ndarray):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted, err_msg=field.name)
        else:
            assert found == wanted, field.name


def assert_equal_tables(read: ConceptDataset, expected: ConceptDataset) -> None:
    assert read.name == expected.name
    assert read.catalog == expected.catalog
    assert [tuple(c.categories) for c in read.catalog] == [
        tuple(c.categories) for c in expected.catalog
    ]
    assert read.categories == expected.categories
    assert read.image_names == expected.image_names
    np.testing.assert_array_equal(read.is_val, expected.is_val)
    assert read.segmentation_size == expected.segmentation_size
    assert len(read) == len(expected)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> BrodenDataset:
    directory = tmp_path_factory.mktemp("broden") / "scenes"
    names = {number: name for number, (name, _) in SCENE_CONCEPTS.items()}
    write_broden(directory, draw_scenes(IMAGES, workers=1), names)
    return BrodenDataset(directory)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def prepared(scenes: BrodenDataset, data_dir: Path) -> TfdsBrodenDataset:
    return prepare_broden(scenes.directory, data_dir)


def encoded_image(dataset: TfdsBrodenDataset, index: int) -> bytes:
    """The image file of the Broden directory, byte for byte."""
    return bytes(dataset._read(index)["image"])


def test_scenes_survive_bit_for_bit(scenes: BrodenDataset, prepared: TfdsBrodenDataset) -> None:
    assert set(scenes.is_val.tolist()) == {True, False}
    assert_equal_tables(prepared, scenes)
    for index, name in enumerate(scenes.image_names):
        file = scenes.directory / "images" / name
        assert encoded_image(prepared, index) == file.read_bytes()
        np.testing.assert_array_equal(prepared.image(index), scenes.image(index))
        assert_equal_labels(prepared.labels(index), scenes.labels(index))
    for choice in ("union", "first_available"):
        assert_equal_masks(
            collect_concept_masks(prepared, category_choice=choice),
            collect_concept_masks(scenes, category_choice=choice),
        )


def test_scenes_builder_writes_what_the_directory_holds(
    scenes: BrodenDataset, prepared: TfdsBrodenDataset, data_dir: Path
) -> None:
    drawn = prepare_scenes(data_dir, images=IMAGES)
    assert drawn.directory == data_dir / f"scenes/images_{IMAGES}/1.0.0"
    assert_equal_tables(drawn, scenes)
    assert drawn.source_fingerprint == scenes.fingerprint
    for index in range(len(scenes)):
        assert encoded_image(drawn, index) == encoded_image(prepared, index)
    assert_equal_masks(collect_concept_masks(drawn), collect_concept_masks(scenes))


def test_default_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def draw_few(count: int, *, seed: int) -> Iterator[LabelledImage]:
        asked.append((count, seed))
        return draw_scenes(2, seed=seed, workers=1)

    monkeypatch.setattr(tfds_builders, "draw_scenes", draw_few)
    drawn = prepare_scenes(tmp_path)
    assert prepare_scenes(tmp_path).fingerprint == drawn.fingerprint
    assert drawn.directory == tmp_path / "scenes/images_800/1.0.0"
    assert asked == [(800, 0)]
    other = prepare_scenes(tmp_path, seed=1)
    assert other.directory.parent.name == "images_800_seed_1"
    assert other.fingerprint != drawn.fingerprint
    assert open_tfds("scenes", data_dir=tmp_path).fingerprint == drawn.fingerprint


def test_fingerprint_follows_the_content(
    scenes: BrodenDataset, prepared: TfdsBrodenDataset, tmp_path: Path
) -> None:
    again = prepare_broden(scenes.directory, tmp_path / "again")
    assert again.fingerprint == prepared.fingerprint
    changed = tmp_path / "changed" / "scenes"
    shutil.copytree(scenes.directory, changed)
    image = changed / "images" / scenes.image_names[0]
    content = bytearray(image.read_bytes())
    content[-10] ^= 1  # the size stays
    image.write_bytes(content)
    other = prepare_broden(changed, tmp_path / "other")
    assert other.source_fingerprint == prepared.source_fingerprint
    assert other.fingerprint != prepared.fingerprint


def test_camvid_is_the_same_through_both_readers(
    camvid: BrodenDataset, camvid_masks: ConceptMasks, tmp_path: Path
) -> None:
    read = prepare_broden(camvid.directory, tmp_path)
    assert_equal_tables(read, camvid)
    assert_equal_masks(collect_concept_masks(read), camvid_masks)
    for index, name in enumerate(camvid.image_names):
        assert encoded_image(read, index) == (camvid.directory / "images" / name).read_bytes()
    for index in range(0, len(camvid), 100):
        np.testing.assert_array_equal(read.image(index), camvid.image(index))


def make_examples() -> Iterator[LabelledImage]:
    """Several planes, numbers beside planes in a cell, images that lack categories; val first."""
    rng = np.random.default_rng(0)
    numbers = np.array([0, 1, 300, 65535])
    for index, split in enumerate(["val", "train", "val", "train", "train"]):
        planes = {
            "part": rng.choice(numbers, (3, 4, 5)).astype(np.int32),
            "object": rng.choice(numbers, (1 + index % 2, 4, 5)).astype(np.int32),
        }
        whole = {"texture": (300, 1), "object": (2,)} if index in (1, 3, 4) else {}
        if index == 4:
            planes = {}
        image = rng.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        yield LabelledImage(f"ä/{index}.jpg", split, image, ImageLabels(planes, whole))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_broden(tmp_path / "source", make_examples(), NAMES)
    return tmp_path / "source"


def test_layers_numbers_and_order_survive(directory: Path, tmp_path: Path) -> None:
    expected = BrodenDataset(directory)
    read = prepare_broden(directory, tmp_path / "tfds", name="mine")
    assert read.directory == tmp_path / "tfds/broden/mine/1.0.0"
    assert_equal_tables(read, expected)
    assert read.is_val.tolist() == [True, False, True, False, False]
    for index in range(len(expected)):
        assert_equal_labels(read.labels(index), expected.labels(index))
    for choice in ("union", "containing", "first_available"):
        assert_equal_masks(
            collect_concept_masks(read, category_choice=choice),
            collect_concept_masks(expected, category_choice=choice),
        )


def test_files_of_another_unicode_form_are_stored(directory: Path, tmp_path: Path) -> None:
    expected = prepare_broden(directory, tmp_path / "before")
    composed = directory / "images" / "ä"
    composed.rename(directory / "images" / unicodedata.normalize("NFD", "ä"))
    assert not composed.exists()
    read = prepare_broden(directory, tmp_path / "after")
    assert read.image_names == expected.image_names
    for index in range(len(expected)):
        assert encoded_image(read, index) == encoded_image(expected, index)
        assert_equal_labels(read.labels(index), expected.labels(index))


def test_what_the_directory_says_of_itself_is_said_again(directory: Path, tmp_path: Path) -> None:
    with (directory / "label.csv").open("a") as table:
        table.write("7,ghost,weather(3),3,3,\n")
    read = prepare_broden(directory, tmp_path / "tfds")
    assert read.notices == BrodenDataset(directory).notices
    assert "weather" in read.notices[0] and "ghost" in read.notices[0]


@given(
    planes=arrays(np.int32, (2, 3, 5), elements=st.sampled_from(sorted(NAMES))),
    numbers=st.lists(st.sampled_from(sorted(NAMES)), max_size=4),
)
@settings(max_examples=10)
def test_any_labels_survive(
    tmp_path_factory: pytest.TempPathFactory, planes: np.ndarray, numbers: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    labels = ImageLabels({"part": planes}, {"texture": tuple(numbers)} if numbers else {})
    image = np.zeros((6, 10, 3), np.uint8)
    write_broden(folder / "source", [LabelledImage("a.jpg", "train", image, labels)], NAMES)
    read = prepare_broden(folder / "source", folder / "tfds")
    assert_equal_labels(read.labels(0), labels)


def test_one_split_only(tmp_path: Path) -> None:
    examples = [e for e in make_examples() if e.split == "train"]
    write_broden(tmp_path / "source", examples, NAMES)
    read = prepare_broden(tmp_path / "source", tmp_path / "tfds")
    assert read.is_val.tolist() == [False] * 3
    assert_equal_masks(
        collect_concept_masks(read), collect_concept_masks(BrodenDataset(tmp_path / "source"))
    )


def test_threads_read_the_same_as_one_thread(prepared: TfdsBrodenDataset) -> None:
    order = np.random.default_rng(0).integers(0, len(prepared), 300).tolist()
    one_by_one = [encoded_image(prepared, index) for index in range(len(prepared))]
    fresh = TfdsBrodenDataset(type(prepared._records)(prepared.directory))  # no file open yet
    in_threads = map_in_order(lambda index: encoded_image(fresh, index), order, workers=16)
    assert all(read == one_by_one[i] for i, read in zip(order, in_threads, strict=True))


def test_written_once(directory: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "tfds"
    first = prepare_broden(directory, data_dir)
    files = sorted(first.directory.iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    assert prepare_broden(directory, data_dir).fingerprint == first.fingerprint
    assert [path.stat().st_mtime_ns for path in files] == times


def test_several_at_once_write_one(directory: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as executor:
        done = executor.map(lambda _: prepare_broden(directory, tmp_path / "tfds"), range(4))
    assert len({dataset.fingerprint for dataset in done}) == 1
    assert [path.name for path in (tmp_path / "tfds/broden/source").iterdir()] == ["1.0.0"]


def test_builder_needs_no_word_about_the_format(scenes: BrodenDataset, tmp_path: Path) -> None:
    config = BrodenConfig(name="mine", find_directory=lambda: scenes.directory)
    builder = Broden(data_dir=tmp_path, config=config)
    builder.download_and_prepare()
    sources = builder.as_data_source()
    shapes = [record["image"].shape for source in sources.values() for record in source]
    assert shapes == [(224, 224, 3)] * len(scenes)


def test_another_directory_of_that_name_is_refused(directory: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "tfds"
    first = prepare_broden(directory, data_dir)
    (tmp_path / "else").mkdir()
    write_broden(tmp_path / "else" / "source", list(make_examples())[:3], NAMES)
    with pytest.raises(
        Net2VecError, match=r"1.0.0 was written from another state of .*else/source"
    ):
        prepare_broden(tmp_path / "else" / "source", data_dir)
    assert len(open_tfds("broden", data_dir=data_dir)) == len(first)
    assert len(prepare_broden(tmp_path / "else" / "source", data_dir, name="else")) == 3


def test_prepared_complete_or_not_at_all(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = directory / "images/ä/3.jpg"
    read_file = tfds_builders._read_file

    def fail_late(path: Path) -> bytes:
        if path == missing:
            path.unlink()
        return read_file(path)

    monkeypatch.setattr(tfds_builders, "_read_file", fail_late)
    with pytest.raises(Net2VecError, match=r"^\S*ä/3\.jpg cannot be read: No such file"):
        prepare_broden(directory, tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*array_record*"))
    with pytest.raises(Net2VecError, match=r"broden is not prepared"):
        open_tfds("broden", data_dir=tmp_path / "tfds")


def test_data_directory_that_cannot_be_written(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Net2VecError, match=r"broden cannot be written to .*file/tfds"):
        prepare_broden(directory, tmp_path / "file" / "tfds")
    for name in ("../x", "..", "my data", ""):
        with pytest.raises(Net2VecError, match="cannot be a name in TFDS"):
            prepare_broden(directory, tmp_path / "tfds", name=name)
    assert not (tmp_path / "tfds").exists()
