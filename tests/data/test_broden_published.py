"""The real tables of the published Broden, with stand-in photographs and label planes."""

from __future__ import annotations

import collections
import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
from published_broden import CATEGORIES, copy_published_tables, write_stand_ins

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.broden.counts import check_tables, count_label_pixels, published_counts
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.tables import read_index
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.tfds.builders import prepare_broden
from net2vec_jax.probes.presets import PresetName
from net2vec_jax.runs.flags import ClassificationFlags, SegmentationFlags
from net2vec_jax.studies import classification, segmentation

SAMPLE = slice(0, None, 150)
"""216 of the 32,313 rows."""
MARKED = {"color": [1, 2, 3], "object": [12, 13, 19], "part": [21, 300], "material": [17]}
"""What the stand-in planes show; 300 needs the second byte."""
NAMES = {1: "black-c", 12: "wall", 19: "person", 21: "head", 59: "street-s"}


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> Path:
    path = shared_dir / "broden_published"
    if not path.is_dir():
        pytest.skip(f"the tables of the published Broden are absent: {path}")
    return path


@pytest.fixture(scope="module")
def rows(published: Path) -> list[dict[str, str]]:
    with (published / "index_ade20k_pascal_224.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(
    published: Path, rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> BrodenDataset:
    """All rows; nothing but tables."""
    folder = tmp_path_factory.mktemp("whole") / "broden1_224"
    copy_published_tables(published, folder, rows)
    return BrodenDataset(folder, allow_missing=True)


@pytest.fixture(scope="module")
def sample(
    published: Path, rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> BrodenDataset:
    """216 rows with stand-ins for all their files."""
    folder = tmp_path_factory.mktemp("sample") / "broden1_224"
    copy_published_tables(published, folder, rows[SAMPLE])
    write_stand_ins(folder, rows[SAMPLE], MARKED)
    return BrodenDataset(folder)


def test_labels_are_the_published_ones(whole: BrodenDataset) -> None:
    assert len(whole.catalog) == 1197
    assert [concept.number for concept in whole.catalog] == list(range(1, 1198))
    assert whole.categories == CATEGORIES
    assert whole.notices == ()
    # Spec 1.10.
    numbers = {
        "person": 19, "table": 27, "chair": 36, "car": 38, "sofa": 63, "bottle": 70, "dog": 93,
        "cat": 105, "bicycle": 115, "boat": 123, "bird": 128, "pottedplant": 145, "airplane": 154,
        "tvmonitor": 168, "horse": 183, "motorbike": 184, "train": 185, "bus": 203, "sheep": 243,
        "cow": 251,
    }  # fmt: skip
    for name, number in numbers.items():
        assert whole.catalog.by_number[number].name == name
    # Spec 1.8: 682 labels whose primary category marks pixels; numbers and labels as expected.
    checks = {
        check.name: check
        for check in check_tables(whole, 224, published_counts(), whole.image_size)
    }
    for name in ("labels", "labels that mark pixels", "label numbers", "label plane height"):
        assert checks[name].agrees, checks[name]


def test_rows_keep_their_order_and_their_split(
    whole: BrodenDataset, rows: list[dict[str, str]]
) -> None:
    assert whole.image_names == tuple(row["image"] for row in rows)
    assert len(whole) == 32313
    digests = [hashlib.md5(name.encode()).digest()[:8] for name in whole.image_names]
    place = np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])
    np.testing.assert_array_equal(whole.is_val, place > 0.7)  # spec 1.7
    assert np.array_equal(whole.is_val, np.sort(whole.is_val))  # train comes first
    sources = np.array([name.partition("/")[0] for name in whole.image_names])
    for source in ("ade20k", "pascal"):
        assert (np.diff(place[sources == source]) > 0).all()


def test_scenes_are_counted_as_published(whole: BrodenDataset, published: Path) -> None:
    _, rows = read_index(whole.directory / "index.csv")
    scenes = collections.Counter(row.whole_image.get("scene") for row in rows)
    assert scenes.pop((0,)) == 1987
    scenes.pop(None)
    table = read_table(published / "c_scene.csv")
    assert len(table) == 468
    assert scenes == {(int(row["number"]),): int(row["frequency"]) for row in table}
    planes = collections.Counter(len(row.planes.get("part", ())) for row in rows)
    assert planes == {0: 10650, 1: 17410, 2: 4079, 3: 174}


