"""Planted rankings have known recall, and scores of images are those of their score maps."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.images.image_ranking import (
    _reduce_scores,
    compare_recall,
    count_found,
    score_images,
)
from net2vec_jax.core.errors import Net2VecError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("reduction", ["max", "mean"])
@pytest.mark.parametrize("thresholded", [False, True])
def test_scores_are_reductions_of_the_score_map(reduction: str, thresholded: bool) -> None:
    activations = RNG.normal(size=(5, 3, 2, 4)).astype(np.float32)
    weights = RNG.normal(size=(3, 4)).astype(np.float32)
    thresholds = np.array([0.1, -0.5, 0.0, 1.0], np.float32) if thresholded else None
    scores = score_images(activations, weights, reduction=reduction, thresholds=thresholds)
    for image in range(5):
        for concept in range(3):
            values = [
                sum(
                    w * (float(a > t) if thresholded else a)
                    for w, a, t in zip(
                        weights[concept], activations[image, y, x],
                        thresholds if thresholded else np.zeros(4), strict=True,
                    )
                )
                for y in range(3)
                for x in range(2)
            ]  # fmt: skip
            expected = max(values) if reduction == "max" else np.mean(values)
            np.testing.assert_allclose(scores[image, concept], expected, rtol=1e-4, atol=1e-5)


def test_parts_of_images_and_concepts_are_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("net2vec_jax.analysis.images.image_ranking._MOST_SCORES", 48)
    for images, side, concepts in ((7, 2, 5), (5, 5, 3), (3, 9, 2)):
        activations = RNG.normal(size=(images, side, side, 6)).astype(np.float32)
        weights = RNG.normal(size=(concepts, 6)).astype(np.float32)
        expected = np.einsum("nyxk,ck->nyxc", activations, weights).max(axis=(1, 2))
        np.testing.assert_allclose(
            score_images(activations, weights), expected, rtol=1e-4, atol=1e-5
        )


def test_score_maps_of_large_layers_are_never_there_at_once() -> None:
    shapes = (
        jax.ShapeDtypeStruct((256, 112, 112, 8), np.float32),
        jax.ShapeDtypeStruct((1197, 8), np.float32),
    )
    compiled = _reduce_scores.lower(*shapes, mean=False).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 300e6  # all maps: 15 GB


def test_unit_norm_divides_by_the_length() -> None:
    activations = RNG.random((4, 2, 2, 3)).astype(np.float32)
    weights = np.array([[3, 0, 4], [0, 0, 0]], np.float32)
    scores = score_images(activations, weights, unit_norm=True)
    np.testing.assert_allclose(
        scores[:, 0], score_images(activations, weights)[:, 0] / 5, rtol=1e-5
    )
    np.testing.assert_array_equal(scores[:, 1], 0)
    with pytest.raises(Net2VecError, match="'median' is neither"):
        score_images(activations, weights, reduction="median")


def test_a_perfect_ranking_finds_one_with_every_image() -> None:
    positive = np.array([0, 1, 0, 1, 1, 0], bool)
    scores = positive * 10 + np.arange(6.0)
    np.testing.assert_allclose(count_found(scores, positive), [1, 2, 3, 3, 3, 3])
    np.testing.assert_allclose(count_found(-scores, positive), [0, 0, 0, 1, 2, 3])


def test_equal_scores_find_what_random_order_finds() -> None:
    positive = np.array([1, 1, 0, 0, 0, 0, 1, 1], bool)
    np.testing.assert_allclose(count_found(np.zeros(8), positive), np.arange(1, 9) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_images_does_not_matter(pairs, random) -> None:
    mixed = random.sample(pairs, len(pairs))
    one, other = (
        count_found(np.array([s for s, _ in p], float), np.array([b for _, b in p]))
        for p in (pairs, mixed)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_perfect_embeddings_beat_random_filters_by_what_is_known() -> None:
    images, concepts = 400, 40
    positive = RNG.random((images, concepts)) < 0.25
    embedding = positive + 0.5 * RNG.random((images, concepts))
    comparison = compare_recall(embedding, RNG.random((images, concepts)), positive)
    assert comparison.concepts == concepts
    total = positive.sum(axis=0)
    first = np.arange(1, images + 1)[:, None]
    np.testing.assert_allclose(comparison.embedding, np.minimum(first / total, 1).mean(axis=1))
    # random order: 40 concepts of about 100 positives, so a standard error of at most 0.8 %
    np.testing.assert_allclose(comparison.single, comparison.chance, atol=0.03)
    expected = (np.minimum(first, total) - first / images * total).mean(axis=1)
    assert (np.abs(comparison.difference - expected) <= 5 * comparison.error + 1e-9).all()
    assert comparison.difference[-1] == comparison.error[-1] == 0


def test_the_error_is_that_of_the_mean_over_concepts() -> None:
    positive = RNG.random((30, 7)) < 0.5
    one, other = RNG.random((2, 30, 7))
    comparison = compare_recall(one, other, positive)
    differences = np.stack(
        [
            count_found(one[:, c], positive[:, c]) - count_found(other[:, c], positive[:, c])
            for c in range(7)
        ]
    )
    np.testing.assert_allclose(comparison.difference, differences.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        comparison.error, differences.std(axis=0, ddof=1) / np.sqrt(7), atol=1e-7
    )


def test_concepts_of_all_images_or_of_none_are_left_out() -> None:
    positive = np.zeros((5, 3), bool)
    positive[:, 0] = True
    positive[2, 2] = True
    scores = RNG.random((5, 3))
    comparison = compare_recall(scores, scores, positive)
    assert comparison.concepts == 1 and np.isnan(comparison.error).all()
    with pytest.raises(Net2VecError, match="no order can be judged"):
        compare_recall(scores, scores, positive[:, [0, 1, 1]])
