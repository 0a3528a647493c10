"""Figures of time: stages beside each other, time over size, predictions against measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from net2vec_jax.plots.panels import lay_out_one, write_beside
from net2vec_jax.plots.paper_style import plain_style

OURS, THEIRS = "#0072B2", "#D55E00"
SIDES = (OURS, THEIRS, "#E69F00")


class PlainLogFormatter(LogFormatter):
    """Labels the ticks of a logarithmic axis that matplotlib's own would, with plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of the tick at `x`; empty for a minor one without room."""
        return f"{x:,.15g}" if super().__call__(x, pos) else ""


@plain_style()
def plot_stages(stages: Sequence[str], seconds: Mapping[str, Sequence[float]]) -> Figure:
    """Time of each stage on up to three sides, on a logarithmic axis.

    Args:
      stages: names, first to last.
      seconds: by the name of the side, positive; NaN where there is none. The first side has all;
        beside the bars of the others stands by how much they are longer.
    """
    sides = list(seconds.values())
    figure, axes = lay_out_one(0.9 + 0.21 * len(sides) * len(stages), width=7.2)
    place, height = np.arange(len(stages)), 0.76 / len(sides)
    for number, (name, color) in enumerate(zip(seconds, SIDES, strict=False)):
        where = place + (number - (len(sides) - 1) / 2) * height
        axes.barh(where, seconds[name], 0.95 * height, color=color, label=name)
        for y, mine, other in zip(where, sides[0], seconds[name], strict=True):
            if number and np.isfinite(other):
                ratio = f"{other / mine:.3g}×"
                write_beside(axes, ratio, (other, y), (4, 0), va="center", fontsize=8)
    axes.set(xscale="log", xlabel="seconds")
    low, high = np.nanmin(sides), np.nanmax(sides)
    axes.set_xlim(low / 2, high * (high / low) ** 0.12 * 1.5)
    axes.xaxis.set_major_formatter(PlainLogFormatter())
    axes.xaxis.set_minor_formatter(PlainLogFormatter())
    axes.set_yticks(place, stages)
    axes.invert_yaxis()
    figure.legend(loc="outside upper right", ncols=len(sides))
    return figure


@plain_style()
def plot_scaling(pairs: Sequence[float], seconds: Sequence[float], *, label: str) -> Figure:
    """Time of an epoch over its (concept, image) pairs, and the line through the largest.

    Args:
      pairs: of each problem, positive.
      seconds: of an epoch of each problem.
      label: what was measured.
    """
    most, duration = max(zip(pairs, seconds, strict=True))
    ends = np.array([min(pairs) / 1.5, most * 1.5])
    figure, axes = lay_out_one(3.6, width=4.6)
    line = ends * duration / most
    axes.plot(ends, line, color="#999999", linewidth=1, label="proportional", zorder=1)
    axes.scatter(pairs, seconds, color=OURS, label=label, zorder=2)
    for x, y in zip(pairs, seconds, strict=True):
        write_beside(axes, f"{1e6 * y / x:.1f} µs per pair", (x, y), (7, -9), fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(ends[0], ends[1] * 3))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PlainLogFormatter())
        axis.set_minor_formatter(PlainLogFormatter())
    axes.set(xlabel="(concept, image) pairs per epoch", ylabel="seconds per epoch")
    axes.legend(loc="upper left")
    return figure


@plain_style()
def plot_prediction(
    names: Sequence[str], predicted: Sequence[float], measured: Sequence[float]
) -> Figure:
    """Predicted beside measured time per pair, µs, one row per problem.

    Args:
      names: of the problems, first to last.
      predicted: µs per pair, positive.
      measured: the same.
    """
    figure, axes = lay_out_one(1.0 + 0.32 * len(names), width=6.2)
    place = np.arange(len(names))
    axes.hlines(place, predicted, measured, color="#999999", linewidth=1, zorder=1)
    axes.scatter(predicted, place, facecolor="white", edgecolor=THEIRS, label="predicted", zorder=2)
    axes.scatter(measured, place, color=OURS, s=22, label="measured", zorder=3)
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(*predicted, *measured))
    axes.set_xlabel("µs per (concept, image) pair")
    figure.legend(loc="outside upper right", ncols=2)
    return figure
