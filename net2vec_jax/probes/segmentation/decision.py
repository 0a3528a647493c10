"""Above which score a head marks a pixel: the level of largest set IoU on train images.

Overlaps are taken on the activation grid, where a position is as many pixels as it stands for, see
`grid_targets`. Q (head, image) entries, p positions, L levels that are tried.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

LEVELS = 64
SAMPLED_ENTRIES = 32
"""Images of a head from whose scores the levels are taken."""
SMALLEST_PART = 0.001
"""The highest level leaves such a part of the positions above it."""


def choose_levels(
    scores: Float[np.ndarray, "Q p"],
    head: Int[np.ndarray, " Q"],
    heads: int,
    marked: Float[np.ndarray, "Q p"],
    mass: Float[np.ndarray, " p"],
) -> Float[np.ndarray, " H"]:
    """For each head, the level above which its scores overlap best with its concept.

    Args:
      scores: of every entry, at every position.
      head: of every entry, ascending; each head has one.
      heads: H.
      marked: pixels of the concept near each position, see `bring_to_grid`.
      mass: pixels of each position, see `mass_of_positions`.

    Returns:
      float32 [H].

    Examples:
      >>> scores = np.array([[3.0, 2.0, 1.0]], np.float32)
      >>> marked = np.array([[1.0, 1.0, 0.0]], np.float32)
      >>> level = choose_levels(scores, np.array([0]), 1, marked, np.ones(3, np.float32))
      >>> bool(1 <= level[0] < 2)
      True
    """
    count = np.bincount(head, minlength=heads)
    first = np.cumsum(count) - count
    place = np.arange(SAMPLED_ENTRIES) * np.maximum(count, 1)[:, None] // SAMPLED_ENTRIES
    sample = scores[first[:, None] + place].reshape(heads, -1)
    above = np.geomspace(1, SMALLEST_PART, LEVELS)
    levels = np.quantile(sample, 1 - above, axis=1).astype(np.float32)  # [L, H]
    levels[0] = np.nextafter(levels[0], -np.inf, dtype=np.float32)  # everything is above it
    area = np.bincount(head, marked.sum(axis=1, dtype=np.float64), heads)
    best, chosen = np.full(heads, -1.0), np.zeros(heads, np.float32)
    for level in levels:
        predicted = scores > level[head][:, None]
        shared = np.bincount(head, np.sum(marked, axis=1, where=predicted, dtype=np.float64), heads)
        size = np.bincount(head, predicted @ mass, heads)
        iou = shared / np.maximum(area + size - shared, 1e-20)
        better = iou > best
        best, chosen = np.where(better, iou, best), np.where(better, level, chosen)
    return chosen
