"""What weights go with: figures of `analysis.weight_correlations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from net2vec_jax.analysis.category_means import find_members, order_categories
from net2vec_jax.analysis.filters.weight_correlations import Correlations, WeightSpread
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.comparison import style_of_bar
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.paper_style import (
    LINE_COLORS,
    PAGE_WIDTH,
    add_legend,
    check_layers,
    lay_out_panels,
    paper_style,
)
from net2vec_jax.plots.single_against_embedding import style_category

_BIN_WIDTH = 0.1
_RANKS = (0, 0.5, 1)
"""Greatest, median and least r, as fractions of the ranking."""


def plot_weight_iou_correlations(
    layers: Mapping[str, tuple[Correlations, Sequence[str]]], *, split: str = "val"
) -> Figure:
    """Histogram over concepts of r between weights and single-filter IoUs, a panel per layer.

    Args:
      layers: name of each layer → its correlations per concept, and the concepts' categories.
      split: of the IoUs.

    Returns:
      A figure of one column's width for a single layer, else of two columns', stacked by category;
      titles give the median and the number of concepts whose r is known.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    present = order_categories([c for _, categories in layers.values() for c in categories])
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=1.5, height_alone=1.9, share_x=True)
        edges = _choose_edges([correlations.r for correlations, _ in layers.values()])
        for axes, (name, (correlations, categories)) in zip(panels, layers.items(), strict=True):
            known = np.isfinite(correlations.r)
            member = find_members(categories, present, len(known)) & known
            _stack(axes, [correlations.r[row] for row in member], edges, present)
            _mark_median(axes, name, correlations)
        figure.supxlabel(f"r of weights and IoUs of single filters on {split}", fontsize=8)
        _finish_histograms(figure, panels, "concepts")
        handles = [_make_patch(category, present) for category in present]
        add_legend(figure, handles, present)
    return figure


def plot_probe_correlations(
    layers: Mapping[str, tuple[Correlations, Correlations]],
) -> Figure:
    """Histograms of r between the weights of both probes, two panels per layer.

    Args:
      layers: name of each layer → (per concept over filters, per filter over concepts).

    Returns:
      A figure of two columns' width; titles give the median and the number of known r.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    kinds = ("concepts", "filters")
    with paper_style():
        figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.35 * len(layers)), layout="constrained")
        grid = np.atleast_2d(figure.subplots(len(layers), 2, sharex=True, squeeze=False))
        edges = _choose_edges([one.r for pair in layers.values() for one in pair])
        for row, (name, pair) in zip(grid, layers.items(), strict=True):
            for axes, correlations, kind, color in zip(
                row, pair, kinds, LINE_COLORS[:2], strict=True
            ):
                known = correlations.r[np.isfinite(correlations.r)]
                axes.hist(known, edges, color=color, alpha=0.5, edgecolor="white", linewidth=0.4)
                _mark_median(axes, name, correlations)
                _finish_histogram(axes)
                axes.set_ylabel(kind)
        for axes, others in zip(grid[-1], kinds[::-1], strict=True):
            axes.set_xlabel(f"r of both probes' weights over {others}")
    return figure


def plot_weight_spread(layers: Mapping[str, WeightSpread]) -> Figure:
    """Standard deviation of each concept's weights against its train images, a panel per layer.

    Args:
      layers: name of each layer → its spreads.

    Returns:
      A figure of one column's width for a single layer, else of two columns'; titles give
      Spearman's rank correlation.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    present = order_categories([c for spread in layers.values() for c in spread.categories])
    with paper_style():
        figure, panels = lay_out_panels(len(layers), height=1.9, height_alone=2.4, share_x=True)
        handles = {}
        for axes, (name, spread) in zip(panels, layers.items(), strict=True):
            for category in present:
                chosen = np.array([c == category for c in spread.categories], bool)
                color, marker = style_category(category)
                handles[category] = axes.scatter(
                    spread.train_images[chosen], spread.deviation[chosen], s=13, color=color,
                    marker=marker, alpha=0.85, linewidths=0.3, edgecolors="white",
                )  # fmt: skip
            known = np.isfinite(spread.rank_correlation)
            rank = _format_correlation(spread.rank_correlation)
            axes.set_title(f"{name}: ρ = {rank}" if known else name)
        _scale_images(panels[0], np.concatenate([x.train_images for x in layers.values()]))
        panels[0].set_ylim(bottom=0)
        figure.supxlabel("train images with the concept", fontsize=8)
        figure.supylabel("standard deviation of weights", fontsize=8)
        add_legend(figure, list(handles.values()), list(handles))
    return figure


