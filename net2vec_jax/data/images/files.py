"""Decode image files that may be damaged or hostile: a photograph or label plane, or one message.

Photographs become uint8 [H, W, 3], RGB; label planes int32 [Y, X], R + 256·G (reference behaviour
1.3). A file's size is compared with the expected one and with a limit before a pixel is decoded, so
that decompression bombs cost nothing. Pixels are taken as stored: an EXIF rotation is not applied,
since labels are aligned with the stored pixels. Only HEIF files have no other pixels than upright
ones.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, features

from net2vec_jax.core.errors import Net2VecError


def _find_formats() -> tuple[str, ...]:
    """What this Pillow decodes; HEIF with the extra `heic` (pillow-heif)."""
    formats = ["JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF"]
    if features.check("avif"):
        formats.append("AVIF")
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        formats.append("HEIF")
    return tuple(formats)


IMAGE_FORMATS = _find_formats()
"""What is decoded, whatever a name ends in; some of Pillow's other readers run programs (EPS). Of
files with several pictures (GIF, TIFF, MPO) the first is taken."""
PLANE_FORMATS = ("PNG",)
"""Label planes are exact, so no lossy format."""
LARGEST_PIXELS = 1 << 27
"""Of an image: 134 megapixels, 0.4 GB in RGB."""
_LARGE_PIXELS = 1 << 25
"""Images above are decoded one at a time, or several threads would need gigabytes."""
_ONE_LARGE_IMAGE = threading.Lock()
_OPENING = threading.Lock()
ORIENTATION = 0x0112
"""The EXIF tag; 1 is upright."""
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TO_STORED = _TO_UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
TURNED_BY_A_QUARTER = (5, 6, 7, 8)
_TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_image(
    file: Path | bytes, size: tuple[int, int], *, source: str, where: str = ""
) -> np.ndarray:
    """Decode a photograph.

    Grey images are repeated over the channels (behaviour 2.1), palettes are looked up, CMYK is
    converted without a colour profile, and an alpha channel is dropped where all of it is opaque.
    Of 16 bits per channel in colour the upper 8 are taken.

    Args:
      file: its path, or its contents; these, not its name, say of which format it is.
      size: (H, W) that it must have.
      source: who says so, such as "index.csv line 3".
      where: what messages call it; by default its path.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      Net2VecError: the file is missing, no image, damaged, of another size, has transparent pixels,
        or is grey of more than 8 bits, whose range nobody knows.
    """
    where = where or str(file)
    with open_image_file(file, IMAGE_FORMATS, where=where) as image:
        _check_size(where, "image", read_shapes(image)[1], size, source)
        return np.asarray(convert_to_rgb(decode_photograph(image, upright=False), where))


def read_orientation(image: Image.Image) -> int:
    """Which way a photograph is turned or mirrored, by EXIF or XMP: 1 (it is not) to 8.

    Args:
      image: as opened, not yet decoded. Of a PNG only what stands before the pixels counts, where
        nearly all tools write it: Pillow would decode every PNG without it to look behind them.
    """
    orientation = Image.Image.getexif(image).get(ORIENTATION, 1)
    return orientation if orientation in _TO_UPRIGHT else 1


def read_shapes(image: Image.Image) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) of a photograph upright, as its orientation says, and as stored; not yet decoded."""
    height, width = image.height, image.width
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow gives its size upright, but not if XMP turns it.
        height = image.tag_v2[TiffImagePlugin.IMAGELENGTH]
        width = image.tag_v2[TiffImagePlugin.IMAGEWIDTH]
    turned = read_orientation(image) in TURNED_BY_A_QUARTER
    return (width, height) if turned else (height, width), (height, width)


def decode_photograph(image: Image.Image, *, upright: bool) -> Image.Image:
    """The decoded photograph, upright as its orientation says, or as stored."""
    orientation = read_orientation(image)
    image.load()
    is_upright = image.format == "TIFF"  # which Pillow turns by itself
    if orientation == 1 or upright == is_upright:
        return image
    return image.transpose((_TO_UPRIGHT if upright else _TO_STORED)[orientation])


