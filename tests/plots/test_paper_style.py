"""Figures are saved whole, and the same figure is the same file."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.paper_style import (
    PlainLogFormatter,
    add_legend,
    check_layers,
    lay_out_panels,
    line_style,
    paper_style,
    save_figure,
    scale_filters,
)


def test_saved_as_png_and_pdf_beside_each_other(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1])
    png, pdf = save_figure(figure, tmp_path / "new" / "conv5.1")
    assert (png.name, pdf.name) == ("conv5.1.png", "conv5.1.pdf")
    assert png.read_bytes().startswith(b"\x89PNG")
    first = pdf.read_bytes()
    assert first.startswith(b"%PDF")
    assert save_figure(figure, str(tmp_path / "new" / "conv5.1"))[1].read_bytes() == first


def test_many_lines_look_different() -> None:
    styles = [tuple(map(str, line_style(place).values())) for place in range(21)]
    assert len(set(styles)) == 21


@pytest.mark.parametrize("sizes", [[1, 2, 3, 5, 10, 20, 40, 80, 160, 256], [4, 8], [1], [7, 7]])
def test_ticks_are_numbers_of_filters(sizes: list[int]) -> None:
    axes = Figure().add_subplot()
    scale_filters(axes, np.array(sizes))
    ticks = axes.get_xticks()
    assert set(ticks) <= set(sizes)
    assert max(sizes) in ticks
    assert axes.get_xlim()[0] < min(sizes) <= max(sizes) < axes.get_xlim()[1]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_there_is_no_empty_panel(count: int) -> None:
    figure, panels = lay_out_panels(count, columns=3, width=7, height=1, share_x=True)
    assert len(panels) == len(figure.axes) == count


def test_legends_stay_inside_the_figure() -> None:
    with paper_style():
        figure = Figure(figsize=(3.4, 2), layout="constrained")
        axes = figure.add_subplot()
        names = [f"features.{n}.conv.{n}" for n in range(7)]
        lines = [axes.plot([0, 1])[0] for _ in names]
        add_legend(figure, lines, names)
        figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= figure.bbox.width


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0, 0, r"$\wheel$")  # made outside the style, this is a formula, and a wrong one
    with pytest.raises(ValueError, match="wheel"):
        save_figure(figure, tmp_path / "figure")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limits", [(0.002, 30000), (3, 70), (12, 18)])
def test_logarithmic_axes_have_plain_numbers(limits: tuple[float, float]) -> None:
    axes = Figure().add_subplot()
    axes.set(xscale="log", xlim=limits)
    axes.xaxis.set_major_formatter(PlainLogFormatter())
    axes.xaxis.set_minor_formatter(PlainLogFormatter())
    axes.figure.draw_without_rendering()
    for minor in (False, True):
        ticks = axes.get_xticks(minor=minor)
        shown = [label.get_text() for label in axes.get_xticklabels(minor=minor)]
        labelled = [(float(text.replace(",", "")), tick) for tick, text in zip(ticks, shown,
                    strict=True) if text]  # fmt: skip
        np.testing.assert_allclose([text for text, _ in labelled], [tick for _, tick in labelled])
        assert labelled or minor != (limits[1] / limits[0] < 10)


def test_no_layer_is_refused() -> None:
    with pytest.raises(Net2VecError, match="no layer"):
        check_layers({})
