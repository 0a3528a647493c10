"""Single filters against embeddings, on scores with known answers."""

import json

import numpy as np
import pytest

from net2vec_jax.analysis.filters.single_against_embedding import (
    RATIO_EDGES,
    compare_classification,
    compare_segmentation,
    find_embedding_detectors,
    find_single_detectors,
)
from net2vec_jax.core.errors import Net2VecError

CATEGORIES = ["object", "part", "object", "part"]
TRAIN = np.array([[0.30, 0.10, 0.02], [0.20, 0.05, 0.00], [0.01, 0.09, 0.00], [0.0, 0.0, 0.0]])
VAL = np.array([[0.20, 0.50, 0.60], [0.10, 0.90, 0.00], [0.01, 0.03, 0.00], [0.0, 0.0, 0.0]])
EMBEDDING = np.array([0.5, 0.2, 0.0, np.nan])


def test_single_filters_are_chosen_on_train_and_reported_on_val() -> None:
    result = compare_segmentation(np.stack([TRAIN, VAL]), EMBEDDING, CATEGORIES)
    assert result.best_filter.tolist() == [0, 0, 1, -1]
    np.testing.assert_allclose(result.single, [0.2, 0.1, 0.03, 0])
    np.testing.assert_allclose(result.single_means.mean, [0.115, 0.05])
    np.testing.assert_allclose(result.embedding_means.mean, [0.25, 0.2])
    assert result.embedding_means.count.tolist() == [2, 1]


def test_ratios_leave_out_hopeless_single_filters() -> None:
    result = compare_segmentation(np.stack([TRAIN, VAL]), EMBEDDING, CATEGORIES)
    np.testing.assert_allclose(result.ratio, [2.5, 2, 0, np.nan])
    assert result.mean_ratio[0] == pytest.approx(1.5)
    assert result.mean_ratio[2] == 3
    # A ratio of 0 counts in the lowest bin.
    expected = np.zeros(len(RATIO_EDGES) - 1)
    expected[0], expected[RATIO_EDGES.tolist().index(2)] = 1, 2
    np.testing.assert_array_equal(result.histogram, expected)


def test_very_large_ratios_count_in_the_last_bin() -> None:
    single = np.full((2, 1, 1), 0.0051)
    assert compare_segmentation(single, np.array([0.99]), ["part"]).histogram[-1] == 1


def test_each_filter_votes_once() -> None:
    # Filters 0 and 2 vote for concept 0, filter 1 too: no vote is left for the others, although
    # filter 1 would detect concept 1 on val.
    detected = find_single_detectors(np.stack([TRAIN, VAL]))
    assert detected.tolist() == [True, False, False, False]
    assert find_single_detectors(np.stack([TRAIN, VAL]), threshold=0.61).sum() == 0
    # The best of its votes counts, not the first.
    assert find_single_detectors(np.stack([TRAIN, VAL]), threshold=0.6)[0]


def test_detectors_chosen_on_train_are_judged_on_other_images() -> None:
    # Of the filters that vote for concept 0, filter 0 is best on train; its val IoU is 0.2.
    ious = np.stack([TRAIN, VAL])
    for threshold, expected in ((0.2, True), (0.21, False)):
        detected = find_single_detectors(ious, threshold=threshold, chosen_on="train")
        assert detected.tolist() == [expected, False, False, False]
    # No filter truly reaches 0.04: luck on val looks like a detector only where val chooses.
    rng = np.random.default_rng(0)
    ious = 0.028 + 0.008 * rng.standard_normal((2, 100, 2048))
    on_val, on_train = (
        find_single_detectors(ious, chosen_on=split).mean() for split in ("val", "train")
    )
    assert on_val > 0.5
    assert on_train < 0.15  # the normal distribution has 7 % above 1.5


def test_a_filter_that_never_fires_has_no_vote() -> None:
    single = np.zeros((2, 2, 1))
    single[1, 0] = 0.5
    assert not find_single_detectors(single).any()
    assert find_single_detectors(np.zeros((2, 0, 3))).shape == (0,)


def test_embedding_detectors() -> None:
    assert find_embedding_detectors(EMBEDDING).tolist() == [True, True, False, False]


def test_the_summary_of_segmentation_is_json() -> None:
    result = compare_segmentation(np.stack([TRAIN, VAL]), EMBEDDING, CATEGORIES)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["unique_detectors"] == {
        "single": 1,
        "single_chosen_on_train": 1,
        "embedding": 2,
        "single_by_category": {"object": 1, "part": 0},
        "single_chosen_on_train_by_category": {"object": 1, "part": 0},
        "embedding_by_category": {"object": 1, "part": 1},
    }
    assert (summary["embedding_better"], summary["compared"]) == (2, 3)
    assert summary["above_0.04"] == {"single": 2, "embedding": 2}


def test_classification() -> None:
    single = np.array([0.7, 0.8, 0.9, np.nan, 0.6])
    embedding = np.array([0.7, 0.9, 0.8, 0.9, 0.8])
    result = compare_classification(
        single, embedding, ["part"] * 3 + ["color"] * 2, train_images=np.array([9, 8, 7, 6, 5])
    )
    assert result.at_least_as_good.categories == ("color", "part")
    np.testing.assert_allclose(result.at_least_as_good.mean, [1, 2 / 3])
    assert result.at_least_as_good.overall_mean == 0.75
    assert result.train_images_where_single_wins is not None
    assert result.train_images_where_single_wins.tolist() == [7]
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["single_better"] == 1
    assert summary["median_train_images_where_single_wins"] == 7


@pytest.mark.wrong_shapes
def test_bad_shapes_are_refused() -> None:
    with pytest.raises(Net2VecError, match="train and val"):
        compare_segmentation(TRAIN[None], EMBEDDING, CATEGORIES)
    with pytest.raises(Net2VecError, match="same concepts"):
        compare_classification(np.zeros(2), np.zeros(3), ["part"] * 2)
    with pytest.raises(Net2VecError, match="train images"):
        compare_classification(np.zeros(2), np.zeros(2), ["part"] * 2, train_images=np.zeros(3))
