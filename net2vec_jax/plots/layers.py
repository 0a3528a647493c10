"""Layers and networks beside each other: more figures of `analysis.single_against_embedding`.

Each has the layers, or networks, along one axis; `comparison_figures` has a panel for each instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, PercentFormatter

from net2vec_jax.analysis.category_means import CategoryMeans, order_categories
from net2vec_jax.analysis.filters.single_against_embedding import (
    ClassificationComparison,
    SegmentationComparison,
)
from net2vec_jax.plots.comparison import Comparison
from net2vec_jax.plots.fonts import count_letters
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    EMBEDDING_STYLE,
    LINE_DASHES,
    SINGLE_STYLE,
    add_legend,
    check_layers,
    lay_out_panels,
    paper_style,
)
from net2vec_jax.plots.single_against_embedding import style_category

ALL = "all"
"""Name of the panel of all categories."""
_BINS = 20


def plot_scores_by_layer(
    layers: Mapping[str, Comparison],
    *,
    score: str = "set IoU on val",
    chance: float | None = None,
) -> Figure:
    """Mean score of single filters and embeddings by layer, a panel per category (spec 8.1, 8.4).

    Args:
      layers: name of each layer or network → its comparison.
      score: what is scored, the label of the y axes.
      chance: score of a guess, drawn as a dotted line; None draws none.

    Returns:
      A figure of two columns' width, of one if there is only one category; bars are a standard
      error on both sides. Panels give the greatest number of concepts of a layer.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    categories = order_categories([c for x in layers.values() for c in x.categories])
    names = (ALL,) if len(categories) == 1 else (ALL, *categories)
    names_height = 0.02 * max(map(len, layers))  # of the layers, below the panels
    with paper_style():
        figure, panels = lay_out_panels(
            len(names), columns=4, height=1.5 + names_height, height_alone=1.9 + names_height,
            share_x=True,
        )  # fmt: skip
        for axes, name in zip(panels, names, strict=True):
            most = 0
            for shift, hollow in ((-0.12, True), (0.12, False)):
                rows = [
                    _choose_row(x.single_means if hollow else x.embedding_means, name)
                    for x in layers.values()
                ]
                mean, error, count = np.array(rows, np.float64).T
                most = max(most, int(count.max()))
                color, marker = SINGLE_STYLE if hollow else EMBEDDING_STYLE
                axes.errorbar(
                    np.arange(len(layers)) + shift, mean, yerr=np.nan_to_num(error), fmt=marker,
                    color=color, markerfacecolor="white" if hollow else color, elinewidth=0.9,
                    capsize=1.8, label="best single filter" if hollow else "embedding",
                )  # fmt: skip
            axes.set_title(f"{name} ({most})")
            _name_layers(axes, layers)
            axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
            axes.set_axisbelow(True)
            if chance is not None:
                axes.axhline(chance, color="#777777", linestyle=":", linewidth=0.8, zorder=0)
        if chance is None:
            panels[0].set_ylim(bottom=min(0.0, panels[0].get_ylim()[0]))
        figure.supylabel(f"{score}, mean ± s.e.", fontsize=8)
        add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


