"""COCO's annotation files become a dataset, or one message says why not."""

import json
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from coco_examples import (
    CATEGORIES,
    EXPECTED,
    HEIGHT,
    WIDTH,
    change,
    make_annotations,
    make_panoptic,
    remove,
    write,
)
from PIL import Image
from pycocotools import mask as coco_mask

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.cache import load_concept_masks, load_packed_images
from net2vec_jax.data.coco.annotations import read_coco
from net2vec_jax.data.coco.dataset import CocoDataset, CocoPart, parse_coco_name
from net2vec_jax.data.coco.regions import decode_counts
from net2vec_jax.data.images.resized import resize_mask
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks


def masks_by_name(dataset: CocoDataset, masks: ConceptMasks) -> dict[tuple[str, str], np.ndarray]:
    unpacked = masks.unpack(slice(None))
    return {
        (dataset.image_names[image], masks.catalog.concepts[place].name): mask
        for place, image, mask in zip(
            masks.pair_concept.tolist(), masks.pair_image.tolist(), unpacked, strict=True
        )
    }


def assert_expected(dataset: CocoDataset, masks: ConceptMasks, expected: dict) -> None:
    found = masks_by_name(dataset, masks)
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], resize_mask(mask, dataset.segmentation_size))


def test_masks_are_unions_and_may_overlap(tmp_path: Path) -> None:
    dataset = CocoDataset([write(tmp_path, make_annotations())], resolution=80)
    assert dataset.name == "instances"
    assert [(c.number, c.name) for c in dataset.catalog] == [(1, "dog"), (3, "cat"), (90, "sky")]
    assert dataset.categories == ("object",)
    assert set(dataset.image_names) == {"x.jpg", "sub/y.jpg", "z.jpg"}
    masks = collect_concept_masks(dataset)
    assert_expected(dataset, masks, EXPECTED)
    np.testing.assert_array_equal(masks.pixels, masks.area)
    assert dataset.image(0).shape == (80, 80, 3)
    nothing = dataset.labels(dataset.image_names.index("z.jpg"))
    assert not nothing.planes and not nothing.whole_image


def test_the_cache_holds_what_is_decoded(tmp_path: Path) -> None:
    dataset = CocoDataset([write(tmp_path, make_annotations())], resolution=32)
    for _ in range(2):
        assert_expected(dataset, load_concept_masks(dataset), EXPECTED)
        np.testing.assert_array_equal(load_packed_images(dataset).image(1), dataset.image(1))
    assert (tmp_path / "images" / ".net2vec_jax").is_dir()


def test_panoptic_things_and_stuff(tmp_path: Path) -> None:
    annotations, expected = make_panoptic(tmp_path)
    part = write(tmp_path, annotations, "panoptic.json")
    dataset = CocoDataset([part], resolution=50)
    assert_expected(dataset, collect_concept_masks(dataset), expected)
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    with pytest.raises(Net2VecError, match=r"panoptic masks, \S*panoptic, is missing"):
        CocoDataset([part])
    moved = CocoPart(part.annotations, part.images, tmp_path / "elsewhere")
    dataset = CocoDataset([moved], resolution=50)
    assert_expected(dataset, collect_concept_masks(dataset), expected)


def test_panoptic_png_with_an_unknown_segment_or_size(tmp_path: Path) -> None:
    annotations, _ = make_panoptic(tmp_path)
    annotations["annotations"][0]["segments_info"].pop()
    dataset = CocoDataset([write(tmp_path, annotations, "panoptic.json")])
    with pytest.raises(Net2VecError, match=r"x\.png: segment 260 is not among"):
        dataset.labels(dataset.image_names.index("x.jpg"))
    Image.new("RGB", (WIDTH, 7)).save(tmp_path / "panoptic/y.png")
    with pytest.raises(Net2VecError, match=r"y\.png: a panoptic mask must be.*40×60"):
        dataset.labels(dataset.image_names.index("sub/y.jpg"))


def test_two_files_are_train_and_val(tmp_path: Path) -> None:
    train, val = (write(tmp_path / split, make_annotations()) for split in ("train", "val"))
    val = CocoPart(val.annotations, (tmp_path / "val/images").rename(tmp_path / "val/pictures"))
    dataset = CocoDataset([train, val])
    assert dataset.is_val.tolist() == [False] * 3 + [True] * 3
    assert {name.split("/")[0] for name in dataset.image_names} == {"images", "pictures"}
    with pytest.raises(Net2VecError, match="share images"):
        CocoDataset([train, train])


