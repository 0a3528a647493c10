"""Names beside points, such that none covers another name or a point.

A name stands at its point if there is room, else a little further off with a thin line to it; what
has no room near its point is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import fit_fonts, fit_text

_ANGLES = np.deg2rad([0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202, 67, 113, 247, 293])
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_DIRECTIONS = _CIRCLE / np.abs(_CIRCLE).max(axis=1, keepdims=True)
"""Tried in this order, on a rectangle: a name is as far from its point on all sides."""
_LEADER = 7.5
"""A name further from its point than this many points of type has a line to it."""
_LINE = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 1}
_DISTANCES = (5.0, 8.0, 13.0, 19.0, 26.0, 34.0)
"""Tried distances from the point, points of type."""
_GAP = np.array([2.0, 0.0])
"""Least distance of two names, points of type."""
_MARKER = 2.5
"""Half the width of a marker, points of type."""


def name_points(
    axes: Axes,
    points: Float[np.ndarray, "n 2"],
    names: Sequence[str],
    *,
    colors: Sequence[str] | None = None,
    size: float = 6.0,
    leaders: bool = True,
) -> list[int]:
    """Write names beside points; those with most room around them come first.

    The layout of the axes' figure is fixed by this.

    Args:
      axes: with its final limits.
      points: data coordinates, finite.
      names: of the points; an empty one is not written.
      colors: of the names; dark grey by default.
      size: of the type, points.
      leaders: whether a name may stand further off, with a line to its point.

    Returns:
      Indices of the points that were named.

    Raises:
      Net2VecError: not as many names as points.
    """
    if len(names) != len(points):
        raise Net2VecError(f"{len(names)} names were given for {len(points)} points")
    figure = axes.figure.get_figure(root=True)
    fit_fonts(figure)
    figure.draw_without_rendering()  # makes the layout
    figure.set_layout_engine("none")
    scale = figure.dpi / 72
    places = axes.transData.transform(points) / scale  # points of type
    inside = np.array(axes.bbox.extents) / scale
    boxes = np.concatenate([places - _MARKER, places + _MARKER], axis=1)
    distances = [distance for distance in _DISTANCES if leaders or distance < _LEADER]
    named = []
    for point in _sort_by_room(places):
        if not names[point]:
            continue
        color = "#222222" if colors is None else colors[point]
        label = axes.annotate(
            names[point], points[point], xytext=(0, 0), textcoords="offset points", ha="center",
            va="center", fontsize=size, color=color, in_layout=False, zorder=4,
        )  # fmt: skip
        fit_text(label)
        extent = label.get_window_extent()
        half = np.array([extent.width, 0.8 * extent.height]) / scale / 2  # without the descent
        offset = _find_room(places[point], half, boxes, inside, distances)
        if offset is None:
            label.remove()
            continue
        label.set_position((float(offset[0]), float(offset[1])))
        nearest = np.clip(0, offset - half, offset + half)
        if np.hypot(*nearest) > _LEADER:
            axes.annotate(
                "", points[point], xytext=nearest, textcoords="offset points", zorder=1,
                in_layout=False, arrowprops=_LINE,
            )  # fmt: skip
        center = places[point] + offset
        boxes = np.vstack([boxes, [*(center - half - _GAP), *(center + half + _GAP)]])
        named.append(point)
    return sorted(named)


def _sort_by_room(places: np.ndarray) -> list[int]:
    """Points, those furthest from their nearest one first."""
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(-distance.min(axis=1, initial=np.inf), kind="stable").tolist()


def _find_room(
    place: np.ndarray,
    half: np.ndarray,
    boxes: np.ndarray,
    inside: np.ndarray,
    distances: Sequence[float],
) -> np.ndarray | None:
    """Offset of the middle of a name whose box is free; None if there is none nearby."""
    for distance in distances:
        offsets = _DIRECTIONS * (half + distance)
        low, high = place + offsets - half, place + offsets + half
        fits = ((low >= inside[:2]) & (high <= inside[2:])).all(axis=1)
        apart = (low[:, None] >= boxes[:, 2:]) | (high[:, None] <= boxes[:, :2])
        free = np.flatnonzero(fits & apart.any(axis=-1).all(axis=1))
        if len(free):
            return offsets[free[0]]
    return None
