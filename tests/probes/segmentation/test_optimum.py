"""Heads are at the minimum of their loss, and know how near they are to it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.optimize
from helpers import make_linear_problem, upsample_by_loop

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation import optimum
from net2vec_jax.probes.segmentation.image_blocks import Entries, train_entries
from net2vec_jax.probes.segmentation.optimum import (
    OptimumConfig,
    OptimumResult,
    measure_loss,
    train_to_optimum,
)

CONFIG = OptimumConfig(loss_share=0.9999)
FILTERS = 5
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]], bool)
HEADS = Heads.of(np.array([0, 1, 0, 1]), np.zeros((4, FILTERS)), filter_mask=MASK)
L2 = np.array([0.1, 0.1, 1, 30], np.float32)


class ByLoop:
    """The loss of the module's docstring in float64, image by image."""

    def __init__(self, seed: int, entries: Entries) -> None:
        activations, masks = make_linear_problem(seed)
        self.values, self.entries = activations.values.astype(float), entries
        upsampling = upsample_by_loop(np.eye(12).reshape(12, 4, 3), (13, 10)).reshape(12, -1)
        self.mass = upsampling.sum(1)
        pixels = masks.unpack(entries.pair).reshape(len(entries.pair), -1)
        self.target = pixels @ upsampling.T

    def loss(self, both: np.ndarray, head: int) -> float:
        """Cross-entropy per pixel, without the penalty."""
        rows = np.flatnonzero(self.entries.head == head)
        total = 0.0
        for row in rows:
            z = self.values[self.entries.image[row]] @ both[:-1] + both[-1]
            total += self.mass @ np.logaddexp(0, z) - self.target[row] @ z
        return total / len(rows) / 130

    def objective(self, both: np.ndarray, head: int, l2: float) -> float:
        images = np.count_nonzero(self.entries.head == head)
        return self.loss(both, head) + l2 / (2 * images) * (both**2).sum()

    def minimum(self, head: int, l2: float, mask: np.ndarray) -> float:
        free = np.append(mask, True)

        def of_free(some: np.ndarray) -> float:
            both = np.zeros(FILTERS + 1)
            both[free] = some
            return self.objective(both, head, l2)

        return scipy.optimize.minimize(of_free, np.zeros(free.sum()), tol=1e-10).fun


@cache
def make_entries(seed: int) -> tuple[Entries, ByLoop]:
    entries = train_entries(HEADS, make_linear_problem(seed)[1])
    return entries, ByLoop(seed, entries)


def train(seed: int, chosen: list[int], config: OptimumConfig = CONFIG) -> OptimumResult:
    activations, masks = make_linear_problem(seed)
    heads = HEADS.select(np.array(chosen))
    return train_to_optimum(
        heads, activations, masks, train_entries(heads, masks), L2[chosen], config
    )


@cache
def train_all(seed: int) -> OptimumResult:
    return train(seed, [0, 1, 2, 3])


def put_together(found: OptimumResult) -> np.ndarray:
    return np.concatenate([found.weights, found.bias[:, None]], axis=1).astype(float)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_minimum_is_scipys(seed: int) -> None:
    _, by_loop = make_entries(seed)
    found = train_all(seed)
    assert found.loss_share.min() >= 0.9999
    np.testing.assert_array_equal(found.l2, L2)
    for head, both in enumerate(put_together(found)):
        minimum = by_loop.minimum(head, L2[head], MASK[head])
        start = by_loop.objective(np.zeros(FILTERS + 1), head, 0)
        # What is left of the possible decrease, and the rounding of float32 sums.
        slack = 1e-4 * (start - minimum) + 1e-5 * start
        assert minimum - 1e-9 <= by_loop.objective(both, head, L2[head]) <= minimum + slack
        assert found.loss[head] == pytest.approx(by_loop.loss(both, head), rel=1e-5)


def test_filters_outside_a_mask_have_no_weight() -> None:
    weights = train_all(0).weights
    assert (weights[~MASK] == 0).all() and (weights[MASK] != 0).all()


