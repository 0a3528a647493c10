"""The best single filter against the embedding (reference behaviour 8.1, 8.4 for classification).

Figures of `analysis.filters.single_against_embedding`'s comparisons, which are by layer or network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, PercentFormatter

from net2vec_jax.analysis.category_means import CategoryMeans, order_categories
from net2vec_jax.analysis.filters.single_against_embedding import (
    RATIO_EDGES,
    ClassificationComparison,
    Comparison,
    SegmentationComparison,
)
from net2vec_jax.plots.fonts import count_letters, shorten_wide
from net2vec_jax.plots.panels import (
    add_category_legend,
    add_legend,
    check_layers,
    draw_reference,
    lay_out_one,
    lay_out_panels,
    list_categories,
    scatter_categories,
    write_beside,
)
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    EMBEDDING_STYLE,
    LINE_DASHES,
    SINGLE_STYLE,
    line_style,
    paper_style,
    plain_style,
    style_bar,
    style_category,
)

NORMAL_95 = 1.96
_MOST_ROWS = 4
"""More layers than these stand in two columns."""
_BINS = 20


@plain_style()
def plot_single_against_embedding(
    single: Float[np.ndarray, " C"],
    embedding: Float[np.ndarray, " C"],
    categories: Sequence[str],
    *,
    names: Sequence[str] = (),
    title: str = "",
    labelled: int = 9,
) -> Figure:
    """Scatter of each concept's best single filter against its embedding, for the screen.

    Args:
      single: val set IoU of the best single filter, in [0, 1].
      embedding: val set IoU of the embedding, in [0, 1].
      categories: of the C concepts.
      names: of the C concepts, or empty strings; those that gain most are written beside their
        points.
      title: of the figure.
      labelled: how many concepts are named.

    Returns:
      The figure; above the diagonal several filters encode a concept better than one.
    """
    single, embedding = np.asarray(single), np.asarray(embedding)
    figure, axes = lay_out_one(5.0, width=7.2)
    right, top = (1.08 * max(float(np.max(x, initial=0)), 0.01) for x in (single, embedding))
    end = min(right, top)
    axes.plot([0, end], [0, end], color="#999999", linewidth=1, zorder=1, label="equal")
    points = scatter_categories(
        axes, single, embedding, categories, order_categories(categories), s=34, linewidths=0.4
    )
    for category, dots in points.items():
        dots.set_label(f"{category} ({list(categories).count(category)})")
    axes.set(
        xlabel="best single filter, set IoU on val", ylabel="embedding, set IoU on val",
        xlim=(-0.02 * right, right), ylim=(-0.02 * top, top), title=title,
    )  # fmt: skip
    taken: list[tuple[float, float]] = []
    for place in map(int, np.argsort(single - embedding, kind="stable")):
        x, y = float(single[place]), float(embedding[place])
        near = any(
            abs(y - other) < 0.045 * 1.02 * top and abs(x - side) < 0.3 * 1.02 * right
            for side, other in taken
        )
        if len(names) and names[place] and y > x and not near and len(taken) < labelled:
            taken.append((x, y))
            name = shorten_wide(names[place], 32)
            write_beside(axes, name, (x, y), (6, 0), va="center", fontsize=8, color="#333333")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="category")
    return figure


@paper_style()
def plot_category_scores(
    layers: Mapping[str, Comparison], *, score: str = "set IoU on val", chance: float | None = None
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
    categories = list_categories(layers)
    rows = categories if len(categories) == 1 else (*categories, None)
    labels = [
        [f"{name or 'all'}\n{_choose_row(x.embedding_means, name)[2]}" for name in rows]
        for x in layers.values()
    ]
    columns = 1 if len(layers) <= _MOST_ROWS else 2
    wide = [0.055 * count_letters(name) for name in categories if count_letters(name) > len(name)]
    step = max([0.42, *wide])  # inches of a category
    figure, panels = lay_out_panels(
        len(layers), columns=columns, width=columns * max(COLUMN_WIDTH, 0.5 + step * len(rows)),
        height=1.3 if len(layers) == 1 else 1.15,
    )  # fmt: skip
    for place, (axes, (name, comparison)) in enumerate(zip(panels, layers.items(), strict=True)):
        _draw_means(axes, [comparison.single_means], rows, NORMAL_95, -0.13, hollow=True)
        _draw_means(axes, [comparison.embedding_means], rows, NORMAL_95, 0.13, hollow=False)
        below = place + columns < len(layers) and labels[place] == labels[place + columns]
        shown = [] if below else labels[place]
        axes.set_xticks(range(len(shown)), shown, fontsize=6.5)
        if len(categories) > 1:
            axes.axvline(len(categories) - 0.5, color="#cccccc", linewidth=0.6)
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.set_title(name, loc="left")
        draw_reference(axes, chance)
    if chance is None:
        panels[0].set_ylim(bottom=-0.03 * panels[0].get_ylim()[1])
    figure.supylabel(score)
    add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


@paper_style()
def plot_scores_by_layer(
    layers: Mapping[str, Comparison], *, score: str = "set IoU on val", chance: float | None = None
) -> Figure:
    """Mean score of single filters and embeddings by layer, a panel per category.

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
    categories = list_categories(layers)
    names = (None,) if len(categories) == 1 else (None, *categories)
    names_height = 0.02 * max(map(len, layers))  # of the layers, below the panels
    figure, panels = lay_out_panels(
        len(names), columns=4, height=1.5 + names_height, height_alone=1.9 + names_height,
        share_x=True,
    )  # fmt: skip
    for axes, name in zip(panels, names, strict=True):
        single = [x.single_means for x in layers.values()]
        embedding = [x.embedding_means for x in layers.values()]
        most = _draw_means(axes, single, [name], 1, -0.12, hollow=True)
        most = max(most, _draw_means(axes, embedding, [name], 1, 0.12, hollow=False))
        axes.set_title(f"{name or 'all'} ({most})")
        _name_layers(axes, layers)
        draw_reference(axes, chance)
    if chance is None:
        panels[0].set_ylim(bottom=min(0.0, panels[0].get_ylim()[0]))
    figure.supylabel(f"{score}, mean ± s.e.")
    add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


