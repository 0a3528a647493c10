"""Concepts on maps, and in a tree beside their cosines.

Concepts have the colour and marker of their category, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.cluster import hierarchy

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.geometry.concept_embeddings import ConceptClusters, UnitEmbeddings
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.panels import add_legend, lay_out_one, name_cells, scatter_categories
from net2vec_jax.plots.paper_style import PAGE_WIDTH, paper_style, style_category
from net2vec_jax.plots.point_names import name_points

MOST_NAMED_POINTS = 150
"""More concepts than this have no names beside a heat map, and no lines to names on a map."""


@paper_style()
def plot_embedding_map(
    coordinates: Float[np.ndarray, "C 2"],
    names: Sequence[str],
    categories: Sequence[str],
    *,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
) -> Figure:
    """Concepts on a two-dimensional map, with as many names as have room.

    Args:
      coordinates: concepts with NaN are not drawn.
      names: of the C concepts.
      categories: of the C concepts.
      labels: of the axes; empty ones draw no ticks, since t-SNE's axes mean nothing.
      title: of the figure.

    Returns:
      A figure of two columns' width.

    Raises:
      Net2VecError: no concept has coordinates, or numbers that do not fit.
    """
    placed = [int(n) for n in np.flatnonzero(np.isfinite(coordinates).all(axis=1))]
    if not placed:
        raise Net2VecError("no concept has an embedding; there is nothing to draw")
    if not len(coordinates) == len(names) == len(categories):
        raise Net2VecError(
            f"{len(names)} names and {len(categories)} categories were given for "
            f"{len(coordinates)} concepts"
        )
    points = coordinates[placed]
    shown = [categories[place] for place in placed]
    figure, axes = lay_out_one(5.8, width=PAGE_WIDTH)
    present = order_categories(shown)
    x, y = points.T
    dots = scatter_categories(axes, x, y, shown, present, s=16, alpha=1, zorder=3)
    axes.margins(0.06)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    if not any(labels):
        axes.set(xticks=[], yticks=[])
    add_legend(figure, list(dots.values()), list(dots))
    name_points(
        axes, points, [names[place] for place in placed], colors=list(map(_darken, shown)),
        leaders=len(placed) <= MOST_NAMED_POINTS,
    )  # fmt: skip
    return figure


@paper_style()
def plot_concept_tree(
    clusters: ConceptClusters,
    unit: UnitEmbeddings,
    names: Sequence[str],
    categories: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """The tree of a hierarchical clustering beside the cosines, concepts in the tree's order.

    Args:
      clusters: the tree, of average linkage or any other.
      unit: the embeddings that were clustered.
      names: of the C concepts; coloured by category, and left out above `MOST_NAMED_POINTS`.
      categories: of the C concepts.
      title: of the figure.

    Returns:
      A figure of two columns' width, as high as the names need.

    Raises:
      Net2VecError: there are fewer than two concepts.
    """
    order = [int(place) for place in clusters.order]
    if len(order) < 2:
        raise Net2VecError("a tree needs at least two concepts with embeddings")
    named = len(order) <= MOST_NAMED_POINTS
    size = float(np.clip(420 / len(order), 4.2, 7))
    height = max(3.2, len(order) * size * 1.12 / 72) + 0.9 if named else PAGE_WIDTH - 1
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    grid = figure.add_gridspec(
        2, 2, width_ratios=(1, 3.2), height_ratios=(height - 0.9, 0.1), hspace=0.02
    )
    tree, heat, below = (figure.add_subplot(grid[place]) for place in ((0, 0), (0, 1), (1, 1)))
    drawn = hierarchy.dendrogram(clusters.linkage, no_plot=True)
    leaves, heights = np.array(drawn["icoord"]) / 10 - 0.5, np.array(drawn["dcoord"])
    joins = list(np.stack([heights, leaves], axis=-1))
    tree.add_collection(LineCollection(joins, colors="#444444", linewidths=0.7))
    tree.set(xlim=(1.02 * heights.max(), 0), ylim=(len(order) - 0.5, -0.5), xlabel="distance")
    tree.set_yticks([])
    tree.spines["left"].set_visible(False)
    tree.xaxis.set_major_locator(MaxNLocator(4))
    image = heat.imshow(
        unit.cosines()[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    heat.set_title(title)
    shown = [categories[place] for place in order]
    name_cells(heat, [shorten_wide(names[place]) for place in order] if named else [], [])
    heat.yaxis.tick_right()
    heat.tick_params(axis="y", length=0, pad=2, labelsize=size)
    for label, category in zip(heat.get_yticklabels(), shown, strict=named):
        label.set_color(_darken(category))
    bar = figure.colorbar(image, cax=below, orientation="horizontal")
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    present = order_categories(shown)
    add_legend(figure, [Line2D([], [], color=_darken(c), linewidth=4) for c in present], present)
    return figure


def _darken(category: str) -> str:
    """The category's colour, dark enough to be read as text."""
    color = style_category(category)[0]
    red, green, blue = (int(int(color[i : i + 2], 16) * 0.68) for i in (1, 3, 5))
    return f"#{red:02x}{green:02x}{blue:02x}"
