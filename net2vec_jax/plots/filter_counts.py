"""How many filters encode a concept (reference behaviour 8.2): `analysis.filters.filter_counts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.filters.filter_counts import CumulativeFractions, FilterCounts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import shorten_wide
from net2vec_jax.plots.panels import (
    add_legend,
    check_layers,
    draw_reference,
    lay_out_one,
    lay_out_panels,
    scale_filters,
    scale_log,
)
from net2vec_jax.plots.paper_style import PAGE_WIDTH, line_style, paper_style


@paper_style()
def plot_score_against_filters(
    layers: Mapping[str, FilterCounts],
    *,
    intervals: Mapping[str, tuple[np.ndarray, np.ndarray]],
    score: str = "set IoU on val",
    chance: float | None = None,
    references: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Figure:
    """Mean score of all concepts against the number of filters.

    Args:
      layers: name of each layer → its counts.
      intervals: name of each layer → ends of the mean's interval at its numbers of filters.
      score: what is scored, the label of the y axis.
      chance: score of a guess, drawn as a dotted line; None draws none.
      references: name of what the curves are compared with → its mean score in every layer, drawn
        as a line, and as a band between the lowest and highest where the layers differ.

    Returns:
      A figure of one column's width; bands are 95 % intervals over concepts.

    Raises:
      Net2VecError: there is no layer.
    """
    check_layers(layers)
    figure, axes = lay_out_one(2.6)
    for place, (name, counts) in enumerate(layers.items()):
        style = line_style(place)
        shown = np.isfinite(counts.mean)
        x, mean = counts.sizes[shown], counts.mean[shown]
        low, high = (end[shown] for end in intervals[name])
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
        axes.plot(x, mean, label=name, **style)
    draw_reference(axes, chance, name="chance")
    for place, (name, means) in enumerate(references.items(), 1):
        low, high = min(means), max(means)
        axes.axhspan(low, high, color="#777777", alpha=0.15, linewidth=0, zorder=0)
        dash = line_style(0, dash=place)["linestyle"]
        axes.axhline(high, color="#777777", linestyle=dash, zorder=0, label=name)
    scale_filters(axes, np.concatenate([counts.sizes for counts in layers.values()]))
    axes.set(xlabel="number of filters", ylabel=f"{score}, mean with 95 % interval")
    add_legend(figure, *axes.get_legend_handles_labels())
    return figure


@paper_style()
def plot_sufficient_filters(
    layers: Mapping[str, FilterCounts],
    *,
    fractions: Sequence[float] | None = None,
    relative: bool = False,
) -> Figure:
    """Fraction of concepts that reach a fraction of their full score, against the filters used.

    Args:
      layers: name of each layer → its counts.
      fractions: of the full score above chance. None: those counted if there is one layer, else
        the greatest. If there are several, a line's dash tells the fraction, its colour and
        marker the layer.
      relative: show the filters as a fraction of all that the layer has.

    Returns:
      A figure of two columns' width with a panel for all concepts and one per category, or of one
      column's width if there is only one category; panels give the number of concepts.

    Raises:
      Net2VecError: there is no layer, no concept was learnt, or a fraction was not counted.
    """
    check_layers(layers)
    if fractions is None:
        counted = sorted(next(iter(layers.values())).cumulative, reverse=True)
        fractions = counted if len(layers) == 1 else counted[:1]
    missing = {f for f in fractions for counts in layers.values() if f not in counts.cumulative}
    if missing or not fractions:
        raise Net2VecError(f"fractions of the full score that were not counted: {sorted(missing)}")
    several = len(fractions) > 1
    curves = {
        (place, number): counts.cumulative[fraction]
        for place, counts in enumerate(layers.values())
        for number, fraction in enumerate(fractions)
    }
    categories = order_categories([name for curve in curves.values() for name in curve.categories])
    if not categories:
        raise Net2VecError("no concept was learnt; there is nothing to draw")
    names = categories if len(categories) == 1 else (None, *categories)
    figure, panels = lay_out_panels(len(names), columns=4, height=1.5, height_alone=2.1)
    for axes, name in zip(panels, names, strict=True):
        most = 0
        for (place, number), curve in curves.items():
            fraction, concepts = _choose_row(curve, name)
            if concepts:
                style = line_style(place, dash=number if several else None)
                x = curve.sizes / curve.sizes[-1] if relative else curve.sizes
                axes.plot(x, fraction, clip_on=False, **style)
            most = max(most, concepts)
        axes.set_title(f"{name or 'all concepts'} ({most})")
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        if relative:
            least = min(1 / counts.sizes[-1] for counts in layers.values())
            powers = range(int(np.ceil(np.log10(least))), 1)
            scale_log(axes, [10.0**power for power in powers], least, 1, "{:.15g}")
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        else:
            scale_filters(axes, np.concatenate([counts.sizes for counts in layers.values()]))
    figure.supxlabel("fraction of filters" if relative else "number of filters")
    figure.supylabel("concepts" if several else f"concepts reaching {fractions[0]:.0%}")
    solid = {"linestyle": "-"} if several else {}
    handles = [Line2D([], [], **{**line_style(n), **solid}) for n in range(len(layers))]
    labels = list(layers)
    if several:
        for number, fraction in enumerate(fractions):
            dash = line_style(0, dash=number)["linestyle"]
            handles.append(Line2D([], [], color="#333333", linestyle=dash))
            labels.append(f"{fraction:.0%} of full score")
    add_legend(figure, handles, labels)
    return figure


@paper_style()
def plot_concept_curves(
    counts: FilterCounts,
    names: Sequence[str],
    *,
    shown: int = 12,
    score: str = "set IoU on val",
    chance: float | None = None,
) -> Figure:
    """Score against the number of filters and its logarithmic fit, a panel per concept.

    Args:
      counts: of one layer.
      names: of its concepts.
      shown: how many concepts that were learnt are drawn, evenly spaced in the ranking by their
        full score, from the best to the worst.
      score: what is scored.
      chance: score of a guess, drawn as a dotted line; None draws none.

    Returns:
      A figure of two columns' width.

    Raises:
      Net2VecError: no concept was learnt.
    """
    learnt = np.flatnonzero(counts.has_learnt)
    if not len(learnt):
        raise Net2VecError("no concept was learnt; there is nothing to draw")
    ranked = learnt[np.argsort(-counts.scores[learnt, -1], kind="stable")]
    places = np.linspace(0, len(ranked) - 1, min(shown, len(ranked))).round().astype(int)
    figure, panels = lay_out_panels(
        len(places), columns=4, width=PAGE_WIDTH, height=1.25, share_x=True
    )
    fit = counts.fit
    for axes, concept in zip(panels, map(int, ranked[places]), strict=True):
        known = np.isfinite(counts.scores[concept])
        axes.plot(
            counts.sizes[known], counts.scores[concept, known], "o", label="measured",
            color=line_style(0)["color"],
        )  # fmt: skip
        line = fit.slope[concept] * np.log(counts.sizes) + fit.intercept[concept]
        axes.plot(counts.sizes, line, color=line_style(1)["color"], label="a · ln(filters) + b")
        name, explained = shorten_wide(names[concept], 16), fit.explained[concept]
        axes.set_title(f"{name}: R² = {explained:.2f}" if np.isfinite(explained) else name)
        draw_reference(axes, chance)
        scale_filters(axes, counts.sizes)
    figure.supxlabel("number of filters")
    figure.supylabel(score)
    add_legend(figure, *panels[0].get_legend_handles_labels())
    return figure


def _choose_row(curve: CumulativeFractions, panel: str | None) -> tuple[np.ndarray, int]:
    """What a category's panel shows of a curve, or that of all (None), and its concepts' number."""
    if panel is None:
        return curve.overall, int(curve.concepts.sum())
    if panel not in curve.categories:
        return curve.overall, 0
    place = curve.categories.index(panel)
    return curve.by_category[place], int(curve.concepts[place])
