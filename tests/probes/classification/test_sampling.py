"""Balanced images: half with, half without the concept, without repetition, anew every epoch."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import make_masks
from hypothesis import given, settings
from hypothesis import strategies as st

from net2vec_jax.probes.classification.groups import (
    find_shortages,
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.sampling import count_positives, draw_words, make_sampler

MASK = np.ones((2, 2), bool)
DRAW = jax.jit(lambda sampler, *places: sampler.draw(*places))


def _make(is_val, shown):
    """Masks from the images that show each concept."""
    marked = {(c, i): MASK for c, images in enumerate(shown) for i in images}
    return make_masks(is_val, marked, len(shown))


def _draw_all(masks, concept, *, val, epoch=0, shuffled=True, seed=0):
    """All images of a concept's epoch: (images, whether they show it)."""
    positives, negatives = count_positives(masks)
    count = 2 * min(positives[int(val), concept], negatives[int(val), concept])
    sampler = make_sampler(masks, np.array([concept]), val=val, shuffled=shuffled)
    number = masks.catalog.concepts[concept].number
    words = draw_words(jax.random.key(0), [number], [seed], epoch)
    place = jnp.arange(count)
    image, shows = DRAW(
        sampler, jnp.zeros(count, int), jnp.broadcast_to(words, (count, words.shape[1])), place
    )
    return np.asarray(image), np.asarray(shows)


@st.composite
def problems(draw):
    images = draw(st.sampled_from([4, 9, 30]))  # few shapes to compile
    is_val = draw(st.lists(st.booleans(), min_size=images, max_size=images))
    shown = [
        draw(st.sets(st.integers(0, images - 1), min_size=1))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return _make(is_val, shown), shown


@settings(max_examples=12)  # nearly each compiles anew
@given(problem=problems(), val=st.booleans(), shuffled=st.booleans(), epoch=st.integers(0, 5))
def test_images_are_balanced_and_of_the_split(problem, val, shuffled, epoch):
    masks, shown = problem
    for concept, images in enumerate(shown):
        found, shows = _draw_all(masks, concept, val=val, epoch=epoch, shuffled=shuffled)
        assert len(np.unique(found)) == len(found)
        assert 2 * shows.sum() == len(shows)
        assert (masks.is_val[found] == val).all()
        np.testing.assert_array_equal(shows, [image in images for image in found])
        if not shuffled:
            np.testing.assert_array_equal(shows, np.arange(len(shows)) < len(shows) / 2)


def test_the_smaller_side_is_there_in_full():
    masks = _make([False] * 50, [range(5), range(46)])
    found, shows = _draw_all(masks, 0, val=False)
    assert set(found[shows]) == set(range(5))
    found, shows = _draw_all(masks, 1, val=False)
    assert set(found[~shows]) == {46, 47, 48, 49}


def test_epochs_and_seeds_differ_and_repeat():
    masks = _make([False] * 60, [range(0, 60, 4)])
    draws = {
        (epoch, seed): tuple(_draw_all(masks, 0, val=False, epoch=epoch, seed=seed)[0])
        for epoch in range(3)
        for seed in range(2)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 0] == tuple(_draw_all(masks, 0, val=False, epoch=1)[0])


def test_all_negatives_are_drawn_equally_often():
    masks = _make([False] * 40, [[3, 7, 11, 12, 30]])
    drawn = np.zeros(40, int)
    epochs = 600
    for epoch in range(epochs):
        found, shows = _draw_all(masks, 0, val=False, epoch=epoch)
        drawn[found[~shows]] += 1
    negatives = np.delete(drawn, [3, 7, 11, 12, 30])
    expected = epochs * 5 / 35
    chi_square = ((negatives - expected) ** 2 / expected).sum() / 34
    assert chi_square < 1.9  # the 99.9 % point is 1.9
    assert drawn[[3, 7, 11, 12, 30]].sum() == 0


def test_concepts_with_too_few_images_are_named():
    #                 train 0 … 5          val 6 … 9
    masks = _make([False] * 6 + [True] * 4, [[0, 1, 6, 7], [0, 6], range(10), [0, 1]])
    assert find_shortages(masks, 1) == {
        2: "0 train images without it, 0 val images without it; at least 1 are needed",
        3: "0 val images with it; at least 1 are needed",
    }
    assert find_shortages(masks, 2)[1] == (
        "1 train images with it, 1 val images with it; at least 2 are needed"
    )
    heads = make_classification_heads(masks, filters=3, key=jax.random.key(0), seeds=2, minimum=2)
    groups = group_heads(heads, masks)
    np.testing.assert_array_equal(groups.concept, [0, 0])
    np.testing.assert_array_equal(groups.seed, [0, 1])
    np.testing.assert_array_equal(groups.count, [4, 4])
