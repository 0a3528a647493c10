"""Folders of images that can be read in two ways, or not at all (table in docs/data.md)."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import NO_MESSAGE, assert_documented, refuse, rows_of, unchanged, write_png_header
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.masks import collect_concept_masks

Change = Callable[[Path], object]
NAMES = [f"x/{place}" for place in range(4)]
CUP = np.repeat(np.uint8([1, 0]), 20)[:, None] * np.ones(40, np.uint8)
TABLE = "number,name,category,color\n1,cup,object,#c81e1e\n2,rim,part,#785028\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Four square photographs with a cup on the upper half; the tests change the second."""
    root = tmp_path / "mine"
    for name in NAMES:
        save(root / f"images/{name}.jpg", Image.new("RGB", (40, 40), (90, 60, 30)))
        save(root / f"masks/{name}.png", Image.fromarray(CUP))
    (root / "concepts.csv").write_text(TABLE)
    return root


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def move(source: str, target: str) -> Change:
    def change(root: Path) -> None:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / source).rename(root / target)

    return change


def write(name: str, content: str) -> Change:
    return lambda root: (root / name).write_text(content, encoding="utf-8")


def put_mask(image: Image.Image) -> Change:
    return lambda root: image.save(root / "masks/x/1.png")


def put_masks(pixels: np.ndarray, table: str = TABLE) -> Change:
    """The same mask for all images."""

    def change(root: Path) -> None:
        for name in NAMES:
            Image.fromarray(pixels).save(root / f"masks/{name}.png")
        (root / "concepts.csv").write_text(table)

    return change


def give_palette(colours: list[int]) -> Image.Image:
    """The cup's mask with the colours of indices 0 and 1."""
    image = Image.frombytes("P", (40, 40), CUP.tobytes())
    image.putpalette(colours)
    return image


def add_file(name: str) -> Change:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"anything")

    return change


def rename_masks(root: Path) -> None:
    for name in NAMES:
        (root / f"masks/{name}.png").rename(root / f"masks/{name}_mask.png")


def make_raw(root: Path) -> None:
    (root / "images/x/1.jpg").rename(root / "images/x/1.cr3")


def add_second_form(root: Path) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "é.jpg")
        shutil.copy(root / "images/x/1.jpg", root / "images" / name)


def name_zero_in_layers(root: Path) -> None:
    (root / "masks_part").mkdir()
    (root / "concepts.csv").write_text("number,name,category\n0,road,object\n1,cup,object\n")


def announce_large(root: Path) -> None:
    write_png_header(root / "images/x/1.jpg", 15_000, 13_000)


def break_links(root: Path) -> None:
    for name in ("images/x/1.jpg", "masks/x/2.png"):
        (root / name).unlink()
        (root / name).symlink_to(root / "nowhere")


RAMP = (np.linspace(0, 200, 40)[:, None] * np.ones(40)).astype(np.uint8)
REFUSED: dict[str, Change] = {
    "folder without concepts.csv": move("concepts.csv", "concepts.csv.txt"),
    "masks in a folder of another name": move("masks", "labels"),
    "masks with an ending behind their images' names": rename_masks,
    "mask of a kind that is not read": move("masks/x/1.png", "masks/x/1.gif"),
    "array in the place of a mask": move("masks/x/1.png", "masks/x/1.npy"),
    "photograph with a mask, of a kind that is not read": make_raw,
    "two photographs whose names differ in their Unicode form": add_second_form,
    "photograph beyond the limit": announce_large,
    "mask with transparent pixels": put_mask(Image.new("LA", (40, 40), (1, 99))),
    "coloured mask with soft edges": put_mask(Image.fromarray(RAMP).convert("RGB")),
    "grey mask with soft edges": put_mask(Image.fromarray(RAMP)),
    "palette that contradicts concepts.csv, with other colours": put_mask(
        give_palette([200, 30, 30, 18, 52, 86])
    ),
    "links to nothing among images and masks": break_links,
    "folder of another kind of dataset": lambda root: shutil.rmtree(root / "images"),
    "concept of number 0 in one of several layers": name_zero_in_layers,
    "concepts.csv that went through pandas": write(
        "concepts.csv", "number,name,category\n1.0,cup,object\n"
    ),
}


def read_all(root: Path) -> tuple[FolderDataset, tuple[str, ...]]:
    """Everything of a dataset, and what was assumed."""
    dataset = FolderDataset(root, resolution=32)
    notices = (*dataset.notices, *collect_concept_masks(dataset).notices)
    for index in range(len(dataset)):
        dataset.image(index)
    return dataset, notices


