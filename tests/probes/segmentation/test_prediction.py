"""Predicted masks have the pixels that the probes count."""

import numpy as np
import pytest
from helpers import make_linear_problem, make_random_problem, upsample_by_loop

from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import interpolation_matrix
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.prediction import (
    mark_pixels,
    predict_embeddings,
    predict_filters,
    predict_pixels_of,
    score_pairs,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.probes.single_filters.prediction import count_chosen_filters
from net2vec_jax.stats.metrics import iou

RNG = np.random.default_rng(0)


def count(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (prediction & truth).sum(axis=(1, 2)), (prediction | truth).sum(axis=(1, 2))


def test_embeddings_mark_the_pixels_that_evaluation_counts() -> None:
    binary, masks = make_random_problem(3)
    weights = RNG.normal(size=(3, binary.filters)).astype(np.float32)
    heads = Heads.of(np.arange(3), weights)
    counts = evaluate_segmentation(weights, heads, binary, masks)
    image = masks.pair_image[counts.pair]
    found = predict_embeddings(weights, counts.head, image, binary, masks.segmentation_size)
    truth = masks.unpack(counts.pair)
    for mine, theirs in zip(count(found.mask, truth), counts.overlap, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_probabilities_are_of_the_upsampled_score_map() -> None:
    binary, masks = make_random_problem(4)
    weights = RNG.normal(size=(2, binary.filters)).astype(np.float32)
    head, image = RNG.integers(0, 2, 70), RNG.integers(0, len(binary), 70)  # more than a chunk
    found = predict_embeddings(weights, head, image, binary, masks.segmentation_size)
    maps = np.einsum("nyxk,nk->nyx", binary.unpack(image), weights[head].astype(np.float64))
    rows, columns = (
        interpolation_matrix(n, m)
        for n, m in zip(binary.grid, masks.segmentation_size, strict=True)
    )
    z = np.einsum("Yy,nyx,Xx->nYX", rows, maps, columns)
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-z)), atol=1e-6)
    clear = np.abs(z) > 1e-5
    np.testing.assert_array_equal(found.mask[clear], (z > 0)[clear])
    assert (found.probability[image == 0] == 0.5).all()  # no filter is active on image 0
    assert not found.mask[image == 0].any()


@pytest.mark.parametrize("standardized", [False, True])
def test_pixels_are_marked_above_the_level_of_their_head(standardized: bool) -> None:
    binary, masks = make_random_problem(8) if not standardized else make_linear_problem(8)
    weights = RNG.normal(size=(3, binary.filters)).astype(np.float32)
    level, heads = np.array([-0.3, 0.4, 0.1], np.float32), Heads.of(np.array([0, 1, 1]), weights)
    counts = evaluate_segmentation(weights, heads, binary, masks, level=level)
    image = masks.pair_image[counts.pair]
    found = predict_embeddings(weights, counts.head, image, binary, masks.segmentation_size, level)
    z = score_pairs(weights, counts.head, image, binary).reshape(-1, *binary.grid)
    above = upsample_by_loop(z, masks.segmentation_size) - level[counts.head][:, None, None]
    clear = np.abs(above) > 1e-5
    np.testing.assert_array_equal(found.mask[clear], (above > 0)[clear])
    np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-above)), atol=1e-5)
    for mine, theirs in zip(
        count(above > 0, masks.unpack(counts.pair)), counts.overlap, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=(~clear).sum())


def test_filters_mark_the_pixels_that_the_single_filter_probe_counts() -> None:
    binary, masks = make_random_problem(5)
    chosen = np.array([7, 0, 10])
    found = predict_filters(
        chosen[masks.pair_concept], masks.pair_image, binary, masks.segmentation_size
    )
    intersection, union = count(found, masks.unpack(slice(None)))
    by_image = count_chosen_filters(binary, masks, chosen)
    np.testing.assert_array_equal(intersection, by_image.intersection)
    np.testing.assert_array_equal(union, by_image.union)
    ious = iou(*probe_single_filters(binary, masks))[1]
    for concept in range(3):
        mine = (masks.pair_concept == concept) & masks.pair_is_val
        expected = iou(intersection[mine].sum(), union[mine].sum())
        np.testing.assert_allclose(ious[concept, chosen[concept]], expected)


def test_no_pair_predicts_nothing() -> None:
    binary, masks = make_random_problem(6)
    none, size = np.zeros(0, int), masks.segmentation_size
    weights = np.ones((1, binary.filters), np.float32)
    assert predict_embeddings(weights, none, none, binary, size).mask.shape == (0, *size)
    assert predict_filters(none, none, binary, size).shape == (0, *size)


def test_only_what_may_be_marked_is_upsampled() -> None:
    rng = np.random.default_rng(0)
    for size in ((40, 30), (3, 5), (1, 1), (7, 1)):
        for offset in (-2.0, -1.0, 0.0, 3.0):
            scores = (rng.normal(size=(4, 7)) + offset).astype(np.float32)
            expected, _ = predict_pixels_of(scores[None], size)
            np.testing.assert_array_equal(mark_pixels(scores, size), expected[0])
