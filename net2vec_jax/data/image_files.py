"""Decode image files that may be damaged or hostile: a photograph or label plane, or one message.

Photographs become uint8 [H, W, 3], RGB; label planes int32 [Y, X], R + 256·G (reference spec 1.3).
A file's size is compared with the expected one before a pixel is decoded, so that decompression
bombs cost nothing. Pixels are taken as stored: an EXIF rotation is not applied, since labels are
aligned with the stored pixels.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from net2vec_jax.errors import Net2VecError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a name ends in; some of Pillow's other readers run programs (EPS)."""
PLANE_FORMATS = ("PNG",)
"""Label planes are exact, so no lossy format."""
PNG_BIT_DEPTH = 24
"""Offset of the byte of a PNG file that says how many bits a sample has."""


def read_image(path: Path, size: tuple[int, int], *, source: str) -> np.ndarray:
    """Decode a photograph.

    Grey images are repeated over the channels (spec 2.1), palettes are looked up, CMYK is converted
    without a colour profile, and an alpha channel is dropped where all of it is opaque. Of 16 bits
    per channel in colour the upper 8 are taken.

    Args:
      path: the file; its contents, not its name, say of which format it is.
      size: (H, W) that it must have.
      source: who says so, such as "index.csv line 3".

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      Net2VecError: the file is missing, no image, damaged, of another size, has transparent pixels,
        or is grey of more than 8 bits, whose range nobody knows.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        _check_size(path, "image", image, size, source)
        return np.asarray(convert_to_rgb(image, path))


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
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise Net2VecError(
                f"{where}: the image has transparent pixels; lay it over a background and save "
                "it without alpha channel"
            )
    return image.convert("RGB")


def read_label_plane(path: Path, size: tuple[int, int], *, source: str) -> np.ndarray:
    """Decode a label plane (spec 1.3).

    Args:
      path: a PNG file of 8 bits per channel.
      size: (Y, X) that it must have.
      source: who says so, such as "index.csv line 3".

    Returns:
      int32 [Y, X], R + 256·G.

    Raises:
      Net2VecError: the file is missing, no image, damaged, of another size, or not an RGB image of
        8 bits.
    """
    with open_image_file(path, PLANE_FORMATS) as image:
        if image.mode != "RGB" or read_png_bit_depth(path) != 8:
            raise Net2VecError(f"{path}: a label plane must be an 8-bit RGB image (R + 256·G)")
        _check_size(path, "label plane", image, size, source)
        pixels = np.asarray(image).astype(np.int32)
    return pixels[..., 0] + 256 * pixels[..., 1]


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
def open_image_file(path: Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """The image of a file, not yet decoded; what fails until the end becomes one message.

    Args:
      path: the file.
      formats: those that it may have, by Pillow's names.

    Raises:
      Net2VecError: the file is missing, empty, no image of these formats, or damaged.
    """
    if not check_regular_file(path).st_size:
        raise Net2VecError(f"{path} cannot be decoded as an image: the file is empty")
    with one_decoding_message(path, formats), Image.open(path, formats=formats) as image:
        yield image


@contextlib.contextmanager
def one_decoding_message(where: Path | str, formats: tuple[str, ...]) -> Iterator[None]:
    """Whatever opening and decoding an image raises becomes one message.

    Args:
      where: what the message calls the image.
      formats: those that it may have.

    Raises:
      Net2VecError: it is no image of these formats, or damaged.
    """
    try:
        yield
    except Net2VecError:
        raise
    except Image.UnidentifiedImageError as error:
        raise Net2VecError(
            f"{where} cannot be decoded as an image: it is none of {', '.join(formats)}"
        ) from error
    except Exception as error:  # damaged files raise nearly any type, bombs a warning or an error
        raise Net2VecError(f"{where} cannot be decoded as an image: {error}") from error


def _check_size(
    path: Path, kind: str, image: Image.Image, size: tuple[int, int], source: str
) -> None:
    if (image.height, image.width) != size:
        raise Net2VecError(
            f"{path}: the {kind} is {image.height}×{image.width} pixels, but {source} says "
            f"{size[0]}×{size[1]}"
        )


def read_png_bit_depth(path: Path) -> int:
    """How many bits a sample of a PNG file has, or an index if it has a palette."""
    # Pillow reads 16 bits as the upper 8, which would be other labels, and does not say so.
    with open(path, "rb") as file:
        file.seek(PNG_BIT_DEPTH)
        return file.read(1)[0]
