"""The inspection counts what is there, and its files appear."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.coco.dataset import CocoDataset
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.open import open_dataset
from net2vec_jax.studies import inspect_data
from net2vec_jax.studies.inspect_data import InspectionFlags, choose_pairs, main


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Four images: a cup of 1, 2, 3, 4 columns of 8; a kitchen on two; a plate in train only."""
    examples = []
    for index, split in enumerate(["train", "train", "train", "val"]):
        plane = np.zeros((1, 8, 8), np.int32)
        plane[0, :, : index + 1] = 1
        if index == 0:
            plane[0, :, 7] = 2
        scene = {"scene": (3,)} if index % 2 else {}
        image = np.full((16, 16, 3), 60 * index, np.uint8)
        labels = ImageLabels({"object": plane}, scene)
        examples.append(LabelledImage(f"{index}.jpg", split, image, labels))
    write_broden(tmp_path / "small", examples, {1: "cup", 2: "plate", 3: "kitchen-s"})
    return tmp_path / "small"


def test_counts_and_sheets(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    main(InspectionFlags(dataset=str(directory), out=out, rows=1))
    with (out / "concept_counts.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["cup"] == {
        "number": "1", "name": "cup", "category": "object", "train_images": "3", "val_images": "1",
        "coverage": f"{(1 + 2 + 3 + 4) / 4 / 8:.6f}",
    }  # fmt: skip
    assert rows["plate"]["val_images"] == "0"
    assert rows["kitchen-s"]["coverage"] == "1.000000"
    assert sorted(path.name for path in out.iterdir()) == [
        "concept_counts.csv", "contact_sheet_object.png", "contact_sheet_scene.png",
    ]  # fmt: skip
    for path in out.glob("*.png"):
        with Image.open(path) as sheet:
            assert sheet.width > 300
    printed = capsys.readouterr().out
    assert "3 train and 1 val images of 16×16 pixels, masks of 8×8" in printed
    assert "object: 2 concepts, 1 of them not in both splits" in printed
    assert "and 1 more in concept_counts.csv" in printed
    assert "cup" in printed and "31%" in printed


def test_chosen_concepts_without_pictures(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(InspectionFlags(dataset=str(directory), out=out, images=0, concepts=("plate",)))
    assert len((out / "concept_counts.csv").read_text().splitlines()) == 2
    assert not list(out.glob("*.png"))


def test_several_sheets_of_a_category(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_data, "CONCEPTS_PER_SHEET", 1)
    main(InspectionFlags(dataset=str(directory), out=tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "contact_sheet_object_1.png", "contact_sheet_object_2.png", "contact_sheet_scene.png",
    ]  # fmt: skip


def test_images_from_the_largest_mask_to_the_smallest(directory: Path) -> None:
    masks = collect_concept_masks(BrodenDataset(directory))
    assert masks.pair_image[choose_pairs(masks, 0, 4)].tolist() == [3, 2, 1, 0]
    assert masks.pair_image[choose_pairs(masks, 0, 2)].tolist() == [2, 0]
    assert masks.pair_image[choose_pairs(masks, 1, 4)].tolist() == [0]


def test_results_that_cannot_be_written_and_bad_flags(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Net2VecError, match="file cannot be written"):
        main(InspectionFlags(dataset=str(directory), out=tmp_path / "file"))
    with pytest.raises(Net2VecError, match="must be at least 0"):
        main(InspectionFlags(dataset=str(directory), out=tmp_path / "out", images=-1))


def test_every_kind_of_dataset_is_opened_by_its_name(directory: Path, tmp_path: Path) -> None:
    def open_by_name(name: str) -> object:
        return open_dataset(name, scenes_directory=tmp_path / "scenes")

    assert isinstance(open_by_name(str(directory)), BrodenDataset)
    (tmp_path / "mine@64/images").mkdir(parents=True)
    (tmp_path / "mine@64/masks").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "mine@64/images/a.jpg")
    Image.new("L", (8, 8)).save(tmp_path / "mine@64/masks/a.png")
    (tmp_path / "mine@64/concepts.csv").write_text("number,name,category\n1,cup,object\n")
    for name, side in (("mine@64", 224), ("mine@64@32", 32)):
        dataset = open_by_name(str(tmp_path / name))
        assert isinstance(dataset, FolderDataset)
        assert dataset.image(0).shape == (side, side, 3)
    annotations = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 8]]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(annotations))
    dataset = open_by_name(f"coco:{tmp_path}/a.json:{tmp_path}/mine@64/images@48")
    assert isinstance(dataset, CocoDataset)
    assert dataset.image(0).shape == (48, 48, 3)
    with pytest.raises(Net2VecError, match="there is no dataset 'nowhere@64'"):
        open_by_name("nowhere@64")
    with pytest.raises(Net2VecError, match=r"2 to 4096 pixels, not 5000"):
        open_by_name(f"{tmp_path}/mine@64@5000")


def test_damaged_exif_data_is_passed_over_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for place in range(4):
        exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" if place else b"Exif\0\0nothing"
        Image.new("RGB", (40, 40)).save(tmp_path / f"images/{place}.jpg", exif=exif)
        Image.new("L", (40, 40), 1).save(tmp_path / f"masks/{place}.png")
    (tmp_path / "concepts.csv").write_text("number,name,category\n1,cup,object\n")
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["", "--dataset", str(tmp_path), "--out", str(out)])
    run_script(main)
    with (out / "concept_counts.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert int(row["train_images"]) + int(row["val_images"]) == 4
    assert "EXIF" not in capsys.readouterr().err
