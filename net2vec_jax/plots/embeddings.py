"""What was counted on concept embeddings: categories of neighbours, stability, variance.

Reference behaviour 8.6 and, for alpha, 8.10. Maps and trees are in `plots.concept_maps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from net2vec_jax.analysis.category_means import find_members, order_categories
from net2vec_jax.analysis.geometry.concept_embeddings import NearestCategories, NeighbourStability
from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.panels import (
    add_legend,
    check_layers,
    draw_reference,
    lay_out_one,
    name_cells,
    write_cells,
)
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    line_style,
    paper_style,
    style_category,
)

MOST_CONFUSED = 40
"""Concepts in a matrix of confusions."""


@paper_style()
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
    columns = min(2, len(layers))
    rows = -(-len(layers) // columns)
    width = COLUMN_WIDTH if len(layers) == 1 else PAGE_WIDTH
    figure = Figure(figsize=(width, 3.0 * rows), layout="constrained")
    limits, colors = Normalize(0, 1), "Blues"
    for place, (name, table) in enumerate(layers.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(table.fraction, cmap=colors, norm=limits)
        known = np.isfinite(table.fraction)
        for values, rise, size in ((table.fraction, 3, 8), (table.chance, -6, 5.5)):
            texts = np.where(known, np.vectorize("{:.2f}".format)(values), "")
            write_cells(axes, texts, table.fraction > 0.6, rise=rise, size=size)
        numbered = zip(table.categories, table.concepts, strict=True)
        labels = [f"{category} ({concepts})" for category, concepts in numbered]
        style = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        name_cells(axes, labels, table.categories, **style)
        axes.set(title=name, xlabel=f"categories of the {table.neighbours} nearest concepts")
    bar = figure.colorbar(ScalarMappable(limits, colors), ax=figure.axes, fraction=0.04)
    bar.set_label("mean fraction (small: chance)")
    bar.outline.set_visible(False)
    return figure


@paper_style()
def plot_confusions(
    confusion: Float[np.ndarray, "C C"], names: Sequence[str], *, title: str = ""
) -> Figure:
    """Heat map of whose embeddings are nearest to those of each concept.

    Args:
      confusion: part of the nearest embeddings of a row's concept that are of a column's, or NaN.
      names: of the C concepts.
      title: of the figure.

    Returns:
      A figure as large as its cells, of the `MOST_CONFUSED` concepts that are confused most, those
      taken for each other side by side. Cells of 5 % and more are written, confusions in bold.
    """
    others = np.nan_to_num(confusion) * ~np.eye(len(names), dtype=bool)
    shown = np.sort(np.argsort(-others.sum(0) - others.sum(1), kind="stable")[:MOST_CONFUSED])
    if len(shown) > 2:
        near = (others + others.T)[np.ix_(shown, shown)]
        distance = squareform(1 - np.minimum(near, 1), checks=False)
        tree = hierarchy.linkage(distance, "average", optimal_ordering=True)
        shown = shown[hierarchy.leaves_list(tree)]
    cells = np.ix_(shown, shown)
    values, called = np.nan_to_num(confusion)[cells], [shorten(names[int(n)], 22) for n in shown]
    side = 0.27 * len(shown) + 0.058 * max(map(count_letters, called)) + 0.8
    figure, axes = lay_out_one(side, width=side)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    texts = np.where(values >= 0.05, np.char.mod("%.0f", 100 * values), "")
    write_cells(axes, texts, values > 0.6, bold=others[cells] > 0)
    name_cells(axes, called, called, rotation=90)
    axes.set(title=title, ylabel="concept", xlabel="concepts of its nearest embeddings, %")
    return figure


@paper_style()
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
                place + _spread(known, step), known, s=11, color=color, marker=marker, alpha=0.75,
                linewidths=0.3 if step > 0.05 else 0, edgecolors="white", clip_on=False, zorder=3,
            )  # fmt: skip
            if len(known):
                ends = place - 0.38, place + 0.38
                style = {"color": "#222222", "linewidth": 1.2, "zorder": 4, "clip_on": False}
                axes.hlines(known.mean(), *ends, **style)
        labels = [f"{name}\n{len(known)}" for name, known in zip(present, groups, strict=True)]
        axes.set_xticks(range(len(present)), labels)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(present) - 0.4)
        low = min(0.0, float(np.nanmin(values, initial=0.0)))
        axes.set(ylim=(1.1 * low, 1.0), ylabel=label)
    draw_reference(panels[0], stability.chance_overlap, name="chance")
    if title:
        figure.suptitle(title)
    return figure


@paper_style()
def plot_spectrum(layers: Mapping[str, Float[np.ndarray, " components"]]) -> Figure:
    """Variance along the principal components of the raw weights, one line per layer.

    Args:
      layers: name of each layer → fractions of variance.

    Returns:
      A figure of one column's width; the legend gives the sum of the components shown.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, axes = lay_out_one(2.4)
    for place, (name, explained) in enumerate(layers.items()):
        axes.plot(
            np.arange(1, len(explained) + 1), explained, clip_on=False, **line_style(place),
            label=f"{name}, sum {explained.sum():.2f}",
        )  # fmt: skip
    most = max(map(len, layers.values()))
    axes.set(xlabel="principal component", ylabel="fraction of variance", xlim=(0.7, most + 0.3))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    add_legend(figure, *axes.get_legend_handles_labels())
    return figure


@paper_style()
def plot_filter_alphas(layers: Mapping[str, Float[np.ndarray, " K"]]) -> Figure:
    """Histogram over filters of alpha, the fraction of positions without positive activation.

    Args:
      layers: name of each layer → alpha of its filters, in [0, 1].

    Returns:
      A figure of one column's width; the legend gives the median.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, axes = lay_out_one(2.2)
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
    axes.set(xlabel="positions where a filter is not positive", ylabel="fraction of filters")
    axes.set_xlim(0, 1)
    if axes.patches:
        add_legend(figure, *axes.get_legend_handles_labels())
    return figure


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
