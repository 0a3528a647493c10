"""The streaming sketch errs by a thousandth of the rank at most, and is exact while all fits."""

import numpy as np
import pytest

from experiments.torch_reference.quantiles import (
    RESOLUTION,
    QuantileSketch,
    collect_thresholds_by_sketch,
)
from net2vec_jax.activations.thresholds import collect_thresholds


def test_few_values_are_exact() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 6, 5, 3)).astype(np.float32)
    sketch = collect_thresholds_by_sketch(np.array_split(maps, 7))
    exact = collect_thresholds([maps], maps[..., 0].size)
    # positions (i − ½)/n, as ours; float32 positions there, float64 here
    np.testing.assert_allclose(sketch, exact, rtol=1e-6)


@pytest.mark.parametrize("ordered", [False, True])
def test_many_values_are_within_a_thousandth_of_the_rank(ordered: bool) -> None:
    values = np.random.default_rng(1).random((12 * RESOLUTION + 77, 2), np.float32)
    if ordered:
        values[:, 1] = np.sort(values[:, 1])
    sketch = QuantileSketch(2)
    for part in np.array_split(values, 5):
        sketch.add(part)
    quantiles = sketch.read()
    assert quantiles.shape == (2, 1000)
    np.testing.assert_array_equal(quantiles[:, 0], values.min(axis=0))
    np.testing.assert_array_equal(quantiles[:, -1], values.max(axis=0))
    assert (np.diff(quantiles, axis=1) >= 0).all()
    for k in range(2):
        rank = np.searchsorted(np.sort(values[:, k]), quantiles[k]) / len(values)
        np.testing.assert_allclose(rank, np.linspace(0, 1, 1000), atol=1e-3)


def test_what_is_kept_stands_for_all() -> None:
    # Small levels, so that there are many: weights 2^level add up to about the number of values.
    sketch = QuantileSketch(1, resolution=256)
    sketch.add(np.random.default_rng(2).random((20_000, 1), np.float32))
    weight = sum(2**level * filled for level, filled in enumerate(sketch._filled))
    assert len(sketch._filled) > 4
    assert weight == pytest.approx(20_000, rel=0.02)
    # Fifty times fewer samples: errors of a percent.
    np.testing.assert_allclose(sketch.read()[0, 1:-1], np.linspace(0, 1, 1000)[1:-1], atol=0.03)
