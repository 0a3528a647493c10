"""What weights go with (reference behaviour 8.5): figures of `analysis.filters`' correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from net2vec_jax.analysis.category_means import find_members, order_categories
from net2vec_jax.analysis.filters.weight_correlations import Correlations, WeightSpread
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.panels import (
    add_category_legend,
    add_legend,
    check_layers,
    lay_out_panels,
    list_categories,
    scale_log,
    scatter_categories,
)
from net2vec_jax.plots.paper_style import LINE_COLORS, PAGE_WIDTH, paper_style, style_bar

_BIN_WIDTH = 0.1
_RANKS = (0, 0.5, 1)
"""Greatest, median and least r, as fractions of the ranking."""


@paper_style()
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
    figure, panels = lay_out_panels(len(layers), height=1.5, height_alone=1.9, share_x=True)
    edges = _choose_edges([correlations.r for correlations, _ in layers.values()])
    for axes, (name, (correlations, categories)) in zip(panels, layers.items(), strict=True):
        known = np.isfinite(correlations.r)
        bottom = np.zeros(len(edges) - 1)
        member = find_members(categories, present, len(known)) & known
        for category, chosen in zip(present, member, strict=True):
            count = np.histogram(correlations.r[chosen], edges)[0]
            style = style_bar(category, present)
            axes.bar(edges[:-1], count, np.diff(edges), bottom, align="edge", **style)
            bottom += count
        _finish_histogram(axes, name, correlations)
    figure.supxlabel(f"r of weights and IoUs of single filters on {split}")
    figure.supylabel("concepts")
    add_category_legend(figure, present, hatched=True)
    return figure


@paper_style()
def plot_probe_correlations(layers: Mapping[str, tuple[Correlations, Correlations]]) -> Figure:
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
    figure = Figure(figsize=(PAGE_WIDTH, 0.5 + 1.35 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), 2, sharex=True, squeeze=False)
    edges = _choose_edges([one.r for pair in layers.values() for one in pair])
    for row, (name, pair) in zip(grid, layers.items(), strict=True):
        for axes, correlations, kind, color in zip(row, pair, kinds, LINE_COLORS[:2], strict=True):
            known = correlations.r[np.isfinite(correlations.r)]
            axes.hist(known, edges, color=color, alpha=0.5, edgecolor="white", linewidth=0.4)
            _finish_histogram(axes, name, correlations)
            axes.set_ylabel(kind)
    for axes, others in zip(grid[-1], kinds[::-1], strict=True):
        axes.set_xlabel(f"r of both probes' weights over {others}")
    return figure


@paper_style()
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
    present = list_categories(layers)
    figure, panels = lay_out_panels(len(layers), height=1.9, height_alone=2.4, share_x=True)
    handles = {}
    for axes, (name, spread) in zip(panels, layers.items(), strict=True):
        handles |= scatter_categories(
            axes, spread.train_images, spread.deviation, spread.categories, present
        )
        known = np.isfinite(spread.rank_correlation)
        rank = _format_correlation(spread.rank_correlation)
        axes.set_title(f"{name}: ρ = {rank}" if known else name)
    _scale_images(panels[0], np.concatenate([x.train_images for x in layers.values()]))
    panels[0].set_ylim(bottom=0)
    figure.supxlabel("train images with the concept")
    figure.supylabel("standard deviation of weights")
    add_legend(figure, list(handles.values()), list(handles))
    return figure


@paper_style()
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
            concept = int(ranked[round(rank * (len(ranked) - 1))])
            x, y = single_iou[concept], weights[concept]
            axes.scatter(x, y, s=8, color=LINE_COLORS[0], alpha=0.5, linewidths=0)
            axes.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            r = _format_correlation(float(correlations.r[concept]))
            axes.set_title(f"{name}, {shorten_wide(names[concept], 16)}: r = {r}")
    figure.supxlabel("set IoU of the single filter")
    figure.supylabel("weight in the embedding")
    return figure


def _scale_images(axes: Axes, images: np.ndarray) -> None:
    """Make the shared x axis of numbers of images logarithmic, with a handful of round ticks."""
    images = np.maximum(images, 1) if len(images) else np.ones(1)
    low, high = float(images.min()), float(images.max())
    decades = np.log10(high / low) * (1 if axes.get_position().width > 0.5 else 2)
    digits = (1,) if decades > 3 else (1, 2, 5) if decades > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    scale_log(axes, [digit * 10**exponent for exponent in range(9) for digit in digits], low, high)


def _choose_edges(values: Sequence[np.ndarray]) -> np.ndarray:
    """Bins of one width that hold all known values, and 0."""
    known = np.concatenate([row[np.isfinite(row)] for row in values] + [np.zeros(1)])
    low, high = (np.floor(known.min() / _BIN_WIDTH), np.floor(known.max() / _BIN_WIDTH) + 1)
    return np.arange(low, high + 1) * _BIN_WIDTH


def _finish_histogram(axes: Axes, name: str, correlations: Correlations) -> None:
    """Mark 0 and the median, and give it with the number of known r in the title."""
    known = int(np.isfinite(correlations.r).sum())
    if known:
        axes.axvline(correlations.median, color="#333333", linestyle=":", linewidth=1.0)
    median = _format_correlation(correlations.median)
    axes.set_title(f"{name}: {median} ({known})" if known else f"{name}: none")
    axes.axvline(0, color="#999999", linewidth=0.6, zorder=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _format_correlation(value: float) -> str:
    """Two decimals with a minus sign, and no negative zero."""
    return f"{value:z.2f}".replace("-", "−")