def test_every_case_is_documented() -> None:
    assert set(rows_of(__file__, "test_folders_that_are_refused")) == set(REFUSED)
    assert set(rows_of(__file__, "test_folders_that_are_read")) == set(READ)


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_refused(directory: Path, case: str) -> None:
    REFUSED[case](directory)
    row = rows_of(__file__, "test_folders_that_are_refused")[case]
    refuse(row, directory.parent, lambda: read_all(directory))


def split_into_folders(*folders: str) -> Change:
    def change(root: Path) -> None:
        for place, folder in enumerate(folders):
            for kind, suffix in (("images", "jpg"), ("masks", "png")):
                move(f"{kind}/x/{place}.{suffix}", f"{kind}/{folder}/{place}.{suffix}")(root)

    return change


def turn(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 40)).save(root / "images/x/1.jpg", exif=exif)


def decompose(root: Path) -> None:
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (root / f"{kind}/x/1.{suffix}").rename(
            root / f"{kind}/x/{unicodedata.normalize('NFD', 'é')}.{suffix}"
        )
    write("splits.csv", "image,split\n" + "".join(f"x/{n}.jpg,train\n" for n in "é023"))(root)


def add_layer_of_another_name(root: Path) -> None:
    shutil.copytree(root / "masks", root / "mask_part")


def add_raw(root: Path) -> None:
    add_file("images/x/alone.cr3")(root)


def add_litter(root: Path) -> None:
    for name in ("images/x/._1.jpg", "images/Thumbs.db", "masks/x/.DS_Store", "images/x/1.json"):
        add_file(name)(root)


def unlist_rim_and(change: Change) -> Change:
    def both(root: Path) -> None:
        (root / "concepts.csv").write_text(TABLE.replace("2,rim,part,#785028\n", ""))
        change(root)

    return both


READ: dict[str, tuple[Change, dict[str, int]]] = {
    "masks of 0 and 255 where 255 is listed": (
        put_masks(CUP * 255, "number,name,category\n255,cup,object\n"),
        {"cup": 4},
    ),
    "mask that holds an unlisted 255 and no concept": (
        unlist_rim_and(put_mask(Image.fromarray(CUP * 255))),
        {"cup": 3},
    ),
    "concepts.csv that calls 255 void": (write("concepts.csv", TABLE + "255,void,object,\n"),
        {"cup": 4, "rim": 0}),
    "unlisted 255 where a listed concept is on no image": (
        put_mask(Image.fromarray(np.where(CUP, 1, 255).astype(np.uint8))),
        {"cup": 4, "rim": 0},
    ),
    "concepts.csv with a concept of number 0": (
        write("concepts.csv", "number,name,category\n0,road,object\n1,cup,object\n"),
        {"cup": 4, "road": 4},
    ),
    "palette that contradicts concepts.csv": (
        put_mask(give_palette([200, 30, 30, 120, 80, 40])),
        {"cup": 4, "rim": 1},
    ),
    "mask with an alpha channel that is opaque": (
        put_mask(Image.merge("LA", [Image.fromarray(CUP), Image.new("L", (40, 40), 255)])),
        {"cup": 4, "rim": 0},
    ),
    "images in folders that are named like splits": (
        split_into_folders("train", "train", "val", "val"),
        {"cup": 4, "rim": 0},
    ),
    "images of which some are in folders named like splits": (
        split_into_folders("train", "val"),
        {"cup": 4, "rim": 0},
    ),
    "photograph that EXIF turns and whose mask fits both ways": (turn, {"cup": 4, "rim": 0}),
    "photograph without a mask, of a kind that is not read": (add_raw, {"cup": 4, "rim": 0}),
    "layer of masks by another name": (add_layer_of_another_name, {"cup": 4, "rim": 0}),
    "files that systems and tools leave": (add_litter, {"cup": 4, "rim": 0}),
    "names in another Unicode form than in the tables": (decompose, {"cup": 4, "rim": 0}),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_folders_that_are_read(directory: Path, case: str) -> None:
    change, images = READ[case]
    change(directory)
    row = rows_of(__file__, "test_folders_that_are_read")[case]
    with unchanged(directory.parent):
        dataset, notices = read_all(directory)
    masks = collect_concept_masks(dataset)
    counts = zip(masks.catalog, sum(masks.count_images()).tolist(), strict=True)
    assert {concept.name: count for concept, count in counts} == images
    if row.message == NO_MESSAGE:
        assert notices == ()
    else:
        (notice,) = notices
        assert_documented(row, Net2VecError(notice))
