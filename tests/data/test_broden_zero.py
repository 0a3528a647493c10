"""Whole-image number 0, which 1,987 rows of the published Broden have: no label, but data.

Reference spec 1.6, 5.3, Q-7, B-2: a row of nothing but 0 is dropped; elsewhere the category has
data, so that the original's choice of category may take it, which then marks every pixel.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.torch_reference.segmentation import read_mask
from net2vec_jax.data.broden.counts import count_label_pixels
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ConceptDataset, LabelledImage
from net2vec_jax.data.masks import CategoryChoice, collect_concept_masks
from net2vec_jax.data.tfds.builders import prepare_broden

MARKED = np.array([[1, 0], [1, 0]])
"""Half of the pixels."""
FUR, STREET = 1, 2


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Fur is an object and a texture; the original takes the object first (spec 5.3)."""
    (tmp_path / "broden/images").mkdir(parents=True)
    rows = [
        ("a", "train", "", "fur.png", "0"),  # fur in a texture plane, no object
        ("b", "train", "0", "fur.png", "0;2"),  # the same, and an object 0
        ("c", "train", "0", "", "0"),  # nothing but 0
        ("d", "val", "fur.png;0", "0", "2"),  # 0 beside a plane
        ("e", "val", "0", "0;fur.png", ""),
    ]
    lines = ["image,split,ih,iw,sh,sw,object,texture,scene"]
    for name, split, *cells in rows:
        Image.new("RGB", (4, 4)).save(tmp_path / f"broden/images/{name}.jpg")
        lines.append(",".join([f"{name}.jpg", split, "4,4,2,2", *cells]))
    plane = np.zeros((2, 2, 3), np.uint8)
    plane[..., 0] = MARKED * FUR
    Image.fromarray(plane).save(tmp_path / "broden/images/fur.png")
    (tmp_path / "broden/index.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "broden/label.csv").write_text(
        "number,name,category\n0,background,\n1,fur,object(1);texture(3)\n2,street-s,scene(2)\n"
    )
    return tmp_path / "broden"


def test_number_0_marks_nothing_and_a_row_of_it_alone_is_dropped(directory: Path) -> None:
    dataset = BrodenDataset(directory)
    assert dataset.image_names == ("a.jpg", "b.jpg", "d.jpg", "e.jpg")
    assert [concept.number for concept in dataset.catalog] == [FUR, STREET]
    whole = [dict(dataset.labels(index).whole_image) for index in range(4)]
    assert whole == [
        {"scene": (0,)},
        {"object": (0,), "scene": (0, 2)},
        {"object": (0,), "texture": (0,), "scene": (2,)},
        {"object": (0,), "texture": (0,)},
    ]
    assert BrodenDataset(directory, categories=["texture"]).image_names == (
        "a.jpg",
        "b.jpg",
        "e.jpg",
    )
    # Four planes of two pixels, two images of four.
    np.testing.assert_array_equal(count_label_pixels(dataset), [0, 8, 8])


@pytest.mark.parametrize(
    ("choice", "fur", "pixels"),
    [
        ("union", [MARKED] * 4, [2, 2, 2, 2]),
        ("containing", [MARKED] * 4, [2, 2, 2, 2]),
        # Where the object cell is 0, it is the first category with data, and all of it counts.
        ("first_available", [MARKED, MARKED * 0 + 1, MARKED, MARKED * 0 + 1], [2, 4, 2, 4]),
    ],
)
def test_masks_of_images_with_number_0(
    directory: Path, choice: CategoryChoice, fur: list[np.ndarray], pixels: list[int]
) -> None:
    dataset = BrodenDataset(directory)
    masks = collect_concept_masks(dataset, category_choice=choice)
    assert masks.pair_concept.tolist() == [0, 0, 0, 0, 1, 1]
    assert masks.pair_image.tolist() == [0, 1, 2, 3, 1, 2]
    np.testing.assert_array_equal(masks.unpack(slice(None)), [*fur, [[1, 1]] * 2, [[1, 1]] * 2])
    assert masks.pixels.tolist() == [*pixels, 4, 4]
    assert masks.whole_image.tolist() == [p == 4 for p in pixels] + [True, True]
    np.testing.assert_array_equal(masks.train_coverage(), [sum(pixels[:2]) / 8, 1])
    if choice == "union":
        for pair, (concept, image) in enumerate(
            zip(masks.pair_concept, masks.pair_image, strict=True)
        ):
            number = dataset.catalog.concepts[concept].number
            np.testing.assert_array_equal(
                read_mask(dataset, image, number), masks.unpack([pair])[0]
            )


def assert_same(read: ConceptDataset, expected: ConceptDataset) -> None:
    assert read.image_names == expected.image_names
    for index in range(len(expected)):
        found, wanted = read.labels(index), expected.labels(index)
        assert dict(found.whole_image) == dict(wanted.whole_image)
        assert set(found.planes) == set(wanted.planes)
        for category, planes in wanted.planes.items():
            np.testing.assert_array_equal(found.planes[category], planes)


def test_zeros_survive_the_writer_and_tfds(directory: Path, tmp_path: Path) -> None:
    dataset = BrodenDataset(directory)
    examples = [
        LabelledImage(name, "train", dataset.image(index), dataset.labels(index))
        for index, name in enumerate(dataset.image_names)
    ]
    write_broden(tmp_path / "copy", examples, {FUR: "fur", STREET: "street-s"})
    copy = BrodenDataset(tmp_path / "copy")
    assert_same(copy, dataset)
    assert [(c.number, dict(c.categories)) for c in copy.catalog] == [
        (FUR, {"texture": 3, "object": 1}),
        (STREET, {"scene": 2}),
    ]
    assert "\n0," not in (tmp_path / "copy/label.csv").read_text()
    prepared = prepare_broden(directory, tmp_path / "tfds")
    assert_same(prepared, dataset)
    np.testing.assert_array_equal(count_label_pixels(prepared), count_label_pixels(dataset))
