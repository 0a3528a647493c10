"""Which concepts two representations place differently: figures of a `PairComparison`."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.similarity.network_similarity import (
    DistanceMeasure,
    order_by_change,
    shorten_names,
)
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison
from net2vec_jax.plots.fonts import count_letters, shorten_wide
from net2vec_jax.plots.paper_style import PAGE_WIDTH, add_legend, paper_style
from net2vec_jax.plots.single_against_embedding import style_category

MEASURES: dict[DistanceMeasure, str] = {
    "squared": "squared distance",
    "per_entry": "squared distance per entry",
    "row_normalized": "squared distance of normalised rows",
}
MOST_NAMES = 130
"""More concepts than these stand in a cluster map without their names."""


def join_names(first: str, second: str, most: int) -> str:
    """Two names on one line, or on two if it had more than `most` letters."""
    line = f"{first} – {second}"
    return line if count_letters(line) <= most else f"{first} –\n{second}"


def plot_changes(pair: PairComparison, *, count: int = 12) -> Figure:
    """The concepts that two representations place most and least differently.

    Args:
      pair: the comparison.
      count: concepts of each kind; fewer if they would meet.

    Returns:
      A figure of two columns' width with a panel for each kind.
    """
    order = order_by_change(pair.distances)
    count = min(count, len(order) // 2)
    categories = order_categories(pair.categories)
    short = shorten_names([pair.first, pair.second])
    with paper_style():
        figure = Figure(figsize=(PAGE_WIDTH, 0.95 + 0.16 * count), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True)
        for axes, chosen, title in zip(
            panels,
            (order[:count], order[::-1][:count]),
            ("most changed", "least changed"),
            strict=True,
        ):
            colors = [style_category(pair.categories[place])[0] for place in chosen]
            axes.barh(range(count), pair.distances[chosen], 0.7, color=colors)
            axes.set_yticks(range(count), [shorten_wide(pair.concepts[place]) for place in chosen])
            axes.set_ylim(count - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.set_title(f"{title}: {join_names(*short, 36)}", loc="left")
        figure.supxlabel(f"{MEASURES[pair.measure]} of the concept", fontsize=8)
        add_legend(figure, [Patch(color=style_category(c)[0]) for c in categories], categories)
    return figure


def plot_cluster_map(pair: PairComparison) -> Figure:
    """|G₁ − G₂| of all pairs of concepts, in the order of an average-linkage clustering.

    Args:
      pair: the comparison.

    Returns:
      A figure that grows with the concepts until their names would not be readable; a strip
      tells their categories.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage  # slow to import, and only needed here
    from scipy.spatial.distance import pdist

    difference = np.abs(pair.similarities[0] - pair.similarities[1])
    tree = dendrogram(linkage(pdist(difference), "average"), no_plot=True)
    order = np.array(tree["leaves"])
    categories = order_categories(pair.categories)
    count = len(order)
    named = count <= MOST_NAMES
    side = float(np.clip(0.072 * count, 2.4, 9.4)) if named else 6.0
    short = shorten_names([pair.first, pair.second])
    names = [shorten_wide(concept) for concept in pair.concepts]
    letters = 0.045 * max(map(count_letters, names)) if named else 0.0
    with paper_style():
        figure = Figure(figsize=(side + letters + 1.7, side + letters + 1.0), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.02, wspace=0, hspace=0)
        grid = figure.add_gridspec(
            2, 3, width_ratios=(0.12, 0.02, 1), height_ratios=(0.02, 1), wspace=0.0, hspace=0.0
        )
        axes = figure.add_subplot(grid[1, 2])
        image = axes.imshow(
            difference[np.ix_(order, order)], cmap="magma_r", vmin=0, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, left=False, labelleft=False, labelright=named, bottom=False)
        if named:
            labels = [names[place] for place in order]
            size = min(6.5, 72 * 0.86 * side / count)
            axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
            axes.set_yticks(range(count), labels, fontsize=size)
        else:
            axes.set(xticks=[], yticks=[])
        strip = np.array([to_rgb(style_category(pair.categories[place])[0]) for place in order])
        for cell, colors in ((grid[1, 1], strip[:, None]), (grid[0, 2], strip[None])):
            side_axes = figure.add_subplot(cell)
            side_axes.imshow(colors, aspect="auto", interpolation="nearest")
            side_axes.set_axis_off()
        branches = figure.add_subplot(grid[1, 0])
        for depth, position in zip(tree["dcoord"], tree["icoord"], strict=True):
            branches.plot(-np.array(depth), position, color="#555555", linewidth=0.5)
        branches.set_ylim(10 * count, 0)
        branches.margins(x=0.01)
        branches.set_axis_off()
        figure.colorbar(
            image, ax=axes, location="bottom", shrink=0.5, aspect=30, pad=0.02,
            label=f"|difference of cosines|: {join_names(*short, int(14 * side) - 25)}",
        )  # fmt: skip
        add_legend(figure, [Patch(color=style_category(c)[0]) for c in categories], categories)
    return figure
