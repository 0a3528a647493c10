"""TFDS's own datasets, in data that TFDS's own builders wrote, become concepts with right masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfds_writer import encode, write_tfds

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.tfds.concepts import ADE20K_INSTANCE_CLASSES, ADE20K_NAMES
from net2vec_jax.data.tfds.open import open_tfds

SIZE = (90, 120)
"""Of the images as TFDS has them."""


def photograph(level: int, size: tuple[int, int] = SIZE) -> bytes:
    return encode(np.full((*size, 3), (level, 100, 200), np.uint8), "JPEG")


def halves(left: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 mask: `left` in the left half, `right` in the right."""
    mask = np.full(size, left, np.uint8)
    mask[:, size[1] // 2 :] = right
    return mask


def name_of(dataset: ConceptDataset) -> dict[str, int]:
    return {concept.name: concept.number for concept in dataset.catalog}


def check_sizes(dataset: ConceptDataset, resolution: int = 224) -> None:
    half = resolution // 2
    assert dataset.segmentation_size == (half, half)
    for index in range(len(dataset)):
        image = dataset.image(index)
        assert image.shape == (resolution, resolution, 3)
        assert image.dtype == np.uint8
        labels = dataset.labels(index)
        assert set(labels.planes) | set(labels.whole_image) <= set(dataset.categories)
        for planes in labels.planes.values():
            assert planes.shape[1:] == (half, half)
            assert planes.dtype == np.int32


def pet(label: int, species: int, mask: np.ndarray, level: int = 50) -> Mapping[str, Any]:
    import tensorflow_datasets as tfds

    return {
        "image": photograph(level, mask.shape),
        "label": label,
        "species": species,
        "file_name": f"{label}_{level}.jpg",
        "segmentation_mask": encode(mask),
        "head_bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5),
    }


def test_pets(tmp_path: Path) -> None:
    mask = halves(2, 1)
    mask[:, 60:64] = 3
    write_tfds(
        "oxford_iiit_pet",
        tmp_path,
        {
            "train": [pet(0, 0, mask), pet(4, 1, np.full((50, 30), 1, np.uint8), 250)],
            "test": [pet(36, 1, mask)],
        },
    )
    dataset = open_tfds("oxford_iiit_pet", data_dir=tmp_path)
    check_sizes(dataset)
    assert dataset.name == "oxford_iiit_pet"
    assert dataset.image_names == ("train/000000", "train/000001", "test/000000")
    assert dataset.is_val.tolist() == [False, False, True]
    assert dataset.categories == ("object", "breed")
    assert len(dataset.catalog) == 4 + 37
    # JPEG costs a flat colour a rounding or two.
    np.testing.assert_allclose(dataset.image(1)[0, 0].astype(int), (250, 100, 200), atol=3)
    names = name_of(dataset)
    first, second, third = (dataset.labels(index) for index in range(3))
    # The border is 4 of 120 columns, from 60 on; column i of 112 shows column i · 119 / 111.
    columns = np.floor(np.arange(112) * 119 / 111 + 0.5)
    expected = np.where(columns < 60, 0, np.where(columns < 64, names["border"], names["pet"]))
    assert (first.planes["object"][0] == expected).all()
    assert ((first.planes["object"][1] == names["cat"]) == (expected == names["pet"])).all()
    assert first.whole_image == {"breed": (names["Abyssinian"],)}
    assert (second.planes["object"][0] == names["pet"]).all()
    assert (second.planes["object"][1] == names["dog"]).all()
    assert second.whole_image == {"breed": (names["beagle"],)}
    assert third.whole_image == {"breed": (names["yorkshire_terrier"],)}
    masks = collect_concept_masks(dataset)
    train, val = masks.count_images()
    place = {concept.name: at for at, concept in enumerate(masks.catalog)}
    assert [int(train[place[name]]) for name in ("pet", "border", "cat", "dog")] == [2, 1, 1, 1]
    assert [int(val[place[name]]) for name in ("pet", "border", "cat", "dog")] == [1, 1, 0, 1]
    assert masks.whole_image[masks.pair_concept == place["beagle"]].all()


def test_resolution(tmp_path: Path) -> None:
    write_tfds("oxford_iiit_pet", tmp_path, {"train": [pet(0, 0, halves(2, 1))]})
    default = open_tfds("oxford_iiit_pet", data_dir=tmp_path)
    same = open_tfds("oxford_iiit_pet@224", data_dir=tmp_path)
    other = open_tfds("oxford_iiit_pet:4.0.0@227", data_dir=tmp_path)
    check_sizes(other, 227)
    assert default.fingerprint == same.fingerprint != other.fingerprint


def test_a_feature_names_the_groups(tmp_path: Path) -> None:
    pets = [pet(label, 0, halves(2, 1), 50 + at) for at, label in enumerate([3, 0, 3])]
    write_tfds("oxford_iiit_pet", tmp_path, {"train": pets, "test": [pet(0, 0, halves(2, 1))]})
    alone = open_tfds("oxford_iiit_pet", data_dir=tmp_path)
    assert alone.image_groups is None
    by_breed = open_tfds("oxford_iiit_pet@64#label", data_dir=tmp_path)
    assert by_breed.image_groups.tolist() == [0, 1, 0, 1]
    assert "(1 of 2: 0)" in by_breed.notices[0]
    by_name = open_tfds("oxford_iiit_pet#file_name", data_dir=tmp_path)
    assert by_name.image_groups.tolist() == [0, 1, 2, 3]
    assert len({data.fingerprint for data in (alone, by_breed, by_name)}) == 3
    with pytest.raises(Net2VecError, match="unknown feature 'lable'; did you mean 'label'"):
        open_tfds("oxford_iiit_pet#lable", data_dir=tmp_path)
    with pytest.raises(Net2VecError, match=r"train/000000, feature head_bbox: the group is"):
        open_tfds("oxford_iiit_pet#head_bbox", data_dir=tmp_path)


def test_fingerprint_of_adapted_data_follows_the_content(tmp_path: Path) -> None:
    fingerprints = []
    for folder, label in (("a", 0), ("b", 0), ("c", 1)):
        write_tfds("oxford_iiit_pet", tmp_path / folder, {"train": [pet(label, 0, halves(2, 1))]})
        fingerprints.append(open_tfds("oxford_iiit_pet", data_dir=tmp_path / folder).fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_unlabelled_images_and_unknown_classes(tmp_path: Path) -> None:
    examples = [
        pet(-1, -1, halves(2, 1)),
        pet(0, 0, halves(2, 4)),
        {**pet(0, 0, halves(2, 1)), "segmentation_mask": encode(np.zeros((9, 9, 3), np.uint8))},
        {**pet(0, 0, halves(2, 1)), "segmentation_mask": b"no image", "image": b"none"},
    ]
    write_tfds("oxford_iiit_pet", tmp_path, {"train": examples})
    dataset = open_tfds("oxford_iiit_pet", data_dir=tmp_path)
    labels = dataset.labels(0)
    assert labels.planes["object"].shape == (1, 112, 112)
    assert labels.whole_image == {}
    for index, message in [
        (1, r"4\.0\.0: train/000001, feature segmentation_mask: pixel value 4 is no class"),
        (2, r"train/000002, feature segmentation_mask: .* one channel of 8 bits; it is a RGB"),
        (3, r"train/000003, feature segmentation_mask cannot be decoded"),
    ]:
        with pytest.raises(Net2VecError, match=message):
            dataset.labels(index)
    with pytest.raises(Net2VecError, match=r"train/000003, feature image cannot be decoded"):
        dataset.image(3)


def scene(annotation: np.ndarray) -> Mapping[str, Any]:
    return {"image": photograph(10), "annotation": encode(annotation)}


def test_ade20k_names_are_at_their_numbers() -> None:
    known = {1: "wall", 13: "person", 21: "car", 64: "blind", 100: "buffet", 127: "animal"}
    assert {number: ADE20K_NAMES[number - 1] for number in known} == known
    assert (len(ADE20K_NAMES), len(set(ADE20K_NAMES)), ADE20K_NAMES[-1]) == (150, 150, "flag")
    assert len(ADE20K_INSTANCE_CLASSES) == 100
    # The benchmark's instance classes begin: bed, windowpane, cabinet, person, door, table.
    assert ADE20K_INSTANCE_CLASSES[:6] == (8, 9, 11, 13, 15, 16)


def test_ade20k_with_grey_annotations_has_150_concepts(tmp_path: Path) -> None:
    examples = {"train": [scene(halves(0, 13))], "test": [scene(halves(150, 1))]}
    write_tfds("scene_parse150", tmp_path, examples)
    dataset = open_tfds("scene_parse150", data_dir=tmp_path)
    check_sizes(dataset)
    assert dataset.is_val.tolist() == [False, True]
    assert [c.name for c in dataset.catalog] == list(ADE20K_NAMES)
    assert [c.number for c in dataset.catalog] == list(range(1, 151))
    plane = dataset.labels(0).planes["object"][0]
    assert not plane[:, :56].any()
    assert (plane[:, 56:] == name_of(dataset)["person"]).all()
    assert set(np.unique(dataset.labels(1).planes["object"])) == {1, 150}


def test_ade20k_with_instances_has_the_100_countable_concepts(tmp_path: Path) -> None:
    annotation = np.stack([halves(1, 4), halves(7, 9), halves(0, 0)], axis=-1)  # class, instance
    beyond = np.stack([halves(0, 101), halves(0, 1), halves(0, 0)], axis=-1)
    examples = [scene(annotation), scene(beyond), scene(halves(0, 13))]
    write_tfds("scene_parse150", tmp_path, {"train": examples})
    dataset = open_tfds("scene_parse150", data_dir=tmp_path)
    assert len(dataset.catalog) == 100
    names = name_of(dataset)
    plane = dataset.labels(0).planes["object"][0]
    assert (plane[:, :56] == names["bed"]).all()
    assert (plane[:, 56:] == names["person"]).all()
    assert (names["bed"], names["person"]) == (8, 13)  # the same numbers as among the 150
    with pytest.raises(Net2VecError, match=r"train/000001, feature annotation: pixel value 101"):
        dataset.labels(1)
    with pytest.raises(Net2VecError, match=r"train/000002, .*must be RGB .*it is a L image"):
        dataset.labels(2)


def test_textures(tmp_path: Path) -> None:
    names = ["banded", "blotchy", "zigzagged"]

    def texture(name: str) -> Mapping[str, Any]:
        return {"file_name": f"{name}/1.jpg", "image": photograph(90), "label": name}

    write_tfds(
        "dtd",
        tmp_path,
        dict(zip(("train", "test", "validation"), ([texture(n)] for n in names), strict=True)),
    )
    dataset = open_tfds("dtd", data_dir=tmp_path)
    check_sizes(dataset)
    assert dataset.image_names == ("train/000000", "validation/000000", "test/000000")
    assert dataset.is_val.tolist() == [False, False, True]
    assert len(dataset.catalog) == 47
    assert {concept.primary_category for concept in dataset.catalog} == {"texture"}
    found = [dataset.labels(index) for index in range(3)]
    numbers = name_of(dataset)
    assert [labels.whole_image for labels in found] == [
        {"texture": (numbers[name],)} for name in ("banded", "zigzagged", "blotchy")
    ]
    masks = collect_concept_masks(dataset)
    assert masks.whole_image.all()
    assert (masks.area == 112 * 112).all()


def street(left: int, right: int) -> Mapping[str, Any]:
    size = (1024, 2048)
    return {
        "image_id": "bonn_000001_000019",
        "image_left": encode(np.zeros((*size, 3), np.uint8)),
        "segmentation_label": encode(halves(left, right, size)),
    }


def test_streets(tmp_path: Path) -> None:
    splits = {"train": [street(7, 26)], "validation": [street(255, 24)], "test": [street(0, 1)]}
    write_tfds("cityscapes", tmp_path, splits, config="semantic_segmentation")
    dataset = open_tfds("cityscapes", data_dir=tmp_path)
    check_sizes(dataset)
    assert dataset.image_names == ("train/000000", "validation/000000")  # test has no labels
    assert dataset.is_val.tolist() == [False, True]
    assert len(dataset.catalog) == 27
    names = name_of(dataset)
    plane = dataset.labels(0).planes["object"][0]
    assert (plane[:, :56] == names["road"]).all()
    assert (plane[:, 56:] == names["car"]).all()
    assert set(np.unique(dataset.labels(1).planes["object"])) == {0, names["person"]}


def test_coarse_streets_train_on_the_extra_split(tmp_path: Path) -> None:
    splits = {"train": [street(7, 8)], "validation": [street(7, 8)], "train_extra": [street(9, 34)]}
    write_tfds("cityscapes", tmp_path, splits, config="semantic_segmentation_extra")
    dataset = open_tfds("cityscapes/semantic_segmentation_extra", data_dir=tmp_path)
    assert dataset.name == "cityscapes_semantic_segmentation_extra"
    assert dataset.is_val.tolist() == [False, False, True]
    with pytest.raises(Net2VecError, match=r"train_extra/000000, .* value 34 is no class"):
        dataset.labels(1)


def test_config_without_labels_is_refused(tmp_path: Path) -> None:
    images = {"image_left": street(7, 7)["image_left"], "image_right": street(7, 7)["image_left"]}
    mask = street(7, 7)["segmentation_label"]
    example = {"image_id": "bonn_000001_000019", **images, "disparity_map": mask}
    write_tfds("cityscapes", tmp_path, {"train": [example]}, config="stereo_disparity")
    with pytest.raises(Net2VecError, match=r"1\.0\.0 has no segmentation_label, only .*disparity"):
        open_tfds("cityscapes", data_dir=tmp_path)


def test_data_without_a_split_that_is_used_are_refused(tmp_path: Path) -> None:
    write_tfds("cityscapes", tmp_path, {"test": [street(0, 1)]}, config="semantic_segmentation")
    with pytest.raises(Net2VecError, match=r"no images in the splits train, train_extra, valid"):
        open_tfds("cityscapes", data_dir=tmp_path)


def test_class_names_must_be_there(tmp_path: Path) -> None:
    directory = write_tfds("oxford_iiit_pet", tmp_path, {"train": [pet(0, 0, halves(2, 1))]})
    (directory / "label.labels.txt").unlink()
    with pytest.raises(Net2VecError, match=r"label\.labels\.txt is missing: it names the classes"):
        open_tfds("oxford_iiit_pet", data_dir=tmp_path)
