"""Decode images that are given as encoded bytes, and bring images and masks to one size.

Images are uint8 [H, W, 3]. A label plane is an 8-bit RGB image, concept = R + 256·G (reference
spec 1.3); a mask of another dataset is a single-channel image whose pixels are class numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import (
    IMAGE_FORMATS,
    PLANE_FORMATS,
    convert_to_rgb,
    open_image_file,
    read_numbers,
)


def open_image(encoded: bytes, where: str) -> Image.Image:
    """A decoded image.

    Args:
      encoded: the contents of an image file.
      where: what messages call it.

    Raises:
      Net2VecError: the bytes are no image, or a damaged one.
    """
    with open_image_file(encoded, IMAGE_FORMATS, where=where) as image:
        image.load()
    return image


def decode_image(encoded: bytes, where: str, *, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3], RGB, converted as `files.read_image` does.

    Raises:
      Net2VecError: the bytes are no image, not one of `size` (H, W), or cannot be shown in RGB.
    """
    with _open_sized(encoded, where, IMAGE_FORMATS, size) as image:
        return np.asarray(convert_to_rgb(image, where))


def decode_label_plane(encoded: bytes, where: str, *, size: tuple[int, int]) -> np.ndarray:
    """int32 [Y, X]: R + 256·G, as `files.read_label_plane` reads it.

    Raises:
      Net2VecError: the bytes are no PNG image of a label plane, or not one of `size` (Y, X).
    """
    with _open_sized(encoded, where, PLANE_FORMATS, size) as image:
        return read_numbers(image, where)


@contextlib.contextmanager
def _open_sized(
    encoded: bytes, where: str, formats: tuple[str, ...], size: tuple[int, int]
) -> Iterator[ImageFile.ImageFile]:
    """An image, not yet decoded, that must be of `size` (H, W)."""
    with open_image_file(encoded, formats, where=where) as image:
        if (image.height, image.width) != tuple(size):
            raise Net2VecError(
                f"{where} is {image.height}×{image.width} pixels, but all of this dataset are "
                f"{size[0]}×{size[1]}"
            )
        yield image


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

    Broden's label maps were resized by `scipy.ndimage.zoom` of order 0 (spec 1.11): output i of m
    takes input round(i·(n − 1) / (m − 1)), the corners being aligned.
    """
    return np.floor(np.arange(m) * ((n - 1) / max(m - 1, 1)) + 0.5).astype(int)