@pytest.mark.parametrize("ids", [(0, 1, 2), (5, 70000, 6), (-1, 3, 4)])
def test_ids_that_cannot_be_numbers_are_replaced_by_places(
    ids: tuple[int, ...], tmp_path: Path
) -> None:
    annotations = make_annotations()
    new = dict(zip((3, 1, 90), ids, strict=True))
    annotations["categories"] = [c | {"id": new[c["id"]]} for c in CATEGORIES]
    for annotation in annotations["annotations"]:
        annotation["category_id"] = new[annotation["category_id"]]
    dataset = CocoDataset([write(tmp_path, annotations)])
    ordered = sorted(zip(ids, ("cat", "dog", "sky"), strict=True))
    assert [(c.number, c.name) for c in dataset.catalog] == [
        (place, name) for place, (_, name) in enumerate(ordered, start=1)
    ]
    assert_expected(dataset, collect_concept_masks(dataset), EXPECTED)


def test_missing_images_are_counted_and_named(tmp_path: Path) -> None:
    part = write(tmp_path, make_annotations())
    (tmp_path / "images/x.jpg").unlink()
    (tmp_path / "images/sub/y.jpg").unlink()
    with pytest.raises(Net2VecError, match=r"2 of 3 images of instances") as caught:
        CocoDataset([part])
    assert "x.jpg is missing" in str(caught.value)
    assert "y.jpg is missing" in str(caught.value)


def test_an_image_of_another_shape_than_the_file_says(tmp_path: Path) -> None:
    part = write(tmp_path, make_annotations())
    Image.new("RGB", (50, 50)).save(tmp_path / "images/x.jpg")
    dataset = CocoDataset([part])
    with pytest.raises(Net2VecError, match=r"x\.jpg.*50×50.*instances\.json is 40×60"):
        dataset.image(dataset.image_names.index("x.jpg"))


FIRST = ("annotations", 0)
SEGMENTATION = (*FIRST, "segmentation")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (remove("annotations"), "there is no 'annotations'"),
        (remove("categories"), "there is no 'categories'"),
        (remove("images", 0, "file_name"), "the file_name of image 10 is missing"),
        (change(("annotations",), []), "list of annotations is empty"),
        (change(("images",), "none"), "'images' must be a list, not str"),
        (change(("images", 0), 7), "images number 0 is 7, not a JSON object"),
        (change(("categories",), []), "list of categories is empty"),
        (change(("categories", 0, "id"), 1), "'cat' and 'dog' have the same id, 1"),
        (change(("categories", 0, "id"), "3"), "id of category 'cat' is the text '3'"),
        (change(("categories", 0, "name"), ""), "the name of category 3 is '', not a text"),
        (change(("images", 0, "id"), 11), "'x.jpg' and 'sub/y.jpg' have the same id, 11"),
        (change(("images", 0, "file_name"), "z.jpg"), "images 10 and 12 have the same file_name"),
        (change(("images", 0, "file_name"), "../x.jpg"), "leads out of the folder"),
        (change(("images", 0, "file_name"), 5), "is the number 5: write it as text"),
        (change(("images", 0, "height"), "40"), "the height of x.jpg is '40'"),
        (change(("images", 0, "height"), -4), "x.jpg cannot be an image of -4×60"),
        (
            change(("images", 0, "height"), 10**9),
            "1000000000×60 pixels: sizes go up to 2147 million",
        ),
        (change((*FIRST, "image_id"), 99), "annotation 1: image_id 99 is none of the images"),
        (
            change((*FIRST, "image_id"), [10]),
            r"annotation 1: image_id \[10\] is none of the images",
        ),
        (change((*FIRST, "category_id"), 7), "annotation 1: category_id 7 is none of the cat"),
        (remove(*FIRST, "category_id"), "annotation 1: category_id null is none"),
        (change(FIRST, "text"), "annotation number 0: it is 'text', not a JSON object"),
        (remove(*SEGMENTATION), "annotation 1: there is no segmentation; a box alone"),
        (change(SEGMENTATION, []), "annotation 1: there is no segmentation"),
        (change(SEGMENTATION, [[1, 2, 3, 4]]), "a polygon has 4 numbers; .* three points or more"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, 6, 7]]), "a polygon has 7 numbers"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, "6"]]), "a polygon holds '6'; write .* numbers"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, float("nan")]]), "nan is no coordinate"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5e9, 6]]), "5000000000.0 is no coordinate"),
        (change(SEGMENTATION, [5]), "a polygon is 5; write each as one list"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, 10**400]]), "is no coordinate in an image"),
        (change(SEGMENTATION, "text"), "is 'text', neither polygons nor run lengths"),
        (change(SEGMENTATION, {"counts": [1]}), "size of its run lengths is None"),
        (
            change(SEGMENTATION, {"size": [4, 4], "counts": [16]}),
            r"size of its run lengths is \[4, 4\], the image's",
        ),
        (change(SEGMENTATION, {"size": [40, 60], "counts": [5]}), "add up to 5, not 2400"),
        (change(SEGMENTATION, {"size": [40, 60], "counts": [2401, -1]}), "must be whole numbers"),
        (
            change(SEGMENTATION, {"size": [40, 60], "counts": 5}),
            "its run lengths are 5, neither a list nor a text",
        ),
    ],
)
def test_malformed_annotation_files(
    edit: Callable[[dict], None], message: str, tmp_path: Path
) -> None:
    part = write(tmp_path, make_annotations())
    annotations = make_annotations()
    edit(annotations)
    part.annotations.write_text(json.dumps(annotations))
    with pytest.raises(Net2VecError, match=rf"instances\.json(?s:.)*{message}"):
        CocoDataset([part])


