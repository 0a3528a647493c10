"""What all figures share: size, type, colours, and how they are saved.

Categories and lines differ by colour and marker, lines by dash too, so that a print in grey stays
readable; the colours are Okabe and Ito's, apart for colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from net2vec_jax.core.locks import replacing
from net2vec_jax.plots.fonts import fit_fonts, has_postscript_fonts

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
CATEGORY_STYLES = {
    "color": ("#E69F00", "o"),
    "object": ("#0072B2", "s"),
    "part": ("#56B4E9", "^"),
    "material": ("#009E73", "D"),
    "scene": ("#CC79A7", "P"),
    "texture": ("#D55E00", "X"),
}
"""Broden's category → (colour, marker)."""
_OTHER_STYLE = ("#555555", "v")
"""Of categories that Broden does not have."""
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")

_PLAIN: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # names from data may hold dollar signs
}
_PAPER: dict[Any, Any] = _PLAIN | {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.labelsize": 8,
    "figure.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # letters stay letters, to be searched and edited
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Settings of figures for papers, made and saved inside; also a decorator."""
    with matplotlib.rc_context(_PAPER):
        yield


@contextmanager
def plain_style() -> Iterator[None]:
    """Settings of figures for the screen, in matplotlib's own sizes; also a decorator."""
    with matplotlib.rc_context(_PLAIN):
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
        engine = figure.get_layout_engine()
        figure.set_layout_engine("none")  # it is laid out, which takes a third of the time
        write_figure(figure, pdf, metadata={"CreationDate": None})  # nothing of the day
        figure.set_layout_engine(engine or "none")
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
    settings: dict[Any, Any] = {"pdf.fonttype": 3} if has_postscript_fonts(figure) else {}
    with replacing(path) as partial, matplotlib.rc_context(settings):
        figure.savefig(partial, format=path.suffix[1:], **options)


def style_category(category: str) -> tuple[str, str]:
    """Colour and marker of a category, the same in all figures."""
    return CATEGORY_STYLES.get(category, _OTHER_STYLE)


def style_bar(category: str, categories: tuple[str, ...]) -> dict[str, Any]:
    """Colour and hatch of a category's bars; `categories` are all that are drawn."""
    order = [*CATEGORY_STYLES, *categories]
    return {
        "facecolor": style_category(category)[0],
        "hatch": _HATCHES[order.index(category) % len(_HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }


def line_style(place: int, *, dash: int | None = None) -> dict[str, Any]:
    """Colour, marker and dash of the line number `place`, as arguments of `Axes.plot`."""
    turn = place // len(LINE_COLORS)
    return {
        "color": LINE_COLORS[place % len(LINE_COLORS)],
        "marker": LINE_MARKERS[(place + turn) % len(LINE_MARKERS)],
        "linestyle": LINE_DASHES[(place if dash is None else dash) % len(LINE_DASHES)],
    }
