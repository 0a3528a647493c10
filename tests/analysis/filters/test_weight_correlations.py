"""Correlations of planted strength are found."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.filters.weight_correlations import (
    compare_spreads,
    correlate_probes,
    correlate_rows,
    correlate_weights_with_ious,
    measure_spread,
)
from net2vec_jax.core.errors import Net2VecError


def plant_correlation(r: float, values: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rows whose Pearson's r is exactly `r`."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.column_stack([np.ones(values), rng.standard_normal((values, 2))]))[0]
    return 3 + basis[:, 1], -1 + 7 * (r * basis[:, 1] + np.sqrt(1 - r * r) * basis[:, 2])


def test_planted_correlations_are_found() -> None:
    planted = [0.75, -0.4, 0.0, 1.0, -1.0]
    rows = [plant_correlation(r, 50, seed) for seed, r in enumerate(planted)]
    found = correlate_rows(*(np.stack(side) for side in zip(*rows, strict=True)))
    np.testing.assert_allclose(found.r, planted, atol=1e-7)
    t = 0.4 * np.sqrt(48 / (1 - 0.4**2))
    assert found.p_value[1] == pytest.approx(2 * scipy.stats.t.sf(t, 48))
    assert found.p_value[2] == pytest.approx(1)
    assert found.discovered.tolist() == [True, True, False, True, True]
    assert found.significant_fraction == pytest.approx(4 / 5)
    assert found.median == pytest.approx(0, abs=1e-7)
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert summary["discoveries_at_0.05"] == 4
    assert summary["positive_discoveries"] == 2
    assert summary["r"]["least"] == pytest.approx(-1)


@given(seed=st.integers(0, 10**6))
def test_scale_and_order_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, 4, 12))
    found = correlate_weights_with_ious(first, second)
    order = rng.permutation(12)
    scaled = correlate_rows(5 * first[:, order] + 2, -second[:, order])
    np.testing.assert_allclose(scaled.r, -found.r, atol=1e-12)
    np.testing.assert_allclose(scaled.p_value, found.p_value, rtol=1e-9)


def test_what_cannot_be_correlated_has_no_r() -> None:
    first = np.array([[1.0, 2, 3, 5], [1, 1, 1, 1], [1, 2, np.nan, 3], [0.1 + 0.2, 0.3, 0.3, 0.3]])
    second = np.tile([4.0, 1, 2, 2], (4, 1))
    found = correlate_rows(first, second)
    assert np.isfinite(found.r).tolist() == [True, False, False, False]
    assert not found.discovered[1:].any()
    assert found.summary()["known"] == 1
    few = correlate_rows(first[:, :2], second[:, :2])
    assert np.isnan(few.r).all()
    assert np.isnan(few.median)
    assert few.summary()["r"]["median"] is None


def test_probes_are_compared_from_both_sides() -> None:
    rng = np.random.default_rng(0)
    segmentation = rng.standard_normal((6, 9))
    classification = segmentation.copy()
    classification[2] *= -1
    by_concept, by_filter = correlate_probes(segmentation, classification)
    np.testing.assert_allclose(by_concept.r, [1, 1, -1, 1, 1, 1])
    expected = [
        np.corrcoef(segmentation[:, k], classification[:, k])[0, 1] for k in range(9)
    ]  # fmt: skip
    np.testing.assert_allclose(by_filter.r, expected)
    assert (by_concept.values, by_filter.values) == (9, 6)


def test_spread_of_the_weights() -> None:
    weights = np.array([[1.0, -1, 1, -1], [2, -2, 2, -2], [5, 5, 5, 5], [3, -3, 3, -3]])
    images = np.array([10, 20, 5, 40])
    spread = measure_spread(weights, ["part", "part", "color", "part"], images)
    np.testing.assert_allclose(spread.deviation, [1, 2, 0, 3])
    assert spread.means.categories == ("color", "part")
    np.testing.assert_allclose(spread.means.mean, [0, 2])
    assert spread.rank_correlation == pytest.approx(1)
    assert measure_spread(weights[:2], ["part"] * 2, images[:2]).summary()["with_train_images"] == {
        "rank_correlation": None, "p_value": None,
    }  # fmt: skip


def test_spreads_of_two_layers() -> None:
    difference, relative = compare_spreads(
        np.array([2.0, 3, 1]), np.array([1.0, 2, 0]), ["part", "color", "part"]
    )
    np.testing.assert_allclose(difference.mean, [1, 1])
    np.testing.assert_allclose(relative.mean, [0.5, 1])
    assert relative.count.tolist() == [1, 1]  # nothing is relative to 0


@pytest.mark.wrong_shapes
def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Net2VecError, match="cannot be correlated"):
        correlate_rows(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(Net2VecError, match="do not fit"):
        measure_spread(np.zeros((2, 3)), ["part"] * 2, np.zeros(3))
    with pytest.raises(Net2VecError, match="other concepts"):
        compare_spreads(np.zeros(2), np.zeros(3), ["part"] * 2)