def test_the_loss_share_is_a_lower_bound() -> None:
    _, by_loop = make_entries(0)
    found = train(0, [0, 1, 2, 3], OptimumConfig(loss_share=0.5))
    assert found.loss_share.min() >= 0.5
    assert found.loss_share.min() < 0.999
    for head, both in enumerate(put_together(found)):
        start = by_loop.objective(np.zeros(FILTERS + 1), head, 0)
        decrease = start - by_loop.objective(both, head, L2[head])
        possible = start - by_loop.minimum(head, L2[head], MASK[head])
        assert found.loss_share[head] <= decrease / possible + 1e-4


@pytest.mark.parametrize("chosen", [[3], [2, 0]])
def test_training_alone_equals_training_together(chosen: list[int]) -> None:
    together, alone = train_all(0), train(0, chosen)
    for mine, theirs in zip(put_together(alone), put_together(together)[chosen], strict=True):
        # Sums of the same float32 numbers; the steps that follow from them may part a little.
        np.testing.assert_allclose(mine, theirs, atol=2e-3 * np.abs(theirs).max())
    np.testing.assert_allclose(alone.loss, together.loss[chosen], rtol=1e-4)


def test_repeated_calls_compile_nothing() -> None:
    train_all(0)
    before = optimum._start._cache_size(), optimum._advance._cache_size()
    train(7, [0, 1, 2, 3])
    assert (optimum._start._cache_size(), optimum._advance._cache_size()) == before


def test_the_loss_on_other_images_is_theirs() -> None:
    activations, masks = make_linear_problem(0)
    val = np.flatnonzero(masks.pair_is_val)
    head = np.concatenate([np.flatnonzero(HEADS.concept == c) for c in masks.pair_concept[val]])
    pair = np.repeat(val, 2)
    order = np.argsort(head, kind="stable")
    entries = Entries(head[order], masks.pair_image[pair][order], pair[order])
    trained, by_loop = train_all(0), ByLoop(0, entries)
    found = measure_loss(trained.weights, trained.bias, HEADS, activations, masks, entries)
    for number, both in enumerate(put_together(trained)):
        assert found[number] == pytest.approx(by_loop.loss(both, number), rel=1e-5)
    assert found[0] > trained.loss[0] * 0.5


def test_what_does_not_fit_is_refused() -> None:
    activations, masks = make_linear_problem(0)
    entries = train_entries(HEADS, masks)
    with pytest.raises(Net2VecError, match="heads over 4 filters, but activations of 5"):
        narrow = Heads.of(np.array([0]), np.zeros((1, 4)))
        train_to_optimum(
            narrow, activations, masks, train_entries(narrow, masks), np.ones(1, np.float32)
        )
    with pytest.raises(Net2VecError, match="no head, or one without an image"):
        train_to_optimum(HEADS, activations, masks, entries.select(entries.head > 0), L2)
    for wrong in ({"l2": ()}, {"l2": (0.0,)}, {"loss_share": 1.0}, {"l2": (float("nan"),)}):
        with pytest.raises(Net2VecError, match="must be positive"):
            OptimumConfig(**wrong)


def test_a_concept_without_train_images_is_named() -> None:
    _, masks = make_linear_problem(0)
    all_val = Heads.of(np.array([1]), np.zeros((1, FILTERS)))
    masks.is_val[:] = True
    with pytest.raises(Net2VecError, match="'concept 2' has no train image"):
        train_entries(all_val, masks)


def test_a_head_that_has_not_moved_claims_no_share_of_the_decrease() -> None:
    activations, masks = make_linear_problem(0)
    heads = Heads.of(np.arange(1), np.zeros((1, activations.filters), np.float32))
    entries = train_entries(heads, masks)
    config = OptimumConfig(most_steps=0)
    result = train_to_optimum(heads, activations, masks, entries, np.ones(1, np.float32), config)
    assert not result.weights.any()
    assert result.loss_share[0] == 0
