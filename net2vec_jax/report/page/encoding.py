"""Arrays and texts as they stand in the page: pictures as data, numbers as base64, JSON in HTML.

Everything is ASCII. Masks of Y × X pixels become PNG files of a few hundred bytes that are laid
over an image: what is outside darkens, what is inside is clear, with an outline.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

HEAT_LEVELS = 48
"""Steps of a heat map; with more a map takes more bytes, and nobody sees them."""
HEAT_SIDE = 72
"""Longest side of a heat map, pixels: scores are bilinear between far fewer points."""
OUTSIDE = (8, 10, 14, 165)
"""RGBA of what a mask leaves out."""
_COLORMAP = "inferno"
_WEBP = {"quality": 72, "method": 4}
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def encode_json(content: Any) -> str:
    """JSON that may stand in a script element: ASCII, without <, > and &.

    Raises:
      ValueError: a number is not finite.
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escaped in _ESCAPED.items():
        text = text.replace(character, escaped)
    return text


def encode_floats(values: np.ndarray, kind: str) -> str:
    """Base64 of little-endian numbers; `kind` is "float32" or "float16"."""
    return encode_base64(np.ascontiguousarray(values, np.dtype(kind).newbyteorder("<")).tobytes())


def encode_base64(content: bytes) -> str:
    """Base64, as ASCII text."""
    return base64.b64encode(content).decode("ascii")


def hash_source(source: str) -> str:
    """What a content security policy calls a script or style of this text: 'sha256-…'."""
    return f"'sha256-{encode_base64(hashlib.sha256(source.encode('utf-8')).digest())}'"


def encode_image(image: np.ndarray, longest_side: int) -> str:
    """An image as WebP, base64.

    Args:
      image: uint8 [H, W, 3], RGB.
      longest_side: to which it is reduced, pixels; a smaller image stays as it is.
    """
    picture = Image.fromarray(np.asarray(image, np.uint8))
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return _save(picture, "WEBP", **_WEBP)


def encode_mask(mask: np.ndarray, color: tuple[int, int, int]) -> str:
    """A mask as a palette PNG with transparency, base64.

    Args:
      mask: bool [Y, X].
      color: RGB of its outline, which lies inside it; a mask of everything has a frame.
    """
    mask = np.asarray(mask, bool)
    padded = np.pad(mask, 1)
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return _encode_palette(
        np.where(mask, np.where(surrounded, 1, 2), 0),
        np.array([OUTSIDE[:3], OUTSIDE[:3], color]),
        np.array([OUTSIDE[3], 0, 255]),
    )


def encode_heat(score: np.ndarray) -> str:
    """A map of scores as a palette PNG that is the more opaque the higher the score, base64.

    Args:
      score: float [Y, X] in [0, 1].
    """
    picture = Image.fromarray(np.asarray(score, np.float32))
    picture.thumbnail((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BILINEAR)
    level = np.clip(np.nan_to_num(np.asarray(picture)) * HEAT_LEVELS, 0, HEAT_LEVELS - 1)
    steps = np.linspace(0, 1, HEAT_LEVELS)
    colors = matplotlib.colormaps[_COLORMAP](steps)[:, :3] * 255
    return _encode_palette(level, colors, 105 + 85 * steps)


def _encode_palette(places: np.ndarray, colors: np.ndarray, alpha: np.ndarray) -> str:
    """PNG of indices [Y, X] into colours [n, 3] and opacities [n], both from 0 to 255."""
    picture = Image.fromarray(places.astype(np.uint8))
    picture.putpalette(np.round(colors).astype(np.uint8).tobytes())
    opacity = np.round(alpha).astype(np.uint8).tobytes()
    return _save(picture, "PNG", transparency=opacity, optimize=True)


def _save(picture: Image.Image, kind: str, **options: Any) -> str:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return encode_base64(content.getvalue())
