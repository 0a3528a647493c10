"""Which concepts share filters, and what chance gives (reference behaviour 8.3).

Of chance there are two senses, see `chance_overlap.NULLS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.filters.chance_overlap import Overlaps
from net2vec_jax.analysis.filters.filter_overlap import BIN_NAMES
from net2vec_jax.plots.panels import (
    add_legend,
    check_layers,
    draw_reference,
    lay_out_panels,
    name_cells,
    scale_filters,
    write_beside,
    write_cells,
)
from net2vec_jax.plots.paper_style import EMBEDDING_STYLE, PAGE_WIDTH, line_style, paper_style

RATIO_LIMIT = 3
"""Colours of overlap / chance end at 2 to this power, and at its inverse."""
Null = Literal["chance", "popularity_kept"]
"""Fields of `Overlaps`."""
_NULL_LABELS = {"chance": "chance", "popularity_kept": "chance, popularity kept"}
_CHANCE_COLOR = "#333333"
_RATE = 0.05
_PALE = 0.3


def plot_concepts_per_filter(layers: Mapping[str, Overlaps]) -> Figure:
    """Histogram of concepts per filter, a panel per layer.

    Args:
      layers: name of each layer → its overlap.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; titles give the
      number of filters. Black bars hold 95 % of the permutations. Filters that keep their
      popularity have the same histogram by definition.

    Raises:
      Net2VecError: there is no layer.
    """
    distributions = {
        name: (x.found.histogram, {"chance": x.chance.histogram}) for name, x in layers.items()
    }
    return _plot_distributions(layers, distributions, BIN_NAMES, "concepts per filter")


def plot_categories_per_filter(layers: Mapping[str, Overlaps]) -> Figure:
    """Filters by the number of categories whose concepts they serve, a panel per layer.

    Args:
      layers: name of each layer → its overlap.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; titles give the
      number of filters. Black bars hold 95 % of the permutations, grey ones of those that keep
      the filters' popularity.

    Raises:
      Net2VecError: there is no layer.
    """
    distributions = {
        name: (
            x.found.category_numbers,
            {null: getattr(x, null).category_numbers for null in _NULL_LABELS},
        )
        for name, x in layers.items()
    }
    return _plot_distributions(layers, distributions, None, "categories per filter")


@paper_style()
def plot_category_overlap(layers: Mapping[str, Overlaps], *, null: Null = "chance") -> Figure:
    """Mean Jaccard index of two concepts' filters by their categories, a heat map per layer.

    Args:
      layers: name of each layer → its overlap.
      null: which sense of chance colours tell.

    Returns:
      A figure of one column's width for a single layer, else of two columns'. Colours tell how
      many filters are shared against chance, pale where that may be chance (false discovery rate
      5 %); numbers are Jaccard indices, bold where it is not.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    categories = order_categories([c for x in layers.values() for c in x.found.categories])
    size = max(1.5, 0.42 * len(categories))
    columns = 3 if size < 2 else 2
    figure, panels = lay_out_panels(
        len(layers), columns=columns, height=size + 0.6, height_alone=size + 0.9
    )
    limits, colors = TwoSlopeNorm(0, -RATIO_LIMIT, RATIO_LIMIT), "PuOr_r"
    for place, (axes, (name, overlaps)) in enumerate(zip(panels, layers.items(), strict=True)):
        overlap, chance = overlaps.found, getattr(overlaps, null)
        shown = [categories.index(category) for category in overlap.categories]
        cells = np.ix_(shown, shown)
        ratio, jaccard = np.full((2, len(categories), len(categories)), np.nan)
        bold = np.zeros(ratio.shape, bool)
        ratio[cells], jaccard[cells] = chance.shared, overlap.similarity
        bold[cells] = chance.q_value <= _RATE
        with np.errstate(divide="ignore"):
            level = np.clip(np.log2(ratio), -RATIO_LIMIT, RATIO_LIMIT)
        axes.imshow(level, cmap=colors, norm=limits, alpha=np.where(bold, 1.0, _PALE))
        dark = bold & (np.abs(np.nan_to_num(level)) > 0.6 * RATIO_LIMIT)
        write_cells(axes, np.vectorize(_format_fraction)(jaccard), dark, bold=bold)
        name_cells(axes, categories, categories, rotation=45, ha="right")
        axes.tick_params(labelleft=place % columns == 0)
        axes.set_title(name)
    bar = figure.colorbar(  # not of an image, whose own colours may be pale
        ScalarMappable(limits, colors), ax=panels, shrink=0.8, aspect=25,
        label=f"shared filters / {_NULL_LABELS[null]}", extend="both",
        ticks=np.arange(-RATIO_LIMIT, RATIO_LIMIT + 1.0),
    )  # fmt: skip
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_format_power))
    bar.outline.set_linewidth(0.4)
    return figure


