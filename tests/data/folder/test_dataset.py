"""A folder of images, masks and concepts.csv becomes a dataset, or one message says why not."""

import hashlib
import re
import zlib
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.cache import load_concept_masks, load_packed_images
from net2vec_jax.data.concepts import CATEGORIES
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.folder.tables import read_concept_table, read_image_labels, read_splits
from net2vec_jax.data.masks import collect_concept_masks

CONCEPTS = """number,name,category,color
1,cup,object,#ff0000
2,handle,part,#00ff00
3,steel,material,#0000ff
40,kitchen-s,scene,
300,plate,object,#102030
"""
COLOURS = {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255), 300: (16, 32, 48)}
NAMES = [f"a/{index}.jpg" for index in range(8)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Eight 60×40 photographs with indexed masks: a cup in the top half, its handle at the left."""
    rng = np.random.default_rng(0)
    root = tmp_path / "mine"
    for name in NAMES:
        write_image(root / "images" / name, rng.integers(0, 256, (40, 60, 3), np.uint8))
        write_mask(root / "masks" / name.replace(".jpg", ".png"), mask_of_cup())
    (root / "concepts.csv").write_text(CONCEPTS)
    return root


def mask_of_cup(height: int = 40, width: int = 60) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 1
    mask[: height // 2, : width // 4] = 2
    return mask


def write_image(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_mask(path: Path, numbers: np.ndarray, kind: str = "palette") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "palette":
        image = Image.fromarray(numbers.astype(np.uint8)).convert("L")
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    elif kind == "grey":
        image = Image.fromarray(numbers.astype(np.uint8))
    elif kind == "grey of 16 bits":
        image = Image.fromarray(numbers.astype(np.uint16))
    else:
        pixels = np.zeros((*numbers.shape, 3), np.uint8)
        for number, colour in COLOURS.items():
            pixels[numbers == number] = colour
        image = Image.fromarray(pixels)
    image.save(path)


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """Pixel by pixel: output i of m is input round(i·(n − 1) / (m − 1))."""
    out = np.zeros((size, size), mask.dtype)
    for y in range(size):
        for x in range(size):
            v = int(y * (mask.shape[0] - 1) / (size - 1) + 0.5)
            u = int(x * (mask.shape[1] - 1) / (size - 1) + 0.5)
            out[y, x] = mask[v, u]
    return out


def test_every_number_becomes_a_plane_of_its_category(directory: Path) -> None:
    dataset = FolderDataset(directory, resolution=32)
    assert dataset.name == "mine"
    assert dataset.categories == ("object", "part", "material", "scene")
    assert dataset.image_size == (32, 32)
    assert dataset.segmentation_size == (16, 16)
    assert [(c.number, c.name) for c in dataset.catalog] == [
        (1, "cup"), (2, "handle"), (3, "steel"), (40, "kitchen-s"), (300, "plate"),
    ]  # fmt: skip
    expected = nearest(mask_of_cup(), 16)
    for index in range(len(dataset)):
        labels = dataset.labels(index)
        assert set(labels.planes) == {"object", "part"}
        np.testing.assert_array_equal(labels.planes["object"][0], np.where(expected == 1, 1, 0))
        np.testing.assert_array_equal(labels.planes["part"][0], np.where(expected == 2, 2, 0))
        assert dataset.image(index).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["grey", "grey of 16 bits", "RGB"])
def test_all_kinds_of_masks_say_the_same(directory: Path, kind: str) -> None:
    numbers = np.zeros((40, 60), int)
    numbers[5:20, 10:50], numbers[20:, :7], numbers[30:, 30:] = 1, 3, 2
    if kind != "grey":
        numbers[:5] = 300
    write_mask(directory / "masks/a/3.png", numbers, kind)
    dataset = FolderDataset(directory, resolution=40)
    labels = dataset.labels(dataset.image_names.index("a/3.jpg"))
    merged = sum(planes[0] for planes in labels.planes.values())
    np.testing.assert_array_equal(merged, nearest(numbers, 20))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_hold_their_numbers(directory: Path, bits: int) -> None:
    numbers = np.arange(40)[:, None] * np.ones(60, int) * 7 % min(2**bits, 4)
    rows = [np.array([row >> shift & 1 for shift in range(bits)][::-1]).T for row in numbers]
    packed = b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in rows)

    def chunk(kind: bytes, content: bytes) -> bytes:
        end = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + end

    head = (60).to_bytes(4, "big") + (40).to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    (directory / "masks/a/3.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(packed))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    dataset = FolderDataset(directory, resolution=40)
    labels = dataset.labels(dataset.image_names.index("a/3.jpg"))
    merged = sum(planes[0] for planes in labels.planes.values())
    np.testing.assert_array_equal(merged, nearest(numbers, 20))


def test_a_photograph_is_reduced_without_aliasing(directory: Path) -> None:
    stripes = np.zeros((400, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    write_image(directory / "images/a/0.jpg", stripes, quality=100, subsampling=0)
    dataset = FolderDataset(directory, resolution=32)
    image = dataset.image(dataset.image_names.index("a/0.jpg"))
    assert np.abs(image.astype(int) - 127).max() < 12


def test_split_and_order_are_by_md5_of_the_name(directory: Path) -> None:
    dataset = FolderDataset(directory)
    places = [
        int.from_bytes(hashlib.md5(name.encode()).digest()[:8], "big") / 2**64
        for name in dataset.image_names
    ]
    assert places == sorted(places)
    assert dataset.is_val.tolist() == [place > 0.7 for place in places]
    assert set(dataset.image_names) == set(NAMES)


def test_splits_csv_is_followed(directory: Path) -> None:
    rows = [f"{name},{'val' if place < 2 else 'train'}\n" for place, name in enumerate(NAMES)]
    (directory / "splits.csv").write_text("image,split\n" + "".join(rows))
    dataset = FolderDataset(directory)
    assert {n for n, val in zip(dataset.image_names, dataset.is_val, strict=True) if val} == {
        *NAMES[:2]
    }


def test_whole_image_labels_by_name_or_number(directory: Path) -> None:
    write_image(directory / "images/b.png", np.zeros((30, 30, 3), np.uint8))
    write_image(directory / "images/c.png", np.zeros((30, 30, 3), np.uint8))
    (directory / "image_labels.csv").write_text("image,concepts\nb.png,kitchen-s;300\na/1.jpg,40\n")
    dataset = FolderDataset(directory)
    whole = {n: dict(dataset.labels(i).whole_image) for i, n in enumerate(dataset.image_names)}
    assert whole["b.png"] == {"scene": (40,), "object": (300,)}
    assert whole["a/1.jpg"] == {"scene": (40,)}
    assert whole["a/2.jpg"] == {}
    assert dataset.unlabelled_images == ("c.png",)
    assert "c.png" not in dataset.image_names


def test_layers_of_masks_may_overlap(directory: Path) -> None:
    steel = np.full((40, 60), 3, np.uint8)
    steel[0, 0] = 2
    write_mask(directory / "masks_material/a/0.png", steel)
    dataset = FolderDataset(directory, resolution=80)
    index = dataset.image_names.index("a/0.jpg")
    masks = collect_concept_masks(dataset)
    place = {concept.name: place for place, concept in enumerate(masks.catalog)}
    found = {
        name: masks.unpack(
            (masks.pair_concept == place[name]) & (masks.pair_image == index)
        )[0]
        for name in ("cup", "handle", "steel")
    }  # fmt: skip
    numbers = nearest(mask_of_cup(), 40)
    np.testing.assert_array_equal(found["cup"], numbers == 1)
    np.testing.assert_array_equal(found["handle"], numbers == 2)
    np.testing.assert_array_equal(found["steel"], nearest(steel, 40) == 3)
    np.testing.assert_array_equal(masks.pixels, masks.area)  # the corner counts once


def test_255_is_no_label_unless_it_is_a_concept(directory: Path) -> None:
    mask = mask_of_cup()
    mask[30:] = 255
    write_mask(directory / "masks/a/0.png", mask)
    dataset = FolderDataset(directory)
    labels = dataset.labels(dataset.image_names.index("a/0.jpg"))
    assert all(planes.max() <= 2 for planes in labels.planes.values())
    (directory / "concepts.csv").write_text(CONCEPTS + "255,table,object,\n")
    dataset = FolderDataset(directory)
    labels = dataset.labels(dataset.image_names.index("a/0.jpg"))
    assert labels.planes["object"].max() == 255


def test_photographs_are_turned_upright_to_fit_their_masks(directory: Path) -> None:
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[:30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    for name, options in (("t.png", {"exif": exif}), ("s.png", {})):
        write_image(directory / "images" / name, pixels, **options)
    write_mask(directory / "masks/t.png", mask_of_cup(40, 60))
    write_mask(directory / "masks/s.png", mask_of_cup(60, 40))
    dataset = FolderDataset(directory, resolution=20)
    turned = dataset.image(dataset.image_names.index("t.png"))
    assert turned[:, 12:].min() == 255 and turned[:, :8].max() == 0
    stored = dataset.image(dataset.image_names.index("s.png"))
    assert stored[:8].min() == 255 and stored[12:].max() == 0


def test_masks_may_be_smaller_but_not_of_another_shape(directory: Path) -> None:
    write_mask(directory / "masks/a/0.png", mask_of_cup(20, 30))
    write_mask(directory / "masks/a/1.png", mask_of_cup(30, 30))
    dataset = FolderDataset(directory)
    dataset.image(dataset.image_names.index("a/0.jpg"))
    with pytest.raises(Net2VecError, match=r"a/1\.jpg.*40×60.*a/1\.png.*30×30.*aspect"):
        dataset.image(dataset.image_names.index("a/1.jpg"))


def test_further_masks_must_have_the_shape_of_the_first(directory: Path) -> None:
    write_mask(directory / "masks_more/a/0.png", mask_of_cup(40, 30))
    write_mask(directory / "masks/a/0.png", mask_of_cup(30, 40))
    dataset = FolderDataset(directory)
    with pytest.raises(Net2VecError, match=r"a/0\.png is \d+×\d+.*a/0\.png is .*aspect"):
        dataset.labels(dataset.image_names.index("a/0.jpg"))


def test_resolution_and_files_are_in_the_fingerprint(directory: Path) -> None:
    first = FolderDataset(directory).fingerprint
    assert FolderDataset(directory).fingerprint == first
    assert FolderDataset(directory, resolution=384).fingerprint != first
    (directory / "concepts.csv").write_text(CONCEPTS.replace("cup", "mug"))
    second = FolderDataset(directory).fingerprint
    write_mask(directory / "masks/a/0.png", np.zeros((40, 60), np.uint8))
    assert len({first, second, FolderDataset(directory).fingerprint}) == 3


def test_the_cache_holds_what_is_decoded(directory: Path) -> None:
    for resolution in (32, 64, 32):
        dataset = FolderDataset(directory, resolution=resolution)
        cached = load_packed_images(dataset)
        for index in range(len(dataset)):
            np.testing.assert_array_equal(cached.image(index), dataset.image(index))
        np.testing.assert_array_equal(
            load_concept_masks(dataset).packed, collect_concept_masks(dataset).packed
        )
    assert len(list((directory / ".net2vec_jax").glob("images-*[!k]"))) == 2


def test_other_categories_come_after_brodens(directory: Path) -> None:
    (directory / "concepts.csv").write_text(CONCEPTS + "7,tumour,finding,\n")
    assert FolderDataset(directory).categories[-1] == "finding"
    assert "finding" not in CATEGORIES


HEADER = "number,name,category,color\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("number,name\n1,cup\n", "column category is missing"),
        ("number;name;category\n1;cup;object\n", "separate the fields by commas"),
        (HEADER, "lists no concept"),
        (HEADER + "0,nothing,,\n", "lists no concept"),
        (HEADER + "one,cup,object,\n", "line 2, column number: 'one'"),
        (HEADER + "-1,cup,object,\n", "line 2, column number: '-1'"),
        (HEADER + "70000,cup,object,\n", "line 2: numbers go up to 65535"),
        (HEADER + "1,cup,object,\n1,mug,object,\n", "line 3: number 1 occurs twice"),
        (HEADER + "1,,object,\n", "line 2: concept 1 has no name"),
        (HEADER + "1,cup,,\n", "line 2: '' cannot be a category"),
        (HEADER + "1,cup,../x,\n", r"line 2: '\.\./x' cannot be a category"),
        (HEADER + "1,cup,object,red\n", "line 2: color 'red' is not of the form #rrggbb"),
        (HEADER + "1,cup,object,#fff\n", "line 2: color '#fff' is not of the form"),
        (
            HEADER + "1,cup,object,#ffffff\n2,mug,object,#FFFFFF\n",
            "line 3: color #FFFFFF occurs twice",
        ),
    ],
)
def test_malformed_concept_tables(directory: Path, table: str, message: str) -> None:
    (directory / "concepts.csv").write_text(table)
    with pytest.raises(Net2VecError, match=rf"concepts\.csv.*{message}"):
        FolderDataset(directory)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("image_labels.csv", "image,concepts\na/9.jpg,40\n", r"unknown image 'a/9\.jpg'; did you"),
        ("image_labels.csv", "image,concepts\na/1.jpg,kitchen\n", "unknown concept 'kitchen'; did"),
        ("image_labels.csv", "image,concepts\na/1.jpg,41\n", "unknown concept '41'"),
        ("image_labels.csv", "image,concepts\na/1.jpg,1\na/1.jpg,2\n", "line 3.*in line 2 already"),
        ("splits.csv", "image,split\na/1.jpg,test\n", "line 2: split is 'test'"),
        ("splits.csv", "image,split\na/1.jpg,train\n", "has no row for a/"),
        ("splits.csv", "image,split\n../x.jpg,train\n", "unknown image"),
    ],
)
def test_malformed_optional_tables(directory: Path, name: str, table: str, message: str) -> None:
    (directory / name).write_text(table)
    with pytest.raises(Net2VecError, match=rf"{re.escape(name)}.*{message}"):
        FolderDataset(directory)


def test_a_name_of_two_concepts_is_refused_for_whole_images(directory: Path) -> None:
    (directory / "concepts.csv").write_text(CONCEPTS + "9,cup,part,\n")
    (directory / "image_labels.csv").write_text("image,concepts\na/1.jpg,cup\n")
    with pytest.raises(Net2VecError, match=r"'cup' is the name of concepts \[1, 9\]; give the num"):
        FolderDataset(directory)


def test_files_that_do_not_go_together(directory: Path) -> None:
    write_mask(directory / "masks/a/10.png", mask_of_cup())
    with pytest.raises(Net2VecError, match=r"masks: images/ holds no image for a/10\.png"):
        FolderDataset(directory)
    (directory / "masks/a/10.png").unlink()
    write_image(directory / "masks/a/2.jpg", mask_of_cup())
    with pytest.raises(Net2VecError, match=r"must be a PNG file, not a/2\.jpg"):
        FolderDataset(directory)
    (directory / "masks/a/2.jpg").unlink()
    write_image(directory / "images/a/0.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(Net2VecError, match=r"a/0\.jpg and a/0\.png would have the same mask"):
        FolderDataset(directory)


def test_a_folder_without_images_or_labels(directory: Path) -> None:
    for path in (directory / "masks").rglob("*.png"):
        path.unlink()
    with pytest.raises(Net2VecError, match=r"no image has a mask"):
        FolderDataset(directory)
    for path in (directory / "images").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(Net2VecError, match=r"images holds no image \(\.jpg"):
        FolderDataset(directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("number", "number 77 is not in .*concepts.csv"),
        ("colour", "color #010203 is not in .*concepts.csv"),
        ("no colours", "RGB mask, but .*concepts.csv has no color"),
        ("alpha", "has transparent pixels"),
        ("text", "cannot be decoded"),
        ("empty", "is empty"),
    ],
)
def test_bad_masks(directory: Path, damage: str, message: str) -> None:
    path = directory / "masks/a/0.png"
    if damage == "number":
        write_mask(path, np.where(mask_of_cup() == 1, 77, 0))
    elif damage == "colour":
        Image.new("RGB", (60, 40), (1, 2, 3)).save(path)
    elif damage == "no colours":
        write_mask(path, mask_of_cup(), "RGB")
        (directory / "concepts.csv").write_text("number,name,category\n1,cup,object\n")
    elif damage == "alpha":
        Image.new("RGBA", (60, 40)).save(path)
    else:
        path.write_bytes(b"" if damage == "empty" else b"no image")
    dataset = FolderDataset(directory)
    with pytest.raises(Net2VecError, match=rf"a/0\.png.*{message}"):
        dataset.labels(dataset.image_names.index("a/0.jpg"))


@pytest.mark.parametrize("resolution", [0, 1, 5000])
def test_impossible_resolutions(directory: Path, resolution: int) -> None:
    with pytest.raises(Net2VecError, match=f"2 to 4096 pixels, not {resolution}"):
        FolderDataset(directory, resolution=resolution)


ROWS = st.lists(
    st.lists(
        st.sampled_from(["1", "0", "cup", "object", "#ff0000", "a/1.jpg", "train", "", "1;cup"])
        | st.text(max_size=6),
        min_size=1, max_size=5,
    ).map(",".join),
    max_size=5,
)  # fmt: skip


@hypothesis.given(
    header=st.sampled_from(["number,name,category,color", "number,name,category", "image,concepts",
                            "image,split", "image,group", "", "\ufeffimage,split"]),
    rows=ROWS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)  # fmt: skip
@hypothesis.settings(max_examples=150)
def test_any_table_is_read_or_refused(
    header: str, rows: list[str], end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(end.join([header, *rows]).encode("utf-8", "surrogatepass"))
    (tmp_path_factory.getbasetemp() / "concepts.csv").write_text(CONCEPTS)
    concepts = read_concept_table(tmp_path_factory.getbasetemp() / "concepts.csv")
    for read in (
        read_concept_table,
        lambda path: read_image_labels(path, concepts, NAMES),
        lambda path: read_splits(path, NAMES),
    ):
        try:
            read(path)
        except Net2VecError as error:
            assert str(path) in str(error)