@paper_style()
def plot_rival_means(
    layers: Mapping[str, Mapping[str, CategoryMeans]], *, score: str = "set IoU on val"
) -> Figure:
    """Mean scores of embeddings and of what they are compared with, by layer.

    Args:
      layers: name of each layer → what is compared, the same in every layer → its scores' means.
      score: what is scored, the label of the y axis.

    Returns:
      A figure of one column's width; bars are a standard error on both sides.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, axes = lay_out_one(2.6 + 0.02 * max(map(len, layers)))
    compared = list(next(iter(layers.values())))
    for place, name in enumerate(compared):
        means = [of_layer[name] for of_layer in layers.values()]
        shift = 0.6 * ((place + 0.5) / len(compared) - 0.5)
        style: dict[str, Any] = {**line_style(place), "linestyle": "none", "label": name}
        axes.errorbar(
            np.arange(len(means)) + shift, [x.overall_mean for x in means],
            yerr=np.nan_to_num([x.overall_error for x in means]), elinewidth=0.9, capsize=1.8,
            **style,
        )  # fmt: skip
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    _name_layers(axes, layers)
    axes.set_ylabel(f"{score}, mean ± s.e.")
    add_legend(figure, *axes.get_legend_handles_labels())
    return figure


@paper_style()
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
    categories = list_categories(layers)
    figure, panels = lay_out_panels(len(layers), height=2.0, height_alone=2.6, share_x=True)
    ends = []
    for values in ([x.single for x in layers.values()], [x.embedding for x in layers.values()]):
        known = np.concatenate(values)
        known = known[np.isfinite(known)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        margin = 0.05 * max(high - low, 0.02)
        ends.append((low - margin, high + margin))
    equal = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    handles: dict[str, Artist] = {}
    for axes, (name, comparison) in zip(panels, layers.items(), strict=True):
        if equal[0] < equal[1]:
            (handles["equal"],) = axes.plot(equal, equal, color="#999999", linewidth=0.8, zorder=1)
        handles |= scatter_categories(
            axes, comparison.single, comparison.embedding, comparison.categories, categories,
            zorder=2,
        )  # fmt: skip
        axes.set(xlim=ends[0], ylim=ends[1], title=name)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f"best single filter, {score}")
    figure.supylabel(f"embedding, {score}")
    add_legend(figure, list(handles.values()), list(handles))
    return figure


@paper_style()
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
    figure, panels = lay_out_panels(len(layers), height=1.35, height_alone=1.8, share_x=True)
    names = [f"1/{round(1 / edge)}" if edge < 1 else f"{edge:g}" for edge in RATIO_EDGES]
    names[0], names[-1] = "≤" + names[0], "≥" + names[-1]
    for axes, (name, comparison) in zip(panels, layers.items(), strict=True):
        mean, _, count = comparison.mean_ratio
        _draw_histogram(axes, comparison.histogram / max(count, 1), RATIO_EDGES, EMBEDDING_STYLE[0])
        axes.axvline(1, color="#777777", linestyle=":", linewidth=0.8)
        axes.set_title(f"{name}: {mean:.1f}× ({count})" if count else f"{name}: no ratio")
        axes.set_xscale("log", base=2)
        axes.set_xticks(RATIO_EDGES[::2], names[::2])
        axes.minorticks_off()
    panels[0].set_ylim(bottom=0)
    figure.supxlabel("IoU of embedding / IoU of single filter")
    figure.supylabel("fraction of concepts")
    return figure


@paper_style()
def plot_mean_improvements(layers: Mapping[str, SegmentationComparison]) -> Figure:
    """Mean of the embedding's IoU over the single filter's, by layer.

    Args:
      layers: name of each layer or network → its comparison.

    Returns:
      A figure of one column's width; bars are a standard error on both sides, and the number of
      concepts that have a ratio (`LEAST_SINGLE_IOU`) stands above.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, axes = lay_out_one(2.2 + 0.02 * max(map(len, layers)))
    mean, error, count = zip(*(x.mean_ratio for x in layers.values()), strict=True)
    bars = axes.bar(
        range(len(layers)), np.nan_to_num(mean), 0.6, color=EMBEDDING_STYLE[0], alpha=0.55,
        yerr=np.nan_to_num(error), error_kw={"elinewidth": 0.9, "capsize": 2},
    )  # fmt: skip
    axes.bar_label(bars, [str(number) for number in count], padding=2, fontsize=6.5)
    axes.axhline(1, color="#777777", linestyle=":", linewidth=0.8)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _name_layers(axes, layers)
    axes.set_ylabel("IoU of embedding /\nIoU of single filter")
    return figure


