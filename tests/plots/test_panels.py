"""Panels, legends and logarithmic axes have room for what is in them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.panels import add_legend, check_layers, lay_out_panels, scale_filters
from net2vec_jax.plots.paper_style import paper_style


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


def test_no_layer_is_refused() -> None:
    with pytest.raises(Net2VecError, match="no layer"):
        check_layers({})
