"""False discoveries are as rare as asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.discoveries import control_false_discoveries


def reject_by_loop(p_values: np.ndarray, rate: float, dependent: bool) -> np.ndarray:
    """Benjamini and Hochberg as published: the largest k with p_(k) ≤ k · rate / m."""
    count = int(np.sum(~np.isnan(p_values)))
    harmonic = sum(1 / k for k in range(1, count + 1)) if dependent else 1.0
    limit = -1.0
    ordered = sorted(p for p in p_values.tolist() if p == p)
    for k, p in enumerate(ordered, start=1):
        if p * count * harmonic / k <= rate:
            limit = p
    return np.array([p == p and p <= limit for p in p_values.tolist()])


@given(
    p_values=arrays(float, st.integers(0, 30), elements=st.floats(0, 1) | st.just(np.nan)),
    rate=st.sampled_from([0.01, 0.05, 0.3]),
    dependent=st.booleans(),
)
def test_like_the_published_procedure(p_values: np.ndarray, rate: float, dependent: bool) -> None:
    result = control_false_discoveries(p_values, rate=rate, dependent=dependent)
    np.testing.assert_array_equal(result.rejected, reject_by_loop(p_values, rate, dependent))
    np.testing.assert_array_equal(np.isnan(result.q_value), np.isnan(p_values))
    tested = ~np.isnan(p_values)
    assert (result.q_value[tested] >= p_values[tested] * (1 - 1e-12)).all()
    assert (result.q_value[tested] <= 1).all()


def test_known_values() -> None:
    p_values = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    result = control_false_discoveries(p_values)
    np.testing.assert_allclose(result.q_value, [0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5])
    assert result.rejected.tolist() == [True, False, False, False, False]


@given(seed=st.integers(0, 10**6), dependent=st.booleans())
def test_families_are_as_if_tested_alone(seed: int, dependent: bool) -> None:
    rng = np.random.default_rng(seed)
    p_values, family = rng.beta(0.3, 1, 30), rng.choice(["scene", "object", "part"], 30)
    p_values[rng.random(30) < 0.1] = np.nan
    together = control_false_discoveries(p_values, family=family, dependent=dependent)
    for each in set(family.tolist()):
        alone = control_false_discoveries(p_values[family == each], dependent=dependent)
        np.testing.assert_array_equal(together.q_value[family == each], alone.q_value)
        np.testing.assert_array_equal(together.rejected[family == each], alone.rejected)


def test_sure_discoveries_do_not_pay_for_false_ones_of_another_family() -> None:
    # 94 true null hypotheses beside 24 sure discoveries, 500 times.
    rng = np.random.default_rng(0)
    family = np.repeat(["masks", "whole images"], [94, 24])
    pooled, apart = np.zeros((2, 500))
    for place in range(500):
        p_values = np.concatenate([rng.random(94), np.full(24, 0.0005)])
        pooled[place] = control_false_discoveries(p_values).rejected[:94].any()
        apart[place] = control_false_discoveries(p_values, family=family).rejected[:94].any()
    assert pooled.mean() > 0.5
    assert apart.mean() < 0.08  # 0.05, with a standard error of 0.01


def test_the_rate_is_kept() -> None:
    # 400 repetitions of 80 true and 20 false null hypotheses.
    rng = np.random.default_rng(0)
    false_rate, found = [], []
    for _ in range(400):
        p_values = np.concatenate([rng.random(80), rng.beta(0.05, 4, 20)])
        rejected = control_false_discoveries(p_values, rate=0.1).rejected
        false_rate.append(rejected[:80].sum() / max(rejected.sum(), 1))
        found.append(rejected[80:].mean())
    # m0/m · rate = 0.08, with a standard error of about 0.004.
    assert np.mean(false_rate) == pytest.approx(0.08, abs=0.015)
    assert np.mean(found) > 0.5


@pytest.mark.parametrize(("p_values", "rate"), [([1.5], 0.05), ([-0.1], 0.05), ([0.5], 0.0)])
def test_bad_input_is_refused(p_values: list[float], rate: float) -> None:
    with pytest.raises(Net2VecError, match="must lie"):
        control_false_discoveries(np.array(p_values), rate=rate)


def test_families_of_another_shape_are_refused() -> None:
    with pytest.raises(Net2VecError, match="do not fit"):
        control_false_discoveries(np.zeros(3), family=np.zeros(2))