@paper_style()
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
            _draw_histogram(axes, count, edges, color, linestyle=dash, label=label)
        axes.set_title(f"{name} ({len(comparison.embedding)})")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylim(bottom=0)
    figure.supxlabel(score)
    figure.supylabel("concepts")
    add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


@paper_style()
def plot_unique_detectors(layers: Mapping[str, SegmentationComparison]) -> Figure:
    """Number of concepts that single filters and embeddings detect, stacked by category.

    Args:
      layers: name of each layer → its comparison.

    Returns:
      A figure of one column's width, three bars per layer: of single filters chosen on val as in
      the paper, of those chosen on train, and of embeddings; the total stands at a bar's end.

    Raises:
      Net2VecError: there is no layer.
    """
    categories = list_categories(layers)
    figure, axes = lay_out_one(0.95 + 0.7 * len(layers))
    ticks: dict[float, str] = {}
    most = 1
    for row, (name, comparison) in enumerate(layers.items()):
        present = comparison.single_means.categories
        for y, (probe, numbers) in zip(
            (row - 0.28, row, row + 0.28), comparison.count_detected().items(), strict=True
        ):
            left = 0
            for category, number in zip(present, numbers.tolist(), strict=True):
                axes.barh(y, number, 0.25, left, **style_bar(category, categories))
                left += number
            write_beside(axes, str(left), (left, y), (2, 0), va="center", fontsize=7)
            most = max(most, left)
            ticks[y] = f"{name}, {probe.replace('_', ' ')}"
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * most)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("concepts detected")
    add_category_legend(figure, categories, hatched=True)
    return figure


