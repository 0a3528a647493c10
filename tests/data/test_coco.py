"""COCO's annotation files become a dataset, or one message says why not."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from net2vec_jax.data.coco import CocoDataset, CocoPart, parse_coco_name
from net2vec_jax.data.coco_annotations import _decode_counts, read_coco
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.data.packed import load_concept_masks, load_packed_images
from net2vec_jax.data.resized_files import resize_mask
from net2vec_jax.errors import Net2VecError

HEIGHT, WIDTH = 40, 60
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 90, "name": "sky"}]


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(top: int, left: int, bottom: int, right: int) -> list[float]:
    """Of the pixels top … bottom − 1, left … right − 1: their outer corners."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask: np.ndarray, *, compressed: bool) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if compressed:
        return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    runs = np.diff([0, *ends, mask.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": runs}


def make_annotations() -> dict[str, Any]:
    """Image 10 shows a dog before a cat and two more dogs, image 11 a crowd, image 12 nothing."""
    names = {10: "x.jpg", 11: "sub/y.jpg", 12: "z.jpg"}
    two = [polygon(30, 0, 40, 10), polygon(30, 20, 40, 30)]
    crowd = run_lengths(rectangle(0, 0, 13, 60), compressed=True)
    single = run_lengths(rectangle(20, 5, 33, 17), compressed=False)
    regions = [
        (1, 10, 3, [polygon(0, 0, 20, 40)], 0),
        (2, 10, 1, [polygon(10, 20, 30, 60)], 0),
        (3, 10, 1, two, 0),
        (4, 11, 1, crowd, 1),
        (5, 11, 1, single, 0),
    ]
    return {
        "info": {"year": 2024},
        "images": [
            {"id": id, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for id, name in names.items()
        ],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [
            {"id": id, "image_id": image, "category_id": c, "segmentation": s, "iscrowd": crowd}
            for id, image, c, s, crowd in regions
        ],
    }


EXPECTED = {
    ("x.jpg", "cat"): rectangle(0, 0, 20, 40),
    ("x.jpg", "dog"): rectangle(10, 20, 30, 60)
    | rectangle(30, 0, 40, 10)
    | rectangle(30, 20, 40, 30),
    ("sub/y.jpg", "dog"): rectangle(0, 0, 13, 60) | rectangle(20, 5, 33, 17),
}


def write(root: Path, annotations: dict[str, Any], name: str = "instances.json") -> CocoPart:
    for image in annotations["images"]:
        path = root / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 199)).save(path)
    (root / name).write_text(json.dumps(annotations))
    return CocoPart(root / name, root / "images")


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


def make_panoptic(root: Path) -> tuple[dict[str, Any], dict]:
    """Segments of things and stuff; numbers of segments need all three bytes."""
    annotations = make_annotations()
    del annotations["annotations"]
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[:10], ids[20:30, :30], ids[20:30, 40:] = 70000, 5, 260
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    folder = root / "panoptic"
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "x.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "y.png")
    segments = [
        {"id": 70000, "category_id": 90},
        {"id": 5, "category_id": 1},
        {"id": 260, "category_id": 1},
    ]
    annotations["annotations"] = [
        {"image_id": 10, "file_name": "x.png", "segments_info": segments},
        {"image_id": 11, "file_name": "y.png", "segments_info": []},
    ]
    expected = {
        ("x.jpg", "sky"): rectangle(0, 0, 10, 60),
        ("x.jpg", "dog"): rectangle(20, 0, 30, 30) | rectangle(20, 40, 30, 60),
    }
    return annotations, expected


def test_panoptic_things_and_stuff(tmp_path: Path) -> None:
    annotations, expected = make_panoptic(tmp_path)
    part = write(tmp_path, annotations, "panoptic.json")
    dataset = CocoDataset([part], resolution=50)
    assert_expected(dataset, collect_concept_masks(dataset), expected)
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    with pytest.raises(Net2VecError, match=r"panoptic/.\.png is missing"):
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
    other = make_annotations()
    other["categories"] = [*CATEGORIES, {"id": 4, "name": "cow"}]
    write(tmp_path / "val", other)
    with pytest.raises(Net2VecError, match="have other categories"):
        CocoDataset([train, val])


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
    with pytest.raises(Net2VecError, match=r"2 files that instances names") as caught:
        CocoDataset([part])
    assert "x.jpg is missing" in str(caught.value)
    assert "y.jpg is missing" in str(caught.value)


def test_an_image_of_another_shape_than_the_file_says(tmp_path: Path) -> None:
    part = write(tmp_path, make_annotations())
    Image.new("RGB", (50, 50)).save(tmp_path / "images/x.jpg")
    dataset = CocoDataset([part])
    with pytest.raises(Net2VecError, match=r"x\.jpg.*50×50.*instances\.json is 40×60"):
        dataset.image(dataset.image_names.index("x.jpg"))


def change(where: tuple, value: object) -> Callable[[dict], None]:
    def edit(annotations: dict) -> None:
        for key in where[:-1]:
            annotations = annotations[key]
        annotations[where[-1]] = value

    return edit


def remove(*where: object) -> Callable[[dict], None]:
    def edit(annotations: dict) -> None:
        for key in where[:-1]:
            annotations = annotations[key]
        del annotations[where[-1]]

    return edit


FIRST = ("annotations", 0)
SEGMENTATION = (*FIRST, "segmentation")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (remove("annotations"), "there is no 'annotations'"),
        (remove("categories"), "there is no 'categories'"),
        (remove("images", 0, "file_name"), "there is no 'file_name'"),
        (remove("images", 0, "height"), "there is no 'height'"),
        (change(("annotations",), []), "no images, or no annotations"),
        (change(("images",), "none"), "no annotation file of COCO's form"),
        (change(("categories",), []), "or there is none"),
        (change(("categories", 0, "id"), 1), "two categories have the same id"),
        (change(("categories", 0, "id"), "3"), "a category's id is '3', not a whole number"),
        (change(("categories", 0, "name"), ""), "category 3 has no name"),
        (change(("images", 0, "id"), 11), "two images have the same id"),
        (change(("images", 0, "file_name"), "z.jpg"), "same id or file_name"),
        (change(("images", 0, "file_name"), "../x.jpg"), "not a path below images/"),
        (change(("images", 0, "file_name"), 5), "is no text"),
        (change(("images", 0, "height"), "40"), "the height of x.jpg is '40'"),
        (change(("images", 0, "height"), -4), "x.jpg cannot be an image of -4×60"),
        (change(("images", 0, "height"), 10**9), "cannot be an image of 1000000000×60"),
        (change((*FIRST, "image_id"), 99), "annotation 1: image_id 99 is none of the images"),
        (change((*FIRST, "image_id"), [10]), "annotation 1 is malformed: TypeError"),
        (change((*FIRST, "category_id"), 7), "annotation 1: category_id 7 is none of the cat"),
        (remove(*FIRST, "category_id"), "annotation 1 is malformed: KeyError 'category_id'"),
        (change(FIRST, "text"), "no annotation file|annotation number 0 is malformed"),
        (remove(*SEGMENTATION), "annotation 1: there is no segmentation; a box alone"),
        (change(SEGMENTATION, []), "annotation 1: there is no segmentation"),
        (change(SEGMENTATION, [[1, 2, 3, 4]]), "annotation 1: a polygon needs x, y of at least"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, 6, 7]]), "a polygon needs x, y"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, "6"]]), "'6' is no coordinate"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5, float("nan")]]), "nan is no coordinate"),
        (change(SEGMENTATION, [[1, 2, 3, 4, 5e9, 6]]), "5000000000.0 is no coordinate"),
        (change(SEGMENTATION, [5]), "a polygon needs x, y"),
        (change(SEGMENTATION, {"counts": [1]}), "malformed: KeyError 'size'"),
        (change(SEGMENTATION, {"size": [4, 4], "counts": [16]}), r"size is \[4, 4\], the image's"),
        (change(SEGMENTATION, {"size": [40, 60], "counts": [5]}), "add up to 5, not 2400"),
        (change(SEGMENTATION, {"size": [40, 60], "counts": [2401, -1]}), "must be whole numbers"),
        (change(SEGMENTATION, {"size": [40, 60], "counts": 5}), "malformed: TypeError"),
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
    dataset = CocoDataset([write(tmp_path, annotations)])
    with pytest.raises(Net2VecError, match=r"instances\.json: annotation 1 of x\.jpg.*damaged"):
        dataset.labels(dataset.image_names.index("x.jpg"))


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
            read_coco(tmp_path / "a.json")
    with pytest.raises(Net2VecError, match=r"nowhere\.json cannot be read"):
        read_coco(tmp_path / "nowhere.json")


