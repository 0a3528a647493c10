"""Figures of time show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from net2vec_jax.plots.speed import PlainLogFormatter, plot_prediction, plot_scaling, plot_stages


def test_stages_show_times_and_ratios() -> None:
    sides = {"ours": [2.0, 0.5], "theirs": [8.0, np.nan], "others": [np.nan, 1.0]}
    figure = plot_stages(["decoding", "training"], sides)
    (axes,) = figure.axes
    widths = [patch.get_width() for patch in axes.patches]
    np.testing.assert_array_equal(widths, [2.0, 0.5, 8.0, np.nan, np.nan, 1.0])
    assert [text.get_text() for text in axes.texts] == ["4×", "2×"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["decoding", "training"]
    assert axes.get_xscale() == "log"
    figure.draw_without_rendering()
    assert "1" in [label.get_text() for label in axes.get_xticklabels()]
    assert axes.yaxis_inverted()


def test_scaling_shows_time_per_pair() -> None:
    figure = plot_scaling([1e5, 1e4], [2.0, 0.3], label="a machine")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["20.0 µs per pair", "30.0 µs per pair"]
    line = axes.lines[0].get_xydata()
    np.testing.assert_allclose(line[:, 1] / line[:, 0], 2.0 / 1e5)
    assert axes.get_xlabel() == "(concept, image) pairs per epoch"


def test_predictions_are_beside_measurements() -> None:
    figure = plot_prediction(["a", "b"], [1.0, 10.0], [1.1, 8.0])
    (axes,) = figure.axes
    predicted, measured = axes.collections[-2:]
    np.testing.assert_allclose(predicted.get_offsets(), [[1, 0], [10, 1]])
    np.testing.assert_allclose(measured.get_offsets(), [[1.1, 0], [8, 1]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 10


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
