"""Figures of embeddings show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from net2vec_jax.analysis.geometry.concept_embeddings import (
    measure_stability,
    normalise_embeddings,
    tabulate_nearest_categories,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.embeddings import (
    plot_filter_alphas,
    plot_nearest_categories,
    plot_neighbour_stability,
    plot_spectrum,
)

CATEGORIES = ["object"] * 5 + ["part"] * 4 + ["color"]


def make_weights(seeds: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(seeds, 10, 6))


@pytest.mark.parametrize("layers", [1, 3])
def test_cells_have_fraction_and_chance(layers: int) -> None:
    table = tabulate_nearest_categories(normalise_embeddings(make_weights()[0]), CATEGORIES)
    figure = plot_nearest_categories({f"conv{n}": table for n in range(layers)})
    assert len(figure.axes) == layers + 1  # and the colour bar
    axes = figure.axes[layers - 1]
    np.testing.assert_array_equal(axes.images[0].get_array(), table.fraction)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "color (1)", "object (5)", "part (4)",
    ]  # fmt: skip
    texts = [text.get_text() for text in axes.texts]
    values = [*table.fraction.ravel(), *table.chance.ravel()]
    assert texts == [f"{value:.2f}" for value in values]


def test_cells_without_concepts_are_empty() -> None:
    weights = make_weights()[0]
    weights[9] = 0
    table = tabulate_nearest_categories(normalise_embeddings(weights), CATEGORIES)
    assert len(plot_nearest_categories({"conv5": table}).axes[0].texts) == 2 * 2 * 3


def test_stability_shows_every_concept_and_means() -> None:
    weights = make_weights()
    weights[0, 2] = 0
    stability = measure_stability(weights)
    figure = plot_neighbour_stability(stability, CATEGORIES, title="conv5")
    for axes, values in zip(figure.axes, (stability.overlap, stability.cosine), strict=True):
        dots, lines = axes.collections[::2], axes.collections[1::2]
        heights = np.concatenate([np.asarray(group.get_offsets())[:, 1] for group in dots])
        np.testing.assert_allclose(np.sort(heights), np.sort(np.delete(values, 2)))
        assert lines[1].get_segments()[0][0][1] == np.nanmean(values[:5])  # objects
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["color\n1", "object\n4", "part\n4"]
        low, high = axes.get_ylim()
        assert low <= heights.min()
        assert high >= heights.max()
    chance = figure.axes[0].get_lines()[0].get_ydata()
    np.testing.assert_allclose(chance, stability.chance_overlap)


def test_spectra_are_drawn_with_their_sums() -> None:
    explained = np.array([0.4, 0.2, 0.1])
    (axes,) = plot_spectrum({"conv4": explained, "conv5": explained[:2]}).axes
    first, second = axes.get_lines()
    np.testing.assert_array_equal(first.get_xydata(), [[1, 0.4], [2, 0.2], [3, 0.1]])
    assert first.get_label() == "conv4, sum 0.70"
    assert second.get_label() == "conv5, sum 0.60"


def test_alphas_are_counted() -> None:
    alpha = np.array([0.01, 0.99, 0.99, 0.99, np.nan])
    (axes,) = plot_filter_alphas({"conv5": alpha}).axes
    heights = axes.patches[0].get_data().values
    assert (heights[0], heights[-1]) == (0.25, 0.75)
    assert axes.patches[0].get_label() == "conv5, median 0.99"
    assert not plot_filter_alphas({"conv5": alpha[4:]}).axes[0].patches


@pytest.mark.parametrize("plot", [plot_nearest_categories, plot_spectrum, plot_filter_alphas])
def test_no_layer_is_refused(plot) -> None:
    with pytest.raises(Net2VecError, match="no layer"):
        plot({})
