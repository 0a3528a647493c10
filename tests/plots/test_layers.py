"""Figures of layers beside each other show what they are given."""

from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.analysis.filters.single_against_embedding import (
    ClassificationComparison,
    SegmentationComparison,
    compare_classification,
    compare_segmentation,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.paper_style import save_figure
from net2vec_jax.plots.single_against_embedding import (
    plot_at_least_as_good,
    plot_exception_images,
    plot_mean_improvements,
    plot_score_histograms,
    plot_scores_by_layer,
)

PLOTS = (
    plot_scores_by_layer, plot_mean_improvements, plot_score_histograms, plot_at_least_as_good,
    plot_exception_images,
)  # fmt: skip


def make_segmentation(seed: int, categories: tuple[str, ...]) -> SegmentationComparison:
    rng = np.random.default_rng(seed)
    embedding = rng.random(12)
    embedding[0] = np.nan
    return compare_segmentation(
        rng.beta(1, 9, (2, 12, 8)), embedding, [categories[n % len(categories)] for n in range(12)]
    )


def make_classification(seed: int, concepts: int = 9) -> ClassificationComparison:
    rng = np.random.default_rng(seed)
    single, embedding = rng.uniform(0.4, 1, (2, concepts))
    images = rng.integers(20, 30000, concepts)
    return compare_classification(
        single, embedding, [("part", "own", "scene")[n % 3] for n in range(concepts)],
        train_images=images,
    )  # fmt: skip


def test_means_of_every_layer_and_category() -> None:
    layers = {
        "conv4": make_segmentation(0, ("color", "part")),
        "conv5": make_segmentation(1, ("part", "object")),
    }
    figure = plot_scores_by_layer(layers)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["all (12)", "color (6)", "object (6)", "part (6)"]
    single, embedding = (container.lines[0] for container in figure.axes[0].containers)
    for line, name in ((single, "single_means"), (embedding, "embedding_means")):
        np.testing.assert_allclose(
            line.get_ydata(), [getattr(x, name).overall_mean for x in layers.values()]
        )
    color = figure.axes[1].containers[1].lines[0].get_ydata()
    np.testing.assert_allclose(color, [layers["conv4"].embedding_means.mean[0], np.nan])
    part = figure.axes[3].containers[1].lines[0].get_ydata()
    np.testing.assert_allclose(
        part, [layers["conv4"].embedding_means.mean[1], layers["conv5"].embedding_means.mean[1]]
    )


def test_mean_improvements() -> None:
    layers = {f"conv{n}": make_segmentation(n, ("part",)) for n in range(3)}
    axes = plot_mean_improvements(layers).axes[0]
    np.testing.assert_allclose(
        [bar.get_height() for bar in axes.patches], [x.mean_ratio[0] for x in layers.values()]
    )
    assert [t.get_text() for t in axes.texts] == [str(x.mean_ratio[2]) for x in layers.values()]


def test_histograms_hold_every_known_score() -> None:
    comparison = make_segmentation(3, ("part",))
    axes = plot_score_histograms({"conv5": comparison}).axes[0]
    counts = {patch.get_label(): patch.get_data().values.sum() for patch in axes.patches}
    assert (counts["best single filter"], counts["embedding"]) == (12, 11)
    perfect = compare_classification(np.ones(3), np.full(3, 0.5), ["part"] * 3)
    axes = plot_score_histograms({"conv5": perfect}, score="accuracy").axes[0]
    assert [patch.get_data().values.sum() for patch in axes.patches] == [3] * 4


def test_fractions_at_least_as_good() -> None:
    layers = {"fc6": make_classification(0), "fc7": make_classification(1)}
    axes = plot_at_least_as_good(layers).axes[0]
    means = [x.at_least_as_good for x in layers.values()]
    np.testing.assert_allclose(
        [bar.get_height() for bar in axes.patches], [x.overall_mean for x in means]
    )
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["part", "scene", "own"]
    np.testing.assert_allclose(lines["own"].get_ydata(), [x.mean[2] for x in means])


def test_train_images_of_the_exceptions() -> None:
    comparison = compare_classification(
        np.array([0.9, 0.9, 0.9, 0.5, 0.9]), np.full(5, 0.8), ["part"] * 5,
        train_images=np.array([12, 150, 160, 200, 99000]),
    )  # fmt: skip
    axes = plot_exception_images({"fc6": comparison}).axes[0]
    assert axes.get_title() == "fc6 (4 of 5)"
    filled = {
        bar.get_x(): bar.get_height() for bar in axes.patches if bar.get_height()
    }  # fmt: skip
    assert filled == {1.0: 1, 2.0: 2, 4.75: 1}  # quarters of a power of ten
    assert axes.get_xlim() == (1, 5)


@pytest.mark.parametrize("count", [1, 7])
def test_extreme_problems_are_drawn(count: int, tmp_path: Path) -> None:
    names = [f"own_network/a_long_name_of_a_layer_{n}" for n in range(count)]
    segmentation = {name: make_segmentation(n, ("own",)) for n, name in enumerate(names)}
    nothing = compare_classification(np.zeros(0), np.zeros(0), [])
    classification = {name: make_classification(n) for n, name in enumerate(names)}
    for plot in PLOTS:
        if plot not in (plot_at_least_as_good, plot_exception_images):
            save_figure(plot(segmentation), tmp_path / plot.__name__)
        if plot is not plot_mean_improvements:
            save_figure(plot(classification), tmp_path / plot.__name__)
            save_figure(plot({"none": nothing}), tmp_path / plot.__name__)


def test_no_layer_is_refused() -> None:
    for plot in PLOTS:
        with pytest.raises(Net2VecError, match="no layer"):
            plot({})
