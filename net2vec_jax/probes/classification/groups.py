"""What the classification probe trains: concepts in several repetitions, and their val images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.classification.model import ClassificationHeads, score
from net2vec_jax.probes.classification.sampling import (
    BalancedSampler,
    count_positives,
    draw_words,
    make_sampler,
)
from net2vec_jax.probes.heads import top_filters

VAL_DRAW = 2**31
"""In place of an epoch's number: the val images, drawn once, the same for every seed."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationGroups:
    """G groups: every concept that has enough images, in each of S repetitions.

    Attributes:
      concept: int32 [G], position of the concept in the catalog; a concept's repetitions follow
        each other.
      seed: int32 [G], 0 … S - 1.
      number: int64 [G], the concept's label number.
      sampler: of the train images, shuffled.
      count: int64 [G], train images per epoch.
    """

    concept: np.ndarray
    seed: np.ndarray
    number: np.ndarray
    sampler: BalancedSampler
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.concept)

    @property
    def seeds(self) -> int:
        """S, repetitions per concept."""
        return int(self.seed.max()) + 1

    def draw_words(self, key: Array, epoch: int) -> Array:
        """Random words of an epoch's images, uint32 [G, 6]."""
        return draw_words(key, self.number, self.seed, epoch)


def find_shortages(masks: ConceptMasks, minimum: int) -> dict[int, str]:
    """Concepts with too few images with or without them, and what they lack.

    Args:
      masks: the concepts and their images.
      minimum: images that a concept must have of each kind, in either split; at least 1.

    Returns:
      {position in the catalog: "2 val images without it, at least 5 are needed"}.
    """
    kinds = zip(("with", "without"), count_positives(masks), strict=True)
    counts = [
        (values[split], f"{name} images {kind} it")
        for kind, values in kinds
        for split, name in enumerate(("train", "val"))
    ]
    reasons = {}
    for place in range(len(masks.catalog)):
        few = [f"{values[place]} {name}" for values, name in counts if values[place] < minimum]
        if few:
            reasons[place] = f"{', '.join(few)}; at least {minimum} are needed"
    return reasons


def make_groups(masks: ConceptMasks, *, seeds: int = 1, minimum: int = 1) -> ClassificationGroups:
    """The groups of all concepts that have enough images.

    Args:
      masks: the concepts and their images.
      seeds: S, repetitions per concept, which differ in initial weights and images.
      minimum: see `find_shortages`.

    Raises:
      Net2VecError: `seeds` or `minimum` is below 1.
    """
    if seeds < 1 or minimum < 1:
        raise Net2VecError(f"seeds {seeds} and minimum {minimum} must be at least 1")
    short = find_shortages(masks, minimum)
    kept = np.array([c for c in range(len(masks.catalog)) if c not in short], np.int32)
    concept = np.repeat(kept, seeds)
    positives, negatives = count_positives(masks)
    numbers = np.array([each.number for each in masks.catalog], np.int64)
    return ClassificationGroups(
        concept=concept,
        seed=np.tile(np.arange(seeds, dtype=np.int32), len(kept)),
        number=numbers[concept],
        sampler=make_sampler(masks, concept, val=False, shuffled=True),
        count=2 * np.minimum(positives[0], negatives[0])[concept],
    )


@partial(jax.jit, static_argnames=("filters",))
def _draw_initial(key: Array, numbers: Array, seeds: Array, filters: int) -> tuple[Array, Array]:
    def one(number: Array, seed: Array) -> tuple[Array, Array]:
        folded = jax.random.fold_in(jax.random.fold_in(key, seed), number)
        for_weights, for_bias = jax.random.split(folded)
        bound = 1 / math.sqrt(filters)
        weights = jax.random.uniform(for_weights, (filters,), jnp.float32, -bound, bound)
        return weights, jax.random.uniform(for_bias)

    return jax.vmap(one)(numbers, seeds)


def make_full_classification_heads(
    groups: ClassificationGroups, *, filters: int, key: Array
) -> ClassificationHeads:
    """One head per group over all filters (spec 6.2).

    Weights are uniform in ±1/√K, the bias in 0 … 1, from the concept's number and the seed alone.

    Args:
      groups: of which concepts.
      filters: K.
      key: PRNG key of the run.
    """
    weights, bias = _draw_initial(
        key, jnp.asarray(groups.number, jnp.uint32), jnp.asarray(groups.seed, jnp.uint32), filters
    )
    weights = np.asarray(weights)[:, None]
    return ClassificationHeads(np.ones(weights.shape, bool), weights, np.asarray(bias)[:, None])


