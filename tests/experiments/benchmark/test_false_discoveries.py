"""The simulation of false discoveries draws what it says, and counts as by hand."""

import dataclasses

import numpy as np
import pytest

from experiments.benchmark.false_discoveries import (
    REGIMES,
    SILENT,
    DiscoveryFlags,
    Regime,
    count_discoveries,
    draw_luck,
    draw_p_values,
    equalise,
    measure_population,
    pool_families,
)


def test_luck_is_correlated_as_asked() -> None:
    luck = draw_luck(np.random.default_rng(0), (400, 3, 5, 4), Regime(0.3, 0.5, frames=4))
    assert luck.std() == pytest.approx(1, abs=0.02)
    concepts = np.corrcoef(luck[:, 0].ravel(), luck[:, 1].ravel())[0, 1]
    frames = np.corrcoef(luck[..., 0].ravel(), luck[..., 1].ravel())[0, 1]
    assert concepts == pytest.approx(0.3, abs=0.04)
    assert frames == pytest.approx(0.5, abs=0.04)


def test_probes_of_a_null_case_have_the_same_population_iou() -> None:
    one, other = SILENT[0], equalise(*SILENT)
    assert measure_population(other) == pytest.approx(measure_population(one), abs=1e-3)
    assert other.silent != one.silent


@pytest.mark.parametrize("name", ["independent concepts", "films of 10 frames, resampled as films"])
def test_differences_are_found_and_nulls_are_not(name: str) -> None:
    flags = DiscoveryFlags(sets=20, concepts=4, images=20, difference=3.0, samples=200)
    is_null = np.array([True, True, False, False])
    p_values = draw_p_values(flags, REGIMES[name], is_null)
    rate, _, power = count_discoveries(p_values, is_null)
    assert power > 0.5
    assert rate < 0.1
    same = draw_p_values(dataclasses.replace(flags, seed=0), REGIMES[name], is_null)
    np.testing.assert_array_equal(p_values, same)


def test_counts() -> None:
    p_values = np.array([[0.001, 0.9, 0.001], [0.9, 0.9, 0.9]])
    rate, any_false, power = count_discoveries(p_values, np.array([True, True, False]))
    assert (rate, any_false, power) == (0.25, 0.5, 0.5)
    pooled, apart = (float(row[1]) for row in pool_families(DiscoveryFlags(sets=200)))
    assert pooled > 0.5 > 0.12 > apart
