"""Photographs and masks of any size, brought to one: images [S, S], masks [S // 2, S // 2].

Broden's own builder did the same (reference behaviour 1.1, 1.11): the aspect ratio is not kept,
images are reduced without aliasing, of masks the nearest pixel is taken.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import (
    IMAGE_FORMATS,
    ORIENTATION,
    PLANE_FORMATS,
    TURNED_BY_A_QUARTER,
    bits_per_sample,
    convert_to_rgb,
    decode_photograph,
    drop_opaque_alpha,
    open_image_file,
    read_orientation,
    read_shapes,
)

DEFAULT_RESOLUTION = 224
"""What most networks were trained on, in pixels."""
LARGEST_RESOLUTION = 4096
_SEVERAL_PICTURES = ("GIF", "TIFF", "WEBP", "PNG", "AVIF")
"""Formats of several equal pictures; MPO and HEIF say which one is the photograph."""


def split_resolution(text: str) -> tuple[str, int]:
    """From "NAME@384" the name and the resolution, from "NAME" the default one.

    Raises:
      Net2VecError: the resolution is out of range.
    """
    name, at, digits = text.rpartition("@")
    if not at or not re.fullmatch("[0-9]+", digits):
        return text, DEFAULT_RESOLUTION
    return name, check_resolution(int(digits))


def check_resolution(resolution: int) -> int:
    """The resolution itself.

    Raises:
      Net2VecError: it is out of range.
    """
    if not 2 <= resolution <= LARGEST_RESOLUTION:
        raise Net2VecError(
            f"the resolution must be 2 to {LARGEST_RESOLUTION} pixels, not {resolution}"
        )
    return resolution


def open_image(encoded: bytes, where: str) -> Image.Image:
    """A decoded image, of the contents of its file; `where` is what messages call it.

    Raises:
      Net2VecError: the bytes are no image, or a damaged one.
    """
    with open_image_file(encoded, IMAGE_FORMATS, where=where) as image:
        image.load()
    return image


def resize_image(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3]: bilinear, with a filter as wide as the reduction, so without aliasing.

    Args:
      image: of any size and mode.
      size: (H, W); the aspect ratio is not kept.
    """
    return np.asarray(image.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest pixel of `mask` [H, W, …] for each of [Y, X, …]: no class is ever mixed.

    See `nearest_pixels`.
    """
    return mask[np.ix_(*map(nearest_pixels, mask.shape, size))]


def nearest_pixels(n: int, m: int) -> np.ndarray:
    """int [m]: which of n pixels is nearest to each of m.

    Broden's label maps were resized by `scipy.ndimage.zoom` of order 0 (behaviour 1.11): output i
    of m takes input round(i·(n − 1) / (m − 1)), the corners being aligned.
    """
    return np.floor(np.arange(m) * ((n - 1) / max(m - 1, 1)) + 0.5).astype(int)


def read_resized_image(
    path: Path,
    resolution: int,
    *,
    shape: tuple[int, int] | None = None,
    source: str = "",
    prefer_stored: bool = False,
) -> np.ndarray:
    """Decode a photograph and resize it (bilinear, antialiased) to a square.

    It is turned upright as its EXIF orientation says, if that goes with the shape of its labels;
    if not, it is taken as stored. Of a JPEG much larger than needed a reduced version, of at least
    twice the resolution, is decoded.

    Args:
      path: the file.
      resolution: S.
      shape: (H, W) of its labels, which the image must have too, or another size of the same
        aspect ratio.
      source: what gives that shape, for the message.
      prefer_stored: take the pixels as stored if both ways go with the labels.

    Returns:
      uint8 [S, S, 3], RGB.

    Raises:
      Net2VecError: the file is missing, damaged, of a kind that cannot be shown in RGB (see
        `convert_to_rgb`), or does not go with its labels.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        upright, stored = read_shapes(image)
        fits = [shape is None or same_aspect(one, shape) for one in (upright, stored)]
        if shape is not None and not any(fits):
            raise Net2VecError(
                f"{path}: the image is {upright[0]}×{upright[1]} pixels, but {source} is "
                f"{shape[0]}×{shape[1]}, of another aspect ratio{_explain_misfit(image, shape)}"
            )
        upright = fits[0] and not (prefer_stored and fits[1])
        return _decode_resized(image, (resolution, resolution), path, upright=upright)


def read_photograph(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a photograph of any size, upright, resized as `read_resized_image` does.

    Args:
      path: the file.
      size: (H, W) of the pixels; the aspect ratio is not kept.

    Returns:
      uint8 [H, W, 3], RGB; and the photograph's own (height, width), upright.

    Raises:
      Net2VecError: the file is missing, damaged, or of a kind that cannot be shown in RGB.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        own, _ = read_shapes(image)
        return _decode_resized(image, size, path, upright=True), own


def read_thumbnail(path: Path, longest: int) -> np.ndarray:
    """Decode a photograph, upright, with its aspect ratio, no side longer than `longest` pixels.

    Returns:
      uint8 [H, W, 3], RGB.

    Raises:
      Net2VecError: as of `read_photograph`.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        (height, width), _ = read_shapes(image)
        scale = min(1.0, longest / max(height, width))
        size = max(1, round(scale * height)), max(1, round(scale * width))
        return _decode_resized(image, size, path, upright=True)


def _decode_resized(
    image: ImageFile.ImageFile, size: tuple[int, int], path: Path, *, upright: bool
) -> np.ndarray:
    """An opened photograph at `size` (H, W); of a large JPEG a reduced version is decoded."""
    image.draft(image.mode, (2 * max(size), 2 * max(size)))
    shown = convert_to_rgb(decode_photograph(image, upright=upright), path)
    return np.asarray(shown.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _explain_misfit(image: Image.Image, shape: tuple[int, int]) -> str:
    """Why an image may not go with labels of (H, W), the end of a message."""
    if not same_aspect((image.width, image.height), shape):
        return ""
    if image.info.get("original_orientation") is not None:  # which pillow-heif gives
        return "; HEIC photographs are taken upright, as EXIF says: turn its labels upright too"
    image.load()
    late = Image.Exif()
    late.load(image.info.get("exif", b""))
    if late.get(ORIENTATION) in TURNED_BY_A_QUARTER:
        return "; EXIF data behind its pixels is not followed: save it upright, without that tag"
    return "; height and width look swapped there"


def remark_on_photograph(
    path: Path, shape: tuple[int, int] | None, *, otherwise: str | None, prefer_stored: bool = False
) -> tuple[str, ...]:
    """What `read_resized_image` assumes of a photograph.

    That is, which way it is turned if EXIF turns or mirrors it and its labels do not say that it
    is upright; and which picture is meant if the file has several.

    Args:
      path: the file.
      shape: (H, W) of its labels; None if nothing says it.
      otherwise: what to do if it is turned otherwise, the end of that remark; None if it does not
        matter, since no label has a place in the photograph.
      prefer_stored: as `read_resized_image` has it.

    Returns:
      Remarks as `gather_remarks` takes them; none of a photograph that cannot be read.
    """
    try:
        with open_image_file(path, IMAGE_FORMATS) as image:
            has_several = image.format in _SEVERAL_PICTURES and getattr(image, "is_animated", False)
            remarks = (_FIRST_PICTURE,) if has_several else ()
            if otherwise is None or read_orientation(image) == 1:
                return remarks
            fits = [shape is None or same_aspect(one, shape) for one in read_shapes(image)]
    except Net2VecError:
        return ()  # reading the photograph says why
    is_upright, is_stored = fits
    if not is_stored:
        return remarks
    taken = "as stored" if prefer_stored or not is_upright else "upright"
    return *remarks, (
        "photographs with an EXIF orientation fit their labels "
        f"{'both upright and' if is_upright else 'only'} as stored ({{count}}: {{images}}); their "
        f"pixels are taken {taken}: {otherwise}"
    )


_FIRST_PICTURE = (
    "photographs hold several pictures, as animations do ({count}: {images}); the first is taken: "
    "save another one alone where it is meant"
)


def read_mask_shape(path: Path) -> tuple[int, int]:
    """(H, W) of a mask, from the head of its file.

    Raises:
      Net2VecError: the file is missing or no PNG.
    """
    with open_image_file(path, PLANE_FORMATS) as image:
        return image.height, image.width


class StoredMask(NamedTuple):
    """A mask as its file has it, at the size asked for."""

    pixels: np.ndarray
    """int32 [Y, X] indices or values, or uint8 [Y, X, 3] colours."""
    palette: np.ndarray | None
    """uint8 [n, 3], the colours of the indices; None without a palette."""
    shape: tuple[int, int]
    """(H, W) of the file."""
    has_orientation: bool
    """Whether EXIF turns or mirrors it, which is not applied: pixels are taken as stored."""


def read_resized_mask(path: Path, size: tuple[int, int]) -> StoredMask:
    """Decode a mask and take the nearest pixel for each of [Y, X].

    Args:
      path: a PNG file: with a palette, whose indices are taken; grey of 1 to 16 bits; or RGB of 8.
        An alpha channel that is opaque is dropped.
      size: (Y, X).

    Raises:
      Net2VecError: the file is missing, damaged, of another kind, or has transparent pixels.
    """
    with open_image_file(path, PLANE_FORMATS) as opened:
        shape, has_orientation = (opened.height, opened.width), read_orientation(opened) != 1
        depth = bits_per_sample(opened)
        image = drop_opaque_alpha(opened, path) if opened.mode in ("RGBA", "LA") else opened
        if image.mode not in ("1", "L", "P", "RGB", "I;16") or (image.mode == "RGB" and depth != 8):
            raise Net2VecError(
                f"{path}: a mask must be a PNG with a palette, grey, or RGB of 8 bits, not "
                f"{image.mode} of {depth} bits"
            )
        pixels, palette = resize_mask(np.asarray(image), size), None
        if image.mode == "P":
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if image.mode == "L" and depth < 8:  # which Pillow stretches to 0 … 255
            pixels = pixels // (255 // (2**depth - 1))
        if image.mode != "RGB":
            pixels = pixels.astype(np.int32)
        return StoredMask(pixels, palette, shape, has_orientation)


def pack_colours(colours: np.ndarray) -> np.ndarray:
    """R + 256·G + 65536·B, int32 [...], of uint8 [..., 3] colours."""
    return colours.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether sizes are equal up to scale, and to a pixel of the smaller one by rounding."""
    (h, w), (y, x) = one, other
    return abs(h * x - w * y) <= max(h, w, y, x)
