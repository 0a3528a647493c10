"""Maps and trees show the concepts that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from net2vec_jax.analysis.geometry.concept_embeddings import cluster_concepts, normalise_embeddings
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.concept_maps import MOST_NAMED_POINTS, plot_concept_tree, plot_embedding_map
from net2vec_jax.plots.paper_style import CATEGORY_STYLES

NAMES = ("dog", "red-c", "leg", "<own>")
CATEGORIES = ("object", "color", "part", "mine")


def test_concepts_stand_where_they_are_in_their_categorys_colour() -> None:
    places = np.array([[0.0, 1.0], [2.0, 3.0], [np.nan, np.nan], [-1.0, 0.0]])
    figure = plot_embedding_map(places, NAMES, CATEGORIES, labels=("x", "y"), title="conv5")
    (axes,) = figure.axes
    shown = {dots.get_label(): dots for dots in axes.collections}
    assert list(shown) == ["color", "object", "mine"]  # the masked one is not there
    for category, place in (("color", 1), ("object", 0), ("mine", 3)):
        np.testing.assert_array_equal(shown[category].get_offsets(), [places[place]])
    for category in ("color", "object"):
        assert to_hex(shown[category].get_facecolor()[0]) == CATEGORY_STYLES[category][0].lower()
    assert {text.get_text() for text in axes.texts} == {"dog", "red-c", "<own>"}
    assert axes.get_xlabel() == "x"
    assert axes.get_title() == "conv5"


def test_axes_without_names_have_no_ticks() -> None:
    (axes,) = plot_embedding_map(np.eye(4)[:, :2], NAMES, CATEGORIES).axes
    assert not len(axes.get_xticks())


def test_nothing_to_map_is_refused() -> None:
    with pytest.raises(Net2VecError, match="no concept has an embedding"):
        plot_embedding_map(np.full((4, 2), np.nan), NAMES, CATEGORIES)


def test_trees_join_the_rows_of_the_heat_map() -> None:
    rows = np.array([[1, 0], [0, 1], [0.9, 0.1], [0, 0]])
    unit = normalise_embeddings(rows)
    clusters = cluster_concepts(unit)
    figure = plot_concept_tree(clusters, unit, NAMES, CATEGORIES, title="conv5")
    tree, heat, _ = figure.axes
    order = clusters.order
    assert [label.get_text() for label in heat.get_yticklabels()] == [NAMES[n] for n in order]
    cosines = np.asarray(heat.images[0].get_array())
    np.testing.assert_array_equal(cosines, unit.cosines()[np.ix_(order, order)])
    joins = [np.asarray(path.vertices) for path in tree.collections[0].get_paths()]
    assert len(joins) == 2
    np.testing.assert_allclose([join[:, 0].max() for join in joins], clusters.linkage[:, 2])
    first = joins[0][:, 1]  # dog and leg, whose rows are neighbours
    leaves = [order.tolist().index(0), order.tolist().index(2)]
    assert sorted({first.min(), first.max()}) == sorted(leaves)
    assert tree.get_ylim() == heat.get_ylim()


def test_many_concepts_have_no_names_in_the_tree() -> None:
    count = MOST_NAMED_POINTS + 1
    unit = normalise_embeddings(np.random.default_rng(0).normal(size=(count, 8)))
    figure = plot_concept_tree(cluster_concepts(unit), unit, ["a"] * count, ["object"] * count)
    assert figure.axes[1].get_yticklabels() == []


def test_a_tree_of_one_concept_is_refused() -> None:
    unit = normalise_embeddings(np.array([[1.0], [0.0]]))
    with pytest.raises(Net2VecError, match="at least two concepts"):
        plot_concept_tree(cluster_concepts(unit), unit, ["a", "b"], ["object"] * 2)
