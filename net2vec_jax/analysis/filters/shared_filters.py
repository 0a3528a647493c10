"""Lists of what `filter_overlap` counted: whom each filter serves, who shares (behaviour 8.3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from net2vec_jax.analysis.filters.filter_overlap import FilterOverlap, compare_filter_sets


class ServedConcepts(NamedTuple):
    """What one filter serves.

    Attributes:
      filter: its number, from 0.
      concepts: names, in the order of the concepts.
      categories: of these concepts, in Broden's order.
    """

    filter: int
    concepts: tuple[str, ...]
    categories: tuple[str, ...]


class SharingConcepts(NamedTuple):
    """With whom one concept shares its filters.

    Attributes:
      filters: that serve it, ascending.
      shared_filters: how many of these serve another concept too.
      others: positions of the concepts that share some, most similar first, int64.
      similarity: Jaccard index of the filter sets with each of `others`, float64.
    """

    filters: tuple[int, ...]
    shared_filters: int
    others: np.ndarray
    similarity: np.ndarray


def list_filters(overlap: FilterOverlap, names: Sequence[str]) -> list[ServedConcepts]:
    """What every filter serves: those of most categories first, then of most concepts.

    Examples:
      >>> from net2vec_jax.analysis.filters.filter_overlap import count_filter_overlap
      >>> serves = np.array([[True, False], [True, False]])
      >>> overlap = count_filter_overlap(serves, ["color", "object"])
      >>> list_filters(overlap, ["red", "car"])[0]
      ServedConcepts(filter=0, concepts=('red', 'car'), categories=('color', 'object'))

    Args:
      overlap: who serves whom.
      names: of the concepts.
    """
    order = np.lexsort((-overlap.concepts_per_filter, -overlap.categories_per_filter))
    return [
        ServedConcepts(
            number,
            tuple(itertools.compress(names, overlap.membership[:, number])),
            tuple(itertools.compress(overlap.categories, overlap.by_category[:, number])),
        )
        for number in order.tolist()
    ]


def list_concepts(overlap: FilterOverlap) -> list[SharingConcepts]:
    """With whom every concept shares its filters, in the order of the concepts."""
    similarity = np.nan_to_num(compare_filter_sets(overlap.membership), nan=0.0)
    np.fill_diagonal(similarity, 0)
    listed = []
    for filters, row in zip(overlap.membership, similarity, strict=True):
        others = np.argsort(-row, kind="stable")[: int((row > 0).sum())]
        shared = int((overlap.concepts_per_filter[filters] > 1).sum())
        listed.append(
            SharingConcepts(tuple(np.flatnonzero(filters).tolist()), shared, others, row[others])
        )
    return listed
