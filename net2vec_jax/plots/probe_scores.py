"""Scores of a probe's concepts with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from net2vec_jax.plots.paper_style import EMBEDDING_STYLE, paper_style


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
