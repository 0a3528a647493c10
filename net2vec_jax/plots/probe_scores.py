"""Scores of a probe's concepts with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.panels import add_legend, lay_out_one, scatter_categories
from net2vec_jax.plots.paper_style import EMBEDDING_STYLE, PAGE_WIDTH, paper_style
from net2vec_jax.plots.point_names import name_points


def plot_scores(
    names: Sequence[str],
    scores: Float[np.ndarray, " C"],
    low: Float[np.ndarray, " C"],
    high: Float[np.ndarray, " C"],
    *,
    label: str,
    most: int = 40,
) -> Figure:
    """The best concepts, best first, with their intervals.

    Args:
      names: of the C concepts.
      scores: of each, in [0, 1].
      low: lower end of each interval.
      high: upper end.
      label: what the scores are.
      most: concepts that are shown.
    """
    shown = np.argsort(-np.asarray(scores), kind="stable")[:most]
    place = np.arange(len(shown))
    with paper_style():
        figure = Figure(figsize=(4.5, 0.6 + 0.17 * len(shown)), layout="constrained")
        axes = figure.subplots()
        axes.hlines(place, low[shown], high[shown], color="0.6", linewidth=1)
        axes.plot(scores[shown], place, "o", color=EMBEDDING_STYLE[0], markersize=3.5)
        axes.set_yticks(place, [names[int(concept)] for concept in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(label)
    return figure


@paper_style()
def plot_transfer(
    first: Float[np.ndarray, "3 C"],
    second: Float[np.ndarray, "3 C"],
    names: Sequence[str],
    categories: Sequence[str],
    *,
    labels: tuple[str, str],
    title: str = "",
) -> Figure:
    """Scores of the same embeddings on two datasets, a point per concept, with their intervals.

    Args:
      first: score, lower and upper end of the interval on the dataset that they were trained on.
      second: the same on another one.
      names: of the C concepts.
      categories: of the C concepts.
      labels: of the axes.
      title: of the figure.

    Returns:
      A figure of two columns' width; below the diagonal an embedding loses on the other dataset.
    """
    figure, axes = lay_out_one(5.6, width=PAGE_WIDTH)
    end = max(float(np.nanmax([first[2].max(), second[2].max()])) * 1.05, 0.05)
    axes.plot([0, end], [0, end], color="#999999", linewidth=0.8, zorder=1)
    widths = [np.stack([row[0] - row[1], row[2] - row[0]]) for row in (first, second)]
    axes.errorbar(
        first[0], second[0], xerr=widths[0], yerr=widths[1], fmt="none", ecolor="#cccccc",
        elinewidth=0.6, zorder=2,
    )  # fmt: skip
    present = order_categories(categories)
    dots = scatter_categories(axes, first[0], second[0], categories, present, s=20, zorder=3)
    axes.set(xlim=(-0.02 * end, end), ylim=(-0.02 * end, end), title=title)
    axes.set(xlabel=labels[0], ylabel=labels[1], aspect="equal")
    add_legend(figure, list(dots.values()), list(dots))
    points = np.stack([first[0], second[0]], axis=1)
    name_points(axes, points, [shorten_wide(name, 30) for name in names])
    return figure
