"""Parts of figures: panels, legends, axes of numbers of filters, marks and numbers beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import offset_copy

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import count_letters
from net2vec_jax.plots.paper_style import COLUMN_WIDTH, PAGE_WIDTH, style_bar, style_category


def check_layers(layers: Mapping[str, Any]) -> None:
    """Refuse to draw nothing.

    Raises:
      Net2VecError: there is no layer.
    """
    if not layers:
        raise Net2VecError("there is no layer to draw")


def list_categories(layers: Mapping[str, Any]) -> tuple[str, ...]:
    """The categories of all layers' concepts, in the order of figures; a layer has `categories`.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    return order_categories([name for layer in layers.values() for name in layer.categories])


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
    grid = figure.subplots(rows, columns, sharex=share_x, sharey=True, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for axes in panels[count:]:
        axes.remove()
    for axes in panels[count - columns : count]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def lay_out_one(height: float, *, width: float = COLUMN_WIDTH) -> tuple[Figure, Axes]:
    """A figure of one panel; its size is in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def add_legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A legend above the panels, in as many columns as the figure is wide for."""
    letters = max(map(count_letters, labels))
    entry = 0.45 + 0.062 * letters  # inches: the sample, and letters of 7 points
    columns = max(1, min(len(labels), int(figure.get_figwidth() / entry)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.2)


def add_category_legend(
    figure: Figure, categories: tuple[str, ...], *, hatched: bool = False
) -> None:
    """A legend of the categories' bars, see `add_legend`; `hatched` if the bars are."""
    handles = [
        Patch(**style_bar(name, categories)) if hatched else Patch(color=style_category(name)[0])
        for name in categories
    ]
    add_legend(figure, handles, categories)


def scatter_categories(
    axes: Axes,
    x: Shaped[np.ndarray, " C"],
    y: Shaped[np.ndarray, " C"],
    categories: Sequence[str],
    present: Sequence[str],
    **style: Any,
) -> dict[str, PathCollection]:
    """Draw concepts as points in their categories' colours and markers.

    Args:
      axes: to draw in.
      x: of the C concepts.
      y: of the C concepts; those with NaN are not drawn.
      categories: of the C concepts.
      present: the categories to draw, in this order.
      style: of `Axes.scatter`.

    Returns:
      Category → its points.
    """
    style = {"s": 13, "alpha": 0.85, "linewidths": 0.3, "edgecolors": "white"} | style
    points = {}
    for category in present:
        chosen = np.array([name == category for name in categories], bool)
        color, marker = style_category(category)
        points[category] = axes.scatter(
            x[chosen], y[chosen], color=color, marker=marker, label=category, **style
        )
    return points


def draw_reference(axes: Axes, value: float | None, *, name: str = "") -> None:
    """Draw a dotted line at y = `value`, such as chance, a name above its end; None draws none."""
    if value is None:
        return
    axes.axhline(value, color="#777777", linestyle=":", linewidth=0.8, zorder=0)
    if name:
        axes.annotate(
            name, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=7, color="#555555",
        )  # fmt: skip


def write_beside(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write a text so many points (of type) beside a place in data coordinates."""
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **style)


def name_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str], **style: Any) -> None:
    """Name the rows and columns of a heat map, which gets neither ticks nor a frame.

    Args:
      axes: of the heat map.
      rows: their names, from the top.
      columns: their names, from the left.
      style: of the columns' names.
    """
    axes.set_xticks(range(len(columns)), columns, **style)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def write_cells(
    axes: Axes,
    texts: Shaped[np.ndarray, "rows columns"],
    dark: Bool[np.ndarray, "rows columns"],
    *,
    bold: Bool[np.ndarray, "rows columns"] | None = None,
    size: float = 6.5,
    rise: float = 0.0,
) -> None:
    """Write into the cells of a heat map.

    Args:
      axes: of the heat map.
      texts: strings; nothing is written for empty ones.
      dark: where the text is white.
      bold: where it is bold; None for nowhere.
      size: of the type, points.
      rise: of the text above the cell's middle, points.
    """
    figure = axes.get_figure(root=True)
    place = offset_copy(axes.transData, figure, y=rise, units="points")
    for (row, column), text in np.ndenumerate(texts):
        if text:
            axes.text(
                column, row, text, ha="center", va="center", fontsize=size, transform=place,
                color="white" if dark[row, column] else "#222222",
                fontweight="bold" if bold is not None and bold[row, column] else "normal",
            )  # fmt: skip


def scale_log(
    axes: Axes, ticks: Sequence[float], low: float, high: float, show: str = "{:g}"
) -> None:
    """Make the x axis logarithmic from `low` to `high` and a bit, with these ticks, shown so."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show.format(value)))
    margin = max((high / low) ** 0.04, 1.05)
    axes.set_xlim(low / margin, high * margin)


def scale_filters(axes: Axes, sizes: Sequence[int] | np.ndarray) -> None:
    """Make the x axis logarithmic, from 1 filter on, with as many whole ticks as have room."""
    sizes = np.unique(sizes)
    least = 1.7 if axes.get_position().width > 0.5 else 2.6
    ticks: list[float] = []
    for size in sizes[::-1]:  # from all filters down
        if not ticks or ticks[-1] / size >= least:
            ticks.append(float(size))
    scale_log(axes, ticks, float(sizes[0]), float(sizes[-1]))
