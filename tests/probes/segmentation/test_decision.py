"""The level of a head is the one of largest set IoU."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.probes.segmentation.decision import choose_levels

POSITIONS = 8
"""Few enough that the levels which are tried separate all positions."""


def measure(scores: np.ndarray, marked: np.ndarray, mass: np.ndarray, level: float) -> float:
    above = scores > level
    shared = marked[above].sum()
    return shared / (marked.sum() + np.broadcast_to(mass, scores.shape)[above].sum() - shared)


@given(
    st.permutations(range(POSITIONS)),
    st.lists(st.floats(0, 1, width=32), min_size=POSITIONS, max_size=POSITIONS),
)
def test_no_other_level_overlaps_better(order: list[int], share: list[float]) -> None:
    mass = np.linspace(1, 2, POSITIONS).astype(np.float32)
    scores = np.array([order], np.float32)
    marked = np.array([share], np.float32) * mass + np.float32(1e-3)
    (level,) = choose_levels(scores, np.array([0]), 1, marked, mass)
    best = max(measure(scores, marked, mass, other) for other in range(-1, POSITIONS - 1))
    assert np.isclose(measure(scores, marked, mass, level), best, rtol=1e-6)


def test_a_head_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    head = np.repeat(np.arange(3), [1, 40, 5])  # more images than levels are taken from, and fewer
    scores = rng.normal(size=(len(head), POSITIONS)).astype(np.float32)
    marked, mass = (scores + rng.normal(size=scores.shape) > 0.5), np.ones(POSITIONS, np.float32)
    marked = marked.astype(np.float32)
    together = choose_levels(scores, head, 3, marked, mass)
    for number in range(3):
        own = head == number
        alone = choose_levels(scores[own], np.zeros(own.sum(), int), 1, marked[own], mass)
        assert alone[0] == together[number]


def test_a_concept_that_is_everywhere_is_marked_everywhere() -> None:
    scores, mass = np.array([[0.0, 0.0, 1.0]], np.float32), np.ones(3, np.float32)
    (level,) = choose_levels(scores, np.array([0]), 1, np.ones((1, 3), np.float32), mass)
    assert (scores > level).all()
