"""Images and label planes that are broken, hostile or of another kind (table in docs/data.md)."""

from __future__ import annotations

import os
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import (
    refuse,
    rows_of,
    unchanged,
    write_earlier_results,
    write_png_16,
    write_png_header,
    write_three_images,
)
from PIL import Image

from net2vec_jax.data.broden.dataset import BrodenDataset

HEIGHT, WIDTH = 12, 10
RAMP = np.tile(np.arange(WIDTH, dtype=np.uint8) * 20, (HEIGHT, 1))
COLOURS = np.stack([RAMP, 255 - RAMP, RAMP[:, ::-1] // 2], axis=-1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three sound images beside earlier results; the tests damage the second, line 3."""
    write_three_images(tmp_path / "broden", scene=False)
    write_earlier_results(tmp_path)
    return tmp_path / "broden"


def replace(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Damage that puts something else in the file's place."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def make_grey_16(path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path, format="PNG")


def make_transparent(path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[3, 4] = 254
    Image.fromarray(np.dstack([COLOURS, alpha])).save(path, format="PNG")


def make_transparent_palette(path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.save(path, format="PNG", transparency=int(np.asarray(image)[0, 3]))


def paint_plane(path: Path) -> None:
    pixels = np.array(Image.open(path))
    pixels[3, 2] = (4, 1, 0)
    Image.fromarray(pixels).save(path)


def make_tiff(channels: int, kind: str) -> Callable[[Path], object]:
    """A TIFF file that Pillow does not read: of so many channels, u8 or f4."""

    def make(path: Path) -> None:
        pixels = np.zeros((HEIGHT, WIDTH, channels), kind)
        begin = 8 + pixels.nbytes  # of the tags; their values behind them
        bits, sample = [8 * pixels.itemsize] * channels, [3 if kind == "f4" else 1] * channels
        tags = [(256, [WIDTH]), (257, [HEIGHT]), (258, bits), (259, [1]), (262, [2]), (273, [8])]
        tags += [(277, [channels]), (278, [HEIGHT]), (279, [pixels.nbytes]), (339, sample)]
        entries, values = b"", b""
        for tag, numbers in tags:
            packed = struct.pack(f"<{len(numbers)}H", *numbers)
            if len(packed) > 4:
                packed, behind = struct.pack("<I", begin + 6 + 12 * len(tags) + len(values)), packed
                values += behind
            entries += struct.pack("<HHI4s", tag, 3, len(numbers), packed)
        head = struct.pack("<2sHI", b"II", 42, begin) + pixels.tobytes()
        path.write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4) + values)

    return make


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 12\n(code) print\n"
IMAGES: dict[str, Callable[[Path], object]] = {
    "image cut off": lambda path: path.write_bytes(path.read_bytes()[:-60]),
    "image of zero bytes": lambda path: path.write_bytes(b""),
    "text file named .jpg": lambda path: path.write_bytes(b"<html>not found</html>"),
    "PostScript program named .jpg": lambda path: path.write_bytes(EPS),
    "image with transparent pixels": make_transparent,
    "palette image with a transparent colour": make_transparent_palette,
    "grey image of 16 bits": make_grey_16,
    "grey image of floating-point numbers": lambda path: Image.fromarray(
        RAMP.astype(np.float32)
    ).save(path, format="TIFF"),
    "TIFF image of two channels": make_tiff(2, "u1"),
    "TIFF image of five channels": make_tiff(5, "u1"),
    "TIFF image of floating-point colours": make_tiff(3, "f4"),
    "image of another size than the index says": lambda path: Image.new("RGB", (12, 12)).save(path),
    "decompression bomb": lambda path: write_png_header(path, 30_000, 30_000),
    "large image that announces what it does not hold": lambda path: write_png_header(
        path, 9_000, 8_000
    ),
    "image removed after the dataset was opened": lambda path: path.unlink(),
}
FILES: dict[str, Callable[[Path], object]] = {
    "image missing": lambda path: path.unlink(),
    "symbolic link to nothing": replace(lambda path: path.symlink_to("nowhere.jpg")),
    "symbolic link to itself": replace(lambda path: path.symlink_to(path.name)),
    "named pipe in the place of an image": replace(os.mkfifo),
    "folder in the place of an image": replace(lambda path: path.mkdir()),
}
PLANES: dict[str, Callable[[Path], object]] = {
    "label plane cut off": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "label plane that is grey": lambda path: Image.new("L", (5, 6)).save(path),
    "label plane with transparent pixels": lambda path: Image.new("RGBA", (5, 6)).save(path),
    "label plane of 16 bits": lambda path: write_png_16(path, np.full((6, 5, 3), 1, np.uint16)),
    "label plane as JPEG": lambda path: Image.new("RGB", (5, 6)).save(path, format="JPEG"),
    "label plane of another size": lambda path: Image.new("RGB", (6, 6)).save(path),
    "label number that label.csv lacks, in a plane": paint_plane,
}


def test_every_case_is_documented() -> None:
    for function, cases in (
        ("test_images_that_are_refused", IMAGES),
        ("test_files_that_are_refused_when_the_dataset_is_opened", FILES),
        ("test_label_planes_that_are_refused", PLANES),
        ("test_images_that_are_read", READ),
        ("test_label_planes_that_are_read", READ_PLANES),
    ):
        assert set(rows_of(__file__, function)) == set(cases)


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_are_refused(directory: Path, case: str) -> None:
    dataset = BrodenDataset(directory)
    IMAGES[case](directory / "images/x/1.jpg")
    row = rows_of(__file__, "test_images_that_are_refused")[case]
    refuse(row, directory.parent, lambda: dataset.image(1))
    assert dataset.image(0).shape == dataset.image(2).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_refused_when_the_dataset_is_opened(directory: Path, case: str) -> None:
    FILES[case](directory / "images/x/1.jpg")
    row = rows_of(__file__, "test_files_that_are_refused_when_the_dataset_is_opened")[case]
    refuse(row, directory.parent, lambda: BrodenDataset(directory))


@pytest.mark.parametrize("case", PLANES)
def test_label_planes_that_are_refused(directory: Path, case: str) -> None:
    dataset = BrodenDataset(directory)
    PLANES[case](directory / "images/x/1_object.png")
    row = rows_of(__file__, "test_label_planes_that_are_refused")[case]
    refuse(row, directory.parent, lambda: dataset.labels(1))
    assert dataset.labels(2).planes["object"].shape == (1, 6, 5)


def make_rotated(path: Path) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90°
    Image.fromarray(COLOURS).save(path, format="PNG", exif=exif)
    return COLOURS


def make_rotated_tiff(path: Path) -> np.ndarray:
    Image.fromarray(COLOURS).save(path, format="TIFF", tiffinfo={0x0112: 6})
    return COLOURS


def make_cmyk(path: Path) -> np.ndarray:
    cmyk = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    cmyk[:, :5] = (0, 255, 255, 0)  # red
    cmyk[:, 5:, 3] = 255  # black
    Image.fromarray(cmyk, mode="CMYK").save(path, format="TIFF")
    expected = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    expected[:, :5, 0] = 255
    return expected


def make_link(path: Path) -> np.ndarray:
    elsewhere = path.parents[3] / "other disk.png"
    Image.fromarray(COLOURS).save(elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)
    return COLOURS


def make_opaque(path: Path) -> np.ndarray:
    opaque = np.dstack([COLOURS, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    Image.fromarray(opaque).save(path, format="PNG")
    return COLOURS


def make_palette(path: Path) -> np.ndarray:
    palette = Image.fromarray(RAMP).convert("P")
    palette.putpalette([255 - level for level in range(256) for _ in range(3)])
    palette.save(path, format="PNG")
    return np.asarray(palette.convert("RGB"))


def make_grey(path: Path) -> np.ndarray:
    Image.fromarray(RAMP).save(path, format="PNG")
    return np.stack([RAMP] * 3, axis=-1)


def make_bits(path: Path) -> np.ndarray:
    Image.fromarray(RAMP > 90).save(path, format="PNG")
    return np.stack([(RAMP > 90) * np.uint8(255)] * 3, axis=-1)


def make_colour_16(path: Path) -> np.ndarray:
    write_png_16(path, COLOURS.astype(np.uint16) * 256 + 77)
    return COLOURS


def make_other_format(path: Path) -> np.ndarray:
    Image.fromarray(COLOURS).save(path, format="PNG")
    return COLOURS


READ: dict[str, Callable[[Path], np.ndarray]] = {
    "grey image": make_grey,
    "black-and-white image of 1 bit": make_bits,
    "palette image": make_palette,
    "CMYK image": make_cmyk,
    "image with an alpha channel that is opaque": make_opaque,
    "colour image of 16 bits": make_colour_16,
    "EXIF rotation": make_rotated,
    "TIFF image with an orientation": make_rotated_tiff,
    "PNG file named .jpg": make_other_format,
    "symbolic link to an image elsewhere": make_link,
}


@pytest.mark.parametrize("case", READ)
def test_images_that_are_read(directory: Path, case: str) -> None:
    expected = READ[case](directory / "images/x/1.jpg")
    with unchanged(directory.parent):
        image = BrodenDataset(directory).image(1)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def add_opaque_alpha(path: Path) -> None:
    Image.open(path).convert("RGBA").save(path)


def decompose_names(path: Path) -> None:
    """index.csv names é as one character, the files have an e and an accent."""
    index = path.parents[2] / "index.csv"
    renamed = "x/1.jpg", "x/1_object.png"
    text = index.read_text()
    for name in renamed:
        composed = name.replace("1", "caf\u00e9 1")
        text = text.replace(name, composed)
        decomposed = unicodedata.normalize("NFD", composed)
        assert decomposed != composed
        (index.parent / "images" / name).rename(index.parent / "images" / decomposed)
    index.write_text(text)


READ_PLANES: dict[str, Callable[[Path], object]] = {
    "label plane with an alpha channel that is opaque": add_opaque_alpha,
    "image and plane named in another Unicode form than on disk": decompose_names,
}


@pytest.mark.parametrize("case", READ_PLANES)
def test_label_planes_that_are_read(directory: Path, case: str) -> None:
    before = BrodenDataset(directory)
    expected, image = before.labels(1).planes["object"], before.image(1)
    READ_PLANES[case](directory / "images/x/1_object.png")
    with unchanged(directory.parent):
        after = BrodenDataset(directory)
        np.testing.assert_array_equal(after.labels(1).planes["object"], expected)
        np.testing.assert_array_equal(after.image(1), image)
        assert all(path.is_file() for path in after.source_files())
