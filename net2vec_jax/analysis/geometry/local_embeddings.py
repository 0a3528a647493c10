"""Geometry of local embeddings: outliers, sub-concepts, retrieval and confusions.

A local embedding is of one concept on one image (`probes.segmentation.local`); they are compared by
cosine, as in LoCE (Mikriukov et al., IJCV 2025). n embeddings, K filters, C concepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from net2vec_jax.analysis.category_means import divide
from net2vec_jax.analysis.geometry.concept_embeddings import UnitEmbeddings

FOLDER, CONCEPTS = "local_embeddings", "concepts"
"""Folder of a run with what `experiments.local_embeddings` found, and its table of concepts."""
HEADER = ("concept", "mAP, 95 %", "chance", "taken for", "clusters", "outliers")
"""Of `describe_concept`."""
OUTLYING = 3.5
"""Robust z-score above which an embedding is an outlier (Iglewicz and Hoaglin 1993)."""
NEAREST = 5
"""Embeddings of the own concept that an outlier is far from."""
MOST_SUB_CONCEPTS, LEAST_MEMBERS, LEVEL = 8, 5, 0.05
CELLS_AT_ONCE = 2**23
"""Cosines that are ranked at a time."""


class SubConcepts(NamedTuple):
    """Clusters of one concept's embeddings."""

    label: np.ndarray  # from 1, the largest first; 0 of what took no part; int64 [n]
    silhouette: float  # mean of the best split; NaN where none has large enough parts
    p_value: float  # how often a cloud of the same covariance is split as well


class Retrieval(NamedTuple):
    """What embeddings of val images find among those of train images."""

    average_precision: np.ndarray  # of each query, float64 [n]; NaN of others
    chance: np.ndarray  # what a random ranking gives on average, by concept, float64 [C]
    confusion: np.ndarray  # part of a concept's (row) nearest embeddings that are of each, [C, C]


