"""Sheets of pictures: a concept as its embedding and its best filter see it, a filter's concepts.

A concept's sheet has a row per image, from high to low individual IoU, and the columns image,
ground truth, embedding, best filter, heat map of σ(z) (reference behaviour 8.8). A filter's sheet
has a row of the images on which it fires, and a row per concept that it serves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from net2vec_jax.activations.responses import show_filter
from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.overlays import COLORS, darken_outside, draw_mask, draw_outline, draw_scores
from net2vec_jax.plots.paper_style import paper_style, style_category
from net2vec_jax.plots.pictures import ConceptPicture
from net2vec_jax.plots.sheet import GREY, Sheet

MaskStyle = Literal["outline", "dark"]
_PANEL = 1.3
"""Side of an image, inches."""
_GAP, _MARGIN, _HEADING = 0.06, 0.12, 0.2
_STEP = _PANEL + 0.17 + _GAP
"""From a row of images to the next, with its captions."""
_LETTER = 0.062
"""Width of a letter of 7 points, inches."""
_SIDE = 1.25
"""Width of the column with the rows' names, inches."""
_FILTER_COLOR = "#D55E00"


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptRow:
    """A concept on one image.

    Attributes:
      name: of the image.
      image: uint8 [H, W, 3], RGB.
      picture: what is drawn over it.
    """

    name: str
    image: np.ndarray
    picture: ConceptPicture


@dataclasses.dataclass(frozen=True, eq=False)
class FilterRow:
    """Images that show a filter, in one row.

    Attributes:
      name: what the row is.
      note: what stands below the name, lines of text.
      category: of the concept, or "" for a row of no concept.
      images: n arrays uint8 [H, W, 3], RGB.
      masks: n arrays bool [Y, X], where the filter fires.
      truths: n arrays bool [Y, X], where the concept is; empty for a row of no concept.
      captions: n texts.
    """

    name: str
    note: str
    category: str
    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    truths: Sequence[np.ndarray]
    captions: Sequence[str]


def plot_concept_sheet(
    name: str,
    category: str,
    filter_: int | str | None,
    rows: Sequence[ConceptRow],
    *,
    note: str = "",
    style: MaskStyle = "outline",
    colors: str = COLORS,
) -> Figure:
    """The sheet of a concept.

    Args:
      name: of the concept.
      category: of the concept.
      filter_: name of its best filter; None if no filter overlaps it.
      rows: its images, from top to bottom; at least one.
      note: what stands beside the name.
      style: masks outlined on pale grey, or dark outside as the original draws them.
      colors: matplotlib colormap of the heat maps. All of a sheet have one scale, around 0.5.
    """
    color = style_category(category)[0]
    reach = max(max(float(np.abs(row.picture.score - 0.5).max()) for row in rows), 1e-6)
    limits = (0.5 - reach, 0.5 + reach)
    best = "no single filter" if filter_ is None else f"best filter {show_filter(filter_)}"
    headings = ("image", "ground truth", "embedding", best, "heat map of σ(z)")
    sheet = _RowSheet(name, note, color, len(headings), len(rows), _HEADING)
    for column, heading in enumerate(headings):
        left, top = sheet.place(0, column)
        sheet.write(left, top - _HEADING, heading, fontsize=8, color="#222222")
    for place, row in enumerate(rows):
        picture = row.picture
        sheet.add_row_name(place, _ordinal(picture.percentile), row.name, "#222222")
        masks = (picture.truth, picture.embedding_mask, picture.filter_mask)
        drawings = [
            row.image,
            *(
                darken_outside(row.image, mask)
                if style == "dark"
                else draw_mask(row.image, mask, color)
                for mask in masks
            ),
            draw_scores(row.image, picture.score, limits=limits, colors=colors),
        ]
        captions = (
            "",
            f"{_percent(picture.truth.mean())} of the pixels",
            f"IoU {picture.embedding_iou:.2f}",
            "" if filter_ is None else f"IoU {picture.filter_iou:.2f}",
            "",
        )
        for column, (drawing, caption) in enumerate(zip(drawings, captions, strict=True)):
            sheet.add_panel(place, column, drawing, caption)
    sheet.add_scale(len(headings), limits, colors)
    return sheet.figure


