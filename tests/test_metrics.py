"""Metrics are sums until the end; intervals cover what they promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.metrics import (
    bootstrap_set_iou,
    iou,
    set_iou,
    sum_by_group,
)
from net2vec_jax.probes.overlap import Overlap, count_overlap


def draw_overlap(seed: int, pairs: int, groups: int) -> tuple[Overlap, np.ndarray]:
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 12_545, pairs)
    overlap = Overlap((union * rng.random(pairs)).astype(int), union)
    return overlap, np.sort(rng.integers(0, groups, pairs))


def test_counts_of_known_masks() -> None:
    prediction = jnp.asarray([[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], bool)
    target = jnp.asarray([[[0, 1, 1], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]], bool)
    overlap = count_overlap(prediction, target)
    assert overlap.intersection.tolist() == [1, 0]
    assert overlap.union.tolist() == [4, 0]
    np.testing.assert_allclose(iou(overlap.intersection, overlap.union), [0.25, 0])


@given(seed=st.integers(0, 10**6))
def test_iou_lies_between_zero_and_one(seed: int) -> None:
    overlap, group = draw_overlap(seed, 50, 4)
    for values in (iou(*overlap), set_iou(overlap, group, 4)):
        assert values.dtype == np.float64
        assert ((values >= 0) & (values <= 1)).all()


def test_empty_union_gives_zero_and_a_perfect_mask_one() -> None:
    # Spec appendix D.7.
    np.testing.assert_array_equal(iou(np.array([0, 7]), np.array([0, 7])), [0, 1])
    none = Overlap(np.zeros(2, int), np.zeros(2, int))
    np.testing.assert_array_equal(set_iou(none, np.array([0, 0]), 2), [0, 0])


def test_set_iou_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    overlap = Overlap(np.array([1, 50, 3]), np.array([2, 200, 3]))
    result = set_iou(overlap, np.array([0, 0, 2]), 4)
    np.testing.assert_allclose(result, [51 / 202, 0, 1, 0])


@given(seed=st.integers(0, 10**6))
def test_set_iou_does_not_depend_on_the_order_of_images(seed: int) -> None:
    overlap, group = draw_overlap(seed, 40, 3)
    order = np.random.default_rng(seed).permutation(40)
    shuffled = Overlap(*(values[order] for values in overlap))
    np.testing.assert_array_equal(set_iou(shuffled, group[order], 3), set_iou(overlap, group, 3))


def test_parts_add_up_exactly() -> None:
    overlap, group = draw_overlap(0, 60, 3)
    parts = [
        sum_by_group(overlap.union[part], group[part], 3) for part in (slice(0, 17), slice(17, 60))
    ]
    np.testing.assert_array_equal(sum(parts), sum_by_group(overlap.union, group, 3))


def test_sums_beyond_32_bits() -> None:
    # 300,000 images of 112 × 112 pixels.
    total = sum_by_group(np.full(300_000, 12_544, np.int32), np.zeros(300_000, int), 1)
    assert total.tolist() == [300_000 * 12_544]


def test_interval_contains_the_estimate_and_is_narrow_for_many_images() -> None:
    overlap, group = draw_overlap(1, 3000, 3)
    low, high = bootstrap_set_iou(overlap, group, 3, key=jax.random.key(0))
    estimate = set_iou(overlap, group, 3)
    assert (low < estimate).all()
    assert (estimate < high).all()
    # A fraction's standard deviation is about 0.3, over 1,000 images: 4 · 0.3 / √1000.
    assert (high - low < 0.05).all()


def test_interval_is_reproducible_by_key() -> None:
    overlap, group = draw_overlap(2, 100, 2)
    one, same, other = (
        bootstrap_set_iou(overlap, group, 2, key=jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (np.array(one) != np.array(other)).any()


def test_a_group_of_one_image_has_no_width_and_an_empty_one_no_interval() -> None:
    overlap = Overlap(np.array([1, 30]), np.array([4, 40]))
    group = np.array([0, 2])
    low, high = bootstrap_set_iou(overlap, group, 3, key=jax.random.key(0), samples=20)
    np.testing.assert_allclose(low, [0.25, np.nan, 0.75])
    np.testing.assert_allclose(high, [0.25, np.nan, 0.75])


def test_no_images_at_all() -> None:
    empty = Overlap(np.zeros(0, int), np.zeros(0, int))
    low, high = bootstrap_set_iou(empty, np.zeros(0, int), 2, key=jax.random.key(0))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_wider_confidence_wider_interval() -> None:
    overlap, group = draw_overlap(3, 60, 1)
    widths = []
    for confidence in (0.5, 0.9, 0.99):
        low, high = bootstrap_set_iou(
            overlap, group, 1, key=jax.random.key(0), confidence=confidence
        )
        widths.append((high - low)[0])
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_cover_the_truth_as_often_as_they_say(confidence: float) -> None:
    # 600 data sets of 80 images with E[intersection] / E[union] = 0.3, each a group of its own.
    groups, images, truth = 600, 80, 0.3
    rng = np.random.default_rng(0)
    union = rng.integers(500, 1500, groups * images)
    intersection = np.rint(union * rng.beta(3, 7, groups * images)).astype(int)
    group = np.repeat(np.arange(groups), images)
    low, high = bootstrap_set_iou(
        Overlap(intersection, union), group, groups,
        key=jax.random.key(0), samples=300, confidence=confidence,
    )  # fmt: skip
    covered = ((low <= truth) & (truth <= high)).mean()
    # Three standard errors of a frequency in 600 trials (0.049 at 0.8, 0.027 at 0.95), and the
    # percentile interval's own deficit at 80 images, about a hundredth.
    error = 3 * np.sqrt(confidence * (1 - confidence) / groups)
    assert covered == pytest.approx(confidence, abs=error + 0.01)
