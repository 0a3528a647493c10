"""Contact sheets: concepts with a few of their images, the masks drawn over them.

What a mask marks keeps its colours and is outlined in the category's colour; the rest is pale grey.
A mask of the whole image is a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from net2vec_jax.plots.fonts import shorten
from net2vec_jax.plots.overlays import draw_mask
from net2vec_jax.plots.paper_style import style_category
from net2vec_jax.plots.sheet import GREY, Sheet

_PANEL = 1.15
"""Side of an image, inches."""
_SHORTEST_STRIP = 3.4
"""Of a concept with few images, for its name and note, inches."""
_LETTER = 0.08
"""Width of a letter of these, inches."""


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptExamples:
    """A concept on n images.

    Attributes:
      name: of the concept.
      category: of the concept.
      note: what stands beside the name.
      images: n arrays uint8 [H, W, 3], RGB.
      masks: n arrays bool [Y, X], the concept on each image.
      captions: n texts.
    """

    name: str
    category: str
    note: str
    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    captions: Sequence[str]


def plot_ranked_sheet(
    name: str,
    category: str,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None],
    names: Sequence[str],
    captions: Sequence[str],
    *,
    note: str = "",
    columns: int = 6,
) -> Figure:
    """A concept's photographs in the order of their rank, row by row.

    Args:
      name: of the concept.
      category: of the concept.
      images: n arrays uint8 [H, W, 3], RGB; at least one.
      masks: n arrays bool [Y, X], where the concept is; None draws none.
      names: n names of photographs.
      captions: n texts.
      note: what stands below the concept's name.
      columns: photographs side by side.

    Returns:
      The figure.
    """
    columns = max(min(columns, len(images)), 3)
    panel, gap, margin, above, below = 1.45, 0.12, 0.15, 0.58, 0.34  # inches
    rows, color = -(-len(images) // columns), style_category(category)[0]
    width = 2 * margin + columns * (panel + gap) - gap
    sheet = Sheet(width, above + rows * (panel + below) + margin)
    letters = int((width - 2 * margin) / _LETTER)
    style = {"fontsize": 11, "fontweight": "bold", "color": color}
    sheet.write(margin, margin - 0.03, shorten(name, letters * 2 // 3), **style)
    sheet.write(margin, margin + 0.19, shorten(note, int(letters * 1.35)), fontsize=7.5, color=GREY)
    shown = zip(images, masks, names, captions, strict=True)
    for place, (image, mask, file, caption) in enumerate(shown):
        left = margin + place % columns * (panel + gap)
        top = above + place // columns * (panel + below)
        drawn = image if mask is None else draw_mask(image, mask, color)
        sheet.add_image(left, top, panel, drawn)
        lines = shorten(caption, 32), shorten(file, 32, at_start=True)
        sheet.write(left, top + panel + 0.03, "\n".join(lines), fontsize=6, color=GREY)
    return sheet.figure


def plot_contact_sheet(concepts: Sequence[ConceptExamples], *, columns: int = 2) -> Figure:
    """One strip of images per concept, its name above them.

    Args:
      concepts: what is shown, in reading order; at least one, each with at least one image.
      columns: strips side by side.

    Returns:
      The figure.
    """
    most = max(len(concept.images) for concept in concepts)
    columns = min(columns, len(concepts))
    gap, above, margin = 0.3, 0.34, 0.12  # inches
    strip, step = max(most * (_PANEL + 0.06), _SHORTEST_STRIP), above + _PANEL + 0.2
    rows = -(-len(concepts) // columns)
    sheet = Sheet(2 * margin + columns * strip + (columns - 1) * gap, 2 * margin + rows * step)
    for place, concept in enumerate(concepts):
        color = style_category(concept.category)[0]
        left = margin + place % columns * (strip + gap)
        top = margin + place // columns * step
        name = shorten(concept.name, int(strip / _LETTER) - len(concept.note))
        style = {"va": "baseline", "fontweight": "bold"}
        sheet.write(left, top + 0.22, name, fontsize=10, color=color, **style)
        style = {"va": "baseline", "ha": "right"}
        sheet.write(left + strip - 0.06, top + 0.22, concept.note, fontsize=8, color=GREY, **style)
        shown = zip(concept.images, concept.masks, concept.captions, strict=True)
        for number, (image, mask, caption) in enumerate(shown):
            x = left + number * (_PANEL + 0.06)
            sheet.add_image(x, top + above, _PANEL, draw_mask(image, mask, color), caption)
    return sheet.figure
