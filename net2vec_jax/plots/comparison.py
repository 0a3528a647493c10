"""The best single filter against the embedding: figures of `analysis.single_against_embedding`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from net2vec_jax.analysis.category_means import CategoryMeans, order_categories
from net2vec_jax.analysis.filters.single_against_embedding import (
    RATIO_EDGES,
    ClassificationComparison,
    SegmentationComparison,
)
from net2vec_jax.plots.fonts import count_letters
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    EMBEDDING_STYLE,
    SINGLE_STYLE,
    add_legend,
    check_layers,
    lay_out_panels,
    paper_style,
)
from net2vec_jax.plots.single_against_embedding import CATEGORY_STYLES, style_category

Comparison = SegmentationComparison | ClassificationComparison
CATEGORY_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")
NORMAL_95 = 1.96
MOST_ROWS = 4
"""More layers than these stand in two columns."""


def plot_category_scores(
    layers: Mapping[str, Comparison],
    *,
    score: str = "set IoU on val",
    chance: float | None = None,
) -> Figure:
    """Mean score of single filters and embeddings per category, a panel per layer.

    Args:
      layers: name of each layer → its comparison.
      score: what is scored, the label of the y axes.
      chance: score of a guess, drawn as a dotted line; None draws none.

    Returns:
      A figure of one column's width; bars are 95 % intervals of the mean over concepts, and the
      number of concepts stands below each category.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    categories = order_categories([c for x in layers.values() for c in x.categories])
    labels = [_label_categories(x.embedding_means, categories) for x in layers.values()]
    columns = 1 if len(layers) <= MOST_ROWS else 2
    widths = map(count_letters, categories)
    wide = [0.055 * w for w, name in zip(widths, categories, strict=True) if w > len(name)]
    step = max([0.42, *wide])  # inches of a category
    with paper_style():
        figure, panels = lay_out_panels(
            len(layers), columns=columns,
            width=columns * max(COLUMN_WIDTH, 0.5 + step * len(labels[0])),
            height=1.3 if len(layers) == 1 else 1.15,
        )  # fmt: skip
        for place, (axes, (name, comparison)) in enumerate(
            zip(panels, layers.items(), strict=True)
        ):
            _plot_means(axes, comparison.single_means, categories, -0.13, hollow=True)
            _plot_means(axes, comparison.embedding_means, categories, 0.13, hollow=False)
            below = place + columns < len(layers) and labels[place] == labels[place + columns]
            shown = [] if below else labels[place]
            axes.set_xticks(range(len(shown)), shown, fontsize=6.5)
            if len(categories) > 1:
                axes.axvline(len(categories) - 0.5, color="#cccccc", linewidth=0.6)
            axes.set_xlim(-0.6, len(labels[place]) - 0.4)
            axes.tick_params(axis="x", length=0)
            axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
            axes.set_axisbelow(True)
            axes.set_title(name, loc="left")
            if chance is not None:
                axes.axhline(chance, color="#777777", linestyle=":", linewidth=0.8, zorder=0)
        if chance is None:
            panels[0].set_ylim(bottom=-0.03 * panels[0].get_ylim()[1])
        figure.supylabel(score, fontsize=8)
        add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


def _label_categories(means: CategoryMeans, categories: tuple[str, ...]) -> list[str]:
    """Each category, and all, above its number of concepts."""
    counts = dict(zip(means.categories, means.count.tolist(), strict=True))
    labels = [f"{category}\n{counts.get(category, 0)}" for category in categories]
    return labels if len(labels) == 1 else [*labels, f"all\n{means.overall_count}"]


def _plot_means(
    axes: Axes, means: CategoryMeans, categories: tuple[str, ...], shift: float, *, hollow: bool
) -> None:
    color, marker = SINGLE_STYLE if hollow else EMBEDDING_STYLE
    place = [categories.index(name) for name in means.categories]
    mean, error = means.mean, means.error
    if len(categories) > 1:
        place = [*place, len(categories)]
        mean = np.append(mean, means.overall_mean)
        error = np.append(error, means.overall_error)
    axes.errorbar(
        np.array(place) + shift, mean, yerr=NORMAL_95 * np.nan_to_num(error), fmt=marker,
        color=color, markerfacecolor="white" if hollow else color, elinewidth=0.9, capsize=1.8,
        label="best single filter" if hollow else "embedding",
    )  # fmt: skip


