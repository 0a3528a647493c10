"""Damaged or inconsistent data in TFDS's format: each is refused with a message that names it."""

import json
from pathlib import Path

import numpy as np
import pytest
from tfds_writer import encode

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.tfds.broden import TfdsBrodenDataset
from net2vec_jax.data.tfds.builders import prepare_broden
from net2vec_jax.data.tfds.open import open_tfds

NAMES = {1: "dog", 2: "cat", 300: "tail"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Five images; those at 1 and 3 have numbers beside their planes, that at 4 no planes."""
    rng = np.random.default_rng(0)
    examples = []
    for index, split in enumerate(["val", "train", "val", "train", "train"]):
        planes = {
            "part": rng.choice([0, 1, 300], (3, 4, 5)).astype(np.int32),
            "object": rng.choice([0, 1, 300], (1, 4, 5)).astype(np.int32),
        }
        whole = {"texture": (300, 1), "object": (2,)} if index in (1, 3, 4) else {}
        image = rng.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        labels = ImageLabels({} if index == 4 else planes, whole)
        examples.append(LabelledImage(f"ä/{index}.jpg", split, image, labels))
    write_broden(tmp_path / "source", examples, NAMES)
    return tmp_path / "source"


@pytest.fixture
def mine(directory: Path, tmp_path: Path) -> Path:
    return prepare_broden(directory, tmp_path / "tfds").directory


def reopen(directory: Path) -> TfdsBrodenDataset:
    return open_tfds("broden", data_dir=directory.parents[2])


def edit_metadata(directory: Path, **changes: object) -> None:
    path = directory / "metadata.json"
    metadata = json.loads(path.read_text())
    assert set(changes) <= set(metadata)
    metadata.update(changes)
    path.write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"net2vec_format": 2}, r"metadata\.json: net2vec_format is 2.*reads 1"),
        ({"concepts": [[1, "dog"]]}, r"metadata\.json is not as net2vec_jax writes it"),
        ({"concepts": [[0, "x", [["part", 1]], "part"]]}, "metadata.json is not as.*number 0"),
        ({"concepts": [[70000, "x", [["part", 1]], "part"]]}, "not as net2vec_jax.*70000"),
        ({"image_size": [0, 4]}, "not as net2vec_jax.*positive"),
        ({"image_size": 4}, "not as net2vec_jax"),
        ({"categories": None}, "not as net2vec_jax"),
        ({"sha256": []}, "not as net2vec_jax"),
        ({"images": []}, "lists no image"),
        ({"images": [["a", "train"], ["a", "val"]]}, "lists an image twice"),
        ({"images": [["a", "train"], ["b", "test"]]}, "'test'; it must be train or val"),
        ({"images": [["a", "train"], ["b", "val"]]}, "lists 1 images of split .* 3 are stored"),
    ],
)
def test_malformed_metadata(mine: Path, changes: dict, message: str) -> None:
    edit_metadata(mine, **changes)
    with pytest.raises(Net2VecError, match=message):
        reopen(mine)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1}', "\xff"])
def test_metadata_that_is_not_ours(mine: Path, text: str) -> None:
    (mine / "metadata.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Net2VecError, match=r"metadata\.json|1\.0\.0 holds no dataset"):
        reopen(mine)


def test_missing_metadata(mine: Path) -> None:
    (mine / "metadata.json").unlink()
    with pytest.raises(Net2VecError, match=r"metadata.json is missing: .*not written by net2vec"):
        reopen(mine)


def test_labels_that_the_metadata_does_not_know(mine: Path) -> None:
    metadata = json.loads((mine / "metadata.json").read_text())
    edit_metadata(mine, concepts=[c for c in metadata["concepts"] if c[0] != 300])
    with pytest.raises(Net2VecError, match=r"ä/0.jpg, plane 1 of category .*: concept number 300"):
        reopen(mine).labels(0)
    edit_metadata(mine, concepts=[c for c in metadata["concepts"] if c[0] != 2])
    with pytest.raises(Net2VecError, match=r"ä/1.jpg, category object: concept number 2 is not in"):
        reopen(mine).labels(1)
    edit_metadata(mine, concepts=metadata["concepts"], categories=["object", "texture"])
    with pytest.raises(Net2VecError, match=r"ä/0.jpg has a label of category 'part', which"):
        reopen(mine).labels(0)


def test_sizes_and_names_that_do_not_agree(mine: Path) -> None:
    metadata = json.loads((mine / "metadata.json").read_text())
    edit_metadata(mine, image_size=[8, 8], segmentation_size=[4, 4])
    dataset = reopen(mine)
    with pytest.raises(Net2VecError, match=r"image ä/1.jpg: the image is 8×10 pixels.*8×8"):
        dataset.image(1)
    with pytest.raises(Net2VecError, match=r"ä/1.jpg, plane 1 of category object: .* is 4×5.*4×4"):
        dataset.labels(1)
    swapped = [metadata["images"][at] for at in (2, 1, 0, 3, 4)]
    edit_metadata(mine, images=swapped)
    with pytest.raises(Net2VecError, match=r"record 0 of split 'val' is ä/0.jpg, but .*ä/2.jpg"):
        reopen(mine).image(0)


def test_missing_and_damaged_files(mine: Path) -> None:
    (path,) = mine.glob("*train*array_record*")
    whole = path.read_bytes()
    refused = 0
    for length in [0, 10, len(whole) // 2, len(whole) - 30]:
        path.write_bytes(whole[:length])
        with pytest.raises(Net2VecError, match=r"train|1\.0\.0"):
            dataset = reopen(mine)
            for index in np.flatnonzero(~dataset.is_val).tolist():
                dataset.labels(index)
        refused += 1
    assert refused == 4
    path.unlink()
    with pytest.raises(Net2VecError, match=rf"{path.name} is missing"):
        reopen(mine)


def test_an_image_that_is_none(directory: Path, tmp_path: Path) -> None:
    (directory / "images/ä/1.jpg").write_bytes(b"no image")
    plane = directory / "images/ä/2_object.png"
    plane.write_bytes(encode(np.zeros((4, 5), np.uint8)))
    read = prepare_broden(directory, tmp_path / "tfds")
    with pytest.raises(Net2VecError, match=r"image ä/1.jpg cannot be decoded as an image"):
        read.image(1)
    with pytest.raises(Net2VecError, match=r"ä/2.jpg, plane 1 of category object: .*8-bit RGB"):
        collect_concept_masks(read)
