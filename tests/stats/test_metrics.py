"""Metrics are sums until the end."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.stats.metrics import iou, set_iou, sum_by_group
from net2vec_jax.stats.overlap import Overlap, count_overlap


def draw_overlap(seed: int, pairs: int, groups: int) -> tuple[Overlap, np.ndarray]:
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 12_545, pairs)
    overlap = Overlap((union * rng.random(pairs)).astype(int), union)
    return overlap, np.sort(rng.integers(0, groups, pairs))


def test_counts_of_known_masks() -> None:
    prediction = jnp.asarray([[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]], bool)
    target = jnp.asarray([[[0, 1, 1], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]], bool)
    rows_first = (masks.transpose(1, 0, 2) for masks in (prediction, target))
    overlap = count_overlap(*rows_first)
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