@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_run_lengths_are_decoded_as_by_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 90), rng.integers(1, 90))) < rng.random() ** 3
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = _decode_counts(encoded["counts"].decode(), mask.size)
    values = np.arange(len(counts)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, counts), mask.ravel(order="F"))


@hypothesis.given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_as_run_lengths_is_decoded_or_refused(text: str) -> None:
    try:
        counts = _decode_counts(text, 100)
    except Net2VecError:
        return
    assert sum(counts) == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["id", "image_id", "category_id", "file_name", "height", "width", "name",
                         "segmentation", "size", "counts", "segments_info"]), inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@hypothesis.given(
    place=st.sampled_from([
        ("images",), ("categories",), ("annotations",), ("images", 0), ("categories", 0), FIRST,
        SEGMENTATION, (*FIRST, "image_id"), (*FIRST, "category_id"), ("images", 0, "height"),
        (*SEGMENTATION, 0), ("annotations", 3, "segmentation", "counts"),
    ]),
    value=JSON,
)  # fmt: skip
@hypothesis.settings(max_examples=200)
def test_any_value_anywhere_is_read_or_refused(
    place: tuple, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    annotations = make_annotations()
    change(place, value)(annotations)
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(annotations))
    try:
        read = read_coco(path)
    except Net2VecError as error:
        assert re.match(re.escape(str(path)), str(error))
        return
    assert read.images


def test_names_of_coco_datasets() -> None:
    one = CocoPart(Path("a/instances.json"), Path("val2017"))
    assert parse_coco_name("coco:a/instances.json:val2017") == [one]
    assert parse_coco_name("coco:C:/a.json:D:/images") == [
        CocoPart(Path("C:/a.json"), Path("D:/images"))
    ]
    two = CocoPart(Path("p.json"), Path("i"), Path("png"))
    assert parse_coco_name("coco:a/instances.json:val2017,p.json:i:png") == [one, two]
    for text in ("coco:", "coco:a.json", "coco:images:a.json", "coco:a.json:b,c.json:d,e.json:f"):
        with pytest.raises(Net2VecError, match="no COCO dataset: write"):
            parse_coco_name(text)
