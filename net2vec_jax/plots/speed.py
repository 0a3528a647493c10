"""Figures of time: stages beside each other, time over size, predictions against measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from net2vec_jax.plots.paper_style import PlainLogFormatter

OURS, THEIRS = "#0072B2", "#D55E00"


def plot_stages(
    stages: Sequence[str],
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    names: tuple[str, str] = ("net2vec_jax", "PyTorch"),
) -> Figure:
    """Time of each stage on two sides, with their ratio, on a logarithmic axis.

    Args:
      stages: names, first to last.
      ours: seconds, positive.
      theirs: seconds; NaN where there is none.
      names: of the sides.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(stages)), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(stages))
    axes.barh(place - 0.19, ours, 0.36, color=OURS, label=names[0])
    axes.barh(place + 0.19, theirs, 0.36, color=THEIRS, label=names[1])
    axes.set_xscale("log")
    for y, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if np.isfinite(other):
            axes.annotate(
                f"{other / mine:.3g}×", (max(mine, other), y), (4, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
    low, high = np.nanmin([ours, theirs]), np.nanmax([ours, theirs])
    axes.set_xlim(low / 2, high * (high / low) ** 0.12 * 1.5)
    _write_plain_numbers(axes.xaxis)
    axes.set_yticks(place, stages)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def plot_scaling(pairs: Sequence[float], seconds: Sequence[float], *, label: str) -> Figure:
    """Time of an epoch over its (concept, image) pairs, and the line through the largest.

    Args:
      pairs: of each problem, positive.
      seconds: of an epoch of each problem.
      label: what was measured.
    """
    pairs, seconds = np.asarray(pairs, float), np.asarray(seconds, float)
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    largest = pairs.argmax()
    ends = np.array([pairs.min() / 1.5, pairs.max() * 1.5])
    slope = seconds[largest] / pairs[largest]
    axes.plot(ends, ends * slope, color="#999999", linewidth=1, label="proportional", zorder=1)
    axes.scatter(pairs, seconds, color=OURS, label=label, zorder=2)
    for x, y in zip(pairs, seconds, strict=True):
        axes.annotate(
            f"{1e6 * y / x:.1f} µs per pair", (x, y), (7, -9), textcoords="offset points",
            fontsize=8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(ends[0], ends[1] * 3)
    for axis in (axes.xaxis, axes.yaxis):
        _write_plain_numbers(axis)
    axes.set_xlabel("(concept, image) pairs per epoch")
    axes.set_ylabel("seconds per epoch")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    return figure


def plot_prediction(
    names: Sequence[str], predicted: Sequence[float], measured: Sequence[float]
) -> Figure:
    """Predicted beside measured time per pair, µs, one row per problem.

    Args:
      names: of the problems, first to last.
      predicted: µs per pair, positive.
      measured: the same.
    """
    predicted, measured = np.asarray(predicted, float), np.asarray(measured, float)
    figure = Figure(figsize=(6.2, 1.0 + 0.32 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    place = np.arange(len(names))
    axes.hlines(place, predicted, measured, color="#999999", linewidth=1, zorder=1)
    axes.scatter(predicted, place, facecolor="white", edgecolor=THEIRS, label="predicted", zorder=2)
    axes.scatter(measured, place, color=OURS, s=22, label="measured", zorder=3)
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(predicted.max(), measured.max()))
    axes.set_xlabel("µs per (concept, image) pair")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return figure


def _write_plain_numbers(axis: Axis) -> None:
    axis.set_major_formatter(PlainLogFormatter())
    axis.set_minor_formatter(PlainLogFormatter())
