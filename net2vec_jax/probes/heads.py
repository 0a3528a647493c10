"""Heads: what is trained. One head is a concept with a filter subset and its own initial weights.

All heads are trained as one optimisation problem over weights [heads, K]; filter sweeps and several
seeds are only more heads on the same data (DESIGN section 4).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    """H heads over the K filters of a layer.

    Attributes:
      concept: int32 [H], position of the head's concept in the masks' catalog.
      filter_mask: bool [H, K], the filters that the head may use.
      initial_weights: float32 [H, K]; entries outside the mask stay 0 in the trained weights.
    """

    concept: np.ndarray
    filter_mask: np.ndarray
    initial_weights: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.concept), *np.shape(self.initial_weights)[1:])
        if np.shape(self.initial_weights) != shape or np.shape(self.filter_mask) != shape:
            raise Net2VecError(
                f"{len(self.concept)} heads, but filter masks {np.shape(self.filter_mask)} and "
                f"initial weights {np.shape(self.initial_weights)}; expected [heads, filters]"
            )

    def __len__(self) -> int:
        return len(self.concept)

    def select(self, heads: np.ndarray | slice) -> Heads:
        """These heads only."""
        return Heads(self.concept[heads], self.filter_mask[heads], self.initial_weights[heads])


def draw_initial_weights(
    key: Array, concept_numbers: Sequence[int], filters: int
) -> Float[Array, "H K"]:
    """Uniform in ±1/√K (reference spec 5.2), each concept from a key of its own.

    The key of a concept is `key` folded with its number, so that a concept's initial weights do not
    depend on which other concepts are trained.

    Args:
      key: PRNG key of the run's seed.
      concept_numbers: the concepts' label numbers.
      filters: K.
    """
    bound = 1 / math.sqrt(filters)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(
        jnp.asarray(concept_numbers, jnp.uint32)
    )
    return jax.vmap(lambda key: jax.random.uniform(key, (filters,), jnp.float32, -bound, bound))(
        keys
    )


def make_full_heads(masks: ConceptMasks, *, filters: int, key: Array) -> Heads:
    """One head per concept that can be trained and reported, over all filters.

    A concept without a train or without a val image gets no head (spec 5.3, B-27).

    Args:
      masks: the concepts and their images.
      filters: K.
      key: PRNG key of the initial weights.
    """
    train, val = masks.count_images()
    concept = np.flatnonzero((train > 0) & (val > 0)).astype(np.int32)
    numbers = [masks.catalog.concepts[place].number for place in concept]
    weights = np.asarray(draw_initial_weights(key, numbers, filters))
    return Heads(concept, np.ones(weights.shape, bool), weights)


def make_subset_heads(
    full: Heads, weights: Float[np.ndarray, "H K"], sizes: Sequence[int]
) -> list[Heads]:
    """Heads that use only the filters of largest |weight| in the full embedding (spec 5.9).

    They start from the full heads' initial weights and are retrained (spec 5.9: fresh weights, not
    the learned ones).

    Args:
      full: heads over all filters.
      weights: their trained weights [H, K].
      sizes: numbers of filters, each in 1 … K.

    Returns:
      For each size the heads of all concepts.

    Raises:
      Net2VecError: a size out of range.
    """
    return [dataclasses.replace(full, filter_mask=top_filters(weights, size)) for size in sizes]


def top_filters(weights: Float[np.ndarray, "H K"], size: int) -> Bool[np.ndarray, "H K"]:
    """bool [H, K]: the `size` filters of largest |weight| of every head; ties to the higher index.

    Raises:
      Net2VecError: `size` is not in 1 … K.
    """
    filters = weights.shape[1]
    if not 1 <= size <= filters:
        raise Net2VecError(f"{size} filters were asked for; the layer has 1 to {filters}")
    ranked = np.argsort(np.abs(weights), axis=1, kind="stable")[:, filters - size :]
    mask = np.zeros(weights.shape, bool)
    np.put_along_axis(mask, ranked, True, axis=1)
    return mask