def find_outliers(
    unit: UnitEmbeddings,
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Embeddings far from all others of their concept.

    Args:
      unit: embeddings of one concept.

    Returns:
      (mean cosine distance to the `NEAREST` others, NaN where there are none; whether it exceeds
      the median by more than `OUTLYING` robust deviations, 1.4826 times the median deviation).

    Examples:
      >>> unit = UnitEmbeddings(np.eye(8)[[0] * 9 + [1]], np.ones(10, bool))
      >>> find_outliers(unit)[1].nonzero()[0].tolist()
      [9]
    """
    distance = np.sort(np.where(unit.pairs(), 1 - unit.cosines(), np.nan), axis=1)[:, :NEAREST]
    mean = divide(np.nansum(distance, axis=1), np.isfinite(distance).sum(axis=1))
    known = mean[np.isfinite(mean)]
    if not len(known):
        return mean, np.zeros(len(mean), bool)
    deviation = 1.4826 * np.median(np.abs(known - np.median(known)))
    return mean, mean > np.median(known) + OUTLYING * deviation + 1e-9


def find_sub_concepts(
    unit: UnitEmbeddings, takes_part: Bool[np.ndarray, " n"], *, draws: int = 99, seed: int = 0
) -> SubConcepts:
    """Split a concept's embeddings where they are more than one cloud.

    Ward's tree of the unit embeddings is cut into 2 … 8 clusters of at least 5, as many as have the
    largest mean silhouette (cosine distance). It is a split if at most 5 % of normally distributed
    clouds of the same covariance, treated alike, have as large a silhouette (SigClust's null, Liu
    et al. 2008): a cloud that is merely long is no two sub-concepts.

    Args:
      unit: embeddings of one concept.
      takes_part: which are split; outliers would be clusters of their own.
      draws: clouds; no p-value lies below 1 / (draws + 1).
      seed: of the clouds.
    """
    members = np.flatnonzero(takes_part & unit.is_valid)
    label = np.zeros(len(unit), np.int64)
    label[members] = 1
    vectors = unit.vectors[members]
    silhouette, found = _split(vectors)
    if found is None:
        return SubConcepts(label, np.nan, 1.0)
    random, mean = np.random.default_rng(seed), vectors.mean(axis=0)
    spread = (vectors - mean) / np.sqrt(len(vectors) - 1)
    as_good = 0
    for _ in range(draws):
        cloud = mean + random.standard_normal((len(vectors),) * 2) @ spread
        as_good += _split(cloud / np.linalg.norm(cloud, axis=1, keepdims=True))[0] >= silhouette
    p_value = (1 + as_good) / (1 + draws)
    if p_value <= LEVEL:
        by_size = np.argsort(-np.bincount(found)[1:], kind="stable")
        label[members] = np.argsort(by_size)[found - 1] + 1
    return SubConcepts(label, silhouette, p_value)


def _split(vectors: np.ndarray) -> tuple[float, np.ndarray | None]:
    """The largest silhouette of a cut of Ward's tree, and its clusters from 1, [n]."""
    best: tuple[float, np.ndarray | None] = (-1.0, None)
    if len(vectors) < 2 * LEAST_MEMBERS:
        return best
    distance = np.clip(1 - vectors @ vectors.T, 0, 2)
    np.fill_diagonal(distance, 0)
    tree = hierarchy.linkage(squareform(np.sqrt(2 * distance), checks=False), "ward")
    for count in range(2, MOST_SUB_CONCEPTS + 1):
        found = hierarchy.fcluster(tree, count, "maxclust")
        member = found[:, None] == np.arange(1, count + 1)
        size = member.sum(axis=0)
        if size.min() < LEAST_MEMBERS:
            break  # further cuts have smaller clusters
        sums = distance @ member.astype(np.float64)  # [n, clusters]
        own = sums[member] / (size[found - 1] - 1)
        other = np.where(member, np.inf, sums / size).min(axis=1)
        score = float(np.mean((other - own) / np.maximum(np.maximum(own, other), 1e-12)))
        if score > best[0]:
            best = score, found
    return best


def measure_retrieval(
    unit: UnitEmbeddings,
    concept: Int[np.ndarray, " n"],
    is_query: Bool[np.ndarray, " n"],
    concepts: int,
    *,
    neighbours: int = 10,
) -> Retrieval:
    """Rank embeddings by their cosine with each query, and see whose concepts come first.

    Args:
      unit: the embeddings.
      concept: of each, in 0 … C-1.
      is_query: those that search, of val images; the others, at least one, are searched.
      concepts: C.
      neighbours: nearest embeddings that confusions count, at most.

    Examples:
      >>> unit = UnitEmbeddings(np.eye(2)[[0, 1, 0]], np.ones(3, bool))
      >>> found = measure_retrieval(unit, np.array([0, 1, 0]), np.arange(3) == 2, 2, neighbours=1)
      >>> found.average_precision.tolist(), found.confusion[0].tolist()
      ([nan, nan, 1.0], [1.0, 0.0])
    """
    gallery, queries = (np.flatnonzero(chosen & unit.is_valid) for chosen in (~is_query, is_query))
    total = len(gallery)
    right = np.bincount(concept[gallery], minlength=concepts)
    rank = np.arange(1, total + 1)
    precision = np.full(len(unit), np.nan)
    confusion = np.zeros((concepts, concepts))
    rows = max(CELLS_AT_ONCE // max(total, 1), 1)
    for query in np.split(queries, range(rows, len(queries), rows)):
        cosine = unit.vectors[query] @ unit.vectors[gallery].T
        found = concept[gallery][np.argsort(-cosine, axis=1, kind="stable")]
        hit = found == concept[query][:, None]
        precision[query] = divide((hit * np.cumsum(hit, axis=1) / rank).sum(1), hit.sum(1))
        nearest = found[:, :neighbours]
        np.add.at(confusion, (concept[query][:, None], nearest), 1)
    # Of a random ranking: ((R - 1)/(N - 1)·(N - H_N) + H_N) / N with the harmonic number H_N.
    harmonic = (1 / rank).sum()
    chance = ((right - 1) * (total - harmonic) / max(total - 1, 1) + harmonic) / max(total, 1)
    return Retrieval(
        precision,
        np.where(right > 0, chance, np.nan),
        divide(confusion, confusion.sum(axis=1, keepdims=True)),
    )


def describe_concept(row: Mapping[str, Any]) -> list[str]:
    """A row of the table of concepts as texts, see `HEADER`."""
    precision, low, high = (float(row[f"precision{end}"]) for end in ("", "_low", "_high"))
    return [
        row["concept"], f"{precision:.2f} [{low:.2f}, {high:.2f}]", f"{float(row['chance']):.2f}",
        f"{row['taken_for']} {float(row['taken_for_neighbours']):.0%}",
        f"{row['sub_concepts']}", f"{row['outliers']}",
    ]  # fmt: skip
