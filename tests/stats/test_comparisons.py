"""Comparisons find what differs, and of equal probes hardly anything."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.stats.intervals import compare_accuracies, compare_set_ious
from net2vec_jax.stats.metrics import set_iou
from net2vec_jax.stats.overlap import Overlap

KEY = jax.random.key(0)


def rate_of_covering(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def draw_pair(seed: int, images: int) -> list[Overlap]:
    rng = np.random.default_rng(seed)
    unions = rng.integers(0, 12_545, (2, images))
    return [Overlap((union * rng.random(images)).astype(int), union) for union in unions]


@pytest.mark.parametrize("images", [40, 150])
def test_differences_of_set_iou(images: int) -> None:
    # Two probes on the same images share half of their luck.
    groups, rng = 1500, np.random.default_rng(images)

    def draw(means: tuple[float, float], shape: tuple[int, int]) -> list[Overlap]:
        z, luck = rng.normal(size=shape), rng.normal(size=shape)
        target = 800 * np.exp(0.8 * z)
        result = []
        for mean in means:
            x = np.log(mean / (1 - mean)) + 0.4 * z + 0.7 * luck + 0.7 * rng.normal(size=shape)
            ious = 1 / (1 + np.exp(-x))
            union = target * (1 + rng.exponential(0.7, shape) * (1 - ious))
            result.append(Overlap(np.rint(union * ious), np.rint(union).clip(1)))
        return result

    group = np.repeat(np.arange(groups), images)
    many = draw((0.3, 0.1), (100, 10_000))
    truth = np.subtract(*(x.intersection.sum() / x.union.sum() for x in many))
    for means, difference in (((0.3, 0.1), truth), ((0.2, 0.2), 0.0)):
        pair = [Overlap(*(v.reshape(-1) for v in x)) for x in draw(means, (groups, images))]
        result = compare_set_ious(*pair, group, groups, key=KEY, samples=300)
        assert 0.92 <= rate_of_covering(result.low, result.high, difference) <= 0.97
    # The last ones were equal. Standard error of the frequency: 0.6 %.
    assert 0.03 <= (result.p_value <= 0.05).mean() <= 0.07


@given(seed=st.integers(0, 10**6))
def test_swapping_the_probes_changes_signs_only(seed: int) -> None:
    a, b = draw_pair(seed, 60)
    group = np.repeat(np.arange(3), 20)
    key = jax.random.key(seed)
    one, other = (
        compare_set_ious(*pair, group, 3, key=key, samples=200) for pair in ((a, b), (b, a))
    )
    np.testing.assert_allclose(one.difference, -other.difference, atol=1e-12)
    np.testing.assert_allclose(one.low, -other.high, atol=1e-6)
    np.testing.assert_allclose(one.p_value, other.p_value, atol=0.006)  # ties, by one sample
    assert ((one.p_value > 0) & (one.p_value <= 1)).all()
    assert ((one.low <= one.difference) & (one.difference <= one.high)).all()
    np.testing.assert_allclose(
        one.difference, set_iou(a, group, 3) - set_iou(b, group, 3), atol=1e-12
    )


def test_a_clear_difference_is_found_and_none_where_there_is_none() -> None:
    union = np.full(60, 100)
    a = Overlap(np.tile([40, 50, 60], 20), union)
    b = Overlap(np.tile([30, 40, 50], 20), union)
    group = np.repeat([0, 2], 30)
    result = compare_set_ious(a, b, group, 3, key=KEY, samples=999)
    np.testing.assert_allclose(result.difference, [0.1, np.nan, 0.1])
    np.testing.assert_allclose(result.p_value, [0.001, np.nan, 0.001])
    same = compare_set_ious(a, a, group, 3, key=KEY, samples=99)
    np.testing.assert_array_equal(same.p_value, [1, np.nan, 1])
    np.testing.assert_array_equal(same.low, [0, np.nan, 0])


def test_two_images_prove_little() -> None:
    a, b = Overlap(np.array([9, 9]), np.array([9, 9])), Overlap(np.array([0, 0]), np.array([9, 9]))
    result = compare_set_ious(a, b, np.zeros(2, int), 1, key=KEY, samples=999)
    assert result.p_value.tolist() == [0.5]


@pytest.mark.parametrize("images", [10, 20, 100])
def test_of_rarely_found_and_often_confused_concepts_few_equal_ones_differ(images: int) -> None:
    # One probe finds a fifth of the objects, the other all, among many false pixels: both have the
    # set IoU 0.1. Without pseudo-images 17 and 10 % of them differ at 10 and 20 images.
    groups, rng = 800, np.random.default_rng(images)
    area = np.rint(500 * np.exp(0.8 * rng.normal(size=groups * images))) + 1
    seldom = np.where(
        rng.random(len(area)) < 0.2, np.rint(area * rng.uniform(0.2, 0.8, len(area))), 0
    )
    often = np.rint(area * rng.uniform(0.2, 0.8, len(area)))
    beside = np.rint(4 * area)
    group = np.repeat(np.arange(groups), images)
    result = compare_set_ious(
        Overlap(seldom, area), Overlap(often, area + beside), group, groups, key=KEY, samples=200
    )
    assert (result.p_value <= 0.05).mean() <= 0.075
    assert rate_of_covering(result.low, result.high, 0) >= 0.92


@pytest.mark.parametrize("images", [10, 40, 200])
@pytest.mark.parametrize("disagree", [0.3, 0.05])
def test_equal_classifiers_seldom_differ(images: int, disagree: float) -> None:
    groups = 1500
    uniform = np.random.default_rng(images).random(groups * images)
    a, b = uniform > disagree / 2, (uniform < disagree / 2) | (uniform > disagree)
    group = np.repeat(np.arange(groups), images)
    result = compare_accuracies(a, b, group, groups, key=KEY, samples=300)
    # Standard error 0.6 % at 5 %.
    assert (result.p_value <= 0.05).mean() <= 0.065
    assert rate_of_covering(result.low, result.high, 0) >= 0.93


def test_a_clear_difference_of_accuracy_is_found() -> None:
    right = np.ones((2, 60), bool)
    other = np.tile(np.arange(60) % 3 > 0, (3, 1))
    group, stratum = np.repeat([2, 0], 30), np.tile([0, 1], 30)
    settings = {"stratum": stratum, "key": KEY, "samples": 999}
    result = compare_accuracies(right, other, group, 3, **settings)
    np.testing.assert_allclose(result.difference, [1 / 3, np.nan, 1 / 3])
    assert (result.p_value[[0, 2]] < 0.01).all()
    assert (result.low[[0, 2]] > 0).all()
    back = compare_accuracies(other, right, group, 3, **settings)
    np.testing.assert_array_equal(back.p_value, result.p_value)
    np.testing.assert_allclose(back.difference, -result.difference)
    same = compare_accuracies(right, right, group, 3, **settings)
    np.testing.assert_array_equal(same.p_value, [1, np.nan, 1])
    assert ((same.low < 0) & (same.high > 0))[[0, 2]].all()


def test_all_right_against_all_wrong_is_within_its_interval() -> None:
    right = np.ones(20, bool)
    result = compare_accuracies(right, ~right, np.zeros(20, int), 1, key=KEY)
    assert result.low[0] <= result.difference[0] == result.high[0] == 1


def test_frames_of_one_film_are_compared_once() -> None:
    # Six films of 20 frames: a is right on all, b wrong on all frames of half of them.
    film = np.repeat(np.arange(6), 20)
    a, b = np.ones(120, bool), film % 2 == 0
    settings = {"key": KEY, "samples": 999}
    apart = compare_accuracies(a, b, np.zeros(120, int), 1, **settings)
    together = compare_accuracies(a, b, np.zeros(120, int), 1, cluster=film, **settings)
    assert apart.p_value[0] < 0.01 < 0.1 < together.p_value[0]
    union = np.full(120, 100)
    pair = Overlap(union * a * 3 // 4, union), Overlap(union * b * 3 // 4, union)
    apart = compare_set_ious(*pair, np.zeros(120, int), 1, **settings)
    together = compare_set_ious(*pair, np.zeros(120, int), 1, cluster=film, **settings)
    assert apart.p_value[0] < 0.01 < 0.03 < together.p_value[0]
    assert together.difference[0] == pytest.approx(apart.difference[0])