def plot_mean_improvements(layers: Mapping[str, SegmentationComparison]) -> Figure:
    """Mean of the embedding's IoU over the single filter's, by layer (spec 8.1).

    Args:
      layers: name of each layer or network → its comparison.

    Returns:
      A figure of one column's width; bars are a standard error on both sides, and the number of
      concepts that have a ratio (`LEAST_SINGLE_IOU`) stands above.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure = Figure(
            figsize=(COLUMN_WIDTH, 2.2 + 0.02 * max(map(len, layers))), layout="constrained"
        )
        axes = figure.add_subplot()
        color = EMBEDDING_STYLE[0]
        for place, comparison in enumerate(layers.values()):
            mean, error, count = comparison.mean_ratio
            top = np.nan_to_num(mean) + np.nan_to_num(error)
            axes.bar(
                place, np.nan_to_num(mean), 0.6, color=color, alpha=0.55,
                yerr=np.nan_to_num(error), error_kw={"elinewidth": 0.9, "capsize": 2},
            )  # fmt: skip
            axes.annotate(
                str(count), (place, top), xytext=(0, 2), textcoords="offset points", ha="center",
                fontsize=6.5,
            )  # fmt: skip
        axes.axhline(1, color="#777777", linestyle=":", linewidth=0.8)
        axes.margins(y=0.12)
        axes.set_ylim(bottom=0)
        _name_layers(axes, layers)
        axes.set_ylabel("IoU of embedding /\nIoU of single filter")
    return figure


def plot_score_histograms(
    layers: Mapping[str, Comparison],
    *,
    score: str = "set IoU on val",
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Histograms over concepts of single filters' and embeddings' scores, a panel per layer.

    Args:
      layers: name of each layer or network → its comparison.
      score: what is scored.
      limits: least and greatest score there can be; bins end at the greatest that there is.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; titles give the
      number of concepts.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=1.45, height_alone=1.9, share_x=True)
        known = np.concatenate([[*x.single, *x.embedding] for x in layers.values()])
        known = known[np.isfinite(known)]
        low, high = limits
        if len(known):
            width = (high - low) / _BINS
            low += width * np.floor((known.min() - low) / width)
            high = min(high, low + width * (np.floor((known.max() - low) / width) + 1))
        edges = np.linspace(low, high, _BINS + 1)
        for axes, (name, comparison) in zip(panels, layers.items(), strict=True):
            for values, (color, _), dash, label in (
                (comparison.single, SINGLE_STYLE, LINE_DASHES[1], "best single filter"),
                (comparison.embedding, EMBEDDING_STYLE, LINE_DASHES[0], "embedding"),
            ):
                count = np.histogram(values[np.isfinite(values)], edges)[0]
                axes.stairs(count, edges, color=color, alpha=0.2, fill=True)
                axes.stairs(count, edges, color=color, linewidth=1.1, linestyle=dash, label=label)
            axes.set_title(f"{name} ({len(comparison.embedding)})")
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panels[0].set_ylim(bottom=0)
        figure.supxlabel(score, fontsize=8)
        figure.supylabel("concepts", fontsize=8)
        add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


def plot_at_least_as_good(layers: Mapping[str, ClassificationComparison]) -> Figure:
    """Fraction of concepts whose embedding is at least as good as the top filter (spec 8.4).

    Args:
      layers: name of each layer or network → its comparison.

    Returns:
      A figure of one column's width: bars are of all concepts, marks of a category's.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    categories = order_categories([c for x in layers.values() for c in x.categories])
    with paper_style():
        figure = Figure(
            figsize=(COLUMN_WIDTH, 2.3 + 0.02 * max(map(len, layers))), layout="constrained"
        )
        axes = figure.add_subplot()
        overall = [x.at_least_as_good.overall_mean for x in layers.values()]
        axes.bar(np.arange(len(layers)), np.nan_to_num(overall), 0.75, color="#dddddd", label=ALL)
        for number, category in enumerate(categories):
            color, marker = style_category(category)
            shift = 0.6 * ((number + 0.5) / len(categories) - 0.5)
            fractions = [_choose_row(x.at_least_as_good, category)[0] for x in layers.values()]
            axes.plot(
                np.arange(len(layers)) + shift, fractions, linestyle="none", marker=marker,
                color=color, label=category, clip_on=False, markersize=4,
            )  # fmt: skip
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel("concepts with\nembedding ≥ top filter")
        _name_layers(axes, layers)
        add_legend(figure, *axes.get_legend_handles_labels())
    return figure


def plot_exception_images(layers: Mapping[str, ClassificationComparison]) -> Figure:
    """Train images of the concepts whose top filter beats the embedding (spec 8.4).

    Args:
      layers: name of each layer or network → its comparison, made with `train_images`.

    Returns:
      A figure of one column's width for a single layer, else of two columns': histograms with
      logarithmic bins; titles give the number of concepts.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    images = {
        name: np.log10(np.maximum(_given(x.train_images_where_single_wins), 1))
        for name, x in layers.items()
    }
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=1.35, height_alone=1.8, share_x=True)
        known = np.concatenate(list(images.values()))
        low, high = np.floor(known.min(initial=9)), np.floor(known.max(initial=0)) + 1
        low = min(low, high - 1)
        edges = np.linspace(low, high, 4 * int(high - low) + 1)
        for axes, (name, values) in zip(panels, images.items(), strict=True):
            axes.hist(values, edges, color=SINGLE_STYLE[0], alpha=0.55, edgecolor="white")
            axes.set_title(f"{name} ({len(values)} of {len(layers[name].single)})")
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.xaxis.set_major_locator(FixedLocator(np.arange(low, high + 1)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{10**value:g}"))
            axes.set_xlim(low, high)
        figure.supxlabel("train images with the concept", fontsize=8)
        figure.supylabel("concepts with\ntop filter > embedding", fontsize=8)
    return figure


def _choose_row(means: CategoryMeans, panel: str) -> tuple[float, float, int]:
    """Mean, standard error and number of concepts of a category, or of all."""
    if panel == ALL:
        return means.overall_mean, means.overall_error, means.overall_count
    if panel not in means.categories:
        return float("nan"), float("nan"), 0
    place = means.categories.index(panel)
    return float(means.mean[place]), float(means.error[place]), int(means.count[place])


def _name_layers(axes: Axes, layers: Mapping[str, object]) -> None:
    """Layers' names below, slanted where they would not fit side by side."""
    figure = axes.get_figure()
    width = axes.get_position().width * figure.get_figwidth()
    letters = max(map(count_letters, layers)) * len(layers)
    long = letters > width / 0.065  # inches of a letter and a bit
    style = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(layers)), list(layers), fontsize=6.5, **style)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.tick_params(axis="x", length=0)


def _given(images: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if images is None else images
