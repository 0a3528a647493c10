"""Figures of comparisons show what they are given."""

from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.analysis.filters.single_against_embedding import (
    SegmentationComparison,
    compare_classification,
    compare_segmentation,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.paper_style import save_figure
from net2vec_jax.plots.single_against_embedding import (
    plot_category_scores,
    plot_concept_scores,
    plot_improvements,
    plot_unique_detectors,
)

PLOTS = (plot_category_scores, plot_concept_scores, plot_improvements, plot_unique_detectors)
CATEGORIES = ("color", "object", "part", "material", "scene", "texture")


def make_comparison(
    seed: int, concepts: int = 30, categories: tuple[str, ...] = CATEGORIES
) -> SegmentationComparison:
    rng = np.random.default_rng(seed)
    single = rng.beta(1, 9, (2, concepts, 8))
    embedding = np.clip(3 * single[1].max(axis=1), 0, 1)
    embedding[0] = np.nan
    return compare_segmentation(
        single, embedding, [categories[place % len(categories)] for place in range(concepts)]
    )


def test_means_and_intervals_of_the_categories() -> None:
    comparison = make_comparison(0)
    figure = plot_category_scores({"conv5": comparison})
    single, embedding = figure.axes[0].containers
    means = comparison.embedding_means
    assert embedding.get_label() == "embedding"
    np.testing.assert_allclose(embedding.lines[0].get_ydata(), [*means.mean, means.overall_mean])
    segments = np.array(embedding.lines[2][0].get_segments())
    half = 1.96 * np.append(means.error, means.overall_error)
    np.testing.assert_allclose(np.diff(segments[:, :, 1], axis=1)[:, 0], 2 * half)
    np.testing.assert_allclose(single.lines[0].get_ydata()[:-1], comparison.single_means.mean)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[0] == "color\n4"  # the first colour's embedding is unknown
    assert labels[-1] == "all\n29"


def test_classification_is_drawn_by_the_same_functions() -> None:
    comparison = compare_classification(
        np.array([0.6, 0.7, np.nan]), np.array([0.8, 0.7, 0.9]), ["part", "part", "scene"]
    )
    figure = plot_category_scores({"fc6": comparison}, score="accuracy", chance=0.5)
    assert figure.axes[0].get_title(loc="left") == "fc6"
    points = [c.get_offsets() for c in plot_concept_scores({"fc6": comparison}).axes[0].collections]
    np.testing.assert_allclose(np.ma.filled(points[0], np.nan), [[0.6, 0.8], [0.7, 0.7]])


def test_every_concept_is_a_point_inside_the_axes() -> None:
    layers = {"conv4": make_comparison(1), "conv5": make_comparison(2)}
    figure = plot_concept_scores(layers)
    for axes, comparison in zip(figure.axes, layers.values(), strict=True):
        points = np.concatenate([np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections])
        known = points[np.isfinite(points).all(axis=1)]
        assert len(known) == len(comparison.single) - 1
        low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
        assert ((known > low) & (known < high)).all()


def test_histogram_of_improvements() -> None:
    comparison = make_comparison(3)
    axes = plot_improvements({"conv5": comparison}).axes[0]
    mean, _, count = comparison.mean_ratio
    np.testing.assert_allclose(axes.patches[0].get_data().values.sum(), 1)
    assert axes.get_title() == f"conv5: {mean:.1f}× ({count})"


def test_bars_of_detectors_add_up() -> None:
    layers = {"conv4": make_comparison(4), "conv5": make_comparison(5)}
    axes = plot_unique_detectors(layers).axes[0]
    total = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2, 3)
        total[row] = total.get(row, 0) + bar.get_width()
    expected = [
        detected.sum()
        for comparison in layers.values()
        for detected in (comparison.single_detected, comparison.embedding_detected)
    ]
    assert [total[row] for row in sorted(total)] == expected
    assert [text.get_text() for text in axes.texts] == [str(number) for number in expected]


@pytest.mark.parametrize(
    ("layers", "concepts", "categories"), [(1, 1, ("object",)), (6, 8, ("object", "my own"))]
)
def test_extreme_problems_are_drawn(
    layers: int, concepts: int, categories: tuple[str, ...], tmp_path: Path
) -> None:
    given = {f"layer {n}": make_comparison(n, concepts, categories) for n in range(layers)}
    for plot in PLOTS:
        figure = plot(given)
        save_figure(figure, tmp_path / plot.__name__)
        assert all(axes.has_data() for axes in figure.axes)


def test_no_layer_is_refused() -> None:
    for plot in PLOTS:
        with pytest.raises(Net2VecError, match="no layer"):
            plot({})
