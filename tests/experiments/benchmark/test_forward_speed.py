"""Forward passes of torch's networks and ours are timed in turn, and agree."""

import numpy as np
import pytest

pytest.importorskip("torch")

from experiments.benchmark.forward_speed import measure


def test_both_sides_are_timed_and_agree() -> None:
    measured = measure("caffenet", batch_size=2, rounds=3)
    assert len(measured.ours) == len(measured.torch) == 3
    assert min(measured.ours + measured.torch) > 0
    assert measured.difference < 1e-4
    assert measured.ratio() == pytest.approx(np.median(measured.ours) / np.median(measured.torch))
