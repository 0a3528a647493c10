"""Geometry of concept embeddings: nearest concepts, categories of neighbours, clusters, stability.

Reference behaviour 8.6: an embedding is its weight row divided by its Euclidean norm; concepts are
compared by cosine. Rows of zeros have no direction and are masked (behaviour 7, B-34): they have no
neighbours and are nobody's. Nothing here depends on how filters are ordered or rotated.
C concepts, K filters, S seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from net2vec_jax.analysis.category_means import divide, group_concepts
from net2vec_jax.core.errors import Net2VecError

NEIGHBOURS = 5
"""Neighbours of a concept that the tables of categories count (behaviour 8.6)."""
Linkage = Literal["average", "complete", "single", "ward"]


@dataclasses.dataclass(frozen=True, eq=False)
class UnitEmbeddings:
    """Embeddings of length 1.

    Attributes:
      vectors: float64 [..., C, K]; zeros where an embedding is masked, never NaN.
      is_valid: bool [..., C]; False for rows that were zero or not finite.
    """

    vectors: np.ndarray
    is_valid: np.ndarray

    def __len__(self) -> int:
        """The number of concepts C, masked ones included."""
        return self.vectors.shape[-2]

    def cosines(self) -> Float[np.ndarray, "C C"]:
        """Cosine of every two concepts, in [-1, 1]; 0 where one of them is masked."""
        cosines = np.clip(self.vectors @ self.vectors.T, -1, 1)
        np.fill_diagonal(cosines, self.is_valid)
        return cosines

    def pairs(self) -> Bool[np.ndarray, "C C"]:
        """Whether two concepts are different and neither is masked."""
        return self.is_valid[:, None] & self.is_valid & ~np.eye(len(self), dtype=bool)

    def select(self, chosen: np.ndarray) -> UnitEmbeddings:
        """The concepts of these indices, or of a bool mask [C]."""
        return UnitEmbeddings(self.vectors[..., chosen, :], self.is_valid[..., chosen])


@dataclasses.dataclass(frozen=True, eq=False)
class NearestConcepts:
    """Concepts in the order of their cosine with a concept or a query, best first.

    Attributes:
      concept: their indices, int64 [rows, count]; -1 where there are no more, and throughout the
        row of a masked concept.
      cosine: float64 [rows, count]; NaN where `concept` is -1.
    """

    concept: np.ndarray
    cosine: np.ndarray

    def row(self, place: int) -> list[tuple[int, float]]:
        """(index, cosine) of the neighbours that the row number `place` has."""
        pairs = zip(self.concept[place].tolist(), self.cosine[place].tolist(), strict=True)
        return [(concept, cosine) for concept, cosine in pairs if concept >= 0]


@dataclasses.dataclass(frozen=True, eq=False)
class NearestCategories:
    """Which categories the nearest concepts belong to (behaviour 8.6, A.5).

    Attributes:
      categories: those present, in Broden's order, then others by name: G of them.
      fraction: mean fraction of a concept's nearest ones by category, float64 [G, G]: source
        category, category of the neighbours; a row's sum is 1. NaN for a source without concepts
        that have neighbours.
      chance: the same if neighbours were drawn at random from all other concepts, float64 [G, G].
      concepts: concepts with neighbours in each source category, int64 [G].
      neighbours: nearest concepts counted per concept.
    """

    categories: tuple[str, ...]
    fraction: np.ndarray
    chance: np.ndarray
    concepts: np.ndarray
    neighbours: int


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptClusters:
    """A tree of concepts, from hierarchical clustering.

    Attributes:
      members: indices of the V concepts in the tree, int64 [V]; masked ones are not in it.
      linkage: SciPy's linkage matrix, float64 [V - 1, 4], whose leaf i is `members[i]`.
      order: indices of the concepts from the tree's first leaf to its last, int64 [V].
    """

    members: np.ndarray
    linkage: np.ndarray
    order: np.ndarray

    def cut(self, clusters: int) -> np.ndarray:
        """Cluster of each of `members`, at most `clusters`, numbered from 1 along `order`, [V]."""
        if not len(self.linkage):
            return np.ones(len(self.members), np.int64)
        found = hierarchy.fcluster(self.linkage, clusters, "maxclust")
        along_tree = found[np.searchsorted(self.members, self.order)]
        first = np.unique(along_tree, return_index=True)[1]
        return (np.argsort(np.argsort(first)) + 1)[found - 1]


@dataclasses.dataclass(frozen=True, eq=False)
class NeighbourStability:
    """How much of a concept's neighbourhood is the same for every seed.

    Each is a mean over all pairs of seeds, float64 [C], NaN for a concept that is masked for some
    seed; neighbours are sought among the concepts that are valid for all seeds.

    Attributes:
      cosine: between the concept's embeddings of two seeds.
      overlap: part of the `neighbours` nearest concepts that two seeds share, in [0, 1].
      jaccard: intersection over union of the two sets of nearest concepts, in [0, 1].
      neighbours: nearest concepts compared.
      chance_overlap: mean overlap of two random sets.
      chance_jaccard: mean intersection over union of two random sets.
    """

    cosine: np.ndarray
    overlap: np.ndarray
    jaccard: np.ndarray
    neighbours: int
    chance_overlap: float
    chance_jaccard: float


def normalise_embeddings(weights: Float[np.ndarray, "*S C K"]) -> UnitEmbeddings:
    """Divide every row by its Euclidean norm; rows of zeros, or not finite, are masked.

    Examples:
      >>> unit = normalise_embeddings(np.array([[3.0, 4.0], [0.0, 0.0]]))
      >>> unit.vectors.tolist(), unit.is_valid.tolist()
      ([[0.6, 0.8], [0.0, 0.0]], [True, False])
    """
    weights = np.asarray(weights, np.float64)
    finite = np.asarray(np.isfinite(weights).all(axis=-1))
    vectors = np.where(finite[..., None], weights, 0)
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0)
    is_valid = finite & (largest[..., 0] > 0)
    vectors = vectors / np.where(largest > 0, largest, 1)  # squares neither vanish nor overflow
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return UnitEmbeddings(vectors / np.where(norm > 0, norm, 1), is_valid)


def average_seeds(weights: Float[np.ndarray, "S C K"]) -> UnitEmbeddings:
    """Direction of the mean of a concept's unit embeddings over the seeds that have one."""
    return normalise_embeddings(normalise_embeddings(weights).vectors.mean(axis=0))