def test_a_sample_is_read_with_all_its_planes(
    sample: BrodenDataset, rows: list[dict[str, str]]
) -> None:
    chosen = rows[SAMPLE]
    assert len(sample) == len(chosen) == 216
    assert sum(row["scene"] == "0" for row in chosen) > 10
    parts = set()
    for index, row in enumerate(chosen):
        labels = sample.labels(index)
        for category, numbers in MARKED.items():
            planes = labels.planes.get(category, np.zeros((0, 112, 112)))
            assert planes.shape == (len([n for n in row[category].split(";") if n]), 112, 112)
            assert set(np.unique(planes)) <= {0, *numbers}
        assert labels.whole_image.get("scene", ()) == ((int(row["scene"]),) if row["scene"] else ())
        parts.add(len(labels.planes.get("part", ())))
    assert {0, 1, 2} <= parts
    assert sample.image(0).shape == (224, 224, 3)


def test_zeros_change_nothing_but_the_rows_that_have_them(
    sample: BrodenDataset, tmp_path: Path
) -> None:
    """Masks and pixels are those of an index whose scene cells are empty instead."""
    (tmp_path / "b").mkdir()
    for path in sample.directory.iterdir():
        (tmp_path / "b" / path.name).symlink_to(path)
    text = (sample.directory / "index.csv").read_text()
    (tmp_path / "b/index.csv").unlink()
    (tmp_path / "b/index.csv").write_text(text.replace(",0,", ",,"))
    without = BrodenDataset(tmp_path / "b")
    assert without.fingerprint != sample.fingerprint
    np.testing.assert_array_equal(count_label_pixels(without), count_label_pixels(sample))
    for choice in ("union", "first_available"):
        found, expected = (
            collect_concept_masks(dataset, category_choice=choice) for dataset in (sample, without)
        )
        for field in ("pair_concept", "pair_image", "packed", "pixels", "whole_image"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert 0 not in sample.catalog.by_number


def test_zeros_go_through_tfds(sample: BrodenDataset, tmp_path: Path) -> None:
    prepared = prepare_broden(sample.directory, tmp_path)
    assert prepared.image_names == sample.image_names
    np.testing.assert_array_equal(count_label_pixels(prepared), count_label_pixels(sample))
    for index in range(len(sample)):
        assert dict(prepared.labels(index).whole_image) == dict(sample.labels(index).whole_image)


@pytest.mark.parametrize("preset", ["paper", "reference_code"])
def test_both_probes_run(sample: BrodenDataset, tmp_path: Path, preset: PresetName) -> None:
    masks = collect_concept_masks(sample)
    activations = np.random.default_rng(0).standard_normal((216, 7, 7, 5)).astype(np.float32)
    # Filter 0 sees persons: one position per block of a stand-in plane.
    place = [concept.number for concept in masks.catalog].index(19)
    persons = np.flatnonzero(masks.pair_concept == place)
    activations[masks.pair_image[persons], :, :, 0] += 100 * masks.unpack(persons)[:, 8::16, 8::16]
    np.save(tmp_path / "a.npy", activations)
    shared = {
        "dataset": str(sample.directory),
        "activation_array": tmp_path / "a.npy",
        "preset": preset,
        "epochs": 2,
        "concepts": tuple(NAMES.values()),
        "bootstrap_samples": 20,
        "cache_data": False,
    }
    segmentation.main(SegmentationFlags(out=tmp_path / "s", quantile=0.2, **shared))
    found = {row["concept"]: row for row in read_table(tmp_path / "s/segmentation.csv")}
    concepts = {row["name"]: row for row in read_table(tmp_path / "s/concepts.csv")}
    assert set(concepts) == set(NAMES.values())
    train, val = masks.count_images()
    for number, name in NAMES.items():
        place = [concept.number for concept in masks.catalog].index(number)
        assert int(concepts[name]["number"]) == number
        assert int(concepts[name]["train_images"]) == train[place]
        assert int(concepts[name]["val_images"]) == val[place]
    assert float(concepts["street-s"]["train_coverage"]) == 1
    assert all(0 <= float(row["val_iou"]) <= 1 for row in found.values())
    single = {row["concept"]: row for row in read_table(tmp_path / "s/single_filter.csv")}
    assert single["person"]["best_filter"] == "0"
    assert float(single["person"]["val_iou"]) > 0.4

    classification.main(ClassificationFlags(out=tmp_path / "c", minimum_images=1, **shared))
    accuracies = {row["concept"]: row for row in read_table(tmp_path / "c/classification.csv")}
    assert "street-s" in accuracies
    assert set(accuracies) <= set(NAMES.values())
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in accuracies.values())


def test_a_number_that_is_no_label_is_still_refused(
    published: Path, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    wrong = [dict(row) for row in rows[:3]]
    wrong[1]["scene"] = "1198"
    copy_published_tables(published, tmp_path / "b", wrong)
    with pytest.raises(Net2VecError, match="line 3, column scene: label number 1198 is not in"):
        BrodenDataset(tmp_path / "b", allow_missing=True)
