"""Scores of trained heads: of every head, and of a concept's repetitions together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from net2vec_jax.probes.heads import Heads, arrange_repetitions


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class HeadScores:
    """Scores in [0, 1] of H heads; and of G embeddings, each the mean over its repetitions.

    An embedding is a concept with a number of filters; all filters come first, then by number of
    filters and concept.

    Attributes:
      head_train: of every head on train images, float64 [H].
      head_val: of every head on val images, float64 [H].
      concept: int32 [G], position in the catalog.
      filters: int32 [G], number of filters, or `heads.ALL_FILTERS`.
      train: float64 [G].
      val: float64 [G].
      low: lower end of the interval of `val`, float64 [G].
      high: its upper end, float64 [G].
    """

    head_train: np.ndarray
    head_val: np.ndarray
    concept: np.ndarray
    filters: np.ndarray
    train: np.ndarray
    val: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.concept)


def arrange_blocks(
    heads: Heads, blocks: Sequence[Bool[np.ndarray, " H"]]
) -> list[Int[np.ndarray, "S G"]]:
    """The rows of each block of heads by repetition, see `arrange_repetitions`; none if empty."""
    return [arrange_repetitions(heads, block) for block in blocks if block.any()]


def join_scores(
    heads: Heads,
    head_train: Float[np.ndarray, " H"],
    head_val: Float[np.ndarray, " H"],
    blocks: Sequence[Int[np.ndarray, "S G"]],
    bounds: Sequence[tuple[Float[np.ndarray, " G"], Float[np.ndarray, " G"]]],
) -> HeadScores:
    """Scores of the embeddings of all blocks.

    Args:
      heads: H heads.
      head_train: of every head on train images.
      head_val: of every head on val images.
      blocks: rows of the heads by repetition, see `arrange_repetitions`.
      bounds: interval ends of every block's embeddings.
    """
    first = np.concatenate([rows[0] for rows in blocks])

    def mean(of_heads: np.ndarray) -> np.ndarray:
        means = [of_heads[rows].mean(axis=0) for rows in blocks]
        return np.concatenate(means).astype(np.float64)

    return HeadScores(
        head_train=head_train,
        head_val=head_val,
        concept=heads.concept[first],
        filters=heads.filters[first],
        train=mean(head_train),
        val=mean(head_val),
        low=np.concatenate([low for low, _ in bounds]),
        high=np.concatenate([high for _, high in bounds]),
    )
