"""Figures of single filters against embeddings show what they are given."""

from pathlib import Path

import numpy as np
import pytest
from helpers import lay_out

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
    plot_category_scores,
    plot_concept_scores,
    plot_exception_images,
    plot_improvements,
    plot_mean_improvements,
    plot_score_histograms,
    plot_scores_by_layer,
    plot_single_against_embedding,
    plot_unique_detectors,
)

BOTH = (plot_category_scores, plot_concept_scores, plot_score_histograms, plot_scores_by_layer)
SEGMENTATION = (plot_improvements, plot_mean_improvements, plot_unique_detectors)
CLASSIFICATION = (plot_at_least_as_good, plot_exception_images)
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


def test_every_concept_is_a_point_of_its_category() -> None:
    single, embedding = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.1, 0.4])
    figure = plot_single_against_embedding(
        single, embedding, ["object", "part", "object"], names=["dog", "tail", ""]
    )
    axes = figure.axes[0]
    points = {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}
    np.testing.assert_allclose(points["object (2)"], [[0.1, 0.5], [0.3, 0.4]])
    np.testing.assert_allclose(points["part (1)"], [[0.2, 0.1]])
    assert [text.get_text() for text in axes.texts] == ["dog"]  # the tail does not gain


def test_all_points_lie_inside_the_axes() -> None:
    values = np.array([0.0, 1.0])
    axes = plot_single_against_embedding(values, values[::-1], ["color", "color"]).axes[0]
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low <= 0 < 1 <= high


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


def test_every_concept_is_a_point_inside_its_panel() -> None:
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
        for detected in comparison.detected.values()
    ]
    assert [total[row] for row in sorted(total)] == expected
    assert [text.get_text() for text in axes.texts] == [str(number) for number in expected]


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


@pytest.mark.parametrize(
    ("layers", "concepts", "categories"), [(1, 1, ("object",)), (6, 8, ("object", "my own"))]
)
def test_extreme_problems_are_drawn(
    layers: int, concepts: int, categories: tuple[str, ...]
) -> None:
    given = {f"layer {n}": make_comparison(n, concepts, categories) for n in range(layers)}
    for plot in BOTH + SEGMENTATION:
        figure = plot(given)
        lay_out(figure)
        assert all(axes.has_data() for axes in figure.axes)


@pytest.mark.parametrize("count", [1, 7])
def test_long_names_are_drawn(count: int) -> None:
    names = [f"own_network/a_long_name_of_a_layer_{n}" for n in range(count)]
    segmentation = {name: make_segmentation(n, ("own",)) for n, name in enumerate(names)}
    classification = {name: make_classification(n) for n, name in enumerate(names)}
    for plot in BOTH + SEGMENTATION:
        lay_out(plot(segmentation))
    for plot in BOTH + CLASSIFICATION:
        lay_out(plot(classification))


def test_no_concepts_are_drawn_and_saved(tmp_path: Path) -> None:
    nothing = compare_classification(np.zeros(0), np.zeros(0), [])
    for plot in BOTH + CLASSIFICATION:
        save_figure(plot({"none": nothing}), tmp_path / plot.__name__)


@pytest.mark.parametrize("plot", [*BOTH, *SEGMENTATION, *CLASSIFICATION])
def test_no_layer_is_refused(plot) -> None:
    with pytest.raises(Net2VecError, match="no layer"):
        plot({})
