"""Figures of filter counts show what they are given."""

from functools import partial

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from net2vec_jax.analysis.filters.filter_counts import FilterCounts, count_filters
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.filter_counts import (
    plot_concept_curves,
    plot_score_against_filters,
    plot_sufficient_filters,
)

SIZES = np.array([1, 4, 16])


def make_counts(
    concepts: int = 12, categories: tuple[str, ...] = ("part", "color")
) -> FilterCounts:
    rng = np.random.default_rng(concepts)
    full = rng.uniform(0.3, 0.6, concepts)
    scores = full[:, None] * [0.3, 0.7, 0.95] * rng.uniform(0.9, 1.1, (concepts, 3))
    scores[0, 1] = np.nan
    names = [categories[place % len(categories)] for place in range(concepts)]
    return count_filters(scores, SIZES, full, names, filters=64)


def test_means_and_bands_of_every_layer() -> None:
    layers = {"conv4": make_counts(), "conv5": make_counts(20)}
    intervals = {name: (x.mean - 0.1, x.mean + 0.2) for name, x in layers.items()}
    axes = plot_score_against_filters(
        layers, intervals=intervals, score="accuracy", chance=0.5
    ).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    for name, counts in layers.items():
        np.testing.assert_allclose(lines[name].get_xdata(), [1, 4, 16, 64])
        np.testing.assert_allclose(lines[name].get_ydata(), counts.mean)
    assert len(axes.collections) == 2
    band = axes.collections[0].get_datalim(axes.transData)
    assert band.y1 == pytest.approx(layers["conv4"].mean.max() + 0.2)
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel().startswith("accuracy")


def test_sizes_without_any_score_are_left_out() -> None:
    counts = count_filters(
        np.array([[0.1, np.nan, 0.3]]), SIZES, np.array([0.4]), ["part"], filters=64
    )
    intervals = {"conv5": (counts.mean, counts.mean)}
    axes = plot_score_against_filters({"conv5": counts}, intervals=intervals).axes[0]
    assert np.asarray(axes.get_lines()[0].get_xdata()).tolist() == [1, 16, 64]


def test_what_curves_are_compared_with_is_a_line_or_a_band_with_its_name() -> None:
    layers = {"conv4": make_counts(), "conv5": make_counts(20)}
    intervals = {name: (x.mean, x.mean) for name, x in layers.items()}
    references = {"location prior": [0.25, 0.25], "control": [0.1, 0.2]}
    axes = plot_score_against_filters(layers, intervals=intervals, references=references).axes[0]
    heights = {x.get_label(): np.asarray(x.get_ydata())[0] for x in axes.get_lines()[2:]}
    assert heights == {"location prior": 0.25, "control": 0.2}
    bands = [patch.get_bbox() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(band.y0, band.y1) for band in bands] == [(0.25, 0.25), (0.1, 0.2)]


def test_one_panel_per_category_and_one_for_all() -> None:
    counts = make_counts()
    figure = plot_sufficient_filters({"conv5": counts})
    assert [axes.get_title() for axes in figure.axes] == [
        "all concepts (12)", "color (6)", "part (6)",
    ]  # fmt: skip
    strict, loose = figure.axes[2].get_lines()
    np.testing.assert_allclose(strict.get_ydata(), counts.cumulative[0.9].by_category[1])
    np.testing.assert_allclose(loose.get_ydata(), counts.cumulative[0.8].by_category[1])
    assert strict.get_linestyle() != loose.get_linestyle()


def test_several_layers_are_shown_at_the_greatest_fraction() -> None:
    layers = {"conv4": make_counts(), "conv5": make_counts(5, ("part",))}
    color = plot_sufficient_filters(layers).axes[1]
    assert len(color.get_lines()) == 1  # conv5 has no colours
    np.testing.assert_allclose(
        color.get_lines()[0].get_ydata(), layers["conv4"].cumulative[0.9].by_category[0]
    )


def test_a_single_category_has_a_single_panel() -> None:
    assert len(plot_sufficient_filters({"conv5": make_counts(3, ("part",))}).axes) == 1


def test_filters_as_a_fraction_of_all() -> None:
    counts = make_counts()
    axes = plot_sufficient_filters({"conv5": counts}, relative=True).axes[0]
    line = axes.get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), np.array([1, 4, 16, 64]) / 64)
    np.testing.assert_allclose(line.get_ydata(), counts.cumulative[0.9].overall)
    low, high = axes.get_xlim()
    assert low < 1 / 64 < 1 < high


def test_curves_of_concepts_from_the_best_to_the_worst() -> None:
    counts = make_counts()
    names = [f"concept {place}" for place in range(12)]
    figure = plot_concept_curves(counts, names, shown=3, chance=0.1)
    order = np.argsort(-counts.scores[:, -1], kind="stable")
    for axes, concept in zip(figure.axes, order[[0, 6, 11]], strict=True):
        assert axes.get_title() == f"concept {concept}: R² = {counts.fit.explained[concept]:.2f}"
        measured, fit, _ = axes.get_lines()
        known = np.isfinite(counts.scores[concept])
        np.testing.assert_allclose(measured.get_ydata(), counts.scores[concept, known])
        slope = np.diff(fit.get_ydata()) / np.diff(np.log(fit.get_xdata()))
        np.testing.assert_allclose(slope, counts.fit.slope[concept])


def test_what_cannot_be_drawn_is_refused() -> None:
    for plot in (partial(plot_score_against_filters, intervals={}), plot_sufficient_filters):
        with pytest.raises(Net2VecError, match="no layer"):
            plot({})
    with pytest.raises(Net2VecError, match="not counted"):
        plot_sufficient_filters({"conv5": make_counts()}, fractions=(0.5,))
    nothing = count_filters(np.zeros((2, 3)), SIZES, np.zeros(2), ["part"] * 2, filters=64)
    with pytest.raises(Net2VecError, match="no concept was learnt"):
        plot_sufficient_filters({"conv5": nothing})
    with pytest.raises(Net2VecError, match="no concept was learnt"):
        plot_concept_curves(nothing, ["a", "b"])
