"""What the figures for papers share: size, type, colours, and how they are saved.

Lines differ by colour, marker and dash, so that a print in grey stays readable; the colours are
Okabe and Ito's, apart for colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, NullLocator

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import replacing
from net2vec_jax.plots.fonts import (
    announce_unwritable,
    count_letters,
    fit_fonts,
    has_postscript_fonts,
)

COLUMN_WIDTH = 3.4
"""Width of a single column, inches."""
PAGE_WIDTH = 7.0
"""Width of two columns, inches."""
LINE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINE_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINE_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
SINGLE_STYLE = ("#D55E00", "o")
"""Colour and marker of the best single filter; its markers are hollow."""
EMBEDDING_STYLE = ("#0072B2", "s")
"""Colour and marker of the embedding."""

_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # letters stay letters, to be searched and edited
    "text.parse_math": False,  # names from data may hold dollar signs
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Settings of figures made and saved inside."""
    with matplotlib.rc_context(_SETTINGS):
        yield


@contextmanager
def plain_text() -> Iterator[None]:
    """Texts made inside are shown letter by letter: a $ in a name from data begins no formula."""
    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def save_figure(figure: Figure, path_without_suffix: Path | str) -> tuple[Path, Path]:
    """Write a figure as .png, 200 dots per inch, and as .pdf, each complete or not at all.

    Returns:
      The two paths; their folder is made.
    """
    path = Path(path_without_suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf"))
    with paper_style():
        write_figure(figure, png, dpi=200)
        write_figure(figure, pdf, metadata={"CreationDate": None})  # nothing of the day
    return png, pdf


def write_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write a figure to a file, complete or not at all, with every character readable.

    What its font lacks is shown in another font, or as code points; of these the console is told.

    Args:
      figure: its texts are changed where their font lacks characters.
      path: its suffix says what kind of file; its folder must exist.
      options: of `Figure.savefig`.
    """
    fit_fonts(figure)
    settings = {"pdf.fonttype": 3} if has_postscript_fonts(figure) else {}
    with replacing(path) as partial, matplotlib.rc_context(settings):
        figure.savefig(partial, format=path.suffix[1:], **options)
    announce_unwritable(figure, path.parent)


def line_style(place: int, *, dash: int | None = None) -> dict[str, Any]:
    """Colour, marker and dash of the line number `place`, as arguments of `Axes.plot`."""
    turn = place // len(LINE_COLORS)
    return {
        "color": LINE_COLORS[place % len(LINE_COLORS)],
        "marker": LINE_MARKERS[(place + turn) % len(LINE_MARKERS)],
        "linestyle": LINE_DASHES[(place if dash is None else dash) % len(LINE_DASHES)],
    }


def check_layers(layers: Mapping[str, Any]) -> None:
    """Refuse to draw nothing.

    Raises:
      Net2VecError: there is no layer.
    """
    if not layers:
        raise Net2VecError("there is no layer to draw")


def add_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend above the panels, in as many columns as the figure is wide for."""
    letters = max(map(count_letters, labels))
    entry = 0.45 + 0.062 * letters  # inches: the sample, and letters of 7 points
    columns = max(1, min(len(labels), int(figure.get_figwidth() / entry)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.2)


class PlainLogFormatter(LogFormatter):
    """Labels the ticks of a logarithmic axis that matplotlib's own would, with plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the tick at `x`; empty for a minor one without room."""
        return f"{x:,.15g}" if super().__call__(x, pos) else ""


def scale_filters(axes: Axes, sizes: Sequence[int] | np.ndarray) -> None:
    """Make the x axis logarithmic, from 1 filter on, with as many whole ticks as have room."""
    sizes = np.unique(sizes)
    axes.set_xscale("log")
    least = 1.7 if axes.get_position().width > 0.5 else 2.6
    ticks: list[float] = []
    for size in sizes[::-1]:  # from all filters down
        if not ticks or ticks[-1] / size >= least:
            ticks.append(float(size))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = float(sizes[0]), float(sizes[-1])
    margin = max((high / low) ** 0.04, 1.05)
    axes.set_xlim(low / margin, high * margin)


def lay_out_panels(
    count: int,
    *,
    height: float,
    height_alone: float | None = None,
    columns: int = 3,
    width: float | None = None,
    share_x: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of at most `columns`, without empty ones.

    All panels have one y axis, labelled in the first column.

    Args:
      count: panels, at least 1.
      height: of a row of panels, inches; what all share has half an inch more.
      height_alone: the same if there is one panel only; by default `height`.
      columns: at most so many side by side.
      width: of the figure, inches; by default a column of a paper for one panel, two for several.
      share_x: whether panels have one x axis, labelled at the lowest panel of each column.
    """
    if count == 1:
        height = height if height_alone is None else height_alone
    if width is None:
        width = COLUMN_WIDTH if count == 1 else PAGE_WIDTH
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, rows * height + 0.5), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    panels: list[Axes] = []
    for place in range(count):
        first = panels[0] if panels else None
        axes = figure.add_subplot(
            grid[place // columns, place % columns], sharey=first, sharex=first if share_x else None
        )
        axes.tick_params(
            labelleft=not place % columns, labelbottom=not share_x or place + columns >= count
        )
        panels.append(axes)
    return figure, panels
