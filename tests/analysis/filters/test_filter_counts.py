"""Filters that suffice, on curves with known answers."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.filters.filter_counts import (
    bootstrap_concepts,
    count_filters,
    fit_logarithm,
    fraction_of_concepts,
    smallest_sufficient,
)
from net2vec_jax.core.errors import Net2VecError

SIZES = np.array([1, 2, 5, 10])
SCORES = np.array(
    [
        [0.10, 0.20, 0.45, 0.50],  # reaches 0.9 of 0.5 with 5, 0.8 with 5
        [0.40, 0.20, 0.20, 0.20],  # one filter is enough, though more are worse
        [0.10, 0.10, 0.10, 0.10],  # never
        [np.nan, np.nan, 0.30, 0.10],
        [0.90, 0.90, 0.90, 0.90],  # nothing known of the full score
        [0.00, 0.00, 0.00, 0.00],  # not learnt
    ]
)
FULL = np.array([0.5, 0.4, 0.9, 0.3, np.nan, 0.0])
CATEGORIES = ["object", "object", "part", "part", "color", "part"]


def test_known_counts() -> None:
    counts = smallest_sufficient(SCORES, SIZES, FULL, filters=64, fraction=0.9)
    assert counts.tolist() == [5, 1, 64, 5, 64, 1]
    halves = smallest_sufficient(SCORES, SIZES, FULL, filters=64, fraction=0.4)
    assert halves.tolist() == [2, 1, 64, 5, 64, 1]


def test_chance_is_taken_off() -> None:
    scores, full = np.array([[0.6, 0.8, 0.85]]), np.array([0.9])
    sizes = np.array([1, 3, 7])
    for fraction, expected in ((0.25, 1), (0.75, 3), (0.8, 7), (0.9, 30)):
        counts = smallest_sufficient(
            scores, sizes, full, filters=30, fraction=fraction - 1e-9, chance=0.5
        )
        assert counts.tolist() == [expected]


def test_strictly_more_is_more_than_equal() -> None:
    scores, full = np.array([[0.5, 0.75]]), np.array([1.0])
    counts = [
        smallest_sufficient(scores, np.array([1, 2]), full, filters=9, fraction=0.5, strict=strict)
        for strict in (False, True)
    ]
    assert np.ravel(counts).tolist() == [1, 2]


@given(seed=st.integers(0, 10**6))
def test_like_a_loop_and_monotone_in_the_fraction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, full = rng.random((8, 5)), rng.random(8)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    sizes = rng.permutation([1, 3, 4, 9, 20])
    previous = np.zeros(8)
    for fraction in (0.3, 0.6, 0.9):
        counts = smallest_sufficient(scores, sizes, full, filters=50, fraction=fraction)
        expected = [
            min([s for s, x in zip(sizes, row, strict=True) if x >= fraction * end], default=50)
            for row, end in zip(scores, full, strict=True)
        ]
        np.testing.assert_array_equal(counts, expected)
        assert (counts >= previous).all()
        previous = counts


def test_cumulative_fractions() -> None:
    curves = fraction_of_concepts(np.array([1, 5, 64, 2]), SIZES, 64, ["part", "color"] * 2)
    assert curves.sizes.tolist() == [1, 2, 5, 10, 64]
    np.testing.assert_allclose(curves.overall, [0.25, 0.5, 0.75, 0.75, 1])
    assert curves.categories == ("color", "part")
    np.testing.assert_allclose(curves.by_category, [[0, 0.5, 1, 1, 1], [0.5, 0.5, 0.5, 0.5, 1]])
    assert curves.concepts.tolist() == [2, 2]


@given(seed=st.integers(0, 10**6))
def test_the_fit_is_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((4, 4))
    scores[1, 2] = np.nan
    fit = fit_logarithm(scores, SIZES)
    for concept, row in enumerate(scores):
        finite = np.isfinite(row)
        slope, intercept = np.polyfit(np.log(SIZES[finite]), row[finite], 1)
        np.testing.assert_allclose(fit.slope[concept], slope, atol=1e-10)
        np.testing.assert_allclose(fit.intercept[concept], intercept, atol=1e-10)
        correlation = np.corrcoef(np.log(SIZES[finite]), row[finite])[0, 1]
        np.testing.assert_allclose(fit.explained[concept], correlation**2, atol=1e-10)


def test_fits_without_enough_scores_have_no_slope() -> None:
    scores = np.array([[np.nan] * 4, [np.nan, 0.5, np.nan, np.nan], [0.3] * 4])
    fit = fit_logarithm(scores, SIZES)
    assert np.isnan(fit.slope[:2]).all()
    assert np.isnan(fit.intercept[:2]).all()
    np.testing.assert_allclose([fit.slope[2], fit.intercept[2]], [0, 0.3], atol=1e-12)
    assert np.isnan(fit.explained).all()


def test_a_whole_layer() -> None:
    result = count_filters(SCORES, SIZES, FULL, CATEGORIES, filters=64)
    assert result.sizes.tolist() == [1, 2, 5, 10, 64]
    np.testing.assert_allclose(result.mean[0], np.nanmean(SCORES[:, 0]))
    np.testing.assert_allclose(result.mean[-1], np.nanmean(FULL))
    assert result.concepts.tolist() == [5, 5, 6, 6, 5]
    assert result.has_learnt.tolist() == [True, True, True, True, False, False]
    curves = result.cumulative[0.9]
    np.testing.assert_allclose(curves.overall, [0.25, 0.25, 0.75, 0.75, 1])
    assert curves.categories == ("object", "part")
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["concepts_not_above_chance"] == 2
    assert summary["sufficient"]["0.9"]["median_filters"] == 5
    assert summary["sufficient"]["0.9"]["concepts_by_filters"] == {
        "1": 1, "2": 0, "5": 2, "10": 0, "64": 1,
    }  # fmt: skip
    np.testing.assert_allclose(result.scores, np.column_stack([SCORES, FULL]))
    assert summary["sufficient"]["0.9"]["by_category"]["object"] == [0.5, 0.5, 1, 1, 1]


def test_the_full_size_may_be_among_the_sizes() -> None:
    result = count_filters(
        np.array([[0.2, 0.7]]), np.array([1, 8]), np.array([0.8]), ["part"], filters=8
    )
    assert result.sizes.tolist() == [1, 8]
    np.testing.assert_allclose(result.mean, [0.2, 0.8])


def test_nothing_learnt_and_no_concepts() -> None:
    for concepts in (0, 2):
        result = count_filters(
            np.zeros((concepts, 4)), SIZES, np.zeros(concepts), ["part"] * concepts, filters=16
        )
        assert np.isnan(result.cumulative[0.8].overall).all()
        assert result.summary()["sufficient"]["0.8"]["median_filters"] is None


@pytest.mark.parametrize(
    ("scores", "sizes", "filters", "fraction"),
    [
        (np.zeros((2, 3)), [1, 2], 4, 0.9),
        (np.zeros((2, 2)), [0, 2], 4, 0.9),
        (np.zeros((2, 2)), [1, 5], 4, 0.9),
        (np.zeros((2, 2)), [1, 2], 4, 0.0),
    ],
)
@pytest.mark.wrong_shapes
def test_bad_input_is_refused(scores, sizes, filters: int, fraction: float) -> None:
    with pytest.raises(Net2VecError):
        smallest_sufficient(
            scores, np.array(sizes), np.zeros(2), filters=filters, fraction=fraction
        )


def test_an_interval_over_concepts_holds_their_mean_and_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = []
    for trial in range(100):
        scores = rng.beta(2, 5, (40, 3))
        low, high = bootstrap_concepts(scores, key=jax.random.key(trial), samples=200)
        assert (low <= scores.mean(axis=0)).all() and (scores.mean(axis=0) <= high).all()
        held.append((low <= 2 / 7) & (high >= 2 / 7))
    assert 0.88 < np.mean(held) < 0.99


def test_missing_scores_have_no_part_in_an_interval() -> None:
    scores = np.array([[0.2, np.nan, np.nan], [0.4, 0.5, np.nan]])
    low, high = bootstrap_concepts(scores, key=jax.random.key(0))
    assert low.tolist()[1] == high.tolist()[1] == 0.5
    assert np.isnan([low[2], high[2]]).all()
    assert np.isnan(bootstrap_concepts(scores[:0], key=jax.random.key(0))).all()
