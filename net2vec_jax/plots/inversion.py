"""Optimised images: sheets of activation maximisation and of feature inversion.

One row per concept or image, its panels side by side; images are uint8 [H, W, 3], RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.paper_style import paper_style
from net2vec_jax.plots.single_against_embedding import style_category

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
    height = top + len(rows) * step + _MARGIN
    with paper_style():
        figure = Figure(figsize=(width, height))
        for heading, left, room in zip(headings, lefts, widths, strict=True):
            figure.text(
                (left + room / 2) / width, 1 - (top - 0.04) / height, _wrap(heading, room),
                ha="center", va="bottom",
            )  # fmt: skip
        for place, row in enumerate(rows):
            above = top + place * step
            baseline = 1 - (above + _ABOVE - 0.05) / height
            color = style_category(row.category)[0]
            letters = int((width - 2 * _MARGIN) / _LETTER) - count_letters(row.note) - 2
            name = shorten(row.name, letters)
            title = figure.text(
                _MARGIN / width, baseline, name, fontweight="bold", color=color, parse_math=False
            )
            if row.note:
                figure.text(
                    (width - _MARGIN) / width, baseline, row.note, ha="right", fontsize=7,
                    color="#555555", parse_math=False,
                )  # fmt: skip
            title.set_gid(f"row {place}")
            for left, group in zip(lefts, row.groups, strict=True):
                for number, panel in enumerate(group):
                    x, y = left + number * (_PANEL + _GAP), above + _ABOVE + _PANEL
                    axes = figure.add_axes(
                        (x / width, 1 - y / height, _PANEL / width, _PANEL / height)
                    )
                    _show(axes, panel)
    return figure


def _wrap(text: str, room: float) -> str:
    """The text in lines that fit into so many inches, if its words do."""
    lines: list[str] = []
    for word in text.split():
        if lines and count_letters(f"{lines[-1]} {word}") <= room / _LETTER:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _show(axes: Axes, panel: Panel) -> None:
    if panel.image is None:
        axes.set_axis_off()
    else:
        axes.imshow(panel.image, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.5)
    axes.text(
        0.5, -0.03, panel.caption, transform=axes.transAxes, ha="center", va="top", fontsize=6.5,
        color="#444444", parse_math=False,
    )  # fmt: skip