def plot_concept_scores(
    layers: Mapping[str, Comparison], *, score: str = "set IoU on val"
) -> Figure:
    """Scatter of each concept's single filter against its embedding, a panel per layer.

    Args:
      layers: name of each layer → its comparison.
      score: what is scored.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; above the diagonal
      the embedding is better.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=2.0, height_alone=2.6, share_x=True)
        ends = []
        for values in ([x.single for x in layers.values()], [x.embedding for x in layers.values()]):
            known = np.concatenate(values)
            known = known[np.isfinite(known)]
            low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
            margin = 0.05 * max(high - low, 0.02)
            ends.append((low - margin, high + margin))
        equal = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
        categories = order_categories([c for x in layers.values() for c in x.categories])
        handles: dict[str, Artist] = {}
        for axes, (name, comparison) in zip(panels, layers.items(), strict=True):
            if equal[0] < equal[1]:
                (line,) = axes.plot(equal, equal, color="#999999", linewidth=0.8, zorder=1)
                handles["equal"] = line
            for category in categories:
                chosen = np.array([c == category for c in comparison.categories], bool)
                color, marker = style_category(category)
                handles[category] = axes.scatter(
                    comparison.single[chosen], comparison.embedding[chosen], s=13, color=color,
                    marker=marker, alpha=0.85, linewidths=0.3, edgecolors="white", zorder=2,
                )  # fmt: skip
            axes.set(xlim=ends[0], ylim=ends[1], title=name)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(4))
        figure.supxlabel(f"best single filter, {score}", fontsize=8)
        figure.supylabel(f"embedding, {score}", fontsize=8)
        add_legend(figure, list(handles.values()), list(handles))
    return figure


def plot_improvements(layers: Mapping[str, SegmentationComparison]) -> Figure:
    """Histogram of the embedding's IoU over the single filter's, a panel per layer.

    Args:
      layers: name of each layer → its comparison.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; titles give the mean
      ratio and the number of concepts. Concepts whose single filter is hopeless
      (`LEAST_SINGLE_IOU`) are not in it.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=1.35, height_alone=1.8, share_x=True)
        color = EMBEDDING_STYLE[0]
        names = [f"1/{round(1 / edge)}" if edge < 1 else f"{edge:g}" for edge in RATIO_EDGES]
        names[0], names[-1] = "≤" + names[0], "≥" + names[-1]
        for axes, (name, comparison) in zip(panels, layers.items(), strict=True):
            mean, _, count = comparison.mean_ratio
            fraction = comparison.histogram / max(count, 1)
            axes.stairs(fraction, RATIO_EDGES, color=color, alpha=0.25, fill=True)
            axes.stairs(fraction, RATIO_EDGES, color=color, linewidth=1.0)
            axes.axvline(1, color="#777777", linestyle=":", linewidth=0.8)
            axes.set_title(f"{name}: {mean:.1f}× ({count})" if count else f"{name}: no ratio")
            axes.set_xscale("log", base=2)
            axes.set_xticks(RATIO_EDGES[::2], names[::2])
            axes.minorticks_off()
        panels[0].set_ylim(bottom=0)
        figure.supxlabel("IoU of embedding / IoU of single filter", fontsize=8)
        figure.supylabel("fraction of concepts", fontsize=8)
    return figure


def plot_unique_detectors(layers: Mapping[str, SegmentationComparison]) -> Figure:
    """Number of concepts that single filters and embeddings detect, stacked by category.

    Args:
      layers: name of each layer → its comparison.

    Returns:
      A figure of one column's width, two bars per layer; the total stands at a bar's end.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 0.95 + 0.5 * len(layers)), layout="constrained")
        axes = figure.add_subplot()
        categories = order_categories([c for x in layers.values() for c in x.categories])
        most = 1
        labels, ticks = [], []
        for row, (name, comparison) in enumerate(layers.items()):
            present = comparison.single_means.categories
            for shift, numbers, probe in zip(
                (-0.2, 0.2), comparison.count_detected(), ("single", "embedding"), strict=True
            ):
                left = 0
                for category, number in zip(present, numbers.tolist(), strict=True):
                    color, hatch = style_of_bar(category, categories)
                    axes.barh(
                        row + shift, number, 0.36, left, color=color, hatch=hatch,
                        edgecolor="white", linewidth=0.4,
                    )  # fmt: skip
                    left += number
                axes.annotate(
                    str(left), (left, row + shift), xytext=(2, 0), textcoords="offset points",
                    va="center", fontsize=7,
                )  # fmt: skip
                most = max(most, left)
                ticks.append(row + shift)
                labels.append(f"{name}, {probe}")
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * most)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("concepts detected")
        styles = [style_of_bar(category, categories) for category in categories]
        handles = [
            Patch(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0.4)
            for color, hatch in styles
        ]
        add_legend(figure, handles, categories)
    return figure


def style_of_bar(category: str, categories: tuple[str, ...]) -> tuple[str, str]:
    """Colour and hatch of a category's bars; `categories` are all that are drawn."""
    color = style_category(category)[0]
    order = [*CATEGORY_STYLES, *categories]
    return color, CATEGORY_HATCHES[order.index(category) % len(CATEGORY_HATCHES)]
