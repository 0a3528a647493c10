"""The coverage simulation draws what it says and prints every table."""

import numpy as np
import pytest

from experiments.benchmark.coverage import (
    PAIRS,
    REGIMES,
    TABULATE,
    CoverageFlags,
    count_pixels,
    draw_luck,
    equalise,
    main,
    true_iou,
)


@pytest.mark.parametrize("name", REGIMES)
def test_counts_are_of_overlapping_masks(name: str) -> None:
    intersection, union = count_pixels(REGIMES[name], draw_luck(np.random.default_rng(0), (20, 50)))
    assert ((intersection >= 0) & (intersection <= union) & (union >= 1)).all()
    assert (union <= 112 * 112).all()


def test_frames_of_a_film_are_correlated() -> None:
    luck = draw_luck(np.random.default_rng(0), (500, 6), cluster_size=3, correlation=0.8)
    one, same, other = luck[0, :, 0], luck[0, :, 1], luck[0, :, 3]
    assert np.corrcoef(one, same)[0, 1] == pytest.approx(0.8, abs=0.08)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0, abs=0.15)
    assert luck.std() == pytest.approx(1, abs=0.05)


def test_probes_of_one_iou() -> None:
    rare, always = PAIRS["rare against always"]
    assert true_iou(equalise(rare, always)) == pytest.approx(true_iou(rare), rel=0.05)


def test_every_table_is_printed(capsys: pytest.CaptureFixture) -> None:
    tables = ("set-iou", "accuracy", "tests", "accuracy-tests")  # films are too many images
    main(CoverageFlags(tables=tables, sets=5, samples=20, images=(5,)))
    printed = capsys.readouterr().out
    assert set(tables) < set(TABULATE)
    for table in tables:
        assert f"\n{table}\n" in printed
    assert printed.count("| typical |") == 2