def plot_weights_against_ious(
    layers: Mapping[str, tuple[np.ndarray, np.ndarray, Correlations, Sequence[str]]],
) -> Figure:
    """Scatter of weights and single-filter IoUs, for three concepts of each layer.

    Args:
      layers: name of each layer → (embeddings [C, K], set IoU of every filter with every concept,
        of one split, [C, K], their correlations per concept, names of the concepts).

    Returns:
      A figure of two columns' width with a row per layer: the concepts whose r is greatest, the
      median, and least.

    Raises:
      Net2VecError: there is no layer, or no r of a layer is known.
    """
    check_layers(layers)
    with paper_style():
        figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.7 * len(layers)), layout="constrained")
        grid = figure.subplots(len(layers), len(_RANKS), squeeze=False)
        for row, (name, (weights, single_iou, correlations, names)) in zip(
            grid, layers.items(), strict=True
        ):
            known = np.flatnonzero(np.isfinite(correlations.r))
            if not len(known):
                raise Net2VecError(f"{name}: no concept's weights can be correlated with IoUs")
            ranked = known[np.argsort(-correlations.r[known], kind="stable")]
            for axes, rank in zip(row, _RANKS, strict=True):
                concept = ranked[round(rank * (len(ranked) - 1))]
                axes.scatter(
                    single_iou[concept], weights[concept], s=8, color=LINE_COLORS[0], alpha=0.5,
                    linewidths=0,
                )  # fmt: skip
                axes.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
                axes.xaxis.set_major_locator(MaxNLocator(4))
                r = _format_correlation(correlations.r[concept])
                axes.set_title(f"{name}, {shorten_wide(names[concept], 16)}: r = {r}")
        figure.supxlabel("set IoU of the single filter", fontsize=8)
        figure.supylabel("weight in the embedding", fontsize=8)
    return figure


def _scale_images(axes: Axes, images: np.ndarray) -> None:
    """Make the shared x axis of numbers of images logarithmic, with a handful of round ticks."""
    images = np.maximum(images, 1) if len(images) else np.ones(1)
    low, high = float(images.min()), float(images.max())
    decades = np.log10(high / low)
    digits = (1,) if decades > 3 else (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [digit * 10**exponent for exponent in range(9) for digit in digits]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    margin = max((high / low) ** 0.05, 1.05)
    axes.set_xlim(low / margin, high * margin)


def _choose_edges(values: Sequence[np.ndarray]) -> np.ndarray:
    """Bins of one width that hold all known values, and 0."""
    known = np.concatenate([row[np.isfinite(row)] for row in values] + [np.zeros(1)])
    low, high = (np.floor(known.min() / _BIN_WIDTH), np.floor(known.max() / _BIN_WIDTH) + 1)
    return np.arange(low, high + 1) * _BIN_WIDTH


def _stack(
    axes: Axes, values: Sequence[np.ndarray], edges: np.ndarray, categories: tuple[str, ...]
) -> None:
    bottom = np.zeros(len(edges) - 1)
    for row, category in zip(values, categories, strict=True):
        count = np.histogram(row, edges)[0]
        color, hatch = style_of_bar(category, categories)
        axes.bar(
            edges[:-1], count, np.diff(edges), bottom, align="edge", color=color, hatch=hatch,
            edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        bottom += count


def _mark_median(axes: Axes, name: str, correlations: Correlations) -> None:
    known = int(np.isfinite(correlations.r).sum())
    if known:
        axes.axvline(correlations.median, color="#333333", linestyle=":", linewidth=1.0)
    median = _format_correlation(correlations.median)
    axes.set_title(f"{name}: {median} ({known})" if known else f"{name}: none")


def _format_correlation(value: float) -> str:
    """Two decimals with a minus sign, and no negative zero."""
    return f"{value:z.2f}".replace("-", "−")


def _finish_histogram(axes: Axes) -> None:
    axes.axvline(0, color="#999999", linewidth=0.6, zorder=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _finish_histograms(figure: Figure, panels: list[Axes], label: str) -> None:
    for axes in panels:
        _finish_histogram(axes)
    figure.supylabel(label, fontsize=8)


def _make_patch(category: str, categories: tuple[str, ...]) -> Patch:
    color, hatch = style_of_bar(category, categories)
    return Patch(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0.4)
