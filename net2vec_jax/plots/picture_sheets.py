"""Sheets of pictures: a concept as its embedding and its best filter see it, a filter's concepts.

A concept's sheet has a row per image, from high to low individual IoU, and the columns image,
ground truth, embedding, best filter, heat map of σ(z) (reference spec 8.8). A filter's sheet has a
row of the images on which it fires, and a row per concept that it serves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.overlays import (
    COLORS,
    darken_outside,
    draw_mask,
    draw_outline,
    draw_scores,
)
from net2vec_jax.plots.paper_style import paper_style
from net2vec_jax.plots.pictures import ConceptPicture
from net2vec_jax.plots.single_against_embedding import style_category

MaskStyle = Literal["outline", "dark"]
_PANEL = 1.3
"""Side of an image, inches."""
_GAP = 0.06
_MARGIN = 0.12
_TITLE = 0.42
_HEADING = 0.2
_CAPTION = 0.17
_LETTER = 0.062
"""Width of a letter of 7 points, inches."""
_SIDE = 1.25
"""Width of the column with the rows' names, inches."""
_GREY = "#555555"
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
    filter_: int | None,
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
      filter_: number of its best filter; None if no filter overlaps it.
      rows: its images, from top to bottom; at least one.
      note: what stands beside the name.
      style: masks outlined on pale grey, or dark outside as the original draws them.
      colors: matplotlib colormap of the heat maps. All of a sheet have one scale, around 0.5.
    """
    color = style_category(category)[0]
    reach = max(max(float(np.abs(row.picture.score - 0.5).max()) for row in rows), 1e-6)
    limits = (0.5 - reach, 0.5 + reach)
    best = "no single filter" if filter_ is None else f"best filter {filter_}"
    headings = ("image", "ground truth", "embedding", best, "heat map of σ(z)")
    sheet = _Sheet(len(headings), len(rows), scale=True)
    sheet.add_title(name, note, color)
    for column, heading in enumerate(headings):
        sheet.add_heading(column, heading)
    for place, row in enumerate(rows):
        picture = row.picture
        sheet.add_row_name(place, _ordinal(picture.percentile), row.name, "#222222")
        drawings = [
            row.image,
            _draw(row.image, picture.truth, color, style),
            _draw(row.image, picture.embedding_mask, color, style),
            _draw(row.image, picture.filter_mask, color, style),
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
            sheet.add_image(place, column, drawing, caption)
    sheet.add_scale(limits, colors)
    return sheet.figure


def plot_filter_sheet(filter_: int, rows: Sequence[FilterRow], *, note: str = "") -> Figure:
    """The sheet of a filter: coloured where it fires, outlined where the row's concept is.

    Args:
      filter_: number of the filter.
      rows: from top to bottom; at least one, each with at least one image.
      note: what stands beside the title.
    """
    sheet = _Sheet(max(len(row.images) for row in rows), len(rows))
    sheet.add_title(f"filter {filter_}", note, "#222222")
    for place, row in enumerate(rows):
        color = style_category(row.category)[0] if row.category else "#222222"
        sheet.add_row_name(place, row.name, row.note, color)
        for column, (image, mask) in enumerate(zip(row.images, row.masks, strict=True)):
            drawing = draw_mask(image, mask, _FILTER_COLOR if not row.truths else "#ffffff")
            if row.truths:
                drawing = draw_outline(drawing, row.truths[column], color)
            sheet.add_image(place, column, drawing, row.captions[column])
    return sheet.figure


def _draw(image: np.ndarray, mask: np.ndarray, color: str, style: MaskStyle) -> np.ndarray:
    return darken_outside(image, mask) if style == "dark" else draw_mask(image, mask, color)


def _ordinal(percentile: float) -> str:
    """ "95th percentile"; the highest and the lowest image are called so."""
    if percentile in (0, 100):
        return "highest IoU" if percentile else "lowest IoU"
    number = round(percentile)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in (11, 12, 13) else ending} percentile"


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}" if fraction < 0.1 else f"{fraction:.0%}"


class _Sheet:
    """A grid of square panels with names at the left, laid out in inches."""

    def __init__(self, columns: int, rows: int, *, scale: bool = False) -> None:
        self._width = 2 * _MARGIN + _SIDE + columns * (_PANEL + _GAP) + (0.55 if scale else 0)
        self._top = _MARGIN + _TITLE + (_HEADING if scale else 0)
        self._rows, self._columns = rows, columns
        self._height = self._top + rows * (_PANEL + _CAPTION + _GAP) + _MARGIN
        self.figure = Figure(figsize=(self._width, self._height))

    def add_title(self, title: str, note: str, color: str) -> None:
        room = int((self._width - 2 * _MARGIN) / _LETTER)
        letters = max(int((room - count_letters(note)) * 0.62), 12)
        self._text(
            _MARGIN, _MARGIN, shorten(title, letters), fontsize=11, fontweight="bold", color=color
        )
        self._text(
            self._width - _MARGIN, _MARGIN + 0.03, note, fontsize=7.5, color=_GREY, ha="right"
        )

    def add_heading(self, column: int, text: str) -> None:
        self._text(self._left(column), self._top - _HEADING, text, fontsize=8, color="#222222")

    def add_row_name(self, row: int, name: str, note: str, color: str) -> None:
        top = self._top + row * (_PANEL + _CAPTION + _GAP)
        letters = int((_SIDE - 0.06) / _LETTER)
        name, *lines = (  # the end tells image files apart
            shorten(line, letters, at_start=True) for line in (name, *note.split("\n"))
        )
        self._text(_MARGIN, top + 0.02, name, fontsize=8, fontweight="bold", color=color)
        self._text(_MARGIN, top + 0.2, "\n".join(lines), fontsize=7, color=_GREY, linespacing=1.35)

    def add_image(self, row: int, column: int, image: np.ndarray, caption: str) -> None:
        top = self._top + row * (_PANEL + _CAPTION + _GAP)
        axes = self._axes(self._left(column), top, _PANEL, _PANEL)
        axes.imshow(image, interpolation="antialiased")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="#bbbbbb", linewidth=0.5)
        self._text(self._left(column), top + _PANEL + 0.035, caption, fontsize=7, color=_GREY)

    def add_scale(self, limits: tuple[float, float], colors: str) -> None:
        with paper_style():
            axes = self._axes(self._left(self._columns) + 0.04, self._top, 0.09, _PANEL)
            bar = self.figure.colorbar(ScalarMappable(Normalize(*limits), colors), cax=axes)
            bar.set_ticks([limits[0], 0.5, limits[1]])
            bar.ax.set_yticklabels([f"{value:.2f}" for value in (limits[0], 0.5, limits[1])])
            bar.outline.set_linewidth(0.4)

    def _left(self, column: int) -> float:
        return _MARGIN + _SIDE + column * (_PANEL + _GAP)

    def _axes(self, left: float, top: float, width: float, height: float):
        return self.figure.add_axes(
            (
                left / self._width,
                1 - (top + height) / self._height,
                width / self._width,
                height / self._height,
            )
        )

    def _text(self, left: float, top: float, text: str, **style) -> None:
        style = {"va": "top", "parse_math": False} | style
        self.figure.text(left / self._width, 1 - top / self._height, text, **style)