def convert_to_rgb(image: Image.Image, where: Path | str) -> Image.Image:
    """The image in RGB, of 8 bits per channel; see `read_image`; `where` is for messages.

    Raises:
      Net2VecError: it has transparent pixels, or is grey of more than 8 bits.
    """
    if image.mode.startswith("I") or image.mode == "F":
        raise Net2VecError(
            f"{where}: a grey image of more than 8 bits ({image.mode}), whose range is not "
            "known; convert it to 8 bits"
        )
    return drop_opaque_alpha(image, where).convert("RGB")


def drop_opaque_alpha(image: Image.Image, where: Path | str) -> Image.Image:
    """The image without an alpha channel or transparent colour, if no pixel is transparent.

    Pixels of RGB, grey values and palette indices stay what they are.

    Args:
      image: of any kind; it is decoded only if it may have transparent pixels.
      where: what the message calls it.

    Raises:
      Net2VecError: it has transparent pixels.
    """
    if not image.has_transparency_data:
        return image
    if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise Net2VecError(
            f"{where} has transparent pixels; fill them, and save it without alpha channel"
        )
    opaque = image.convert({"RGBA": "RGB", "LA": "L", "PA": "P"}.get(image.mode, image.mode))
    opaque.info.pop("transparency", None)
    return opaque


def read_label_plane(
    file: Path | bytes, size: tuple[int, int], *, source: str, where: str = ""
) -> np.ndarray:
    """Decode a label plane (behaviour 1.3).

    Args:
      file: the path or contents of a PNG file of 8 bits per channel.
      size: (Y, X) that it must have.
      source: who says so, such as "index.csv line 3".
      where: what messages call it; by default its path.

    Returns:
      int32 [Y, X], R + 256·G.

    Raises:
      Net2VecError: the file is missing, no image, damaged, of another size, or not an RGB image of
        8 bits without transparent pixels.
    """
    where = where or str(file)
    with open_image_file(file, PLANE_FORMATS, where=where) as image:
        _check_size(where, "label plane", (image.height, image.width), size, source)
        if not is_rgb_of_8_bits(image):
            raise Net2VecError(f"{where}: a label plane must be an 8-bit RGB image (R + 256·G)")
        pixels = np.asarray(drop_opaque_alpha(image, where))
        return pixels[..., 0] + pixels[..., 1].astype(np.int32) * 256


def is_rgb_of_8_bits(image: ImageFile.ImageFile) -> bool:
    """Whether an opened PNG is RGB of 8 bits per channel, maybe with an alpha channel."""
    return image.mode in ("RGB", "RGBA") and bits_per_sample(image) == 8


def bits_per_sample(image: ImageFile.ImageFile) -> int:
    """How many bits a sample of a PNG has, or an index of its palette, before it is decoded.

    Pillow reads 16 bits as the upper 8, which would be other labels.
    """
    raw_mode = str(image.tile[0][3])  # such as "L;4" and "RGB;16B"
    digits = re.search("[0-9]+", raw_mode.partition(";")[2] or raw_mode)
    return int(digits[0]) if digits else 8


_LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
"""What systems leave in folders, besides what begins with a dot."""


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of the files below `folder`, hidden ones and litter aside; links are followed.

    A name is the path below `folder` with "/" between folders, in Unicode's composed form (NFC).
    """
    entered: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = () if real in entered else sorted(filter(_is_no_litter, folders))
        if real not in entered:  # and no link to a folder above, or to one that was entered
            entered.add(real)
            for file in sorted(filter(_is_no_litter, files)):
                path = Path(parent, file)
                yield unicodedata.normalize("NFC", path.relative_to(folder).as_posix()), path


def _is_no_litter(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _LITTER


def find_file(folder: Path, name: str) -> Path:
    """The file of a name that may be written in another Unicode form than on disk.

    "é" is one character in most tables (NFC) and two in archives made on macOS (NFD). Every folder
    and the file itself are looked for as named, then in NFC and NFD.

    Args:
      folder: where the name is relative to.
      name: with "/" between folders.

    Returns:
      The path of the file that is there, or else the path as named.
    """
    if name.isascii():
        return folder / name
    found = folder
    for part in PurePosixPath(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        there = (found / form for form in forms if os.path.exists(found / form))
        found = next(there, None)
        if found is None:
            return folder / name
    return found


def check_regular_file(path: Path, where: str = "") -> os.stat_result:
    """What the system says of a file, links followed.

    Args:
      path: the file.
      where: who names it, for the message.

    Raises:
      Net2VecError: it is missing, or is a directory, pipe or device, which could block for ever.
    """
    named = f" ({where})" if where else ""
    try:
        found = path.stat()
    except OSError as error:
        raise Net2VecError(f"{path} is missing{named}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Net2VecError(f"{path} is not a regular file{named}")
    return found


@contextlib.contextmanager
def open_image_file(
    file: Path | bytes, formats: tuple[str, ...], *, where: str = ""
) -> Iterator[ImageFile.ImageFile]:
    """The image of a file, not yet decoded; what fails until the end becomes one message.

    Args:
      file: its path, or its contents.
      formats: those that it may have, by Pillow's names.
      where: what messages call it; by default its path.

    Raises:
      Net2VecError: the file is missing, empty, no image of these formats, damaged, or of more than
        `LARGEST_PIXELS`.
    """
    where = where or str(file)
    if isinstance(file, Path) and not check_regular_file(file).st_size:
        raise Net2VecError(f"{where} cannot be decoded as an image: the file is empty")
    try:
        with (
            _open_stream(file) as stream,
            _open_within_limit(stream, where, formats) as image,
            _ONE_LARGE_IMAGE
            if image.width * image.height > _LARGE_PIXELS
            else contextlib.nullcontext(),
        ):
            yield image
    except Net2VecError:
        raise
    except Exception as error:  # damaged files raise nearly any type, bombs a warning or an error
        raise Net2VecError(f"{where} cannot be decoded as an image: {error}") from error


def _open_stream(file: Path | bytes) -> io.BufferedReader | io.BytesIO:
    """A file or its contents, its head read: so no other thread waits for the disk, see below."""
    if isinstance(file, bytes):
        return io.BytesIO(file)
    stream = file.open("rb")
    stream.peek()
    return stream


def _open_within_limit(
    stream: io.BufferedReader | io.BytesIO, where: str, formats: tuple[str, ...]
) -> ImageFile.ImageFile:
    """What Pillow opens, of at most `LARGEST_PIXELS`; not yet decoded."""
    try:
        # Pillow's own limit is a global one, warns below it and does not say the size.
        with _OPENING:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(stream, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except Image.UnidentifiedImageError as error:
        explained = _explain_unknown(stream, formats)
        raise Net2VecError(f"{where} cannot be decoded as an image: {explained}") from error
    pixels = image.width * image.height
    if pixels > LARGEST_PIXELS:
        raise Net2VecError(
            f"{where}: the image is {image.height}×{image.width} pixels, {pixels / 1e6:.0f} "
            f"million; at most {LARGEST_PIXELS / 1e6:.0f} million are read: save a reduced copy"
        )
    return image


def _explain_unknown(stream: io.BufferedReader | io.BytesIO, formats: tuple[str, ...]) -> str:
    """What a file is that Pillow does not know as an image of these formats."""
    unknown = f"it is none of {', '.join(formats)}"
    with contextlib.suppress(Exception):
        return f"{unknown}, but {Image.open(stream, formats=IMAGE_FORMATS).format}"
    stream.seek(0)
    if stream.read(4).startswith(_TIFF_BEGINS):
        return (
            "it is a damaged TIFF file, or one of a kind that is not read (such as two or five "
            "channels, or floating-point colours): convert it to 8-bit RGB"
        )
    return unknown


def _check_size(
    where: str, kind: str, found: tuple[int, int], size: tuple[int, int], source: str
) -> None:
    if found != tuple(size):
        raise Net2VecError(
            f"{where}: the {kind} is {found[0]}×{found[1]} pixels, but {source} says "
            f"{size[0]}×{size[1]}"
        )
