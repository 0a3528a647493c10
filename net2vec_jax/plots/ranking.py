"""How many of a concept's images come first (reference behaviour 8.8)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from net2vec_jax.analysis.images.image_ranking import RecallComparison
from net2vec_jax.plots.panels import draw_reference
from net2vec_jax.plots.paper_style import EMBEDDING_STYLE, PAGE_WIDTH, SINGLE_STYLE, paper_style


@paper_style()
def plot_recall(comparison: RecallComparison) -> Figure:
    """Recall among the first K images, and the positives that embeddings find beyond best filters.

    Args:
      comparison: means over concepts.

    Returns:
      A figure of two columns' width: recall by embedding, by best filter and in random order; and
      the difference in positives found, with a standard error on both sides.
    """
    images = np.arange(1, len(comparison.chance) + 1)
    blue, red = EMBEDDING_STYLE[0], SINGLE_STYLE[0]
    figure = Figure(figsize=(PAGE_WIDTH, 2.5), layout="constrained")
    recall, more = figure.subplots(1, 2)
    recall.plot(images, comparison.embedding, color=blue, label="embedding")
    recall.plot(images, comparison.single, color=red, linestyle="--", label="best filter")
    style = {"color": "#777777", "linestyle": ":", "linewidth": 0.8}
    recall.plot(images, comparison.chance, label="random order", **style)
    recall.set(xlabel="first K val images", ylabel="recall, mean", ylim=(0, 1))
    recall.yaxis.set_major_formatter(PercentFormatter(1))
    recall.legend(loc="lower right")
    recall.set_title(f"{comparison.concepts} concepts")
    error = np.nan_to_num(comparison.error)
    low, high = comparison.difference - error, comparison.difference + error
    more.fill_between(images, low, high, color=blue, alpha=0.18, linewidth=0)
    more.plot(images, comparison.difference, color=blue)
    draw_reference(more, 0)
    more.set(xlabel="first K val images", ylabel="more positives found, mean ± s.e.")
    more.set_title("embedding less best filter")
    for axes in (recall, more):
        axes.set_xlim(0, len(images))
    return figure
