"""COCO files as exporters really write them: read, refused, or read without what is bad.

The table is in docs/data.md. Every image is 60 × 80 pixels and shows a mug on a quarter of it.
"""

from __future__ import annotations

import copy
import gzip
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_examples import change, make_mugs, remove, show, write_mugs
from hostile import (
    assert_documented,
    refuse,
    rows_of,
    unchanged,
    write_earlier_results,
    write_png_header,
)
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.bad_images import leave_out_bad_images
from net2vec_jax.data.coco.dataset import CocoDataset, CocoPart, parse_coco_name
from net2vec_jax.data.masks import collect_concept_masks

Content = dict[str, Any]
MUG = make_mugs()["annotations"][0]["segmentation"]
TRIANGLE = [(10, 10), (50, 10), (50, 40)]
ALL_MUGS = {"mug": (4, 4, 25)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with eight photographs, beside earlier results."""
    write_earlier_results(tmp_path)
    write_mugs(tmp_path)
    return tmp_path


def put(root: Path, content: object) -> CocoPart:
    (root / "a.json").write_text(json.dumps(content))
    return CocoPart(root / "a.json", root / "images")


def one_more(segmentation: object, **more: object) -> Callable[[Content], None]:
    """Annotation 99, beside the good ones."""

    def edit(content: Content) -> None:
        annotation = {"id": 99, "image_id": 3, "category_id": 1, "segmentation": segmentation}
        content["annotations"].append(annotation | more)

    return edit


def run_lengths(value: Callable[[int], object] = int, size: tuple[int, int] = (60, 80)) -> Content:
    flat = np.zeros((60, 80), int)
    flat[10:40, 10:50] = 1
    edges = np.flatnonzero(np.diff(flat.T.ravel())) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return {"size": [*size], "counts": [value(run) for run in runs]}


def rename_images(pattern: str) -> Callable[[Content], None]:
    def edit(content: Content) -> None:
        for image in content["images"]:
            image["file_name"] = pattern.format(image["file_name"])

    return edit


def for_all(list_name: str, edit: Callable[[dict], object]) -> Callable[[Content], None]:
    def edit_all(content: Content) -> None:
        for entry in content[list_name]:
            edit(entry)

    return edit_all


BAD_ANNOTATIONS: dict[str, Callable[[Content], None]] = {
    "COCO annotation that is a box only": one_more([], bbox=[10, 10, 40, 30]),
    "COCO segmentation null": one_more(None),
    "COCO segmentation of an empty polygon": one_more([[]]),
    "COCO polygon of two points": one_more([[39.5, 8.5, 39.5, 8.5]]),
    "COCO polygon of an odd number of coordinates": one_more([[1, 2, 3, 4, 5, 6, 7]]),
    "COCO polygon that is not in a list of polygons": one_more(MUG[0]),
    "COCO polygon of points [x, y]": one_more([[10, 10], [50, 10], [50, 40]]),
    "COCO polygons of points [x, y]": one_more([[[10, 10], [50, 10], [50, 40]]]),
    "COCO polygon of points as objects": one_more([{"x": x, "y": y} for x, y in TRIANGLE]),
    "COCO polygons of points as objects": one_more([[{"x": x, "y": y} for x, y in TRIANGLE]]),
    "COCO coordinate that is a text": one_more([[1, 2, 3, 4, 5, "6"]]),
    "COCO coordinate NaN": one_more([[1, 2, 3, float("nan"), 5, 6]]),
    "COCO coordinate far outside": one_more([[10, 10, 800, 10, 50, 40]]),
    "COCO run lengths of another size": one_more(run_lengths(size=(30, 160))),
    "COCO run lengths with height and width swapped": one_more(run_lengths(size=(80, 60))),
    "COCO run lengths that are floats": one_more(run_lengths(float)),
    "COCO run lengths that do not add up": one_more({"size": [60, 80], "counts": [7]}),
    "COCO run lengths of str(bytes)": one_more({"size": [60, 80], "counts": "b'abc'"}),
    "COCO run lengths that are damaged": one_more({"size": [60, 80], "counts": "zzz"}),
    "COCO annotation of an image that is not listed": one_more(MUG, image_id=77),
    "COCO annotation whose image_id is a text": one_more(MUG, image_id="3"),
    "COCO annotation of an unknown category": one_more(MUG, category_id=7),
    "COCO annotation of category null": one_more(MUG, category_id=None),
}


@pytest.mark.parametrize("case", BAD_ANNOTATIONS)
def test_bad_annotations_stop_or_are_left_out(root: Path, case: str) -> None:
    content = make_mugs()
    BAD_ANNOTATIONS[case](content)
    part = put(root, content)
    row = rows_of(__file__, "test_bad_annotations_stop_or_are_left_out")[case]
    refuse(row, root, lambda: CocoDataset([part]))
    with unchanged(root):
        dataset = CocoDataset([part], skip_bad_annotations=True)
        assert show(dataset) == ALL_MUGS
    (reason,) = dataset.skipped_annotations.values()
    with pytest.raises(Net2VecError, match="--skip-bad-annotations") as refused:
        CocoDataset([part])
    assert dataset.skipped_annotations == {"annotation 99": reason}
    assert f"a.json: annotation 99: {reason}\n" in str(refused.value)


def in_json(edit: Callable[[Content], object]) -> Callable[[Content, Path], object]:
    return lambda content, root: edit(content)


def name_image(name: str) -> Callable[[Content, Path], object]:
    return in_json(change(("images", 2, "file_name"), name))


def move_deeper(content: Content, root: Path) -> None:
    (root / "images/more").mkdir()
    (root / "images/2.jpg").rename(root / "images/more/2.JPG")


def encode_name(content: Content, root: Path) -> None:
    content["images"][2]["file_name"] = "my%20mug.jpg"
    (root / "images/2.jpg").rename(root / "images/my mug.jpg")


def damage_without_size(content: Content, root: Path) -> None:
    del content["images"][2]["height"]
    (root / "images/2.jpg").write_bytes(b"none")


BAD_IMAGES: dict[str, Callable[[Content, Path], object]] = {
    "COCO image whose file is missing": lambda content, root: (root / "images/2.jpg").unlink(),
    "COCO image in another folder below": move_deeper,
    "COCO name that is percent-encoded": encode_name,
    "COCO name with backslashes": name_image("shots\\2.jpg"),
    "COCO name that is an absolute path": name_image("/home/user/data/2.jpg"),
    "COCO name that is an absolute path of Windows": name_image("C:\\data\\2.jpg"),
    "COCO name that is an address": name_image("https://example.org/2.jpg"),
    "COCO name that leads out": name_image("../runs/2.jpg"),
    "COCO height that is a text": in_json(change(("images", 2, "height"), "60")),
    "COCO height of zero": in_json(change(("images", 2, "height"), 0)),
    "COCO size beyond the limit": in_json(
        lambda content: content["images"][2].update(height=50_000, width=50_000)
    ),
    "COCO image without sizes whose file is damaged": damage_without_size,
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_bad_images_stop_or_are_left_out(root: Path, case: str) -> None:
    content = make_mugs()
    BAD_IMAGES[case](content, root)
    part = put(root, content)
    row = rows_of(__file__, "test_bad_images_stop_or_are_left_out")[case]
    refuse(row, root, lambda: CocoDataset([part]))
    with unchanged(root):
        dataset = leave_out_bad_images(CocoDataset([part], allow_missing=True))
        shown = show(dataset)
    assert sum(shown["mug"][:2]) == 7
    assert shown["mug"][2] == 25
    (reason,) = dataset.left_out.values()
    with pytest.raises(Net2VecError, match="--skip-bad-images") as refused:
        CocoDataset([part])
    assert f"1 of 8 images of a cannot be used: {reason}\n" in str(refused.value)


def test_images_without_any_that_can_be_used_are_refused_in_any_case(root: Path) -> None:
    content = make_mugs()
    rename_images("/data/{}")(content)
    row = rows_of(__file__, "test_images_without_any_that_can_be_used_are_refused_in_any_case")
    part = put(root, content)
    for skip in (False, True):
        refuse(
            row["COCO names that are all absolute paths"],
            root,
            lambda skip=skip: CocoDataset([part], allow_missing=skip),
        )


def swap_sizes(image: dict) -> None:
    image["height"], image["width"] = image["width"], image["height"]


REFUSED: dict[str, Callable[[Content], object]] = {
    "COCO file of boxes only": for_all("annotations", lambda a: a.update(segmentation=[])),
    "COCO coordinates that are fractions": for_all(
        "annotations", lambda a: a.update(segmentation=[[0.1, 0.1, 0.6, 0.1, 0.6, 0.6]])
    ),
    "COCO image id twice": change(("images", 3, "id"), 2),
    "COCO image listed twice": lambda content: content["images"].append(
        content["images"][2] | {"id": 77}
    ),
    "COCO image listed twice in two spellings": lambda content: content["images"].append(
        content["images"][2] | {"id": 77, "file_name": "./2.jpg"}
    ),
    "COCO category id twice": lambda content: content["categories"].append(
        {"id": 1, "name": "cup"}
    ),
    "COCO category ids that are texts": change(("categories", 0, "id"), "1"),
    "COCO category name that is a number": change(("categories", 0, "name"), 0),
    "COCO category without name": remove("categories", 0, "name"),
    "COCO images of flickr_url alone": for_all(
        "images", lambda image: image.update(flickr_url=f"http://a/{image.pop('file_name')}")
    ),
    "COCO file without categories": remove("categories"),
    "COCO file without annotations": change(("annotations",), []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_coco_files_that_are_refused(root: Path, case: str) -> None:
    content = make_mugs()
    REFUSED[case](content)
    part = put(root, content)
    row = rows_of(__file__, "test_coco_files_that_are_refused")[case]
    for skip in (False, True):
        refuse(
            row,
            root,
            lambda skip=skip: CocoDataset([part], allow_missing=skip, skip_bad_annotations=skip),
        )


OTHER_FILES: dict[str, object] = {
    "COCO file cut off": json.dumps(make_mugs())[:700],
    "COCO file that is compressed": gzip.compress(json.dumps(make_mugs()).encode()),
    "COCO file in UTF-16": json.dumps(make_mugs()).encode("utf-16"),
    "detection results in the place of a COCO file": [
        {"image_id": 0, "category_id": 1, "segmentation": MUG, "score": 0.9}
    ],
    "LabelMe file in the place of a COCO file": {"shapes": [], "imagePath": "0.jpg"},
    "VIA project in the place of a COCO file": {"_via_settings": {}, "_via_img_metadata": {}},
    "VIA file in the place of a COCO file": {"0.jpg5": {"filename": "0.jpg", "regions": []}},
    "Label Studio's own file in the place of a COCO file": [{"data": {}, "annotations": []}],
    "Pascal VOC's file in the place of a COCO file": "<annotation></annotation>",
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_files_that_are_no_coco(root: Path, case: str) -> None:
    content = OTHER_FILES[case]
    if isinstance(content, bytes):
        (root / "a.json").write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "a.json").write_text(text)
    part = CocoPart(root / "a.json", root / "images")
    row = rows_of(__file__, "test_files_that_are_no_coco")[case]
    refuse(row, root, lambda: CocoDataset([part]))


def test_height_and_width_swapped(root: Path) -> None:
    content = make_mugs()
    for_all("images", swap_sizes)(content)
    row = rows_of(__file__, "test_height_and_width_swapped")["COCO height and width swapped"]
    dataset = CocoDataset([put(root, content)])
    refuse(row, root, lambda: dataset.image(dataset.image_names.index("2.jpg")))


def test_images_beyond_the_limit_say_it_and_what_to_do(root: Path) -> None:
    content = make_mugs()
    content["images"][2] |= {"height": 13_000, "width": 15_000}
    write_png_header(root / "images/2.jpg", 15_000, 13_000)
    row = rows_of(__file__, "test_images_beyond_the_limit_say_it_and_what_to_do")
    dataset = CocoDataset([put(root, content)])
    index = dataset.image_names.index("2.jpg")
    refuse(row["COCO image beyond the limit"], root, lambda: dataset.image(index))


def test_at_most_two_parts() -> None:
    row = rows_of(__file__, "test_at_most_two_parts")["COCO dataset of three parts"]
    with pytest.raises(Net2VecError) as refused:
        parse_coco_name("coco:a.json:a,b.json:b,c.json:c")
    assert_documented(row, refused.value)


def write_bom(content: Content, root: Path) -> None:
    (root / "a.json").write_text(json.dumps(content), encoding="utf-8-sig")


def use_addresses(content: Content, root: Path) -> None:
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    (root / "images/train2017").mkdir()  # LVIS's val images are in two folders of COCO
    (root / "images/5.jpg").rename(root / "images/train2017/5.jpg")


def decompose(content: Content, root: Path) -> None:
    """The name as Linux writes it, the file as macOS does."""
    content["images"][2]["file_name"] = "é.jpg"
    (root / "images/2.jpg").rename(root / "images" / unicodedata.normalize("NFD", "é.jpg"))


def remove_sizes(content: Content, root: Path) -> None:
    for image in content["images"]:
        del image["height"], image["width"]


def share_a_name(content: Content, root: Path) -> None:
    content["categories"] = [{"id": 186, "name": "mug"}, {"id": 1333, "name": "mug"}]
    for place, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = 186 if place % 2 else 1333


def mark_nothing(content: Content, root: Path) -> None:
    one_more([[5, 5, 20, 20, 50, 50, 5, 5]])(content)
    one_more({"size": [60, 80], "counts": [4800]})(content)


def mark_nothing_alone(content: Content, root: Path) -> None:
    """On images 2, 3 and 4, of which the last has a mug beside its spoon."""
    content["categories"].append({"id": 2, "name": "spoon"})
    content["annotations"][2]["segmentation"] = [[5, 5, 10, 10, 20, 20]]
    content["annotations"][3]["segmentation"] = {"size": [60, 80], "counts": [4800]}
    one_more([[7, 7, 7, 7, 7, 7, 7, 7]], image_id=4, category_id=2)(content)


def put_a_space_behind(content: Content, root: Path) -> None:
    content["categories"] = [{"id": 1, "name": "mug"}, {"id": 2, "name": " mug "}]
    for place, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = 1 + place % 2


def annotate_larger_ones(content: Content, root: Path) -> None:
    """Polygons and run lengths of images of 180 megapixels, whose files are reduced copies."""
    height, width = 60 * 200, 80 * 200 - 100  # up to rounding
    for image in content["images"]:
        image |= {"height": height, "width": width}
    for place, annotation in enumerate(content["annotations"]):
        top, left, bottom, right = 2000, 2000, 8000, 10000
        annotation["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
        if place % 2:
            runs = [left * height + top]
            for _ in range(right - left):
                runs += [bottom - top, height - bottom + top]
            runs[-1] = height * width - sum(runs[:-1])
            annotation["segmentation"] = {"size": [height, width], "counts": runs}


def link(content: Content, root: Path) -> None:
    (root / "images/1.jpg").unlink()
    (root / "images/1.jpg").symlink_to(root / "images/0.jpg")


def number_from_zero(content: Content, root: Path) -> None:
    content["categories"][0]["id"] = 0
    for annotation in content["annotations"]:
        annotation["category_id"] = 0


READ: dict[str, tuple[Callable[[Content, Path], object], dict, str]] = {
    "COCO file with byte order mark": (write_bom, ALL_MUGS, ""),
    "COCO images with coco_url and no file_name": (
        use_addresses,
        ALL_MUGS,
        "folders in coco_url are named like splits (train2017/), but none is of the other",
    ),
    "COCO name in another Unicode form than on disk": (decompose, ALL_MUGS, ""),
    "COCO images without height and width": (remove_sizes, ALL_MUGS, ""),
    "COCO height that is a whole float": (
        in_json(for_all("images", lambda image: image.update(height=60.0))),
        ALL_MUGS,
        "",
    ),
    "COCO height off by one": (
        in_json(for_all("images", lambda image: image.update(height=59))),
        ALL_MUGS,
        "",
    ),
    "COCO polygon that reaches out": (
        in_json(
            for_all(
                "annotations", lambda a: a.update(segmentation=[[-5, -5, 90, -5, 90, 65, -5, 65]])
            )
        ),
        {"mug": (4, 4, 100)},
        "",
    ),
    "COCO crowd regions": (
        in_json(for_all("annotations", lambda a: a.update(iscrowd=1))),
        ALL_MUGS,
        "",
    ),
    "COCO regions without area": (mark_nothing, ALL_MUGS, "2 regions mark nothing"),
    "COCO regions without area, alone on their images": (
        mark_nothing_alone,
        {"mug": (2, 4, 25), "spoon": (0, 0, 0)},
        "3 regions mark nothing",
    ),
    "COCO images that are reduced copies of larger ones": (annotate_larger_ones, ALL_MUGS, ""),
    "COCO images that are links to one file": (link, ALL_MUGS, "(1: 1.jpg is 0.jpg)"),
    "COCO category names with white space around": (
        put_a_space_behind,
        {"mug (1)": (2, 2, 25), "mug (2)": (2, 2, 25)},
        "",
    ),
    "COCO categories that share a name": (
        share_a_name,
        {"mug (186)": (2, 2, 25), "mug (1333)": (2, 2, 25)},
        "",
    ),
    "COCO category id 0": (number_from_zero, ALL_MUGS, "'mug' 0 → 1"),
}


@pytest.mark.parametrize("case", READ)
def test_coco_files_that_are_read(root: Path, case: str) -> None:
    content = make_mugs()
    edit, expected, notice = READ[case]
    edit(content, root)
    if case != "COCO file with byte order mark":
        put(root, content)
    with unchanged(root):
        dataset = CocoDataset([CocoPart(root / "a.json", root / "images")])
        assert show(dataset) == expected
        assert all(dataset.image(index).any() for index in range(8))
    assert notice in "".join(dataset.notices)
    assert bool(notice) == bool(dataset.notices)


def test_order_and_split_are_those_of_the_composed_name(root: Path) -> None:
    """So that they are the same on every system."""
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    content = make_mugs()
    opened = []
    for listed, stored in ((composed, decomposed), (decomposed, composed)):
        content["images"][2]["file_name"] = listed
        Image.new("RGB", (80, 60)).save(root / "images" / stored)
        opened.append(CocoDataset([put(root, content)]))
        (root / "images" / stored).unlink()
    assert opened[0].image_names == opened[1].image_names
    assert composed in opened[0].image_names
    assert opened[0].is_val.tolist() == opened[1].is_val.tolist()
    content["images"].append(content["images"][2] | {"id": 9, "file_name": composed})
    with pytest.raises(Net2VecError, match=f"images 2 and 9 have the same file_name, '{composed}'"):
        CocoDataset([put(root, content)])


def write_in_folders(root: Path, folders: tuple[str, str]) -> CocoPart:
    """One file whose images lie in two folders, six in the first and two in the other."""
    content = make_mugs()
    for id, image in enumerate(content["images"]):
        folder = folders[id % 4 == 3]
        image["file_name"] = f"{folder}/{id}.jpg"
        (root / "images" / folder).mkdir(exist_ok=True)
        (root / f"images/{id}.jpg").rename(root / "images" / image["file_name"])
    return put(root, content)


def test_folders_named_train_and_val_are_the_split(root: Path) -> None:
    part = write_in_folders(root, ("train", "val"))
    dataset = CocoDataset([part])
    assert [name.startswith("val/") for name in dataset.image_names] == dataset.is_val.tolist()
    assert show(dataset) == {"mug": (6, 2, 25)}
    assert "the split is that of the folders: train/ is train, val/ is val" in dataset.notices[0]
    assert "TRAIN.json" in dataset.notices[0]


def say_in_addresses(content: Content, place: int, split: str) -> None:
    image = content["images"][place]
    image["coco_url"] = f"http://images.cocodataset.org/{split}2017/{image['file_name']}"


def say_in_entries(content: Content, place: int, split: str) -> None:
    content["images"][place]["split"] = split


@pytest.mark.parametrize(
    ("say", "shown"),
    [
        (say_in_addresses, "folders in coco_url: train2017/ is train, val2017/ is val"),
        (say_in_entries, "a.json: train is train, val is val"),
    ],
)
def test_other_entries_that_say_the_split_are_followed(
    root: Path, say: Callable[[Content, int, str], None], shown: str
) -> None:
    content = make_mugs()
    for place in range(8):
        say(content, place, "val" if place in (1, 5) else "train")
    dataset = CocoDataset([put(root, content)])
    (notice,) = dataset.notices
    assert f"{shown}; for another split give two files" in notice
    assert show(dataset) == {"mug": (6, 2, 25)}
    assert {n for n, v in zip(dataset.image_names, dataset.is_val, strict=True) if v} == {
        "1.jpg",
        "5.jpg",
    }
    say(content, 5, "other")  # so that it is not said of all
    dataset = CocoDataset([put(root, content)])
    (notice,) = dataset.notices
    assert "do not say it of 5.jpg; the split is by a hash of the names" in notice
    assert show(dataset) == ALL_MUGS


def test_entries_named_split_come_before_folders(root: Path) -> None:
    """As in the files of Karpathy's split, whose images lie in COCO's folders."""
    write_in_folders(root, ("train", "val"))
    content = json.loads((root / "a.json").read_text())
    for place in range(8):
        say_in_entries(content, place, "train" if place in (2, 3) else "test")
    assert show(CocoDataset([put(root, content)])) == {"mug": (2, 6, 25)}


def test_other_folders_leave_the_split_to_the_hash(root: Path) -> None:
    dataset = CocoDataset([write_in_folders(root, ("kitchen", "office"))])
    assert not dataset.notices
    assert dataset.is_val.tolist() != [n.startswith("office") for n in dataset.image_names]


def test_photographs_turned_by_exif_are_taken_as_stored_and_said(root: Path) -> None:
    """As Label Studio exports them: sizes as stored, though regions are drawn upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((60, 80, 3), np.uint8)
    stored[:30, :40] = 255
    for id in range(8):
        Image.fromarray(stored).save(root / f"images/{id}.jpg", exif=exif, quality=95)
    content = make_mugs()
    for with_sizes in (True, False):
        if not with_sizes:
            remove_sizes(content, root)
        dataset = CocoDataset([put(root, content)])
        (notice,) = collect_concept_masks(dataset).notices
        assert "(8: " in notice
        assert "taken as stored" in notice
        assert "Label Studio" in notice
        image = dataset.image(0)
        assert image[:100, :100].min() > 200
        assert image[120:].max() < 50
    content["images"] = [image | {"height": 80, "width": 60} for image in content["images"]]
    dataset = CocoDataset([put(root, content)])  # only upright fits: nothing is assumed
    assert not collect_concept_masks(dataset).notices
    assert dataset.image(0)[:100, 124:].min() > 200


def test_bad_polygons_among_good_ones_are_dropped_alone(root: Path) -> None:
    content = make_mugs()
    content["annotations"][4]["segmentation"] = [[1, 2, 3, 4], *MUG, [1, 2, 3, 4, 5, "6"]]
    part = put(root, content)
    with pytest.raises(Net2VecError, match=r"annotation 4, polygon 1: .*has 4 numbers"):
        CocoDataset([part])
    dataset = CocoDataset([part], skip_bad_annotations=True)
    assert list(dataset.skipped_annotations) == [
        "annotation 4, polygon 1",
        "annotation 4, polygon 3",
    ]
    assert show(dataset) == ALL_MUGS


def test_left_out_annotations_are_told_apart(root: Path) -> None:
    content = make_mugs()
    for _ in range(2):
        one_more([])(content)
    content["annotations"] += [{"image_id": 1, "category_id": 1}, "text"]
    dataset = CocoDataset([put(root, content)], skip_bad_annotations=True)
    assert list(dataset.skipped_annotations) == [
        "annotation 99",
        "annotation 99 (number 9)",
        "annotation number 10",
        "annotation number 11",
    ]
    assert "'text'" in dataset.skipped_annotations["annotation number 11"]
    for split in ("train", "valid"):
        (root / split).mkdir()
        write_mugs(root / split, content)
    parts = [CocoPart(root / s / "a.json", root / s / "images") for s in ("train", "valid")]
    dataset = CocoDataset(parts, skip_bad_annotations=True)
    assert list(dataset.skipped_annotations)[::4] == [
        "train/a.json: annotation 99",
        "valid/a.json: annotation 99",
    ]
    with pytest.raises(Net2VecError) as caught:
        CocoDataset(parts)
    assert all(f"{root}/{s}/a.json: 4 errors" in str(caught.value) for s in ("train", "valid"))


def test_folders_of_the_same_last_name_hold_different_images(root: Path) -> None:
    for split in ("train", "valid"):
        (root / split).mkdir()
        write_mugs(root / split)
    parts = [CocoPart(root / s / "a.json", root / s / "images") for s in ("train", "valid")]
    dataset = CocoDataset(parts)
    assert show(dataset) == {"mug": (8, 8, 25)}
    assert set(dataset.image_names) == {
        f"{split}/images/{id}.jpg" for split in ("train", "valid") for id in range(8)
    }
    assert [name.startswith("valid/") for name in dataset.image_names] == dataset.is_val.tolist()


def test_one_file_in_both_parts_is_refused_by_whatever_name(root: Path) -> None:
    row = rows_of(__file__, "test_one_file_in_both_parts_is_refused_by_whatever_name")[
        "COCO image in both parts"
    ]
    (root / "val").mkdir()
    content = make_mugs()
    content["images"], content["annotations"] = content["images"][:1], content["annotations"][:1]
    content["images"][0]["file_name"] = "images/0.jpg"
    (root / "b.json").write_text(json.dumps(content))
    parts = [put(root, make_mugs()), CocoPart(root / "b.json", root)]
    refuse(row, root, lambda: CocoDataset(parts))
    (root / "val/other.jpg").symlink_to(root / "images/0.jpg")
    content["images"][0]["file_name"] = "other.jpg"
    (root / "b.json").write_text(json.dumps(content))
    with pytest.raises(Net2VecError, match=r"share images.*other\.jpg"):
        CocoDataset([parts[0], CocoPart(root / "b.json", root / "val")])


def test_two_parts_may_lack_each_others_categories(root: Path) -> None:
    train, val = make_mugs(), make_mugs()
    train["categories"] += [{"id": 2, "name": "spoon"}]
    val["categories"] += [{"id": 5, "name": "fork"}]
    train["annotations"][0]["category_id"], val["annotations"][0]["category_id"] = 2, 5
    (root / "other").mkdir()
    parts = [put(root, train), write_mugs(root / "other", val)]
    dataset = CocoDataset(parts)
    assert show(dataset) == {"mug": (7, 7, 25), "spoon": (1, 0, 25), "fork": (0, 1, 25)}
    assert "other/a.json lacks" in dataset.notices[0] or "other/a.json lacks" in dataset.notices[1]
    assert any("'spoon' (2)" in notice for notice in dataset.notices)
    assert any("'fork' (5)" in notice for notice in dataset.notices)


def test_categories_that_mean_something_else_in_val(root: Path) -> None:
    rows = rows_of(__file__, "test_categories_that_mean_something_else_in_val")
    for case, categories in {
        "COCO category renamed in val": [{"id": 1, "name": "cup"}],
        "COCO category with another id in val": [{"id": 2, "name": "mug"}, {"id": 3, "name": "b"}],
    }.items():
        val = make_mugs()
        val["categories"] = categories
        for annotation in val["annotations"]:
            annotation["category_id"] = categories[0]["id"]
        (root / "other").mkdir(exist_ok=True)
        parts = [put(root, make_mugs()), write_mugs(root / "other", val)]
        refuse(rows[case], root, lambda parts=parts: CocoDataset(parts))


def write_cityscapes(root: Path, *, flat: bool, alpha: bool) -> CocoPart:
    """As cityscapesScripts' createPanopticImgs writes them, with ids of --use-train-id."""
    frames = [f"aachen_{id:06}_000019" for id in range(8)]
    folder = root / "city" if flat else root / "city/aachen"
    folder.mkdir(parents=True)
    (root / "panoptic").mkdir()
    ids = np.zeros((60, 80), np.int64)
    ids[10:40, 10:50], ids[50:] = 26001, 7
    pixels = np.stack([ids % 256, ids // 256, ids // 65536], -1).astype(np.uint8)
    for frame in frames:
        Image.new("RGB", (80, 60)).save(folder / f"{frame}_leftImg8bit.png")
        mask = Image.fromarray(pixels)
        if alpha:
            mask.putalpha(255)
        mask.save(root / f"panoptic/{frame}_gtFine_panoptic.png")
    segments = [{"id": 26001, "category_id": 13}, {"id": 7, "category_id": 0}]
    content = {
        "images": [
            {"id": f, "file_name": f"{f}_gtFine_leftImg8bit.png", "height": 60, "width": 80}
            for f in frames
        ],
        "annotations": [
            {"image_id": f, "file_name": f"{f}_gtFine_panoptic.png", "segments_info": segments}
            for f in frames
        ],
        "categories": [{"id": 0, "name": "road"}, {"id": 13, "name": "car"}],
    }
    (root / "panoptic.json").write_text(json.dumps(content))
    return CocoPart(root / "panoptic.json", root / "city")


@pytest.mark.parametrize(("flat", "alpha"), [(False, False), (True, True)])
def test_cityscapes_panoptic(root: Path, flat: bool, alpha: bool) -> None:
    rows = rows_of(__file__, "test_cityscapes_panoptic")
    assert set(rows) == {"Cityscapes' panoptic names", "COCO panoptic mask with opaque alpha"}
    dataset = CocoDataset([write_cityscapes(root, flat=flat, alpha=alpha)])
    shown = show(dataset)
    assert sum(shown["car"][:2]) == sum(shown["road"][:2]) == 8
    assert (shown["car"][2], shown["road"][2]) == (25, 16)
    assert dataset.image(0).shape == (224, 224, 3)


def panoptic(root: Path) -> tuple[CocoPart, Content]:
    part = write_cityscapes(root, flat=False, alpha=False)
    return part, json.loads(part.annotations.read_text())


BAD_PANOPTIC: dict[str, Callable[[Content], object]] = {
    "panoptic segment of an unknown category": change(
        ("annotations", 0, "segments_info", 1, "category_id"), 7
    ),
    "panoptic segment 0": lambda content: content["annotations"][0]["segments_info"].append(
        {"id": 0, "category_id": 0}
    ),
    "panoptic segment twice": lambda content: content["annotations"][0]["segments_info"].append(
        {"id": 7, "category_id": 13}
    ),
    "panoptic annotation of an image that is not listed": lambda content: content[
        "annotations"
    ].append(copy.deepcopy(content["annotations"][0]) | {"image_id": "ulm"}),
    "panoptic annotation twice": lambda content: content["annotations"].append(
        copy.deepcopy(content["annotations"][0])
    ),
}


@pytest.mark.parametrize("case", BAD_PANOPTIC)
def test_bad_panoptic_annotations_stop_or_are_left_out(root: Path, case: str) -> None:
    part, content = panoptic(root)
    BAD_PANOPTIC[case](content)
    part.annotations.write_text(json.dumps(content))
    row = rows_of(__file__, "test_bad_panoptic_annotations_stop_or_are_left_out")[case]
    refuse(row, root, lambda: CocoDataset([part]))
    dataset = CocoDataset([part], skip_bad_annotations=True)
    shown = show(dataset)
    assert len(dataset.skipped_annotations) == 1
    assert sum(shown["car"][:2]) == 8
    assert sum(shown["road"][:2]) == (7 if "unknown" in case else 8)


def test_a_panoptic_segment_that_is_not_listed(root: Path) -> None:
    part, content = panoptic(root)
    row = rows_of(__file__, "test_a_panoptic_segment_that_is_not_listed")
    content["annotations"][0]["segments_info"].pop(0)
    part.annotations.write_text(json.dumps(content))
    strict = CocoDataset([part])
    name = content["images"][0]["file_name"]
    index = strict.image_names.index(name)
    refuse(row["panoptic segment that is not listed"], root, lambda: strict.labels(index))
    dataset = CocoDataset([part], skip_bad_annotations=True)
    assert dataset.fingerprint != strict.fingerprint  # or its cache would be used by the other
    (remark,) = collect_concept_masks(dataset).notices
    assert f"{root}/panoptic.json are left out (1: {name})" in remark
    shown = show(dataset)
    assert sum(shown["car"][:2]) == 7
    assert sum(shown["road"][:2]) == 8


def test_a_panoptic_mask_that_is_missing(root: Path) -> None:
    part, content = panoptic(root)
    row = rows_of(__file__, "test_a_panoptic_mask_that_is_missing")["panoptic mask missing"]
    (root / "panoptic" / content["annotations"][3]["file_name"]).unlink()
    refuse(row, root, lambda: CocoDataset([part]))
    dataset = leave_out_bad_images(CocoDataset([part], allow_missing=True))
    assert sum(show(dataset)["car"][:2]) == 7
    (root / "panoptic").rename(root / "elsewhere")
    with pytest.raises(Net2VecError, match=r"panoptic masks, .*panoptic, is missing.*:PANOPTIC"):
        CocoDataset([part], allow_missing=True)


def test_every_case_is_documented() -> None:
    for test, cases in (
        ("test_bad_annotations_stop_or_are_left_out", BAD_ANNOTATIONS),
        ("test_bad_images_stop_or_are_left_out", BAD_IMAGES),
        ("test_coco_files_that_are_refused", REFUSED),
        ("test_files_that_are_no_coco", OTHER_FILES),
        ("test_coco_files_that_are_read", READ),
        ("test_bad_panoptic_annotations_stop_or_are_left_out", BAD_PANOPTIC),
    ):
        assert set(rows_of(__file__, test)) == set(cases)
