"""Random fields from which surfaces and textures are made."""

from __future__ import annotations

import numpy as np
from PIL import Image


def smooth_noise(
    rng: np.random.Generator, rows: int, columns: int, height: int, width: int
) -> np.ndarray:
    """Smooth random field, float32 [height, width] in about −1..1.

    Args:
      rng: source of randomness.
      rows: random values along the height; more of them give finer detail.
      columns: the same along the width.
      height: output size in pixels.
      width: output size in pixels.
    """
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def cell_noise(
    rng: np.random.Generator, size: float, x: np.ndarray, y: np.ndarray, jitter: float = 0.8
) -> tuple[np.ndarray, np.ndarray]:
    """Cells around jittered grid points (Worley noise).

    Args:
      rng: source of randomness.
      size: mean distance of neighbouring cell centres, in pixels.
      x: float [H, W] coordinates, in pixels, not negative.
      y: float [H, W] coordinates, in pixels, not negative.
      jitter: how far centres leave the square grid, 0..1.

    Returns:
      (border, value), float32 [H, W]: 0 on the border between two cells and rising inwards, in
      units of `size`; and one random value in 0..1 per cell.
    """
    x, y = (x / size).astype(np.float32), (y / size).astype(np.float32)
    column, row = x.astype(np.int32), y.astype(np.int32)
    shape = (int(row.max()) + 3, int(column.max()) + 3)
    offsets = (0.5 + jitter * rng.uniform(-0.5, 0.5, (2, *shape))).astype(np.float32)
    values = rng.uniform(0, 1, shape).astype(np.float32)
    nearest = np.full(x.shape, 9, np.float32)
    second = nearest.copy()
    value = np.zeros_like(nearest)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r, c = row + down, column + right
            dx = c + offsets[0, r + 1, c + 1] - x
            dy = r + offsets[1, r + 1, c + 1] - y
            distance = np.sqrt(dx * dx + dy * dy)
            closer = distance < nearest
            second = np.minimum(second, np.maximum(distance, nearest))
            value = np.where(closer, values[r + 1, c + 1], value)
            nearest = np.minimum(nearest, distance)
    return second - nearest, value
