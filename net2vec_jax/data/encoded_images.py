"""Decode images that are given as encoded bytes, and bring images and masks to one size.

Images are uint8 [H, W, 3]. A label plane is an 8-bit RGB image, concept = R + 256·G (reference
spec 1.3); a mask of another dataset is a single-channel image whose pixels are class numbers.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from net2vec_jax.errors import Net2VecError


def open_image(encoded: bytes, where: str) -> Image.Image:
    """A decoded image.

    Args:
      encoded: a JPEG or PNG file, or another that Pillow reads.
      where: what messages call it.

    Raises:
      Net2VecError: the bytes are no image, or a damaged one.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Net2VecError(f"{where} cannot be decoded as an image: {error}") from error
    return image


def decode_image(encoded: bytes, where: str, *, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3], RGB; grey images are repeated over the channels (spec 2.1).

    Raises:
      Net2VecError: the bytes are no image, or not one of `size` (H, W).
    """
    image = np.asarray(open_image(encoded, where).convert("RGB"))
    _check_size(image, size, where)
    return image


def decode_label_plane(encoded: bytes, where: str, *, size: tuple[int, int]) -> np.ndarray:
    """int32 [Y, X]: R + 256·G of an 8-bit RGB image.

    Raises:
      Net2VecError: the bytes are no such image, or not one of `size` (Y, X).
    """
    pixels = np.asarray(open_image(encoded, where)).astype(np.int32)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise Net2VecError(f"{where}: a label plane must be an 8-bit RGB image (R + 256·G)")
    _check_size(pixels, size, where)
    return pixels[..., 0] + 256 * pixels[..., 1]


def _check_size(pixels: np.ndarray, size: tuple[int, int], where: str) -> None:
    if pixels.shape[:2] != tuple(size):
        raise Net2VecError(
            f"{where} is {pixels.shape[0]}×{pixels.shape[1]} pixels, but all of this dataset are "
            f"{size[0]}×{size[1]}"
        )


def resize_image(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3]: bilinear, with a filter as wide as the reduction, so without aliasing.

    Args:
      image: of any size and mode.
      size: (H, W); the aspect ratio is not kept.
    """
    return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The nearest pixel of `mask` [H, W, …] for each of [Y, X, …]: no class is ever mixed.

    Broden's label maps were resized by `scipy.ndimage.zoom` of order 0 (spec 1.11): output i of m
    takes input round(i·(n − 1) / (m − 1)), the corners being aligned.
    """
    rows, columns = (
        np.floor(np.arange(m) * ((n - 1) / max(m - 1, 1)) + 0.5).astype(int)
        for n, m in zip(mask.shape, size, strict=False)
    )
    return mask[np.ix_(rows, columns)]
