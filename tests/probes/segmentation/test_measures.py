"""Columns beside an embedding's set IoU stand in its row."""

import jax
import numpy as np
import pytest

from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.segmentation.all_images import AllImageScores
from net2vec_jax.probes.segmentation.average_precision import ScoreInterval
from net2vec_jax.probes.segmentation.measures import measure_embeddings, measure_rivals
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.probes.segmentation.scores import ImageOverlaps, score_segmentation
from net2vec_jax.stats.metrics import NO_FILTER

KEY = jax.random.key(0)
PLACES = np.array([1, 4], np.int32)
"""Of the two concepts that have embeddings, in a table of five."""
ROW = np.repeat([0, 1], 6).astype(np.int32)
IMAGE = np.tile(np.arange(6), 2).astype(np.int32)
IS_VAL = IMAGE >= 2
INTERSECTION = np.array([np.arange(12), np.arange(12)[::-1]], np.int32)
RIVALS = Rivals(
    names=("single_same_rule", "prior"),
    concept=PLACES,
    filter=np.array([NO_FILTER, 7], np.int32),
    sign=np.array([1, -1], np.float32),
    row=ROW,
    image=IMAGE,
    is_val=IS_VAL,
    intersection=INTERSECTION,
    union=np.full((2, 12), 20, np.int32),
)


def test_rivals_are_a_pytree_and_found_by_name() -> None:
    copied = jax.tree.map(np.copy, RIVALS)
    assert copied.names == RIVALS.names
    chosen = np.array([3, 5])
    np.testing.assert_array_equal(copied.overlap("prior", chosen).intersection, [8, 6])
    with pytest.raises(KeyError, match="control"):
        RIVALS.overlap("control", chosen)


def test_rivals_have_set_ious_of_their_val_images() -> None:
    found = measure_rivals(RIVALS, key=KEY, bootstrap_samples=50)
    assert list(found) == [
        "single_same_rule_filter", "single_same_rule_sign",
        "single_same_rule_val_iou", "single_same_rule_val_iou_low", "single_same_rule_val_iou_high",
        "prior_val_iou", "prior_val_iou_low", "prior_val_iou_high",
        "control_val_iou", "control_val_iou_low", "control_val_iou_high",
        "untrained_val_iou", "untrained_val_iou_low", "untrained_val_iou_high",
    ]  # fmt: skip
    assert all(np.isnan(found[name]).all() for name in found if name[0] in "cu")
    np.testing.assert_array_equal(found["single_same_rule_filter"], [np.nan, 7])
    np.testing.assert_array_equal(found["single_same_rule_sign"], [np.nan, -1])
    np.testing.assert_allclose(found["single_same_rule_val_iou"], [14 / 80, 38 / 80])
    np.testing.assert_allclose(found["prior_val_iou"], [30 / 80, 6 / 80])
    for name in RIVALS.names:
        low, high = found[f"{name}_val_iou_low"], found[f"{name}_val_iou_high"]
        assert (low < found[f"{name}_val_iou"]).all() and (found[f"{name}_val_iou"] < high).all()


def test_rivals_images_of_one_cluster_are_redrawn_together() -> None:
    apart = measure_rivals(RIVALS, key=KEY)
    together = measure_rivals(RIVALS, key=KEY, cluster=np.arange(6) // 3)
    for column in ("prior_val_iou_low", "prior_val_iou_high"):
        assert (apart[column] != together[column]).all()


def test_measures_are_in_the_order_of_the_scores() -> None:
    # Heads in an order of their own: subsets first, the concepts backwards, two repetitions.
    heads = Heads.of(
        np.array([4, 1, 4, 1, 4, 1]),
        np.zeros((6, 8)),
        filters=np.array([3, 3, ALL_FILTERS, ALL_FILTERS, ALL_FILTERS, ALL_FILTERS], np.int32),
        seed=np.array([0, 0, 1, 1, 0, 0], np.int32),
    )
    head = np.repeat(np.arange(6), 6).astype(np.int32)
    union = np.where(np.arange(36) % 6 == 5, 300, 20).astype(np.int32)
    union[head < 2] = 20
    overlaps = ImageOverlaps(
        head, np.tile(np.arange(6), 6).astype(np.int32), np.tile(IS_VAL[:6], 6),
        (head + 1).astype(np.int32), union,
    )  # fmt: skip
    scores = score_segmentation(heads, overlaps, key=KEY, bootstrap_samples=20)
    assert scores.concept.tolist() == [1, 4, 1, 4]
    assert scores.filters.tolist() == [ALL_FILTERS, ALL_FILTERS, 3, 3]
    numbers = np.arange(4.0)
    interval = ScoreInterval(numbers, numbers - 0.5, numbers + 0.5)
    all_images = AllImageScores(scores.concept, scores.filters, *(5 * [interval]))
    found = measure_embeddings(
        heads, scores, overlaps, RIVALS, all_images,
        of_heads={"decision_threshold": np.array([10.0, 20, 30, 40, 50, 60])},
        everything=np.array([0, 0.1, 0, 0, 0.4]), key=KEY, bootstrap_samples=20,
    )  # fmt: skip
    of_rivals = list(measure_rivals(RIVALS, key=KEY, bootstrap_samples=20))
    assert list(found) == [
        *of_rivals, "everything_val_iou",
        *(
            f"{name}{end}"
            for name in ("val_iou_all_images", "val_average_precision", "val_precision",
                         "val_recall", "val_f1")
            for end in ("", "_low", "_high")
        ),
        "decision_threshold", "effective_images",
    ]  # fmt: skip
    assert all(len(column) == 4 for column in found.values())
    np.testing.assert_allclose(found["prior_val_iou"], np.array([30, 6, 30, 6]) / 80)
    np.testing.assert_array_equal(found["everything_val_iou"], [0.1, 0.4, 0.1, 0.4])
    np.testing.assert_array_equal(found["val_f1_low"], numbers - 0.5)
    # Means over repetitions: rows 3 and 5, 2 and 4, 1, 0.
    np.testing.assert_array_equal(found["decision_threshold"], [50, 40, 20, 10])
    large = 360**2 / (3 * 20**2 + 300**2)
    np.testing.assert_allclose(found["effective_images"], [large, large, 4, 4])
