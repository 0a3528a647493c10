"""Photographs and masks are turned, resized and told of as their heads say."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import IMAGE_FORMATS, read_image
from net2vec_jax.data.images.resized import (
    read_resized_image,
    read_resized_mask,
    remark_on_photograph,
)


@pytest.mark.parametrize(
    ("orientation", "shape", "prefer_stored", "assumed"),
    [
        (None, (8, 12), False, None),
        (1, (8, 12), True, None),
        (6, (12, 8), True, None),  # only upright
        (6, (8, 12), True, "as stored"),
        (6, (8, 12), False, "as stored"),
        (3, (16, 24), True, "as stored"),
        (3, (16, 24), False, "upright"),
        (6, (99, 10), False, None),  # fits neither way, which reading it refuses
        (9, (8, 12), True, None),
        (6, None, True, "as stored"),
    ],
)
def test_what_is_assumed_of_turned_photographs_is_told(
    orientation: int | None,
    shape: tuple[int, int] | None,
    prefer_stored: bool,
    assumed: str | None,
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (12, 8)).save(path, exif=make_exif(orientation))
    remarks = remark_on_photograph(
        path, shape, prefer_stored=prefer_stored, otherwise="turn them yourself"
    )
    assert remark_on_photograph(path, shape, prefer_stored=prefer_stored, otherwise=None) == ()
    if assumed is None:
        assert remarks == ()
        return
    (remark,) = remarks
    assert all(part in remark for part in ("EXIF", "({count}: {images})", f"taken {assumed}"))
    assert "turn them yourself" in remark


def make_exif(orientation: int | None) -> Image.Exif:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return exif


def test_photographs_that_cannot_be_read_have_no_remark(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"none")
    for name in ("a.jpg", "nowhere.jpg"):
        assert remark_on_photograph(tmp_path / name, (1, 1), otherwise="") == ()


STORED = np.zeros((16, 24, 3), np.uint8)
STORED[:8, :12] = 255
"""White where it is stored at the top left, which orientation 6 turns to the top right."""
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def write_turned(path: Path, kind: str, pixels: np.ndarray = STORED) -> None:
    """A photograph of orientation 6."""
    image, exif = Image.fromarray(pixels), make_exif(6)
    if kind.startswith("TIFF"):
        compression = "tiff_lzw" if "compressed" in kind else None
        image.save(path, format="TIFF", tiffinfo={0x0112: 6}, compression=compression)
    elif kind == "PNG by XMP":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP)
        image.save(path, format="PNG", pnginfo=info)
    elif kind == "PNG by a raw profile":
        content = exif.tobytes()
        info = PngImagePlugin.PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
        image.save(path, format="PNG", pnginfo=info)
    else:
        image.save(path, format=kind, exif=exif, quality=95)


def brightest_corner(pixels: np.ndarray) -> str:
    half = len(pixels) // 2
    corners = {
        "top left": pixels[:half, :half],
        "top right": pixels[:half, half:],
        "bottom left": pixels[half:, :half],
        "bottom right": pixels[half:, half:],
    }
    return max(corners, key=lambda name: corners[name].mean())


KINDS = ("JPEG", "PNG", "PNG by XMP", "PNG by a raw profile", "TIFF", "TIFF compressed", "WEBP")


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_remark_agree_in_every_format(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photograph"
    write_turned(path, kind)
    for shape, prefer_stored, corner, said in (
        ((24, 16), False, "top right", None),
        ((24, 16), True, "top right", None),
        ((16, 24), False, "top left", "taken as stored"),
        ((16, 24), True, "top left", "taken as stored"),
        (None, False, "top right", "taken upright"),
        (None, True, "top left", "taken as stored"),
    ):
        options = {"shape": shape, "prefer_stored": prefer_stored}
        assert brightest_corner(read_resized_image(path, 8, source="x", **options)) == corner
        remarks = remark_on_photograph(path, otherwise="", **options)
        assert [said in remark for remark in remarks] == ([True] if said else [])
    with pytest.raises(Net2VecError, match=r"24×16 .*x is 9×90.*aspect ratio"):
        read_resized_image(path, 8, shape=(9, 90), source="x")
    stored = read_image(path, (16, 24), source="x")  # as Broden's are
    assert stored.shape == STORED.shape
    np.testing.assert_allclose(stored[2:6, 2:10], 255, atol=8)


def test_mirrored_tiff_files_are_taken_as_stored_too(tmp_path: Path) -> None:
    pixels = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)
    for orientation in range(2, 9):
        path = tmp_path / f"{orientation}.tif"
        Image.fromarray(pixels).save(path, tiffinfo={0x0112: orientation})
        np.testing.assert_array_equal(read_image(path, (16, 24), source="x"), pixels)


def test_exif_data_behind_the_pixels_of_a_png_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(STORED).save(path)
    content = path.read_bytes()
    body = b"eXIf" + make_exif(6).tobytes()[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert Image.open(path).getexif()[0x0112] == 6
    assert brightest_corner(read_resized_image(path, 8)) == "top left"
    assert remark_on_photograph(path, None, otherwise="") == ()
    with pytest.raises(Net2VecError, match=r"EXIF data behind its pixels.*save it"):
        read_resized_image(path, 8, shape=(24, 16), source="its mask")


@pytest.mark.skipif("HEIF" not in IMAGE_FORMATS, reason="pillow-heif is not installed")
def test_heic_photographs_are_always_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    large = np.kron(STORED, np.ones((8, 8, 1), np.uint8))
    Image.fromarray(large).save(path, format="HEIF", exif=make_exif(6).tobytes(), quality=95)
    for prefer_stored in (False, True):
        options = {"shape": (192, 128), "prefer_stored": prefer_stored}
        assert brightest_corner(read_resized_image(path, 8, source="", **options)) == "top right"
        assert remark_on_photograph(path, otherwise="", **options) == ()
    with pytest.raises(Net2VecError, match=r"HEIC.*turn its labels"):
        read_resized_image(path, 8, shape=(128, 192), source="its mask")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_of_several_pictures_the_first_is_taken_and_said(kind: str, tmp_path: Path) -> None:
    if kind not in IMAGE_FORMATS:
        pytest.skip(f"this Pillow does not read {kind}")
    path = tmp_path / "photograph"
    first, second = Image.new("RGB", (12, 12), (250, 0, 0)), Image.new("RGB", (12, 12), (0, 0, 250))
    first.save(path, format=kind)
    assert remark_on_photograph(path, (12, 12), otherwise="") == ()
    first.save(path, format=kind, save_all=True, append_images=[second])
    (remark,) = remark_on_photograph(path, (12, 12), otherwise=None)
    assert all(part in remark for part in ("several pictures", "({count}: {images})", "first"))
    np.testing.assert_allclose(read_resized_image(path, 4)[0, 0], (250, 0, 0), atol=8)


def test_the_picture_of_a_phone_with_a_second_one_has_no_remark(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image = Image.new("RGB", (12, 12))
    image.save(path, format="MPO", save_all=True, append_images=[image])
    assert remark_on_photograph(path, (12, 12), otherwise="") == ()


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_masks_with_an_orientation_are_taken_as_stored_and_marked(
    mode: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    mask = Image.fromarray(STORED[..., 0]).convert(mode)
    for orientation in (None, 1, 6):
        mask.save(path, exif=make_exif(orientation))
        read = read_resized_mask(path, (16, 24))
        assert read.has_orientation == (orientation == 6)
        np.testing.assert_array_equal(read.pixels, np.asarray(mask))