@paper_style()
def plot_shared_filters(layers: Mapping[str, Mapping[int, Overlaps]]) -> Figure:
    """What concepts of different categories share, against the filters taken of each embedding.

    Args:
      layers: name of each layer → number F of filters of largest weight → its overlap.

    Returns:
      A figure of two columns' width: the fraction of the filters that serve several categories,
      with bands that hold 95 % of the permutations; and the filters that concepts of different
      categories share, against chance, dotted against chance that keeps the filters' popularity.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure = Figure(figsize=(PAGE_WIDTH, 2.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, (name, by_size) in enumerate(layers.items()):
        sizes = sorted(by_size)
        style = line_style(place)
        found = [by_size[size].found.shared_fraction for size in sizes]
        _, low, high = np.array([by_size[size].chance.shared_fraction for size in sizes]).T
        left.fill_between(sizes, low, high, color=style["color"], alpha=0.25, linewidth=0)
        left.plot(sizes, found, label=name, **style)
        right.plot(sizes, [by_size[size].chance.between[0] for size in sizes], **style)
        kept = [by_size[size].popularity_kept.between[0] for size in sizes]
        right.plot(sizes, kept, **style | {"linestyle": ":", "markerfacecolor": "white"})
    draw_reference(right, 1)
    for axes in (left, right):
        scale_filters(axes, np.concatenate([sorted(by_size) for by_size in layers.values()]))
        axes.set_xlabel("filters taken of each embedding")
        axes.set_ylim(bottom=0)
    left.set_ylabel("filters that serve\nseveral categories")
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_ylabel("filters shared between\ncategories / chance")
    handles, labels = left.get_legend_handles_labels()
    band = Line2D([], [], color="#999999", linewidth=5, alpha=0.5)
    dots = Line2D([], [], color="#999999", linestyle=":", marker="o", markerfacecolor="white")
    add_legend(
        figure, [*handles, band, dots], [*labels, "by chance, 95 %", "chance, popularity kept"]
    )
    return figure


@paper_style()
def _plot_distributions(
    layers: Mapping[str, Overlaps],
    distributions: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
    ticks: Sequence[str] | None,
    label: str,
) -> Figure:
    """Fractions of the filters [bins] and what nulls give [3, bins], a panel per layer.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, panels = lay_out_panels(len(layers), height=1.45, height_alone=1.8)
    for axes, (name, (found, nulls)) in zip(panels, distributions.items(), strict=True):
        place = np.arange(len(found))
        axes.bar(place, found, 0.7, color=EMBEDDING_STYLE[0], alpha=0.55, label="found")
        style = {"ha": "center", "fontsize": 5.5, "color": _CHANCE_COLOR}
        tops = np.maximum(found, np.max([high for _, _, high in nulls.values()], axis=0))
        for x, (value, top) in enumerate(zip(found, tops, strict=True)):
            write_beside(axes, _format_percent(value), (x, top), (0, 2.5), **style)
        for number, (null, (mean, low, high)) in enumerate(nulls.items()):
            distance = np.maximum([mean - low, high - mean], 0)  # a mean may lie outside its bar
            axes.errorbar(
                place + (number - (len(nulls) - 1) / 2) * 0.25, mean, yerr=distance, fmt="_",
                color=(_CHANCE_COLOR, "#888888")[number], markersize=9 - 3 * (len(nulls) - 1),
                elinewidth=0.9, capsize=1.8, label=f"by {_NULL_LABELS[null]}, mean and 95 %",
            )  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xticks(place, ticks)
        axes.tick_params(axis="x", labelsize=6 if ticks else 7)
        axes.tick_params(axis="x", length=0)
        axes.set_title(f"{name} ({layers[name].found.membership.shape[1]})")
    panels[0].set_ylim(0, 1.08 * panels[0].get_ylim()[1])  # room for the numbers
    figure.supxlabel(label)
    figure.supylabel("filters")
    add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


def _format_power(exponent: float, _: int) -> str:
    """2 to the power `exponent`, as a fraction below 1."""
    return f"{2**exponent:g}" if exponent >= 0 else f"1/{2**-exponent:g}"


def _format_percent(fraction: float) -> str:
    """Percent, with a decimal below 10."""
    percent = 100 * fraction
    return "0" if percent == 0 else f"{percent:.{0 if percent >= 10 else 1}f}".removesuffix(".0")


def _format_fraction(value: float) -> str:
    """Two digits of a number in [0, 1], without the 0 before the point; nothing of NaN."""
    if np.isnan(value):
        return ""
    if value in (0, 1):
        return f"{value:.0f}"
    return f"{value:.2f}"[1:] if value >= 0.095 else f"{value:.2g}"[1:]