def plot_filter_sheet(filter_: int | str, rows: Sequence[FilterRow], *, note: str = "") -> Figure:
    """The sheet of a filter: coloured where it fires, outlined where the row's concept is.

    Args:
      filter_: name of the filter.
      rows: from top to bottom; at least one, each with at least one image.
      note: what stands beside the title.
    """
    columns = max(len(row.images) for row in rows)
    sheet = _RowSheet(f"filter {show_filter(filter_)}", note, "#222222", columns, len(rows))
    for place, row in enumerate(rows):
        color = style_category(row.category)[0] if row.category else "#222222"
        sheet.add_row_name(place, row.name, row.note, color)
        for column, (image, mask) in enumerate(zip(row.images, row.masks, strict=True)):
            drawing = draw_mask(image, mask, _FILTER_COLOR if not row.truths else "#ffffff")
            if row.truths:
                drawing = draw_outline(drawing, row.truths[column], color)
            sheet.add_panel(place, column, drawing, row.captions[column])
    return sheet.figure


def _ordinal(percentile: float) -> str:
    """ "95th percentile"; the highest and the lowest image are called so."""
    if percentile in (0, 100):
        return "highest IoU" if percentile else "lowest IoU"
    number = round(percentile)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in (11, 12, 13) else ending} percentile"


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction < 0.1 else f"{fraction:.0%}"


class _RowSheet(Sheet):
    """A grid of square panels with the rows' names at the left."""

    def __init__(self, title: str, note: str, color: str, columns: int, rows: int, head: float = 0):
        """Write the title; `head` inches are left between it and the panels."""
        self._top = _MARGIN + 0.42 + head
        extra = 0.55 if head else 0  # for a scale of colours
        super().__init__(
            2 * _MARGIN + _SIDE + columns * (_PANEL + _GAP) + extra,
            self._top + rows * _STEP + _MARGIN,
        )
        room = int((self.width - 2 * _MARGIN) / _LETTER)
        title = shorten(title, max(int((room - count_letters(note)) * 0.62), 12))
        self.write(_MARGIN, _MARGIN, title, fontsize=11, fontweight="bold", color=color)
        right = self.width - _MARGIN
        self.write(right, _MARGIN + 0.03, note, fontsize=7.5, color=GREY, ha="right")

    def place(self, row: int, column: int) -> tuple[float, float]:
        """Left and top of a panel."""
        return _MARGIN + _SIDE + column * (_PANEL + _GAP), self._top + row * _STEP

    def add_row_name(self, row: int, name: str, note: str, color: str) -> None:
        """Write a row's name, and its note in lines below."""
        _, top = self.place(row, 0)
        letters = int((_SIDE - 0.06) / _LETTER)
        name, *lines = (  # the end tells image files apart
            shorten(line, letters, at_start=True) for line in (name, *note.split("\n"))
        )
        self.write(_MARGIN, top + 0.02, name, fontsize=8, fontweight="bold", color=color)
        self.write(_MARGIN, top + 0.2, "\n".join(lines), fontsize=7, color=GREY, linespacing=1.35)

    def add_panel(self, row: int, column: int, image: np.ndarray, caption: str) -> None:
        """Add an image with a caption below."""
        left, top = self.place(row, column)
        self.add_image(left, top, _PANEL, image)
        self.write(left, top + _PANEL + 0.035, caption, fontsize=7, color=GREY)

    @paper_style()
    def add_scale(self, column: int, limits: tuple[float, float], colors: str) -> None:
        """Add a scale of colours beside the first row, in place of a column."""
        left, top = self.place(0, column)
        axes = self.add_axes(left + 0.04, top, 0.09, _PANEL)
        bar = self.figure.colorbar(ScalarMappable(Normalize(*limits), colors), cax=axes)
        ticks = (limits[0], 0.5, limits[1])
        bar.set_ticks(ticks, labels=[f"{value:.2f}" for value in ticks])
        bar.outline.set_linewidth(0.4)
