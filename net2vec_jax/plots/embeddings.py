"""What was counted on concept embeddings: categories of neighbours, stability, variance.

Maps and trees of concepts are in `report.concept_maps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from net2vec_jax.analysis.category_means import find_members, order_categories
from net2vec_jax.analysis.geometry.concept_embeddings import (
    NearestCategories,
    NeighbourStability,
)
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    add_legend,
    check_layers,
    line_style,
    paper_style,
)
from net2vec_jax.plots.single_against_embedding import style_category


def plot_nearest_categories(layers: Mapping[str, NearestCategories]) -> Figure:
    """Heat maps of the categories of the nearest concepts, a panel per layer.

    Args:
      layers: name of each layer → its table.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; a cell has the mean
      fraction and, small, what chance gives.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        few = len(layers) == 1
        columns = min(2, len(layers))
        rows = -(-len(layers) // columns)
        figure = Figure(
            figsize=(COLUMN_WIDTH if few else PAGE_WIDTH, 3.0 * rows), layout="constrained"
        )
        for place, (name, table) in enumerate(layers.items()):
            axes = figure.add_subplot(rows, columns, place + 1)
            count = len(table.categories)
            image = axes.imshow(table.fraction, cmap="Blues", vmin=0, vmax=1)
            for row in range(count):
                for column in range(count):
                    _write_cell(axes, row, column, table)
            labels = [
                f"{category} ({concepts})"
                for category, concepts in zip(table.categories, table.concepts, strict=True)
            ]
            axes.set_yticks(range(count), labels)
            axes.set_xticks(
                range(count), table.categories, rotation=30, ha="right", rotation_mode="anchor"
            )
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set(title=name, xlabel=f"categories of the {table.neighbours} nearest concepts")
        bar = figure.colorbar(image, ax=figure.axes, fraction=0.04)
        bar.set_label("mean fraction (small: chance)")
        bar.outline.set_visible(False)
    return figure


def plot_neighbour_stability(
    stability: NeighbourStability, categories: Sequence[str], *, title: str = ""
) -> Figure:
    """Agreement of seeds on every concept, by category: neighbours, and the embedding itself.

    Args:
      stability: over at least two seeds.
      categories: of the C concepts.
      title: of the figure.

    Returns:
      A figure of two columns' width; short lines are means over a category's concepts.
    """
    present = order_categories(categories)
    member = find_members(categories, present, len(stability.cosine))
    with paper_style():
        figure = Figure(figsize=(PAGE_WIDTH, 2.5), layout="constrained")
        panels = figure.subplots(1, 2)
        measured = (
            (f"shared of the {stability.neighbours} nearest concepts", stability.overlap),
            ("cosine between two seeds", stability.cosine),
        )
        for axes, (label, values) in zip(panels, measured, strict=True):
            groups = [values[chosen & np.isfinite(values)] for chosen in member]
            fullest = max(
                np.unique(_bin(known), return_counts=True)[1].max(initial=1) for known in groups
            )
            step = min(0.1, 0.6 / max(fullest - 1, 1))
            for place, (category, known) in enumerate(zip(present, groups, strict=True)):
                color, marker = style_category(category)
                axes.scatter(
                    place + _spread(known, step), known, s=11, color=color, marker=marker,
                    alpha=0.75, linewidths=0.3 if step > 0.05 else 0, edgecolors="white",
                    clip_on=False, zorder=3,
                )  # fmt: skip
                if len(known):
                    axes.hlines(
                        known.mean(), place - 0.38, place + 0.38, color="#222222", linewidth=1.2,
                        zorder=4, clip_on=False,
                    )  # fmt: skip
            counts = (member & np.isfinite(values)).sum(axis=1)
            labels = [f"{name}\n{count}" for name, count in zip(present, counts, strict=True)]
            axes.set_xticks(range(len(present)), labels)
            axes.tick_params(axis="x", length=0)
            axes.set_xlim(-0.6, len(present) - 0.4)
            low = min(0.0, float(np.nanmin(values, initial=0.0)))
            axes.set(ylim=(1.1 * low, 1.0), ylabel=label)
        panels[0].axhline(
            stability.chance_overlap, color="#777777", linestyle=":", linewidth=0.8, zorder=1
        )
        panels[0].annotate(
            "chance", (1, stability.chance_overlap), xycoords=("axes fraction", "data"),
            xytext=(0, 2), textcoords="offset points", ha="right", va="bottom", fontsize=7,
            color="#555555",
        )  # fmt: skip
        if title:
            figure.suptitle(title, fontsize=8)
    return figure


def plot_spectrum(layers: Mapping[str, np.ndarray]) -> Figure:
    """Variance along the principal components of the raw weights, one line per layer.

    Args:
      layers: name of each layer → fractions of variance, float [components].

    Returns:
      A figure of one column's width; the legend gives the sum of the components shown.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.4), layout="constrained")
        axes = figure.add_subplot()
        most = max(map(len, layers.values()))
        for place, (name, explained) in enumerate(layers.items()):
            axes.plot(
                np.arange(1, len(explained) + 1), explained, clip_on=False, **line_style(place),
                label=f"{name}, sum {explained.sum():.2f}",
            )  # fmt: skip
        axes.set(
            xlabel="principal component", ylabel="fraction of variance", xlim=(0.7, most + 0.3)
        )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        add_legend(figure, *axes.get_legend_handles_labels())
    return figure


def plot_filter_alphas(layers: Mapping[str, np.ndarray]) -> Figure:
    """Histogram over filters of alpha, the fraction of positions without positive activation.

    Args:
      layers: name of each layer → alpha of its filters, float [K] in [0, 1] (spec 8.10).

    Returns:
      A figure of one column's width; the legend gives the median.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.2), layout="constrained")
        axes = figure.add_subplot()
        edges = np.linspace(0, 1, 41)
        for place, (name, alpha) in enumerate(layers.items()):
            known = alpha[np.isfinite(alpha)]
            if len(known):
                style = line_style(place)
                axes.stairs(
                    np.histogram(known, edges)[0] / len(known), edges, color=style["color"],
                    linestyle=style["linestyle"], linewidth=1.0,
                    label=f"{name}, median {np.median(known):.2f}",
                )  # fmt: skip
        axes.set(
            xlabel="positions where a filter is not positive", ylabel="fraction of filters",
            xlim=(0, 1),
        )  # fmt: skip
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            add_legend(figure, handles, labels)
    return figure


def _write_cell(axes: Axes, row: int, column: int, table: NearestCategories) -> None:
    value = table.fraction[row, column]
    if not np.isfinite(value):
        return
    color = "white" if value > 0.6 else "#222222"
    chance = f"{table.chance[row, column]:.2f}"
    for text, rise, size in ((f"{value:.2f}", 3, 8), (chance, -6, 5.5)):
        axes.annotate(
            text, (column, row), xytext=(0, rise), textcoords="offset points", ha="center",
            va="center", color=color, fontsize=size, alpha=1.0 if rise > 0 else 0.8,
        )  # fmt: skip


def _bin(values: np.ndarray) -> np.ndarray:
    """Bins of values that are nearly the same on a figure, int64."""
    return np.round(values * 40).astype(np.int64)


def _spread(values: np.ndarray, step: float) -> np.ndarray:
    """Sideways places, `step` apart for points of nearly one value: more points, wider rows."""
    bins = _bin(values)
    places = np.zeros(len(values))
    for found in np.unique(bins):
        chosen = np.flatnonzero(bins == found)
        places[chosen] = step * (np.arange(len(chosen)) - (len(chosen) - 1) / 2)
    return places
