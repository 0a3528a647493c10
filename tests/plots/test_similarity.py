"""Figures of compared representations show the numbers they are given."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex

from net2vec_jax.analysis.similarity.network_similarity import make_representation, order_by_change
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison, compare_pair
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.paper_style import CATEGORY_STYLES, save_figure
from net2vec_jax.plots.similarity import (
    join_names,
    plot_associations,
    plot_category_distances,
    plot_changes,
    plot_cluster_map,
    plot_distances,
)

NAMES = ("net/conv4/segmentation", "net/conv5/segmentation", "wordnet")


def make_pairs(concepts: int = 18, names: tuple[str, ...] = NAMES) -> list[PairComparison]:
    labels = [f"concept {n}" for n in range(concepts)]
    categories = [("color", "object", "breed")[n % 3] for n in range(concepts)]
    rng = np.random.default_rng(0)
    common = rng.normal(size=(concepts, 6))
    representations = [
        make_representation(name, labels, common + rng.normal(size=common.shape)) for name in names
    ]
    return [
        compare_pair(*pair, labels, categories, key=jax.random.key(0), permutations=99)
        for pair in itertools.combinations(representations, 2)
    ]


@pytest.fixture(scope="module")
def pairs() -> list[PairComparison]:
    return make_pairs()


def read_cells(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_distances_stand_in_the_cells(pairs: list[PairComparison]) -> None:
    (axes,) = plot_distances(pairs).axes
    a, b, c = (f"{pair.distance:.3g}" for pair in pairs)
    assert read_cells(axes) == ["0", a, b, a, "0", c, b, c, "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv4", "conv5", "wordnet"]


def test_stars_tell_small_p_values(pairs: list[PairComparison]) -> None:
    cka, ranks = plot_associations(pairs).axes
    for axes, found in ((cka, pairs[0].cka), (ranks, pairs[0].rank_correlation)):
        star = "*" if found.p_value < 0.05 else ""
        assert read_cells(axes)[1] == f"{found.value:.2f}{star}".replace("-", "−")
        assert read_cells(axes)[0] == "1.00"


def test_bars_are_the_categories_means(pairs: list[PairComparison]) -> None:
    figure = plot_category_distances(pairs)
    assert len(figure.axes) == 3
    for axes, pair in zip(figure.axes, pairs, strict=True):
        widths = [patch.get_width() for patch in axes.patches]
        np.testing.assert_allclose(widths, pair.means.mean)
        assert to_hex(axes.patches[0].get_facecolor()).upper() == CATEGORY_STYLES["color"][0]
        assert read_cells(axes) == ["6", "6", "6"]
    assert figure.axes[0].get_title(loc="left") == "conv4 – conv5"


def test_changed_concepts_are_in_order(pairs: list[PairComparison]) -> None:
    most, least = plot_changes(pairs[0], count=4).axes
    order = order_by_change(pairs[0].distances)
    for axes, chosen in ((most, order[:4]), (least, order[::-1][:4])):
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == [f"concept {n}" for n in chosen]
        widths = [patch.get_width() for patch in axes.patches]
        np.testing.assert_allclose(widths, pairs[0].distances[chosen])


def test_a_cluster_map_shows_every_difference_once_reordered(pairs: list[PairComparison]) -> None:
    axes = plot_cluster_map(pairs[0]).axes[5]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    order = [pairs[0].concepts.index(label) for label in labels]
    assert sorted(order) == list(range(18))
    difference = np.abs(pairs[0].similarities[0] - pairs[0].similarities[1])
    np.testing.assert_allclose(axes.images[0].get_array(), difference[np.ix_(order, order)])


def test_two_long_names_and_many_concepts_are_drawn_and_saved(tmp_path: Path) -> None:
    names = (f"network/{'long' * 12}/segmentation", "network/b/segmentation")
    pairs = make_pairs(140, names)
    for number, figure in enumerate(
        (plot_distances(pairs), plot_category_distances(pairs), plot_cluster_map(pairs[0]))
    ):
        assert all(path.stat().st_size for path in save_figure(figure, tmp_path / str(number)))
    assert join_names("a", "b", 5) == "a – b"
    assert join_names("a", "b", 4) == "a –\nb"


def test_nothing_to_draw_is_refused() -> None:
    for plot in (plot_distances, plot_associations, plot_category_distances):
        with pytest.raises(Net2VecError, match="no pair"):
            plot([])
