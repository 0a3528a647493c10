"""Names beside points cover neither each other nor a point."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.point_names import name_points


def make_axes(points: np.ndarray) -> Axes:
    axes = Figure(figsize=(6, 5), layout="constrained").add_subplot()
    axes.scatter(*points.T, s=9)
    return axes


def list_boxes(axes: Axes) -> list:
    return [text.get_window_extent() for text in axes.texts if text.get_text()]


@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
def test_names_do_not_overlap_and_stay_inside(spread: float) -> None:
    points = np.random.default_rng(0).normal(0, spread, (60, 2))
    points[0] = 1.5  # so that the others may be crowded
    axes = make_axes(points)
    named = name_points(axes, points, [f"concept {n}" for n in range(60)])
    assert 0 in named
    assert len(named) > (50 if spread == 1 else 15)
    boxes = list_boxes(axes)
    assert len(boxes) == len(named)
    inside = axes.get_window_extent().padded(1)
    for place, box in enumerate(boxes):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        for other in boxes[:place]:
            shrunk = box.expanded(0.98, 0.75), other.expanded(0.98, 0.75)  # descents may touch
            assert not shrunk[0].overlaps(shrunk[1])
    places = axes.transData.transform(points)
    for box in boxes:
        assert not any(box.expanded(0.98, 0.75).contains(*place) for place in places)


def test_each_name_is_at_its_point() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    axes = make_axes(points)
    assert name_points(axes, points, ["a", "", "c", "d"], colors=["red"] * 4) == [0, 2, 3]
    for text, name, point in zip(axes.texts, "acd", points[[0, 2, 3]], strict=True):
        assert text.get_text() == name
        assert text.get_color() == "red"
        box = text.get_window_extent()
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        assert np.linalg.norm(middle - axes.transData.transform(point)) < 20


def test_names_without_leaders_stand_at_their_points() -> None:
    points = np.random.default_rng(0).normal(0, 0.05, (60, 2))
    points[0] = 1.5
    names = [f"concept {n}" for n in range(60)]
    far, near = make_axes(points), make_axes(points)
    assert len(name_points(near, points, names, leaders=False)) < len(
        name_points(far, points, names)
    )
    assert any(not text.get_text() for text in far.texts)  # a line
    assert all(text.get_text() for text in near.texts)


def test_names_must_fit() -> None:
    points = np.zeros((2, 2))
    with pytest.raises(Net2VecError, match="1 names were given for 2 points"):
        name_points(make_axes(points), points, ["a"])
