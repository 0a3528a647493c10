"""Figures are saved whole, and the same figure is the same file."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from net2vec_jax.plots.paper_style import line_style, save_figure


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


def test_a_figure_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0, 0, r"$\wheel$")  # made outside the style, this is a formula, and a wrong one
    with pytest.raises(ValueError, match="wheel"):
        save_figure(figure, tmp_path / "figure")
    assert not list(tmp_path.iterdir())
