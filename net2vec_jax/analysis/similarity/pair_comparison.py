"""Compare two representations of the same concepts: distances, CKA, rank correlation, neighbours.

Distances by `network_similarity`, CKA and rank correlation by `representational_similarity`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from net2vec_jax.analysis.category_means import CategoryMeans, average_categories, make_jsonable
from net2vec_jax.analysis.similarity.kernel_alignment import LEAST_ROWS, estimate_cka
from net2vec_jax.analysis.similarity.network_similarity import (
    DistanceMeasure,
    Representation,
    compare_rank_lists,
    list_category_rows,
    measure_distances,
    measure_similarities,
    overlap_neighbours,
)
from net2vec_jax.analysis.similarity.representational_similarity import (
    Association,
    assess_cka,
    assess_rank_correlation,
)
from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True, eq=False)
class PairComparison:
    """Two representations on C common concepts.

    Attributes:
      first: name of one.
      second: name of the other.
      concepts: names of the concepts.
      categories: category of each.
      similarities: G of both, float64 [2, C, C].
      measure: what `distances` are.
      distances: d_c, float64 [C].
      means: mean of d_c per category.
      distance: D, the sum of `distances`; their mean if the measure is "per_entry".
      cka: debiased linear CKA of the unit vectors.
      biased_cka: the plain estimate.
      rank_correlation: of the similarities.
      nearest: how many neighbours are compared.
      overlap: fraction of each concept's nearest neighbours that are the same, [C].
      rank_changes: fraction of ranks at which neighbours differ, [C].
    """

    first: str
    second: str
    concepts: tuple[str, ...]
    categories: tuple[str, ...]
    similarities: np.ndarray
    measure: DistanceMeasure
    distances: np.ndarray
    means: CategoryMeans
    distance: float
    cka: Association
    biased_cka: float
    rank_correlation: Association
    nearest: int
    overlap: np.ndarray
    rank_changes: np.ndarray

    @property
    def chance_overlap(self) -> float:
        """Overlap of neighbours drawn at random."""
        return self.nearest / (len(self.concepts) - 1)

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        squared = measure_distances(*self.similarities)
        rows = list_category_rows(self.means)
        return make_jsonable(
            {
                "first": self.first,
                "second": self.second,
                "concepts": len(self.concepts),
                "distance": float(squared.sum()),
                "distance_per_entry": float(squared.mean() / len(squared)),
                "measure": self.measure,
                "categories": {
                    name: {"concepts": count, "mean": mean, "std": std, "standard_error": error}
                    for name, count, mean, std, error in rows
                },
                "cka": dataclasses.asdict(self.cka),
                "biased_cka": self.biased_cka,
                "rank_correlation": dataclasses.asdict(self.rank_correlation),
                "neighbours": {
                    "nearest": self.nearest,
                    "overlap": float(self.overlap.mean()),
                    "chance": self.chance_overlap,
                    "rank_changes": float(self.rank_changes.mean()),
                },
            }
        )


def compare_pair(
    first: Representation,
    second: Representation,
    concepts: Sequence[str],
    categories: Sequence[str],
    *,
    key: Array,
    measure: DistanceMeasure = "squared",
    permutations: int = 1000,
    nearest: int = 5,
) -> PairComparison:
    """Compare two representations on the given concepts, which both have.

    Examples:
      >>> from net2vec_jax.analysis.similarity.network_similarity import make_representation
      >>> names, weights = ["sky", "sea", "dog", "cat"], np.eye(4) + 0.5
      >>> one = make_representation("one", names, weights)
      >>> turned = make_representation("turned", names, -weights)
      >>> settings = {"key": jax.random.key(0), "permutations": 9}
      >>> pair = compare_pair(one, turned, names, ["object"] * 4, **settings)
      >>> pair.distance, pair.overlap.tolist()
      (0.0, [1.0, 1.0, 1.0, 1.0])

    Args:
      first: one.
      second: the other.
      concepts: names of the C concepts.
      categories: category of each.
      key: PRNG key.
      measure: of the distances.
      permutations: of each test.
      nearest: neighbours compared; at most C − 1.

    Raises:
      Net2VecError: a concept has no vector, or there are fewer than four.
    """
    if len(concepts) < LEAST_ROWS:
        raise Net2VecError(
            f"{first.name} and {second.name} have {len(concepts)} concepts in common; "
            f"{LEAST_ROWS} or more are needed to compare them"
        )
    vectors = first.select(concepts), second.select(concepts)
    one, other = (measure_similarities(rows) for rows in vectors)
    distances = measure_distances(one, other, measure)
    nearest = min(nearest, len(concepts) - 1)
    cka_key, rank_key = jax.random.split(key)
    return PairComparison(
        first=first.name,
        second=second.name,
        concepts=tuple(concepts),
        categories=tuple(categories),
        similarities=np.stack([one, other]),
        measure=measure,
        distances=distances,
        means=average_categories(distances, categories),
        distance=float(np.mean(distances) if measure == "per_entry" else np.sum(distances)),
        cka=assess_cka(*vectors, key=cka_key, permutations=permutations),
        biased_cka=estimate_cka(*vectors).plain,
        rank_correlation=assess_rank_correlation(
            one, other, key=rank_key, permutations=permutations
        ),
        nearest=nearest,
        overlap=overlap_neighbours(one, other, nearest),
        rank_changes=compare_rank_lists(one, other),
    )
