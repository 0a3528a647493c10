"""Figures show what they are given."""

import numpy as np

from net2vec_jax.plots.single_against_embedding import plot_single_against_embedding


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
