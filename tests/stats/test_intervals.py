"""Intervals cover what they promise."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.intervals import (
    bootstrap_accuracy,
    bootstrap_ratios,
    bootstrap_set_iou,
    compare_set_ious,
    effective_images,
)
from net2vec_jax.stats.metrics import set_iou
from net2vec_jax.stats.overlap import Overlap
from net2vec_jax.stats.resampling import redraw_ratios

REFUSALS = (Net2VecError, TypeError)
"""TypeError where annotations are checked, which is earlier."""
KEY = jax.random.key(0)


def draw_overlap(seed: int, pairs: int, groups: int) -> tuple[Overlap, np.ndarray]:
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 12_545, pairs)
    overlap = Overlap((union * rng.random(pairs)).astype(int), union)
    return overlap, np.sort(rng.integers(0, groups, pairs))


def draw_concepts(
    rng: np.random.Generator,
    shape: tuple[int, int],
    mean: float,
    concentration: float,
    width: float,
) -> Overlap:
    """Log-normal unions of at most 113² pixels; per-image IoUs are beta and grow with the union."""
    z = rng.normal(size=shape)
    union = np.rint(np.minimum(800 * np.exp(width * z), 113**2)).clip(1)
    centre = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + 0.5 * z)))
    ious = rng.beta(concentration * centre, concentration * (1 - centre))
    return Overlap(np.rint(union * ious), union)


def rate_of_covering(low: np.ndarray, high: np.ndarray, truth: np.ndarray | float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("images", [40, 100, 400])
def test_intervals_of_set_iou_cover_the_truth(images: int) -> None:
    # Three kinds of concepts, 600 data sets each: large and easy; typical; rarely predicted.
    groups = 600
    covered = []
    for seed, kind in enumerate([(0.3, 4, 0.8), (0.1, 2, 1.0), (0.04, 0.7, 0.8)]):
        rng = np.random.default_rng(seed)
        many = draw_concepts(rng, (100, 10_000), *kind)
        truth = many.intersection.sum() / many.union.sum()
        overlap = draw_concepts(rng, (groups, images), *kind)
        flat = Overlap(*(values.reshape(-1) for values in overlap))
        group = np.repeat(np.arange(groups), images)
        samples = 400 if images < 400 else 200
        covered.append(
            rate_of_covering(
                *bootstrap_set_iou(flat, group, groups, key=KEY, samples=samples), truth
            )
        )
    # The standard error of the mean of 1,800 data sets is 0.5 %.
    assert 0.92 <= np.mean(covered) <= 0.98, covered
    assert all(0.90 <= rate <= 0.995 for rate in covered), covered


@pytest.mark.parametrize("images", [5, 20])
def test_intervals_cover_what_is_rarely_found_or_nearly_perfect(images: int) -> None:
    # A tenth of the images have IoU 1/2, the others 0; and the contrary.
    groups = 500
    rng = np.random.default_rng(images)
    union = np.rint(500 * np.exp(rng.normal(size=groups * images)))
    found = np.where(rng.random(len(union)) < 0.1, union // 2, 0)
    group = np.repeat(np.arange(groups), images)
    for intersection, truth in ((found, 0.05), (union - found, 0.95)):
        low, high = bootstrap_set_iou(
            Overlap(intersection, union), group, groups, key=KEY, samples=200
        )
        # Without pseudo-images 42 and 87 % of the intervals held the truth; many had no width.
        assert rate_of_covering(low, high, truth) >= 0.92
        assert (low < high).all()


@pytest.mark.parametrize("films", [10, 30])
def test_intervals_of_film_frames_cover_the_truth(films: int) -> None:
    # The 10 frames of a film share size, IoU and rightness; the truth is in 40 % of the others.
    groups, frames = 200, 10
    rng = np.random.default_rng(films)
    union = np.repeat(np.rint(500 * np.exp(rng.normal(size=groups * films))), frames)
    ratio = np.repeat(rng.beta(2, 3, groups * films), frames)
    correct = np.repeat(rng.random(groups * films) < 0.8, frames)
    group = np.repeat(np.arange(groups), films * frames)
    film = np.tile(np.repeat(np.arange(films), frames), groups)
    overlap = Overlap(np.rint(union * ratio), union)
    settings = {"key": KEY, "samples": 100}
    rates = [
        (
            rate_of_covering(*bootstrap_set_iou(overlap, group, groups, **how, **settings), 0.4),
            rate_of_covering(*bootstrap_accuracy(correct, group, groups, **how, **settings), 0.8),
        )
        for how in ({"cluster": film}, {})
    ]
    assert min(rates[0]) >= 0.90, rates
    assert max(rates[1]) <= 0.70, rates


@pytest.mark.parametrize("images", [30, 60, 200])
def test_intervals_of_accuracy_cover_the_truth(images: int) -> None:
    # 1,500 probes whose true accuracies differ, also between positives and negatives.
    groups = 1500
    rng = np.random.default_rng(images)
    true = np.stack([rng.uniform(0.5, 0.98, groups), rng.uniform(0.6, 0.95, groups)], 1)
    stratum = np.tile(np.arange(images) % 2, groups)
    group = np.repeat(np.arange(groups), images)
    correct = rng.random(len(group)) < true[group, stratum]
    interval = bootstrap_accuracy(correct, group, groups, stratum=stratum, key=KEY, samples=200)
    assert 0.92 <= rate_of_covering(*interval, true.mean(1)) <= 0.97


@pytest.mark.parametrize(
    ("accuracy", "images", "most"),
    [(0.5, 10, 0.97), (0.6, 40, 0.97), (0.8, 40, 0.97), (0.94, 40, 0.98), (0.99, 20, 0.995)],
)
def test_intervals_of_accuracy_cover_any_one_truth(
    accuracy: float, images: int, most: float
) -> None:
    groups = 1500
    group = np.repeat(np.arange(groups), images)
    stratum = np.tile(np.arange(images) % 2, groups)
    correct = np.random.default_rng(1).random(len(group)) < accuracy
    interval = bootstrap_accuracy(correct, group, groups, stratum=stratum, key=KEY, samples=200)
    assert 0.90 <= rate_of_covering(*interval, accuracy) <= most


@given(seed=st.integers(0, 10**6))
def test_intervals_are_ordered_and_within_bounds(seed: int) -> None:
    overlap, group = draw_overlap(seed, 60, 3)
    estimate = set_iou(overlap, group, 3)
    low, high = bootstrap_set_iou(overlap, group, 3, key=jax.random.key(seed), samples=200)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    assert ((low <= estimate) & (estimate <= high)).all()
    correct = np.random.default_rng(seed).random(60) < 0.8
    low, high = bootstrap_accuracy(correct, group, 3, key=KEY, samples=200)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    for right in (correct, correct | True, correct & False):
        low, high = bootstrap_accuracy(right, group, 3, key=KEY, samples=200)
        mean = np.bincount(group, right) / np.bincount(group)
        assert ((low <= mean) & (mean <= high) & (low < high)).all()


def test_equal_seeds_are_one_seed() -> None:
    overlap, group = draw_overlap(6, 70, 3)
    twice = Overlap(*(np.stack([x, x, x]) for x in overlap))
    one, three = (bootstrap_set_iou(x, group, 3, key=KEY, samples=200) for x in (overlap, twice))
    np.testing.assert_allclose(one, three, rtol=1e-4)
    correct = np.random.default_rng(0).random(70) < 0.7
    one, three = (
        bootstrap_accuracy(x, group, 3, key=KEY, samples=50)
        for x in (correct, np.stack([correct] * 3))
    )
    np.testing.assert_allclose(one, three, rtol=1e-5)


def test_several_seeds_are_averaged_on_the_same_images() -> None:
    seeds = [draw_overlap(seed, 200, 1)[0] for seed in range(4)]
    group = np.zeros(200, int)
    together = Overlap(*(np.stack(x) for x in zip(*seeds, strict=True)))
    low, high = bootstrap_set_iou(together, group, 1, key=KEY)
    mean = np.mean([set_iou(x, group, 1) for x in seeds])
    assert low < mean < high
    # Independent luck of four seeds: half the width of one.
    widths = [np.diff(bootstrap_set_iou(x, group, 1, key=KEY), axis=0) for x in seeds]
    assert (high - low)[0] == pytest.approx(np.mean(widths) / 2, rel=0.15)


def test_all_right_is_not_certain() -> None:
    low, high = bootstrap_accuracy(np.ones(40, bool), np.zeros(40, int), 1, key=KEY)
    # Jeffreys' interval of 40 of 40: Beta(40.5, 0.5) from 0.939; Monte Carlo error.
    assert low[0] == pytest.approx(0.939, abs=0.012)
    assert high[0] == 1


def test_strata_keep_their_shares() -> None:
    # One stratum always right, the other always wrong: the accuracy hardly varies.
    stratum = np.repeat([0, 1], 100)
    wide, narrow = (
        np.diff(bootstrap_accuracy(stratum == 0, np.zeros(200, int), 1, stratum=s, key=KEY), axis=0)
        for s in (None, stratum)
    )
    assert narrow < 0.2 * wide


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": 1.0},
        {"samples": 0},
        {"group": np.array([1, 0, 0])},
        {"group": np.array([0, 1, 2])},
        {"group": np.array([0, 1])},
        {"cluster": np.array([0, 1])},
        {"cluster": np.array([0, 1, -1])},
    ],
)
def test_bad_input_is_refused(change: dict) -> None:
    overlap = Overlap(np.ones(3, int), np.ones(3, int))
    arguments = {"group": np.array([0, 0, 1]), "groups": 2, "key": KEY, **change}
    with pytest.raises(REFUSALS):
        bootstrap_set_iou(overlap, **arguments)
    with pytest.raises(REFUSALS):
        compare_set_ious(overlap, overlap, **arguments)


@pytest.mark.wrong_shapes
def test_outcomes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(REFUSALS, match=r"do not fit|group"):
        bootstrap_accuracy(np.ones(3, bool), np.zeros(2, int), 1, key=KEY)
    with pytest.raises(REFUSALS, match=r"strata|stratum"):
        bootstrap_accuracy(np.ones(2, bool), np.zeros(2, int), 1, stratum=np.zeros(1), key=KEY)


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


def test_one_image_says_little_and_none_nothing() -> None:
    overlap = Overlap(np.array([1, 0, 40, 0]), np.array([4, 40, 40, 0]))
    group = np.array([0, 2, 3, 4])
    low, high = bootstrap_set_iou(overlap, group, 5, key=jax.random.key(0))
    assert np.isnan([low[1], high[1]]).all()
    there = [0, 2, 3, 4]
    estimate = np.array([0.25, 0, 1, 0])
    assert ((low[there] <= estimate) & (estimate <= high[there])).all()
    assert (high - low > 0.6)[there].all()
    assert (low[4], high[4]) == (0, 1)  # nothing was marked


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


@pytest.mark.parametrize("step", [1, 5, -1])
def test_one_cluster_per_image_is_no_cluster(step: int) -> None:
    overlap, group = draw_overlap(4, 90, 3)
    cluster = np.arange(90) * step
    cluster -= cluster.min()
    correct = np.random.default_rng(0).random(90) < 0.7
    settings = {"key": KEY, "samples": 100}
    tolerance = 0 if step > 0 else 0.06  # another order of the images draws other samples
    for bootstrap, scores in ((bootstrap_set_iou, overlap), (bootstrap_accuracy, correct)):
        none = bootstrap(scores, group, 3, **settings)
        each = bootstrap(scores, group, 3, cluster=cluster, **settings)
        np.testing.assert_allclose(none, each, atol=tolerance)


def test_repeated_frames_are_one_image() -> None:
    # Every image four times, as one cluster: four times the pixels, the same uncertainty.
    overlap, group = draw_overlap(7, 60, 2)
    film = np.repeat(np.arange(60), 4)
    frames = Overlap(*(np.repeat(values, 4) for values in overlap))
    settings = {"key": KEY, "samples": 100}
    one = bootstrap_set_iou(overlap, group, 2, **settings)
    four = bootstrap_set_iou(frames, np.repeat(group, 4), 2, cluster=film, **settings)
    np.testing.assert_allclose(one, four, rtol=1e-4)
    correct = np.random.default_rng(0).random(60) < 0.7
    one = bootstrap_accuracy(correct, group, 2, **settings)
    four = bootstrap_accuracy(
        np.repeat(correct, 4), np.repeat(group, 4), 2, cluster=film, **settings
    )
    np.testing.assert_allclose(one, four, rtol=1e-4)
    np.testing.assert_allclose(
        effective_images(overlap.union, group, 2),
        effective_images(frames.union, np.repeat(group, 4), 2, cluster=film),
    )


@given(seed=st.integers(0, 10**6), scale=st.integers(1, 50))
def test_effective_images_lie_between_one_and_all(seed: int, scale: int) -> None:
    overlap, group = draw_overlap(seed, 40, 3)
    union = np.asarray(overlap.union) + 1
    effective = effective_images(union, group, 3)
    there = np.bincount(group, minlength=3)
    assert ((effective >= np.minimum(there, 1) - 1e-9) & (effective <= there + 1e-9)).all()
    np.testing.assert_allclose(effective_images(union * scale, group, 3), effective)
    np.testing.assert_allclose(effective_images(union * 0 + scale, group, 3), there)


def test_ratios_of_many_heads_have_the_intervals_of_each() -> None:
    rng = np.random.default_rng(0)
    union = rng.integers(0, 900, (300, 4)) * (rng.random((300, 4)) < [1, 0.5, 0.1, 0])
    intersection = (union * rng.random((300, 4))).astype(int)
    low, high = bootstrap_ratios([intersection, union], [union, union + 100], key=KEY, samples=2000)
    assert low.shape == high.shape == (2, 4)
    for head in range(3):
        there = union[:, head] > 0  # images without pixels do not count
        overlap = Overlap(intersection[there, head], union[there, head])
        one = bootstrap_set_iou(overlap, np.zeros(there.sum(), int), 1, key=KEY, samples=2000)
        width = high[0, head] - low[0, head]
        np.testing.assert_allclose((low[0, head], high[0, head]), np.ravel(one), atol=0.1 * width)
    assert (low[0, 3], high[0, 3]) == (0, 1)
    estimate = union.sum(0) / (union + 100).sum(0)
    assert ((low[1] <= estimate) & (estimate <= high[1])).all()


def test_ratios_of_film_frames() -> None:
    rng = np.random.default_rng(0)
    union = rng.integers(1, 900, (50, 2))
    intersection = (union * rng.random((50, 2))).astype(int)
    film = np.repeat(np.arange(50), 3)
    one = bootstrap_ratios([intersection], [union], key=KEY, samples=100)
    frames = bootstrap_ratios(
        [np.repeat(intersection, 3, 0)], [np.repeat(union, 3, 0)],
        cluster=film, key=KEY, samples=100,
    )  # fmt: skip
    np.testing.assert_allclose(one, frames, rtol=1e-4)


def test_ratios_that_are_no_scores_are_refused() -> None:
    one = np.ones((3, 2), int)
    for numerator, denominator in (([one * 2], [one]), ([one], [one[:2]]), ([one, one], [one])):
        with pytest.raises(REFUSALS):
            bootstrap_ratios(numerator, denominator, key=KEY)


def test_redrawn_groups_do_not_depend_on_those_that_follow() -> None:
    """Entries and groups are filled up to few lengths: 600 and 70 are filled up to others."""
    overlap, group = draw_overlap(0, 600, 70)
    first = group < 50
    assert first.sum() <= 512
    numerator, denominator = (np.asarray(values)[None] for values in overlap)
    settings = {"key": KEY, "samples": 20, "pseudo_images": True}
    more = redraw_ratios(numerator, denominator, np.ones(1), group, 70, **settings)
    few = redraw_ratios(
        numerator[:, first], denominator[:, first], np.ones(1), group[first], 50, **settings
    )
    for found, expected in zip(few, more, strict=True):
        np.testing.assert_array_equal(found, expected[..., :50])