def make_subset_classification_heads(
    full: ClassificationHeads, weights: Float[np.ndarray, "G 1 K"], sizes: Sequence[int]
) -> ClassificationHeads:
    """One head per group and size over the filters of largest |weight| in the full one (spec 6.6).

    They begin with the full heads' initial weights and bias.

    Args:
      full: heads over all filters.
      weights: their trained weights.
      sizes: numbers of filters, each in 1 … K.

    Raises:
      Net2VecError: a size is out of range.
    """
    masks = np.stack([top_filters(weights[:, 0], size) for size in sizes], axis=1)
    return ClassificationHeads(
        filter_mask=masks,
        initial_weights=np.repeat(full.initial_weights, len(sizes), axis=1),
        initial_bias=np.repeat(full.initial_bias, len(sizes), axis=1),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationScores:
    """What the heads say of their concepts' P val images in all; concept by concept.

    Attributes:
      concept: int32 [P], position in the catalog.
      image: int32 [P], position in the dataset.
      shows: bool [P], whether the image shows the concept.
      logits: float32 [S, R, P].
    """

    concept: np.ndarray
    image: np.ndarray
    shows: np.ndarray
    logits: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [S, R, P]: on the right side of 0; 0 itself is wrong (spec 6.4)."""
        return np.where(self.shows, self.logits > 0, self.logits < 0)

    @property
    def loss(self) -> np.ndarray:
        """float32 [S, R, P]: binary cross-entropy."""
        signed = np.where(self.shows, self.logits, -self.logits)
        return np.logaddexp(0, -signed)


def evaluate_classification(
    groups: ClassificationGroups,
    weights: Float[np.ndarray, "G R K"],
    bias: Float[np.ndarray, "G R"],
    pooled: Float[np.ndarray, "P N K"],
    masks: ConceptMasks,
    *,
    key: Array,
    chunk_size: int = 512,
) -> ClassificationScores:
    """Score every concept's balanced val images, which are the same for all seeds (spec 6.3).

    Args:
      groups: the concepts and seeds.
      weights: of the groups' R heads.
      bias: of the groups' heads.
      pooled: pooled activations of all N images.
      masks: the concepts and their images.
      key: PRNG key of the run; the same as in training.
      chunk_size: images scored at a time.
    """
    seeds = groups.seeds
    concept = groups.concept[::seeds]
    positives, negatives = count_positives(masks)
    count = 2 * np.minimum(positives[1], negatives[1])[concept]
    item = np.repeat(np.arange(len(concept)), count)
    place = np.arange(len(item)) - np.repeat(np.cumsum(count) - count, count)
    sampler = make_sampler(masks, concept, val=True, shuffled=False)
    words = draw_words(key, groups.number[::seeds], np.zeros(len(concept), int), VAL_DRAW)
    padding = -len(item) % chunk_size
    chunks = [
        jnp.asarray(np.pad(values, (0, padding)).reshape(-1, chunk_size), jnp.int32)
        for values in (item, place)
    ]
    joint = (len(concept), seeds * weights.shape[1])
    image, shows, logits = _score_chunks(
        sampler,
        words,
        jnp.asarray(weights, jnp.float32).reshape(*joint, -1),
        jnp.asarray(bias, jnp.float32).reshape(joint),
        jnp.asarray(pooled, jnp.float32),
        *chunks,
    )
    kept = slice(None, len(item))
    by_head = np.asarray(logits).reshape(-1, joint[1])[kept].T
    return ClassificationScores(
        concept=concept[item],
        image=np.asarray(image).reshape(-1)[kept],
        shows=np.asarray(shows).reshape(-1)[kept],
        logits=by_head.reshape(seeds, weights.shape[1], -1),
    )


@jax.jit
def _score_chunks(
    sampler: BalancedSampler,
    words: Array,
    weights: Float[Array, "C H K"],
    bias: Float[Array, "C H"],
    pooled: Float[Array, "P N K"],
    item: Int[Array, "chunks size"],
    place: Int[Array, "chunks size"],
) -> tuple[Array, Array, Array]:
    def chunk(indices: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        item, place = indices
        image, shows = sampler.draw(item, words[item], place)
        logits = score(weights[item], bias[item], pooled[:, image][:, :, None])
        return image, shows, logits[:, 0]

    return jax.lax.map(chunk, (item, place))
