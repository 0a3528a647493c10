"""How differently two representations arrange the same concepts (reference behaviour 8.6, 9.5).

A representation has a unit vector per concept, V [C, K]; its similarities are G = V Vᵀ [C, C]. Two
representations, of any K, differ by D = ‖G₁ − G₂‖²_F, of which a concept's part is its row's.
Whatever turns all vectors of a representation together changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from net2vec_jax.analysis.category_means import CategoryMeans
from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings, rank_concepts
from net2vec_jax.core.errors import Net2VecError, list_names

DistanceMeasure = Literal["squared", "per_entry", "row_normalized"]
"""Squared distances of rows; these divided by the length of a row; those of rows of length 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class Representation:
    """Unit vectors of the concepts that have one.

    Attributes:
      name: of the representation, for tables.
      concepts: names of the C concepts.
      vectors: of length 1, float64 [C, K].
      missing: concepts without a vector.
    """

    name: str
    concepts: tuple[str, ...]
    vectors: np.ndarray
    missing: tuple[str, ...] = ()

    def select(self, concepts: Sequence[str]) -> Float[np.ndarray, "C K"]:
        """Vectors of these concepts, in their order.

        Raises:
          Net2VecError: a concept has none.
        """
        row = {name: number for number, name in enumerate(self.concepts)}
        absent = [name for name in concepts if name not in row]
        if absent:
            raise Net2VecError(f"{self.name} has no vector of {list_names(absent)}")
        return self.vectors[[row[name] for name in concepts]]


