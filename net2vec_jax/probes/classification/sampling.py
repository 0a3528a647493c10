"""Balanced images of a concept: as many that show it as not, drawn anew for every epoch.

A sampler says which image is at a place of a concept's epoch, and whether it shows the concept. It
is asked inside the compiled step, for any places at once: nothing is laid out in advance, and what
one concept gets does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt32

from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.classification.permutation import permute

WORDS = 6
"""Random words that one draw of a concept's images takes."""


@runtime_checkable
class Sampler(Protocol):
    """Which image is where; a pytree."""

    def draw(
        self,
        group: Int[Array, "*shape"],
        words: UInt32[Array, "*shape 6"],
        place: Int[Array, "*shape"],
    ) -> tuple[Int[Array, "*shape"], Bool[Array, "*shape"]]:
        """The image at a place of a group's epoch, and whether it shows the group's concept.

        Args:
          group: number of the group.
          words: random words of the group's epoch.
          place: 0 … the group's count - 1; elsewhere the result is a valid image without meaning.
        """
        ...


class BalancedSampler(NamedTuple):
    """Draws the images of one split: every positive with as many negatives, or the other way round.

    Of the larger side a random subset is taken, without repetition (reference behaviour 6.3).
    """

    images: Int[Array, " M"]  # the split's images
    positive: Int[Array, " P"]  # places in `images` that show the concept, concept by concept
    negatives_before: Int[Array, " P"]  # how many of the concept's negatives come before it
    start: Int[Array, " C+1"]  # where each concept's positives begin in `positive`
    concept: Int[Array, " G"]  # of each group
    shuffled: bool | Bool[Array, ""]  # in random order; else the positives come first

    def draw(self, group: Array, words: Array, place: Array) -> tuple[Array, Array]:
        """See `Sampler`."""
        concept = self.concept[group]
        first = self.start[concept]
        positives = self.start[concept + 1] - first
        negatives = len(self.images) - positives
        each = jnp.maximum(jnp.minimum(positives, negatives), 1)
        place = jnp.clip(place, 0, 2 * each - 1)
        mixed = permute(place, 2 * each, words[..., :2])
        place = jnp.where(self.shuffled, mixed, place)
        shows = place < each
        side = jnp.where(shows, positives, negatives)
        key = jnp.where(shows[..., None], words[..., 2:4], words[..., 4:6])
        rank = permute(jnp.where(shows, place, place - each), jnp.maximum(side, 1), key)
        shown = self.positive[jnp.minimum(first + rank, len(self.positive) - 1)]
        other = rank + self._count_before(rank, first, positives)
        found = jnp.where(shows, shown, jnp.minimum(other, len(self.images) - 1))
        return self.images[found], shows

    def _count_before(self, rank: Array, first: Array, positives: Array) -> Array:
        """How many positives come before the concept's negative number `rank`: binary search."""

        def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds
            middle = (low + high) // 2
            entry = self.negatives_before[jnp.clip(first + middle, 0, len(self.positive) - 1)]
            below = (entry <= rank) & (low < high)
            return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

        steps = math.ceil(math.log2(len(self.images) + 1))
        return jax.lax.fori_loop(0, steps, halve, (jnp.zeros_like(rank), positives))[0]


def count_positives(masks: ConceptMasks) -> tuple[np.ndarray, np.ndarray]:
    """Images with and without each concept, of either split.

    Returns:
      (with int64 [2, C], without int64 [2, C]); the first axis is train, val.
    """
    positives = np.stack(masks.count_images())
    images = np.array([np.sum(~masks.is_val), np.sum(masks.is_val)])
    return positives, images[:, None] - positives


def make_sampler(
    masks: ConceptMasks, concept: Int[np.ndarray, " G"], *, val: bool, shuffled: bool
) -> BalancedSampler:
    """The sampler of one split.

    Args:
      masks: which images show which concepts.
      concept: of each group, its position in the catalog.
      val: of the val split; else of the train split.
      shuffled: in random order; else positives first, then negatives.
    """
    images = np.flatnonzero(masks.is_val == val)
    place_of = np.zeros(len(masks.is_val), np.int64)
    place_of[images] = np.arange(len(images))
    kept = masks.pair_is_val == val
    shown, place = masks.pair_concept[kept], place_of[masks.pair_image[kept]]
    order = np.lexsort([place, shown])
    shown, place = shown[order], place[order]
    start = np.concatenate([[0], np.cumsum(np.bincount(shown, minlength=len(masks.catalog)))])
    before = place - (np.arange(len(place)) - start[shown])
    if not len(place):  # no concept is shown at all; arrays must not be empty to be indexed
        place = before = np.zeros(1, np.int64)

    def put(values: np.ndarray) -> Array:
        return jnp.asarray(values, jnp.int32)

    return BalancedSampler(put(images), put(place), put(before), put(start), put(concept), shuffled)


class ListedSampler(NamedTuple):
    """Images in a recorded order; every word of an epoch is its number, see `epoch_as_words`."""

    image: Int[Array, "E G M"]
    shows: Bool[Array, "E G M"]

    def draw(self, group: Array, words: Array, place: Array) -> tuple[Array, Array]:
        """See `Sampler`."""
        epoch = words[..., 0].astype(jnp.int32)
        place = jnp.clip(place, 0, self.image.shape[2] - 1)
        return self.image[epoch, group, place], self.shows[epoch, group, place]

    def epoch_as_words(self, epoch: int) -> UInt32[Array, "G 6"]:
        """What tells the sampler the epoch."""
        return jnp.full((self.image.shape[1], WORDS), epoch, jnp.uint32)


@jax.jit
def _draw_words(key: Array, numbers: Array, seeds: Array, epoch: Array) -> Array:
    def one(number: Array, seed: Array) -> Array:
        folded = jax.random.fold_in(
            jax.random.fold_in(jax.random.fold_in(key, seed), number), epoch
        )
        return jax.random.bits(folded, (WORDS,), jnp.uint32)

    return jax.vmap(one)(numbers, seeds)


def draw_words(
    key: Array, numbers: Sequence[int] | np.ndarray, seeds: Sequence[int] | np.ndarray, epoch: int
) -> UInt32[Array, "G 6"]:
    """Random words for one epoch of each group, from its concept's number and its seed.

    Args:
      key: PRNG key of the run.
      numbers: label numbers of the groups' concepts.
      seeds: which repetition each group belongs to.
      epoch: number of the epoch.
    """
    return _draw_words(
        key,
        jnp.asarray(numbers, jnp.uint32),
        jnp.asarray(seeds, jnp.uint32),
        jnp.asarray(epoch, jnp.uint32),
    )
