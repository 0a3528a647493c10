"""Figures: each function takes arrays and returns a matplotlib Figure; saving is the caller's.

One colour and marker per Broden category, everywhere; the colours stay apart for colour-blind eyes
(Okabe and Ito's palette).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from net2vec_jax.data.concepts import CATEGORIES
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.paper_style import plain_text

CATEGORY_STYLES = {
    "color": ("#E69F00", "o"),
    "object": ("#0072B2", "s"),
    "part": ("#56B4E9", "^"),
    "material": ("#009E73", "D"),
    "scene": ("#CC79A7", "P"),
    "texture": ("#D55E00", "X"),
}
"""Category → (colour, marker)."""
_OTHER_STYLE = ("#555555", "v")
"""Of categories that Broden does not have."""


def style_category(category: str) -> tuple[str, str]:
    """Colour and marker of a category."""
    return CATEGORY_STYLES.get(category, _OTHER_STYLE)


@plain_text()
def plot_single_against_embedding(
    single: np.ndarray,
    embedding: np.ndarray,
    categories: Sequence[str],
    *,
    names: Sequence[str] = (),
    title: str = "",
    labelled: int = 9,
) -> Figure:
    """Scatter of each concept's best single filter against its embedding.

    Args:
      single: val set IoU of the best single filter, [C], in [0, 1].
      embedding: val set IoU of the embedding, [C], in [0, 1].
      categories: category of each concept.
      names: names of the concepts, or empty strings; those that gain most are written beside
        their points.
      title: of the figure.
      labelled: how many concepts are named.

    Returns:
      The figure; above the diagonal several filters encode a concept better than one.
    """
    single, embedding = np.asarray(single), np.asarray(embedding)
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    right, top = (1.08 * max(float(np.max(x, initial=0)), 0.01) for x in (single, embedding))
    end = min(right, top)
    axes.plot([0, end], [0, end], color="#999999", linewidth=1, zorder=1, label="equal")
    present = [c for c in CATEGORIES if c in categories]
    present += sorted(set(categories) - set(CATEGORIES))
    for category in present:
        chosen = np.array([c == category for c in categories])
        color, marker = style_category(category)
        axes.scatter(
            single[chosen], embedding[chosen], s=34, color=color, marker=marker, alpha=0.85,
            linewidths=0.4, edgecolors="white", label=f"{category} ({chosen.sum()})", zorder=2,
        )  # fmt: skip
    axes.set(
        xlabel="best single filter, set IoU on val", ylabel="embedding, set IoU on val",
        xlim=(-0.02 * right, right), ylim=(-0.02 * top, top), title=title,
    )  # fmt: skip
    if len(names):
        _name_points(axes, single, embedding, names, labelled)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="category")
    return figure


def _name_points(
    axes: Axes, single: np.ndarray, embedding: np.ndarray, names: Sequence[str], count: int
) -> None:
    """Name the concepts that gain most, skipping those whose names would overlap."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float]] = []
    for place in np.argsort(single - embedding, kind="stable"):
        x, y = float(single[place]), float(embedding[place])
        near = any(
            abs(y - other) < 0.045 * (top - bottom) and abs(x - side) < 0.3 * (right - left)
            for side, other in taken
        )
        gains = y > x
        if names[place] and gains and not near and len(taken) < count:
            taken.append((x, y))
            axes.annotate(
                shorten_wide(names[place], 32), (x, y), xytext=(6, 0),
                textcoords="offset points", va="center", fontsize=8, color="#333333",
            )  # fmt: skip
