"""Masks and scores drawn over photographs in RGB, as arrays again (reference behaviour 8.8).

Two drawings of a mask: darkened outside, as the original's, and outlined on pale grey, which stays
readable where most of the image is marked or none of it. Scores are drawn as colours. Masks and
scores are [Y, X], of any size.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

DARK = 0.2
"""Brightness that is left outside a mask (the original's a)."""
ALPHA = 0.5
"""Share of the colours in a heat map, the original's."""
COLORS = "viridis"
"""Colours of heat maps, perceptually uniform; the original's are "jet"."""
_LINE = 0.012
"""Width of outlines, as a fraction of the image's height."""


def _cover(mask: Bool[np.ndarray, "Y X"], size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """A mask bool [Y, X] at `size` (H, W), each pixel the nearest of the mask's."""
    rows, columns = ((np.arange(n) * m // n) for n, m in zip(size, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def darken_outside(
    image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "Y X"], *, dark: float = DARK
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw a mask as the original does: image · (mask · (1 − a) + a).

    Args:
      image: the photograph.
      mask: of any size; a pixel has the nearest of the mask.
      dark: a, brightness outside the mask, in [0, 1].
    """
    inside = _cover(mask, image.shape[:2])[..., None]
    return np.round(image * (inside * (1 - dark) + dark)).astype(np.uint8)


def draw_mask(
    image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "Y X"], color: str
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw a mask with an outline.

    Args:
      image: the photograph.
      mask: of any size; a pixel has the nearest of the mask.
      color: of the outline, as matplotlib names it.

    Returns:
      The image inside the mask, pale grey outside, with an outline around it, or
      a frame where all is marked.
    """
    inside = _cover(mask, image.shape[:2])
    grey = image @ np.array([0.299, 0.587, 0.114]) * 0.45 + 0.55 * 255
    drawn = np.where(inside[..., None], image, grey[..., None])
    return draw_outline(np.round(drawn).astype(np.uint8), mask, color)


def draw_outline(
    image: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "Y X"], color: str
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the outline of a mask around it, or a frame where all is marked.

    Args:
      image: the photograph.
      mask: of any size; a pixel has the nearest of the mask.
      color: as matplotlib names it.
    """
    inside = _cover(mask, image.shape[:2])
    thickness = max(1, round(_LINE * image.shape[0]))
    if inside.all():
        outline = np.ones_like(inside)
        outline[thickness:-thickness, thickness:-thickness] = False
    else:
        outline = ndimage.binary_dilation(inside, iterations=thickness) & ~inside
    drawn = image.copy()
    drawn[outline] = np.round(np.array(to_rgb(color)) * 255).astype(np.uint8)
    return drawn


def draw_scores(
    image: UInt8[np.ndarray, "H W 3"],
    scores: Float[np.ndarray, "Y X"],
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    alpha: float = ALPHA,
    colors: str = COLORS,
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw scores as colours over an image: image · (1 − α) + colour · α.

    Args:
      image: the photograph.
      scores: such as σ(z); interpolated between its pixels.
      limits: scores of the first and the last colour; what is beyond has these.
      alpha: α, share of the colours, in [0, 1].
      colors: name of a matplotlib colormap; the original's is "jet".
    """
    low, high = limits
    height, width = image.shape[:2]
    resized = Image.fromarray(np.asarray(scores, np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    place = (np.asarray(resized, np.float64) - low) / max(high - low, 1e-12)
    shown = matplotlib.colormaps[colors](np.clip(place, 0, 1))[..., :3] * 255
    return np.round(image * (1 - alpha) + shown * alpha).astype(np.uint8)
