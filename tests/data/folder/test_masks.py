"""What 0, 255, palettes and colours in masks mean follows the user's own table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.masks import collect_concept_masks

HEADER = "number,name,category,color\n"


def open_folder(root: Path, table: str, masks: list[Image.Image]) -> FolderDataset:
    """A dataset of 32 × 32 photographs with these masks, at 64 pixels, masks on a grid of 32."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for place, mask in enumerate(masks):
        Image.new("RGB", (32, 32)).save(root / f"images/{place}.jpg")
        mask.save(root / f"masks/{place}.png")
    (root / "concepts.csv").write_text(HEADER + table)
    return FolderDataset(root, resolution=64)


def coverage(dataset: FolderDataset) -> dict[str, list[float]]:
    """Of every concept that is marked, which share of each of its images it covers."""
    masks = collect_concept_masks(dataset)
    found: dict[str, list[float]] = {}
    for place, area in zip(masks.pair_concept, masks.area, strict=True):
        found.setdefault(masks.catalog.concepts[place].name, []).append(area / 1024)
    return found


def halves(upper: int, lower: int = 0) -> np.ndarray:
    """uint8 [32, 32] whose upper and lower halves have these values."""
    return np.repeat(np.uint8([upper, lower]), 16)[:, None] * np.ones(32, np.uint8)


def grey(upper: int, lower: int = 0) -> Image.Image:
    return Image.fromarray(halves(upper, lower))


def indexed(pixels: np.ndarray, colours: list[str]) -> Image.Image:
    image = Image.frombytes("P", (32, 32), pixels.tobytes())
    image.putpalette([int(colour[at : at + 2], 16) for colour in colours for at in (1, 3, 5)])
    return image


def test_masks_of_0_and_255_are_read_if_the_table_says_255(tmp_path: Path) -> None:
    dataset = open_folder(tmp_path, "255,lesion,object,\n", [grey(255), grey(0)])
    assert coverage(dataset) == {"lesion": [0.5]}
    assert collect_concept_masks(dataset).notices == ()


def test_masks_of_0_and_255_that_the_table_does_not_name_are_said(tmp_path: Path) -> None:
    dataset = open_folder(tmp_path, "1,lesion,object,\n", [grey(1, 255), grey(255), grey(255)])
    masks = collect_concept_masks(dataset)
    assert coverage(dataset) == {"lesion": [0.5]}
    (notice,) = masks.notices
    assert "255 and mark no concept (2: " in notice
    assert "0.jpg" not in notice
    assert "255,lesion,object" in notice


@pytest.mark.parametrize("name", ["void", "ignore", "Unlabelled", "out of roi"])
def test_255_called_void_is_no_concept(tmp_path: Path, name: str) -> None:
    table = f"1,lesion,object,\n255,{name},object,\n"
    dataset = open_folder(tmp_path, table, [grey(1, 255)])
    assert coverage(dataset) == {"lesion": [0.5]}
    assert [concept.name for concept in dataset.catalog] == ["lesion"]
    assert name in dataset.notices[0]


def test_a_concept_of_number_0_is_read(tmp_path: Path) -> None:
    table = "0,road,object,#804080\n1,sidewalk,object,\n254,sky,object,\n"
    dataset = open_folder(tmp_path, table, [grey(0, 1), grey(255, 0), grey(254, 255)])
    assert {c.name: c.number for c in dataset.catalog} == {"sidewalk": 1, "sky": 254, "road": 256}
    assert coverage(dataset) == {"road": [0.5, 0.5], "sidewalk": [0.5], "sky": [0.5]}
    (notice,) = dataset.notices
    assert "0 is the concept road" in notice
    assert "256" in notice
    assert "background" in notice


def test_colours_of_a_concept_of_number_0_are_read_and_black_is_none(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:8] = (128, 64, 128)
    table = "0,road,object,#804080\n1,sidewalk,object,#112233\n"
    dataset = open_folder(tmp_path, table, [Image.fromarray(pixels)])
    assert coverage(dataset) == {"road": [0.25]}


def test_number_0_in_one_of_several_layers_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path, "1,cup,object,\n", [grey(1)])
    (tmp_path / "masks_part").mkdir()
    (tmp_path / "concepts.csv").write_text(HEADER + "0,road,object,\n1,cup,object,\n")
    with pytest.raises(Net2VecError, match="number 0 is a concept, but with several layers"):
        FolderDataset(tmp_path)


@pytest.mark.parametrize(
    "row", ["0,background,object,", "0,void,,", "0,,,#ffffff", "0,Other,part,"]
)
def test_rows_of_number_0_that_name_no_thing_are_no_concept(tmp_path: Path, row: str) -> None:
    dataset = open_folder(tmp_path, f"{row}\n1,cup,object,\n", [grey(1)])
    assert [concept.number for concept in dataset.catalog] == [1]
    assert len(dataset.notices) == (row.split(",")[2] != "")  # a category may mean a concept
    assert coverage(dataset) == {"cup": [0.5]}


CUP, TABLE, BLACK = "#c81e1e", "#785028", "#000000"
COLOURED = f"1,cup,object,{CUP}\n2,table,object,{TABLE}\n"