@paper_style()
def plot_at_least_as_good(layers: Mapping[str, ClassificationComparison]) -> Figure:
    """Fraction of concepts whose embedding is at least as good as the top filter.

    Args:
      layers: name of each layer or network → its comparison.

    Returns:
      A figure of one column's width: bars are of all concepts, marks of a category's.

    Raises:
      Net2VecError: there is no layer.
    """
    categories = list_categories(layers)
    figure, axes = lay_out_one(2.3 + 0.02 * max(map(len, layers)))
    overall = [x.at_least_as_good.overall_mean for x in layers.values()]
    axes.bar(np.arange(len(layers)), np.nan_to_num(overall), 0.75, color="#dddddd", label="all")
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


@paper_style()
def plot_exception_images(layers: Mapping[str, ClassificationComparison]) -> Figure:
    """Train images of the concepts whose top filter beats the embedding.

    Args:
      layers: name of each layer or network → its comparison, made with `train_images`.

    Returns:
      A figure of one column's width for a single layer, else of two columns': histograms with
      logarithmic bins; titles give the number of concepts.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    given = {name: x.train_images_where_single_wins for name, x in layers.items()}
    images = {
        name: np.log10(np.maximum(np.zeros(0) if found is None else found, 1))
        for name, found in given.items()
    }
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
    figure.supxlabel("train images with the concept")
    figure.supylabel("concepts with\ntop filter > embedding")
    return figure


def _choose_row(means: CategoryMeans, category: str | None) -> tuple[float, float, int]:
    """Mean, standard error and number of concepts of a category, or of all (None)."""
    if category is None:
        return means.overall_mean, means.overall_error, means.overall_count
    if category not in means.categories:
        return float("nan"), float("nan"), 0
    place = means.categories.index(category)
    return float(means.mean[place]), float(means.error[place]), int(means.count[place])


def _draw_means(
    axes: Axes,
    means: Sequence[CategoryMeans],
    categories: Sequence[str | None],
    errors: float,
    shift: float,
    *,
    hollow: bool,
) -> int:
    """Draw means of layers or categories side by side with bars of so many standard errors.

    Returns:
      The greatest number of concepts of a mean.
    """
    rows = [_choose_row(one, category) for one in means for category in categories]
    mean, error, count = np.array(rows, np.float64).T
    color, marker = SINGLE_STYLE if hollow else EMBEDDING_STYLE
    axes.errorbar(
        np.arange(len(rows)) + shift, mean, yerr=errors * np.nan_to_num(error), fmt=marker,
        color=color, markerfacecolor="white" if hollow else color, elinewidth=0.9, capsize=1.8,
        label="best single filter" if hollow else "embedding",
    )  # fmt: skip
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    return int(count.max())


def _draw_histogram(
    axes: Axes, heights: np.ndarray, edges: np.ndarray, color: str, **style
) -> None:
    """Draw a histogram as a pale area with an outline, whose style is given."""
    axes.stairs(heights, edges, color=color, alpha=0.22, fill=True)
    axes.stairs(heights, edges, color=color, linewidth=1.1, **style)


def _name_layers(axes: Axes, layers: Mapping[str, object]) -> None:
    """Layers' names below, slanted where they would not fit side by side."""
    figure = axes.get_figure(root=True)
    width = axes.get_position().width * (figure.get_figwidth() if figure else COLUMN_WIDTH)
    letters = max(map(count_letters, layers)) * len(layers)
    long = letters > width / 0.065  # inches of a letter and a bit
    style = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(layers)), list(layers), fontsize=6.5, **style)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.tick_params(axis="x", length=0)