def rank_concepts(
    scores: Float[np.ndarray, "rows C"], allowed: np.ndarray, count: int
) -> NearestConcepts:
    """The `count` best-scored concepts of each row, ties in the order of the concepts.

    Args:
      scores: cosines, or scores of a query.
      allowed: concepts that may be listed, bool [rows, C].
      count: how many to list.
    """
    count = min(count, scores.shape[1])
    order = np.argsort(np.where(allowed, -scores, np.inf), axis=1, kind="stable")[:, :count]
    listed = np.take_along_axis(allowed, order, axis=1)
    best = np.take_along_axis(scores, order, axis=1)
    return NearestConcepts(np.where(listed, order, -1), np.where(listed, best, np.nan))


def find_nearest_concepts(unit: UnitEmbeddings, count: int = NEIGHBOURS) -> NearestConcepts:
    """The `count` concepts of the greatest cosine with each concept, itself excluded.

    Examples:
      >>> unit = normalise_embeddings(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
      >>> find_nearest_concepts(unit, 1).concept.tolist()
      [[1], [0], [1]]
    """
    return rank_concepts(unit.cosines(), unit.pairs(), count)


def rank_by_similarity(
    unit: UnitEmbeddings, *, by: Literal["max", "mean"] = "max"
) -> tuple[np.ndarray, np.ndarray]:
    """Order concepts by how close others are: max or mean |cosine| with them (behaviour 8.6).

    Returns:
      (indices of the valid concepts, most similar first; score of every concept, float64 [C], NaN
      where it is masked or alone).
    """
    others = unit.pairs()
    sizes = np.where(others, np.abs(unit.cosines()), 0)
    count = others.sum(axis=1)
    score = np.where(count > 0, sizes.max(axis=1, initial=0), np.nan)
    if by == "mean":
        score = divide(sizes.sum(axis=1), count)
    return np.argsort(-score, kind="stable")[: (count > 0).sum()], score  # NaNs come last