@pytest.mark.parametrize("counts", ["", "0", "zzzzzzzzzzzzz", "o" * 99, "é", "\0"])
def test_damaged_compressed_run_lengths(counts: str, tmp_path: Path) -> None:
    annotations = make_annotations()
    annotations["annotations"][0]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    with pytest.raises(
        Net2VecError, match=r"instances\.json: annotation 1: .*damaged \(image 'x\.jpg'\)"
    ):
        CocoDataset([write(tmp_path, annotations)])


def test_all_bad_annotations_are_listed(tmp_path: Path) -> None:
    annotations = make_annotations()
    for annotation in annotations["annotations"]:
        annotation["category_id"] = 1000
    with pytest.raises(Net2VecError) as caught:
        CocoDataset([write(tmp_path, annotations)])
    assert all(f"annotation {id}: category_id 1000" in str(caught.value) for id in range(1, 6))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(Net2VecError, match=r"a\.json is not a JSON file"):
            read_coco(CocoPart(tmp_path / "a.json", tmp_path))
    with pytest.raises(Net2VecError, match=r"nowhere\.json is missing"):
        read_coco(CocoPart(tmp_path / "nowhere.json", tmp_path))


@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_run_lengths_are_decoded_as_by_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 90), rng.integers(1, 90))) < rng.random() ** 3
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = decode_counts(encoded["counts"].decode(), mask.size)
    values = np.arange(len(counts)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, counts), mask.ravel(order="F"))


@hypothesis.given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_as_run_lengths_is_decoded_or_refused(text: str) -> None:
    try:
        counts = decode_counts(text, 100)
    except Net2VecError:
        return
    assert sum(counts) == 100


def test_names_of_coco_datasets() -> None:
    one = CocoPart(Path("a/instances.json"), Path("val2017"))
    assert parse_coco_name("coco:a/instances.json:val2017") == [one]
    assert parse_coco_name("coco:A.JSON:val2017") == [CocoPart(Path("A.JSON"), Path("val2017"))]
    assert parse_coco_name("coco:C:/a.json:D:/images") == [
        CocoPart(Path("C:/a.json"), Path("D:/images"))
    ]
    two = CocoPart(Path("p.json"), Path("i"), Path("png"))
    assert parse_coco_name("coco:a/instances.json:val2017,p.json:i:png") == [one, two]
    packed = [CocoPart(Path("a.json.gz"), Path("images"))]  # of which reading says what to do
    assert parse_coco_name("coco:a.json.gz:images") == packed
    for text in ("coco:", "coco:a.json", "coco:images:a.json", "coco:a.txt:images"):
        with pytest.raises(Net2VecError, match="no COCO dataset: write"):
            parse_coco_name(text)
