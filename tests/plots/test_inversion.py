"""Sheets of optimised images: everything is there, nothing overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.inversion import Panel, SheetRow, plot_image_sheet


def make_row(name: str, sizes: tuple[int, ...] = (2, 3, 1)) -> SheetRow:
    image = np.zeros((8, 8, 3), np.uint8)
    groups = [[Panel(image, f"{n}") for n in range(size)] for size in sizes]
    return SheetRow(name, "part", groups, "filter 3")


def test_every_row_has_its_name_and_panels() -> None:
    figure = plot_image_sheet([make_row("a"), make_row("$b_$")], ["one", "two words", "three"])
    names = [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"]
    assert names == ["a", "$b_$"]
    assert len(figure.axes) == 12
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= b.x0 < b.x1 <= 1 and 0 <= b.y0 < b.y1 <= 1 for b in boxes)
    for place, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:place])
    figure.canvas.draw()  # a name that looks like mathematics is no mathematics


def test_long_names_are_shortened_and_long_headings_broken() -> None:
    figure = plot_image_sheet([make_row("x" * 200)], ["a heading of several words"] * 3)
    shown = [text.get_text() for text in figure.texts]
    assert any(text.endswith("…") and len(text) < 120 for text in shown)
    assert any("\n" in text for text in shown)


def test_a_missing_image_leaves_its_place_empty() -> None:
    figure = plot_image_sheet([SheetRow("a", "", [[Panel(None), Panel(None)]])], ["one"])
    assert [len(axes.images) for axes in figure.axes] == [0, 0]


def test_rows_of_different_length_are_refused() -> None:
    with pytest.raises(Net2VecError, match="as many panels in every one"):
        plot_image_sheet([make_row("a"), make_row("b", (1, 3, 1))], ["1", "2", "3"])
    with pytest.raises(Net2VecError, match="at least one row"):
        plot_image_sheet([], [])
    with pytest.raises(Net2VecError, match="2 headings were given for 3 groups"):
        plot_image_sheet([make_row("a")], ["1", "2"])
