"""Figures of shared filters and of correlations show what they are given."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers import lay_out

from net2vec_jax.analysis.filters.chance_overlap import Overlaps, compare_with_chance
from net2vec_jax.analysis.filters.filter_overlap import count_filter_overlap, find_top_filters
from net2vec_jax.analysis.filters.weight_correlations import (
    correlate_probes,
    correlate_weights_with_ious,
    measure_spread,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.correlations import (
    plot_probe_correlations,
    plot_weight_iou_correlations,
    plot_weight_spread,
    plot_weights_against_ious,
)
from net2vec_jax.plots.overlap import (
    Null,
    plot_categories_per_filter,
    plot_category_overlap,
    plot_concepts_per_filter,
    plot_shared_filters,
)
from net2vec_jax.plots.paper_style import save_figure

OVERLAP_PLOTS = (plot_concepts_per_filter, plot_categories_per_filter, plot_category_overlap)


def make_overlap(
    seed: int, concepts: int = 12, categories: tuple[str, ...] = ("color", "object"), size: int = 3
) -> Overlaps:
    weights = np.random.default_rng(seed).standard_normal((concepts, 20))
    overlap = count_filter_overlap(
        find_top_filters(weights, size),
        [categories[place % len(categories)] for place in range(concepts)],
    )
    return compare_with_chance(overlap, seed=seed, samples=20)


@pytest.mark.parametrize(
    ("plot", "name"),
    [(plot_concepts_per_filter, "histogram"), (plot_categories_per_filter, "category_numbers")],
)
def test_bars_are_what_was_found_and_marks_are_chance(plot, name: str) -> None:
    layers = {"conv4": make_overlap(0), "conv5": make_overlap(1)}
    figure = plot(layers)
    nulls = 1 if name == "histogram" else 2
    for axes, (layer, overlaps) in zip(figure.axes, layers.items(), strict=True):
        assert axes.get_title() == f"{layer} (20)"
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, getattr(overlaps.found, name))
        assert len(axes.containers) == 1 + nulls
        for marks, null in zip(axes.containers[1:], overlaps[1:], strict=False):
            expected = getattr(null, name)
            np.testing.assert_allclose(marks.lines[0].get_ydata(), expected[0])
            segments = np.array(marks.lines[2][0].get_segments())[:, :, 1]
            assert (segments[:, 0] <= expected[1] + 1e-12).all()
            assert (segments[:, 1] >= expected[2] - 1e-12).all()
        assert len(axes.texts) == len(heights)


@pytest.mark.parametrize("null", ["chance", "popularity_kept"])
def test_cells_of_the_heat_map(null: Null) -> None:
    overlaps = make_overlap(2)
    overlap, chance = overlaps.found, getattr(overlaps, null)
    axes = plot_category_overlap({"conv5": overlaps}, null=null).axes[0]
    level = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(level, np.clip(np.log2(chance.shared), -3, 3))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert float("0" + written[1, 0]) == pytest.approx(overlap.similarity[0, 1], rel=0.1)
    bold = {text.get_position(): text.get_fontweight() == "bold" for text in axes.texts}
    assert bold[0, 1] == (chance.q_value[0, 1] <= 0.05)


def test_categories_that_a_layer_lacks_are_empty_cells() -> None:
    layers = {"a": make_overlap(0), "b": make_overlap(1, categories=("object", "my own"))}
    first, second = plot_category_overlap(layers).axes[:2]
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels == ["color", "object", "my own"]
    assert np.isfinite(np.asarray(first.images[0].get_array())).sum() == 4
    assert np.isfinite(np.asarray(second.images[0].get_array())[1:, 1:]).all()


def test_shared_filters_against_their_number() -> None:
    by_size = {size: make_overlap(3, size=size) for size in (5, 1)}
    left, right = plot_shared_filters({"conv5": by_size}).axes
    line = left.get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [1, 5])
    np.testing.assert_allclose(
        line.get_ydata(), [by_size[size].found.shared_fraction for size in (1, 5)]
    )
    for line, null in zip(right.get_lines(), ("chance", "popularity_kept"), strict=False):
        np.testing.assert_allclose(
            line.get_ydata(), [getattr(by_size[size], null).between[0] for size in (1, 5)]
        )


def make_tables(concepts: int = 9) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(concepts)
    weights = rng.standard_normal((concepts, 20))
    noise = rng.standard_normal((concepts, 20)) * np.linspace(0.1, 3, concepts)[:, None]
    return weights, weights + noise, ["part", "color", "part"] * (concepts // 3)


def test_histogram_of_correlations_adds_up() -> None:
    weights, ious, categories = make_tables()
    ious[0] = 0
    found = correlate_weights_with_ious(weights, ious)
    axes = plot_weight_iou_correlations({"conv5": (found, categories)}).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 8
    assert axes.get_title() == f"conv5: {found.median:.2f} (8)"


def test_three_ranks_are_drawn() -> None:
    weights, ious, _ = make_tables()
    found = correlate_weights_with_ious(weights, ious)
    names = [f"concept {place}" for place in range(9)]
    figure = plot_weights_against_ious({"conv5": (weights, ious, found, names)})
    order = np.argsort(-found.r)
    for axes, concept in zip(figure.axes, order[[0, 4, 8]], strict=True):
        assert axes.get_title().startswith(f"conv5, concept {concept}: r = ")
        np.testing.assert_allclose(
            axes.collections[0].get_offsets(), np.column_stack([ious[concept], weights[concept]])
        )
    nothing = correlate_weights_with_ious(weights, np.zeros(weights.shape))
    with pytest.raises(Net2VecError, match="conv5: no concept"):
        plot_weights_against_ious({"conv5": (weights, ious, nothing, names)})


def test_both_probes_have_two_panels_per_layer() -> None:
    weights, others, _ = make_tables()
    pair = correlate_probes(weights, others)
    figure = plot_probe_correlations({"conv4": pair, "conv5": pair})
    bars = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    assert bars == [9, 20, 9, 20]


@pytest.mark.parametrize("images", [[3, 50, 63305], [350, 400, 720], [7, 7, 7], [1, 2, 9]])
def test_train_images_have_ticks_that_can_be_told_apart(images: list[int]) -> None:
    spread = measure_spread(make_tables(3)[0], ["part", "color", "part"], np.array(images))
    figure = plot_weight_spread({"conv5": spread})
    axes = figure.axes[0]
    points = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
    assert sorted(points[:, 0].tolist()) == sorted(images)
    low, high = axes.get_xlim()
    assert low < min(images) <= max(images) < high
    figure.canvas.draw()
    boxes = sorted(
        (label.get_window_extent() for place, label in
         zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= place <= high),
        key=lambda box: box.x0,
    )  # fmt: skip
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("layers", "concepts", "categories"),
    [(1, 1, ("object",)), (5, 8, ("object", "my own", "color", "part", "material", "x", "y"))],
)
def test_extreme_problems_are_drawn(
    layers: int, concepts: int, categories: tuple[str, ...], tmp_path: Path
) -> None:
    given = {f"layer {n}": make_overlap(n, concepts, categories) for n in range(layers)}
    figures = [plot(given) for plot in OVERLAP_PLOTS]
    figures += [plot_shared_filters({name: {3: x} for name, x in given.items()})]
    for figure in figures:
        lay_out(figure)
    if layers == 1:
        for number, figure in enumerate(figures):
            save_figure(figure, tmp_path / str(number))
        assert len(list(tmp_path.glob("*.png"))) == 4


def test_no_layer_is_refused() -> None:
    for plot in (
        *OVERLAP_PLOTS, plot_shared_filters, plot_weight_iou_correlations, plot_probe_correlations,
        plot_weight_spread, plot_weights_against_ious,
    ):  # fmt: skip
        with pytest.raises(Net2VecError, match="no layer"):
            plot({})
