"""Optimised images: activation maximisation and feature inversion (reference behaviour 8.9).

One row per concept or image, its panels side by side; images are uint8 [H, W, 3], RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.paper_style import paper_style, style_category
from net2vec_jax.plots.sheet import GREY, Sheet

_PANEL = 0.98
"""Side of an image, inches."""
_GAP, _GROUP_GAP = 0.05, 0.16
_ABOVE, _BELOW, _MARGIN = 0.2, 0.17, 0.08
_LETTER = 0.062
"""Width of a letter of 8 points, inches."""


@dataclass(frozen=True, eq=False)
class Panel:
    """An image in a sheet.

    Attributes:
      image: uint8 [H, W, 3], RGB; None leaves the place empty.
      caption: stands below.
    """

    image: np.ndarray | None
    caption: str = ""


@dataclass(frozen=True, eq=False)
class SheetRow:
    """A row of a sheet.

    Attributes:
      name: stands above the row, in the category's colour.
      category: Broden's or another; "" for none.
      groups: one sequence of panels for each heading of the sheet.
      note: stands behind the name, in grey.
    """

    name: str
    category: str
    groups: Sequence[Sequence[Panel]]
    note: str = ""


@paper_style()
def plot_image_sheet(rows: Sequence[SheetRow], headings: Sequence[str]) -> Figure:
    """A sheet of images, one row per concept, in groups with a heading each.

    Args:
      rows: what is shown, from top to bottom; the same number of panels in each group of each row.
      headings: of the groups.

    Returns:
      The figure; it is as wide as its panels need.

    Raises:
      Net2VecError: there is no row, or rows differ in the number of their panels.
    """
    counts = {tuple(len(group) for group in row.groups) for row in rows}
    if len(counts) != 1:
        raise Net2VecError("a sheet needs at least one row, and as many panels in every one")
    (sizes,) = counts
    if len(sizes) != len(headings):
        raise Net2VecError(f"{len(headings)} headings were given for {len(sizes)} groups")
    widths = [count * (_PANEL + _GAP) - _GAP for count in sizes]
    lefts = [_MARGIN + sum(widths[:group]) + group * _GROUP_GAP for group in range(len(sizes))]
    width = lefts[-1] + widths[-1] + _MARGIN
    step = _ABOVE + _PANEL + _BELOW
    lines = max(_wrap(text, room).count("\n") for text, room in zip(headings, widths, strict=True))
    top = _MARGIN + 0.18 + 0.13 * lines
    sheet = Sheet(width, top + len(rows) * step + _MARGIN)
    for heading, left, room in zip(headings, lefts, widths, strict=True):
        sheet.write(left + room / 2, top - 0.04, _wrap(heading, room), ha="center", va="bottom")
    for place, row in enumerate(rows):
        above = top + place * step + _ABOVE
        color = style_category(row.category)[0]
        letters = int((width - 2 * _MARGIN) / _LETTER) - count_letters(row.note) - 2
        name, style = shorten(row.name, letters), {"va": "baseline", "fontweight": "bold"}
        sheet.write(_MARGIN, above - 0.05, name, color=color, gid=f"row {place}", **style)
        style = {"va": "baseline", "ha": "right"}
        sheet.write(width - _MARGIN, above - 0.05, row.note, fontsize=7, color=GREY, **style)
        for left, group in zip(lefts, row.groups, strict=True):
            for number, panel in enumerate(group):
                x = left + number * (_PANEL + _GAP)
                sheet.add_image(x, above, _PANEL, panel.image, panel.caption, size=6.5)
    return sheet.figure


def _wrap(text: str, room: float) -> str:
    """The text in lines that fit into so many inches, if its words do."""
    lines: list[str] = []
    for word in text.split():
        if lines and count_letters(f"{lines[-1]} {word}") <= room / _LETTER:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
