"""The level of a head is the one of largest set IoU in pixels."""

import numpy as np
import pytest
from helpers import make_linear_problem, make_masks, upsample_by_loop
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.activations.standardized import StandardizedActivations
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation import decision
from net2vec_jax.probes.segmentation.decision import choose_levels
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.image_blocks import Entries, train_entries
from net2vec_jax.stats.metrics import set_iou

GRID = (2, 4)
"""So few positions, each a pixel, that the levels which are tried separate them all."""
ONE = np.ones((1, 1), np.float32)


def choose(scores: np.ndarray, marked: np.ndarray) -> float:
    """The level of a head that sees `scores` [8] of one image."""
    activations = StandardizedActivations(scores.reshape(1, 8, 1).astype(np.float32), GRID)
    masks = make_masks([False], {(0, 0): marked.reshape(GRID)}, 1)
    entries = Entries(*np.zeros((3, 1), int))
    return float(choose_levels(ONE, entries, activations, masks)[0])


@given(st.permutations(range(8)), st.integers(1, 255))
def test_no_other_level_overlaps_better(order: list[int], bits: int) -> None:
    scores, marked = np.array(order), np.array([bits >> n & 1 for n in range(8)], bool)

    def measure(level: float) -> float:
        above = scores > level
        return (above & marked).sum() / (above | marked).sum()

    assert measure(choose(scores, marked)) == max(map(measure, range(-1, 7)))


def test_a_concept_that_is_everywhere_is_marked_everywhere() -> None:
    assert choose(np.full(8, 0.5), np.ones(8, bool)) < 0.5


def test_an_embedding_that_is_right_marks_nearly_all_pixels_rightly() -> None:
    # Though the concept is hardly larger than a position: no position is wholly of the concept.
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 12, 2)).astype(np.float32)
    pixels = upsample_by_loop(values.reshape(30, 4, 3, 2).transpose(0, 3, 1, 2), (13, 10)) > 0.8
    marked = {(concept, n): pixels[n, concept] for concept in range(2) for n in range(30)}
    masks = make_masks([False] * 30, marked, 2)
    activations, weights = StandardizedActivations(values, (4, 3)), np.eye(2, dtype=np.float32)
    heads = Heads.of(np.arange(2), weights)
    level = choose_levels(weights, train_entries(heads, masks), activations, masks)
    counts = evaluate_segmentation(weights, heads, activations, masks, level=level)
    assert set_iou(counts.overlap, counts.head, 2).min() > 0.9


def test_a_head_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    activations, masks = make_linear_problem(0)
    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    heads = Heads.of(np.array([0, 1, 0]), weights)
    entries = train_entries(heads, masks)
    together = choose_levels(weights, entries, activations, masks)
    monkeypatch.setattr(decision, "ENTRIES_PER_CALL", 7)
    np.testing.assert_array_equal(choose_levels(weights, entries, activations, masks), together)
    own = entries.select(entries.head == 1)
    alone = choose_levels(
        weights[1:2], own._replace(head=np.zeros(len(own.head), int)), activations, masks
    )
    assert alone[0] == together[1]


def test_few_pixels_of_many_images_are_found() -> None:
    """Levels go up to the highest thousandth of the positions."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(250, 8, 1)).astype(np.float32)
    masks = make_masks(
        [False] * 250, {(0, n): (values[n] > 2.6).reshape(GRID) for n in range(250)}, 1
    )
    activations = StandardizedActivations(values, GRID)
    entries = Entries(np.zeros(250, int), np.arange(250), np.arange(250))
    (level,) = choose_levels(ONE, entries, activations, masks)
    above = values > level
    assert ((values > 2.6) & above).sum() / ((values > 2.6) | above).sum() > 0.6


def test_heads_with_many_entries_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "MOST_ENTRIES", 4)
    head = np.repeat([0, 1, 2], [3, 4, 10])
    place = np.arange(len(head))
    kept = decision._thin_out(Entries(head, place, place), 3)
    assert np.bincount(kept.head).tolist() == [3, 4, 4]
    assert (np.diff(kept.pair[kept.head == 2]) >= 2).all()