def make_representation(
    name: str,
    concepts: Sequence[str],
    weights: Float[np.ndarray, "C K"],
    *,
    missing: Sequence[str] = (),
) -> Representation:
    """Divide every row by its length; rows of zeros are left out and listed as missing.

    Examples:
      >>> found = make_representation("conv5", ["dog", "cat"], np.array([[3.0, 4.0], [0.0, 0.0]]))
      >>> found.concepts, found.vectors.tolist(), found.missing
      (('dog',), [[0.6, 0.8]], ('cat',))

    Args:
      name: of the representation.
      concepts: name of each row, each once.
      weights: embeddings of any length.
      missing: concepts that had no row.

    Raises:
      Net2VecError: not a row per concept, a name twice, or a row that is not finite.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 2 or len(weights) != len(concepts):
        raise Net2VecError(f"{name}: weights {weights.shape} do not fit {len(concepts)} concepts")
    twice = sorted(name for name, times in Counter(concepts).items() if times > 1)
    if twice:
        raise Net2VecError(f"{name} has several concepts called {list_names(twice)}")
    names = np.array(concepts, object)
    broken = names[~np.isfinite(weights).all(axis=1)]
    if len(broken):
        raise Net2VecError(f"{name}: the embedding of {list_names(broken)} is not finite")
    unit = normalise_embeddings(weights)
    return Representation(
        name,
        tuple(names[unit.is_valid]),
        unit.vectors[unit.is_valid],
        (*missing, *names[~unit.is_valid]),
    )


def shorten_names(names: Sequence[str]) -> list[str]:
    """Names without the parts between slashes that all names with slashes share.

    Examples:
      >>> shorten_names(["scenes/resnet18/layer4", "scenes/vgg16/layer4", "WordNet"])
      ['resnet18', 'vgg16', 'WordNet']

    What stands in brackets at the end of a name stays; so do names without slashes.
    """
    heads = [name.partition(" (")[0].split("/") for name in names]
    several = [head for head in heads if len(head) > 1]
    if len(several) < 2 or len({len(head) for head in several}) > 1:
        return list(names)
    kept = [n for n, parts in enumerate(zip(*several, strict=True)) if len(set(parts)) > 1]
    return [
        "/".join(head[n] for n in kept or [-1]) + name[len("/".join(head)) :]
        if len(head) > 1
        else name
        for name, head in zip(names, heads, strict=True)
    ]


def find_common_concepts(representations: Sequence[Representation]) -> tuple[str, ...]:
    """Concepts that all have, in the first one's order.

    Raises:
      Net2VecError: there are none; those that have fewest are named.
    """
    if not representations:
        raise Net2VecError("there is no representation to compare")
    common = set.intersection(*(set(r.concepts) for r in representations))
    if not common:
        counts = ", ".join(f"{r.name} ({len(r.concepts)})" for r in representations)
        raise Net2VecError(f"no concept has a vector in all of {counts}")
    return tuple(name for name in representations[0].concepts if name in common)


def measure_similarities(vectors: Float[np.ndarray, "C K"]) -> Float[np.ndarray, "C C"]:
    """Similarities G = V Vᵀ: cosines, if the vectors have length 1. The diagonal is exact."""
    vectors = np.asarray(vectors, np.float64)
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, (vectors**2).sum(axis=1))
    return (similarities + similarities.T) / 2


def measure_distances(
    first: Float[np.ndarray, "C C"],
    second: Float[np.ndarray, "C C"],
    measure: DistanceMeasure = "squared",
) -> Float[np.ndarray, " C"]:
    """Distance of each concept's row of similarities in two representations, d_c (behaviour 8.6).

    Examples:
      >>> measure_distances(np.eye(2), np.ones((2, 2))).tolist()
      [1.0, 1.0]

    Args:
      first: similarities in one representation.
      second: similarities of the same concepts in the other.
      measure: "squared": ‖g₁ − g₂‖². It grows with the number of concepts; "per_entry" divides it
        by that, so that tables of different concepts can be compared. "row_normalized" divides
        each row by its own length first (the original divided both by the first one's).

    Raises:
      Net2VecError: similarities that are not of the same concepts, or no such measure.
    """
    first, second = (np.asarray(similarities, np.float64) for similarities in (first, second))
    check_similarities(first, second)
    if measure == "row_normalized":
        first, second = (
            rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second)
        )
    distances = ((first - second) ** 2).sum(axis=1)
    if measure == "per_entry":
        return distances / len(distances)
    if measure not in ("squared", "row_normalized"):
        raise Net2VecError(f"there is no distance measure {measure!r}")
    return distances


def list_category_rows(means: CategoryMeans) -> list[tuple[str, int, float, float, float]]:
    """(category, concepts, mean, standard deviation, standard error) per category, and of "all".

    The standard error is that of the category's own concepts (behaviour B-20); NaN below two.
    The deviation is that of a sample, with n − 1 in the denominator; where the tables of the
    paper's appendix have population deviations, those are smaller by √((n − 1) / n).
    """
    rows = zip(means.categories, means.count, means.mean, means.error, strict=True)
    overall = ("all", means.overall_count, means.overall_mean, means.overall_error)
    return [
        (name, int(count), float(mean), float(error * np.sqrt(count)), float(error))
        for name, count, mean, error in (*rows, overall)
    ]


def order_by_change(distances: Float[np.ndarray, " C"]) -> Int[np.ndarray, " C"]:
    """Places of the concepts, the most changed first; equal ones in their order."""
    return np.argsort(-np.asarray(distances), kind="stable")


def list_neighbours(similarities: Float[np.ndarray, "C C"]) -> Int[np.ndarray, "C C-1"]:
    """For each concept all others, the most similar first; equal ones in their order."""
    n = len(similarities)
    return rank_concepts(similarities, ~np.eye(n, dtype=bool), n - 1).concept


def overlap_neighbours(
    first: Float[np.ndarray, "C C"], second: Float[np.ndarray, "C C"], nearest: int
) -> Float[np.ndarray, " C"]:
    """Fraction of each concept's `nearest` neighbours that are the same in both representations.

    Chance is nearest / (C − 1).

    Raises:
      Net2VecError: similarities that are not of the same concepts, or fewer than `nearest` others.
    """
    check_similarities(first, second)
    if not 1 <= nearest < len(first):
        raise Net2VecError(
            f"{nearest} nearest neighbours were asked for; {len(first)} concepts have "
            f"{len(first) - 1} others each"
        )
    chosen = np.zeros((2, *first.shape), bool)
    for place, similarities in enumerate((first, second)):
        np.put_along_axis(chosen[place], list_neighbours(similarities)[:, :nearest], True, axis=1)
    return chosen.all(axis=0).sum(axis=1) / nearest


def compare_rank_lists(
    first: Float[np.ndarray, "C C"], second: Float[np.ndarray, "C C"]
) -> Float[np.ndarray, " C"]:
    """Hamming distance of each concept's lists of neighbours (behaviour 8.6), as a fraction.

    It is the fraction of ranks at which two representations have different concepts.

    Raises:
      Net2VecError: similarities that are not of the same concepts.
    """
    check_similarities(first, second)
    return (list_neighbours(first) != list_neighbours(second)).mean(axis=1)


def check_similarities(first: np.ndarray, second: np.ndarray) -> None:
    """Refuse similarities that are not of the same two or more concepts.

    Raises:
      Net2VecError: other shapes.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise Net2VecError(
            f"similarities {first.shape} and {second.shape} are not of the same concepts"
        )
    if len(first) < 2:
        raise Net2VecError("two or more concepts are needed to compare representations")
