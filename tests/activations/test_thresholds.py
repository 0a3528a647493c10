"""Thresholds are exact quantiles, whatever the batches (reference spec 3.2, 3.3)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.activations.binary import collect_binary_activations
from net2vec_jax.activations.thresholds import (
    QuantileMethod,
    TopValues,
    collect_thresholds,
    threshold_position,
)
from net2vec_jax.core.errors import Net2VecError

METHODS = ("hazen", "linear")
# float64 interpolation between two float32 values, rounded to float32 once.
ROUNDING = {"rtol": 2e-7, "atol": 1e-12}


def split(values: np.ndarray, seed: int) -> list[np.ndarray]:
    """Consecutive batches of random sizes, some of a single row."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(1, len(values), rng.integers(0, 6))) if len(values) > 1 else []
    return [batch for batch in np.split(values, np.unique(cuts).astype(int)) if len(batch)]


@pytest.mark.parametrize(
    ("quantile", "column"),
    [(0.005, 5), (0.01, 10), (0.0005, 1), (0.0004, 0), (0.5, 500), (0.9999, 999)],
)
def test_position_is_the_reference_tables_column(quantile: float, column: int) -> None:
    assert threshold_position(quantile) == pytest.approx(1 - column / 999, abs=1e-15)


@pytest.mark.parametrize("quantile", [0.0, 1.001, -0.1, 5.0, float("nan")])
def test_quantile_out_of_range(quantile: float) -> None:
    with pytest.raises(Net2VecError, match="between 0 and 1"):
        threshold_position(quantile)


def test_a_quantile_of_1_is_no_threshold() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 4, 3, 2)).astype(np.float32)
    thresholds = collect_thresholds([maps[:2], maps[2:]], 60, quantile=1)
    assert thresholds.tolist() == [0, 0]
    active = collect_binary_activations([maps], thresholds).unpack()
    np.testing.assert_array_equal(active, maps > 0)


@pytest.mark.parametrize("method", METHODS)
@given(
    count=st.integers(1, 3000),
    quantile=st.sampled_from([0.005, 0.01, 0.1, 0.5, 0.97]),
    values=st.sampled_from(["normal", "few values", "one value"]),
    seed=st.integers(0, 10**6),
)
def test_thresholds_equal_numpys_quantile(
    method: QuantileMethod, count: int, quantile: float, values: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(count, 3)).astype(np.float32)
    if values == "few values":
        data = np.round(data)
    elif values == "one value":
        data[:] = data[:1]
    position = threshold_position(quantile)
    expected = np.quantile(data.astype(np.float64), position, axis=0, method=method)
    thresholds = collect_thresholds(split(data, seed), count, quantile=quantile, method=method)
    assert thresholds.dtype == np.float32
    np.testing.assert_allclose(thresholds, expected, **ROUNDING)


@given(seed=st.integers(0, 10**6))
def test_thresholds_do_not_depend_on_the_batches(seed: int) -> None:
    data = np.random.default_rng(seed).normal(size=(500, 4)).astype(np.float32)
    whole = collect_thresholds([data], 500)
    np.testing.assert_array_equal(collect_thresholds(split(data, seed), 500), whole)


def test_spatial_positions_are_values_like_any_other() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)
    flat = collect_thresholds([maps.reshape(-1, 3)], 120)
    np.testing.assert_array_equal(collect_thresholds([maps[:1], maps[1:]], 120), flat)


def test_uniform_data_sit_at_rank_0_994995() -> None:
    # Spec appendix D.6: column 5 of the descending table of 1,000 quantiles.
    data = np.linspace(0, 1, 99_901)[:, None].astype(np.float32)
    np.random.default_rng(0).shuffle(data)
    linear = collect_thresholds([data], len(data), quantile=0.005, method="linear")
    assert linear[0] == pytest.approx(994 / 999, abs=1e-7)  # 994/999 of a ramp, in float32
    hazen = collect_thresholds([data], len(data), quantile=0.005, method="hazen")
    assert hazen[0] == pytest.approx(994 / 999, abs=0.5 / 99_900 + 1e-7)  # half a rank at most
    assert (data > hazen).mean() == pytest.approx(0.005005, abs=1e-5)


def test_methods_differ_by_at_most_half_a_rank() -> None:
    data = np.arange(1000, dtype=np.float32)[:, None]
    for quantile in (0.005, 0.1, 0.5, 0.9):
        hazen, linear = (
            collect_thresholds([data], 1000, quantile=quantile, method=m)[0] for m in METHODS
        )
        assert 0 <= abs(hazen - linear) <= 0.5


def test_constant_and_saturated_filters_are_never_active() -> None:
    # A ReLU6 layer: dead filters, filters at 6 more often than the quantile, and a normal one.
    rng = np.random.default_rng(0)
    maps = np.zeros((4, 20, 20, 3), np.float32)
    maps[..., 1] = np.minimum(rng.gamma(2.0, 3.0, maps.shape[:3]), 6)
    maps[..., 2] = rng.random(maps.shape[:3])
    thresholds = collect_thresholds([maps], 1600)
    active = collect_binary_activations([maps], thresholds).unpack()
    assert thresholds[:2].tolist() == [0, 6]
    assert active.reshape(-1, 3).sum(axis=0).tolist() == [0, 0, 8]  # 0.5 % of 1,600


@pytest.mark.parametrize("count", [99, 101])
def test_another_number_of_values_than_announced(count: int) -> None:
    with pytest.raises(Net2VecError, match=f"100 of {count} values"):
        collect_thresholds([np.zeros((100, 2), np.float32)], count)


def test_no_batch_at_all() -> None:
    with pytest.raises(Net2VecError, match="0 of 10 values"):
        collect_thresholds([], 10)


def test_unknown_method() -> None:
    with pytest.raises(Net2VecError, match="'median'"):
        TopValues(10, 0.5, "median")


def test_memory_is_bounded_by_the_quantile() -> None:
    top = TopValues(100_000, threshold_position(0.005))
    for _ in range(20):
        top.add(np.random.default_rng(0).random((5_000, 2)).astype(np.float32))
    assert top.dump()["values"].shape == (2, 502)
    assert top._values.shape[1] <= 2 * 502


@given(
    count=st.integers(2, 3000),
    quantile=st.sampled_from([0.005, 0.1, 0.5]),
    steps=st.sampled_from([None, 2, 20]),
    hosts=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_places_are_those_above_the_threshold(
    count: int, quantile: float, steps: int | None, hosts: int, seed: int
) -> None:
    data = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    if steps:
        data = np.round(data * steps)  # ties
    data = np.sort(data, axis=0) if seed % 3 == 0 else data  # every value raises the bound
    joined = TopValues(count, threshold_position(quantile))
    for share in np.array_split(np.arange(count), hosts):
        top = TopValues(count, threshold_position(quantile))
        for batch in split(share, seed) if len(share) else []:
            resumed = TopValues(count, threshold_position(quantile))
            resumed.merge(top.dump())
            resumed.add(data[batch], int(batch[0]))
            top = resumed
        joined.merge(top.dump())
    thresholds = joined.read()
    np.testing.assert_array_equal(thresholds, collect_thresholds([data], count, quantile=quantile))
    for values, threshold, places in zip(
        data.T, thresholds, joined.take_places(thresholds), strict=True
    ):
        np.testing.assert_array_equal(places, np.flatnonzero(values > threshold))
