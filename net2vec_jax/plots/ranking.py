"""How many of a concept's images come first: figure of `analysis.image_ranking`."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from net2vec_jax.analysis.images.image_ranking import RecallComparison
from net2vec_jax.plots.paper_style import (
    EMBEDDING_STYLE,
    PAGE_WIDTH,
    SINGLE_STYLE,
    paper_style,
)


def plot_recall(comparison: RecallComparison) -> Figure:
    """Recall among the first K images, and the positives that embeddings find beyond best filters.

    Args:
      comparison: means over concepts.

    Returns:
      A figure of two columns' width: recall by embedding, by best filter and in random order; and
      the difference in positives found, with a standard error on both sides.
    """
    images = np.arange(1, len(comparison.chance) + 1)
    with paper_style():
        figure = Figure(figsize=(PAGE_WIDTH, 2.5), layout="constrained")
        recall, more = figure.subplots(1, 2)
        recall.plot(images, comparison.embedding, color=EMBEDDING_STYLE[0], label="embedding")
        recall.plot(
            images, comparison.single, color=SINGLE_STYLE[0], linestyle="--", label="best filter"
        )
        recall.plot(
            images, comparison.chance, color="#777777", linestyle=":", linewidth=0.8,
            label="random order",
        )  # fmt: skip
        recall.set(xlabel="first K val images", ylabel="recall, mean", ylim=(0, 1))
        recall.yaxis.set_major_formatter(PercentFormatter(1))
        recall.legend(loc="lower right")
        recall.set_title(f"{comparison.concepts} concepts")
        error = np.nan_to_num(comparison.error)
        more.fill_between(
            images, comparison.difference - error, comparison.difference + error,
            color=EMBEDDING_STYLE[0], alpha=0.18, linewidth=0,
        )  # fmt: skip
        more.plot(images, comparison.difference, color=EMBEDDING_STYLE[0])
        more.axhline(0, color="#777777", linestyle=":", linewidth=0.8)
        more.set(xlabel="first K val images", ylabel="more positives found, mean ± s.e.")
        more.set_title("embedding less best filter")
        for axes in (recall, more):
            axes.set_xlim(0, len(images))
    return figure