@pytest.mark.parametrize(
    ("pixels", "palette", "expected"),
    [
        (halves(0, 2), [TABLE, BLACK, CUP], {"cup": [0.5], "table": [0.5]}),  # by frequency
        (halves(1, 1), [TABLE, BLACK, CUP], {}),  # all black, though index 1 is the cup's number
        (halves(1, 0), [BLACK, TABLE], {"table": [0.5]}),
        (halves(0, 0), [CUP], {"cup": [1.0]}),
    ],
)
def test_palettes_that_contradict_the_numbers_are_read_by_colour(
    tmp_path: Path, pixels: np.ndarray, palette: list[str], expected: dict
) -> None:
    dataset = open_folder(tmp_path, COLOURED, [indexed(pixels, palette)])
    assert coverage(dataset) == expected
    notice = collect_concept_masks(dataset).notices[0]
    assert "at other indices" in notice
    assert "(1: 0.jpg)" in notice


@pytest.mark.parametrize(
    ("pixels", "palette", "expected"),
    [
        (halves(1, 2), [BLACK, CUP, TABLE], {"cup": [0.5], "table": [0.5]}),
        (halves(1, 0), [f"#{grey:02x}{grey:02x}{grey:02x}" for grey in range(9)], {"cup": [0.5]}),
        (halves(1, 0), [BLACK, CUP, CUP, CUP], {"cup": [0.5]}),  # filled up
    ],
)
def test_other_palettes_are_read_by_index(
    tmp_path: Path, pixels: np.ndarray, palette: list[str], expected: dict
) -> None:
    dataset = open_folder(tmp_path, COLOURED, [indexed(pixels, palette)])
    assert coverage(dataset) == expected
    assert collect_concept_masks(dataset).notices == ()


def test_a_palette_of_other_colours_is_read_by_index_and_said(tmp_path: Path) -> None:
    masks = [indexed(halves(1, 2), [BLACK, "#785029", "#c81e1f"]), grey(1, 2)]
    dataset = open_folder(tmp_path, COLOURED, masks)
    assert coverage(dataset) == {"cup": [0.5, 0.5], "table": [0.5, 0.5]}
    (notice,) = collect_concept_masks(dataset).notices
    assert "by index (1: 0.jpg)" in notice


def test_255_beside_concepts_is_said_where_a_concept_is_on_no_image(tmp_path: Path) -> None:
    table = "1,liver,object,\n2,tumour,object,\n"
    dataset = open_folder(tmp_path / "a", table, [grey(1, 255), grey(1, 255)])
    (notice,) = collect_concept_masks(dataset).notices
    assert "255 beside concepts (2: " in notice
    dataset = open_folder(tmp_path / "b", table, [grey(1, 255), grey(2, 255)])
    assert collect_concept_masks(dataset).notices == ()


def test_digits_may_have_their_own_numbers(tmp_path: Path) -> None:
    table = "0,0,digit,\n1,1,digit,\n2,2,digit,\n"
    dataset = open_folder(tmp_path, table, [grey(0, 2), grey(1, 2)])
    assert coverage(dataset) == {"0": [0.5], "1": [0.5], "2": [0.5, 0.5]}


@pytest.mark.parametrize("background_first", [True, False])
def test_colours_of_the_background_stay_so_beside_a_concept_of_number_0(
    tmp_path: Path, background_first: bool
) -> None:
    rows = ["0,background,,#ffffff", "0,road,object,#ff0000"]
    table = "\n".join(rows if background_first else rows[::-1]) + "\n"
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[:8] = (255, 0, 0)
    dataset = open_folder(tmp_path, table, [Image.fromarray(pixels)])
    assert coverage(dataset) == {"road": [0.25]}


def test_a_contradicting_palette_with_other_colours_is_refused(tmp_path: Path) -> None:
    dataset = open_folder(tmp_path, COLOURED, [indexed(halves(0, 1), [CUP, "#123456"])])
    with pytest.raises(Net2VecError, match=r"0\.png .*other\s+indices.*#123456.*remove the column"):
        dataset.labels(0)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_opaque_alpha_is_dropped(tmp_path: Path, mode: str) -> None:
    mask = grey(1) if mode == "L" else indexed(halves(1), [BLACK, CUP]).convert("RGB")
    mask.putalpha(255)
    dataset = open_folder(tmp_path, COLOURED, [mask])
    assert coverage(dataset) == {"cup": [0.5]}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_soft_edges_are_called_so(tmp_path: Path, mode: str) -> None:
    ramp = np.linspace(0, 200, 32, dtype=np.uint8)[:, None] * np.ones(32, np.uint8)
    mask = Image.fromarray(ramp).convert(mode)
    with pytest.raises(Net2VecError, match=r"0\.png: \d+ (colours|values) .*soft edges"):
        open_folder(tmp_path, COLOURED, [mask]).labels(0)


def test_the_orientation_of_a_mask_is_not_applied_and_said(tmp_path: Path) -> None:
    open_folder(tmp_path, "1,cup,object,\n", [grey(1), grey(1)])
    exif = Image.Exif()
    exif[0x0112] = 3
    grey(1).save(tmp_path / "masks/1.png", exif=exif)
    dataset = FolderDataset(tmp_path, resolution=64)
    planes = [dataset.labels(index).planes["object"] for index in range(2)]
    np.testing.assert_array_equal(*planes)
    (notice,) = collect_concept_masks(dataset).notices
    assert "not applied (1: 1.jpg)" in notice
