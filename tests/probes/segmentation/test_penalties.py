"""Penalties are chosen by an inner split of a head's own train images."""

import dataclasses

import jax
import numpy as np
from helpers import make_linear_problem, make_random_problem
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.image_blocks import train_entries
from net2vec_jax.probes.segmentation.optimum import OptimumConfig
from net2vec_jax.probes.segmentation.penalties import (
    DEFAULT_PENALTY,
    FEWEST_IMAGES,
    choose_penalties,
    split_entries,
)

KEY = jax.random.key(4)
_, MASKS = make_random_problem(0, images=45, concepts=3)
HEADS = Heads.of(np.array([0, 1, 2, 1]), np.zeros((4, 11)))
ENTRIES = train_entries(HEADS, MASKS)


@given(st.integers(4, 40), st.integers(0, 99))
def test_a_quarter_judges_and_no_image_does_both(most: int, seed: int) -> None:
    split = split_entries(HEADS, MASKS, ENTRIES, most, key=jax.random.key(seed))
    assert set(split.tolist()) <= {-1, 0, 1}
    for head in range(4):
        own = split[ENTRIES.head == head]
        used = min(len(own), most)
        assert (own >= 0).sum() == used
        assert (own == 1).sum() == -(-used // 4)


@given(st.integers(2, 12), st.integers(0, 99))
def test_no_cluster_is_torn(clusters: int, seed: int) -> None:
    cluster = np.random.default_rng(seed).integers(0, clusters, 45)
    split = split_entries(HEADS, MASKS, ENTRIES, 20, key=KEY, cluster=cluster)
    for head in range(4):
        own = ENTRIES.head == head
        units = [set(cluster[ENTRIES.image[own & (split == part)]]) for part in (0, 1)]
        assert not units[0] & units[1]
        assert units[0] and units[1]
        assert (split[own] == 1).sum() >= min(own.sum(), 20) / 4


def test_a_heads_split_does_not_depend_on_the_others() -> None:
    cluster = np.arange(45) // 2
    for units in (None, cluster):
        together = split_entries(HEADS, MASKS, ENTRIES, 10, key=KEY, cluster=units)
        np.testing.assert_array_equal(together[ENTRIES.head == 1], together[ENTRIES.head == 3])
        masks = MASKS.select(ConceptCatalog(MASKS.catalog.concepts[2:]))
        heads = Heads.of(np.array([0]), np.zeros((1, 11)))
        alone = split_entries(heads, masks, train_entries(heads, masks), 10, key=KEY, cluster=units)
        np.testing.assert_array_equal(alone, together[ENTRIES.head == 2])


def test_few_images_or_one_cluster_are_not_split() -> None:
    few = ENTRIES.select((ENTRIES.head > 0) | (np.arange(len(ENTRIES.head)) < FEWEST_IMAGES - 1))
    split = split_entries(HEADS, MASKS, few, 40, key=KEY)
    assert (split[few.head == 0] == -1).all() and (split[few.head == 1] >= 0).all()
    one = np.zeros(45, int)
    assert (split_entries(HEADS, MASKS, ENTRIES, 40, key=KEY, cluster=one) == -1).all()


def test_noise_asks_for_a_larger_penalty() -> None:
    activations, masks = make_linear_problem(3, noise=(0.0, 30.0, 0.0), filters=30)
    tiny = (masks.pair_concept == 2) & (masks.pair_image >= FEWEST_IMAGES) & ~masks.pair_is_val
    kept = ~tiny
    masks = dataclasses.replace(
        masks,
        pair_concept=masks.pair_concept[kept],
        pair_image=masks.pair_image[kept],
        packed=masks.packed[kept],
        pixels=masks.pixels[kept],
        whole_image=masks.whole_image[kept],
    )
    heads = Heads.of(np.arange(3), np.zeros((3, 30)))
    entries, config = train_entries(heads, masks), OptimumConfig(l2=(0.01, 3.0))
    found = choose_penalties(heads, activations, masks, entries, config, key=KEY)
    np.testing.assert_array_equal(found, np.float32([0.01, 3, DEFAULT_PENALTY]))


def test_a_single_penalty_is_not_chosen_but_taken() -> None:
    activations, masks = make_linear_problem(3)
    heads = Heads.of(np.arange(2), np.zeros((2, 5)))
    found = choose_penalties(
        heads, activations, masks, train_entries(heads, masks), OptimumConfig(l2=(7.0,)), key=KEY
    )
    np.testing.assert_array_equal(found, 7)