def tabulate_nearest_categories(
    unit: UnitEmbeddings, categories: Sequence[str], *, neighbours: int = NEIGHBOURS
) -> NearestCategories:
    """Mean fraction of the nearest concepts in each category, by category of the concept.

    Args:
      unit: the embeddings.
      categories: primary category of each concept.
      neighbours: nearest concepts per concept; all others if there are fewer.

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    present, is_member = group_concepts(categories, len(unit))
    member = is_member.astype(np.float64)
    nearest = find_nearest_concepts(unit, neighbours).concept
    found = nearest >= 0
    count = found.sum(axis=1)
    fractions = np.where(found, member[:, nearest], 0).sum(axis=-1) / np.maximum(count, 1)
    source = member * (count > 0)  # [G, C]
    concepts = source.sum(axis=1)
    among = member @ unit.is_valid  # valid concepts of each category
    chance = (among - np.eye(len(present))) / max(unit.is_valid.sum() - 1, 1)
    return NearestCategories(
        present,
        divide(source @ fractions.T, concepts[:, None]),
        np.where(concepts[:, None] > 0, chance, np.nan),
        concepts.astype(np.int64),
        int(count.max(initial=0)),
    )


def cluster_concepts(unit: UnitEmbeddings, *, method: Linkage = "average") -> ConceptClusters:
    """Hierarchical clustering on the cosine distance, 1 - cosine.

    Args:
      unit: the embeddings; masked ones are left out.
      method: linkage; "ward" works on Euclidean distances of the unit embeddings.

    Returns:
      The tree, its leaves turned such that neighbouring ones are as close as can be.
    """
    members = np.flatnonzero(unit.is_valid)
    if len(members) < 2:
        return ConceptClusters(members, np.zeros((0, 4)), members)
    distance = 1 - unit.select(members).cosines()
    if method == "ward":
        distance = np.sqrt(2 * distance)
    tree = hierarchy.linkage(squareform(distance, checks=False), method, optimal_ordering=True)
    return ConceptClusters(members, tree, members[hierarchy.leaves_list(tree)])


def measure_stability(
    weights: Float[np.ndarray, "S C K"], *, neighbours: int = NEIGHBOURS
) -> NeighbourStability:
    """Compare the nearest concepts, and the embeddings themselves, of every two seeds.

    Args:
      weights: embeddings of at least two seeds.
      neighbours: nearest concepts compared; all others if there are fewer.

    Raises:
      Net2VecError: fewer than two seeds, or than two concepts that are valid for all of them.
    """
    from scipy.stats import hypergeom  # slow to import, and only needed here

    unit = normalise_embeddings(weights)
    seeds = len(unit.vectors)
    chosen = np.flatnonzero(unit.is_valid.all(axis=0))
    if seeds < 2 or len(chosen) < 2:
        raise Net2VecError(
            f"the stability of neighbours needs two seeds and two concepts; there are {seeds} "
            f"seeds and {len(chosen)} concepts with embeddings; run the probe with --seeds 2"
        )
    kept = unit.select(chosen)
    count = min(neighbours, len(chosen) - 1)
    near = np.zeros((seeds, len(chosen), len(chosen)), bool)
    for seed in range(seeds):
        one = UnitEmbeddings(kept.vectors[seed], kept.is_valid[seed])
        np.put_along_axis(near[seed], find_nearest_concepts(one, count).concept, True, axis=1)
    total = np.zeros((3, len(chosen)))
    for first, second in itertools.combinations(range(seeds), 2):
        shared = (near[first] & near[second]).sum(axis=-1)
        cosine = np.einsum("ck,ck->c", kept.vectors[first], kept.vectors[second])
        total += np.clip(cosine, -1, 1), shared / count, shared / (2 * count - shared)
    means = np.full((3, len(unit)), np.nan)
    means[:, chosen] = total / (seeds * (seeds - 1) / 2)
    sizes = np.arange(count + 1)
    probability = hypergeom.pmf(sizes, len(chosen) - 1, count, count)
    return NeighbourStability(
        *means,
        neighbours=count,
        chance_overlap=count / (len(chosen) - 1),
        chance_jaccard=float(probability @ (sizes / (2 * count - sizes))),
    )
