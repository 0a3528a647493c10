"""Everything that is measured on concept embeddings, and the tables it is written to.

C concepts, K filters, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from net2vec_jax.analysis.category_means import average_categories, make_jsonable
from net2vec_jax.analysis.geometry.activation_statistics import (
    ActivationStatistics,
    measure_activations,
)
from net2vec_jax.analysis.geometry.concept_embeddings import (
    ConceptClusters,
    Linkage,
    NearestCategories,
    NeighbourStability,
    UnitEmbeddings,
    cluster_concepts,
    find_nearest_concepts,
    measure_stability,
    normalise_embeddings,
    rank_by_similarity,
    tabulate_nearest_categories,
)
from net2vec_jax.analysis.geometry.embedding_maps import (
    LEAST_CONCEPTS,
    PrincipalComponents,
    explain_variance,
    map_neighbourhoods,
    map_principal_components,
)
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import write_table
from net2vec_jax.data.dataset import Split
from net2vec_jax.runs.sources import RunSources

MOST_SIMILAR, LEAST_SIMILAR = 10, 5
"""Concepts that the summary lists from both ends of a ranking (spec A.6)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """What is measured on C embeddings.

    Attributes:
      unit: the embeddings, the mean of all seeds.
      nearest_categories: of the nearest concepts.
      clusters: the tree.
      pca: the map of two principal components of the unit embeddings.
      tsne: the t-SNE map, float64 [C, 2]; NaN where there is none.
      spectrum: variance along the principal components of the raw weights, mean over seeds, [10].
      stability: over seeds; None with one seed, or without two concepts.
    """

    unit: UnitEmbeddings
    nearest_categories: NearestCategories
    clusters: ConceptClusters
    pca: PrincipalComponents
    tsne: np.ndarray
    spectrum: np.ndarray
    stability: NeighbourStability | None


def measure_run_activations(sources: RunSources, split: Split) -> ActivationStatistics:
    """Statistics of the run's stored activations on the images of a split with each concept.

    Raises:
      Net2VecError: the dataset or the activations are not where they were, or have changed.
    """
    masks, activations = sources.masks, sources.activations
    has_concept = np.zeros((len(masks.is_val), len(masks.catalog)), bool)
    has_concept[masks.pair_image, masks.pair_concept] = True
    if split != "all":
        has_concept[masks.is_val != (split == "val")] = False
    batches = tqdm(activations.batches(), "activations", leave=False, delay=1)
    return measure_activations(batches, has_concept, ~masks.is_val)


def write_statistics(
    path: Path, concepts: Sequence[str], statistics: ActivationStatistics, split: Split
) -> None:
    """Write statistics of activations as a NumPy archive, with the names of the concepts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, concept=np.array(concepts), split=split, **dataclasses.asdict(statistics))


def measure_geometry(
    weights: np.ndarray,
    unit: UnitEmbeddings,
    categories: Sequence[str],
    *,
    linkage: Linkage,
    perplexity: float,
    seed: int,
) -> Geometry:
    """Measure everything.

    Args:
      weights: of every seed, [S, C, K].
      unit: the mean of the seeds' unit embeddings.
      categories: of the concepts.
      linkage: of the clustering.
      perplexity: of t-SNE.
      seed: of t-SNE.
    """
    stable = normalise_embeddings(weights).is_valid.all(axis=0).sum()
    enough = unit.is_valid.sum() >= LEAST_CONCEPTS
    return Geometry(
        unit,
        tabulate_nearest_categories(unit, categories),
        cluster_concepts(unit, method=linkage),
        map_principal_components(unit),
        map_neighbourhoods(unit, perplexity=perplexity, seed=seed)
        if enough
        else np.full((len(unit), 2), np.nan),
        np.mean([explain_variance(rows) for rows in weights], axis=0),
        measure_stability(weights) if len(weights) > 1 and stable > 1 else None,
    )


def write_tables(
    out: Path,
    concepts: Sequence[str],
    categories: Sequence[str],
    geometry: Geometry,
    count: int,
    clusters: int,
) -> None:
    """Write the CSV tables into `out`; masked concepts have empty cells, or no rows."""
    named = list(zip(concepts, categories, strict=True))
    nearest = find_nearest_concepts(geometry.unit, count)
    rows = [
        [*named[place], rank, *named[other], np.float32(cosine)]
        for place in range(len(named))
        for rank, (other, cosine) in enumerate(nearest.row(place), 1)
    ]
    header = ["concept", "category", "rank", "neighbour", "neighbour_category", "cosine"]
    write_table(out / "neighbours.csv", header, rows)

    table = geometry.nearest_categories
    header = ["category", "concepts", "neighbour_category", "fraction", "chance"]
    rows = [
        [source, concepts_of, category, *_cells(fraction, chance)]
        for source, concepts_of, *row in zip(
            table.categories, table.concepts.tolist(), table.fraction, table.chance, strict=True
        )
        for category, fraction, chance in zip(table.categories, *row, strict=True)
    ]
    write_table(out / "nearest_categories.csv", header, rows)

    largest, mean = (rank_by_similarity(geometry.unit, by=by)[1] for by in ("max", "mean"))
    rows = [[*pair, *_cells(*values)] for pair, *values in zip(named, largest, mean, strict=True)]
    header = ["concept", "category", "max_absolute_cosine", "mean_absolute_cosine"]
    write_table(out / "similarity.csv", header, rows)

    places = np.concatenate([geometry.pca.coordinates, geometry.tsne], axis=1)
    rows = [[*pair, *_cells(*row)] for pair, row in zip(named, places, strict=True)]
    header = ["concept", "category", "pca_1", "pca_2", "tsne_1", "tsne_2"]
    write_table(out / "map.csv", header, rows)

    _write_tree(out, named, geometry.clusters, clusters)
    if geometry.stability:
        stability = geometry.stability
        columns = (stability.cosine, stability.overlap, stability.jaccard)
        rows = [[*pair, *_cells(*row)] for pair, *row in zip(named, *columns, strict=True)]
        header = ["concept", "category", "cosine", "overlap", "jaccard"]
        write_table(out / "stability.csv", header, rows)


def _write_tree(
    out: Path, named: list[tuple[str, str]], clusters: ConceptClusters, count: int
) -> None:
    """Leaves in the tree's order with their clusters, and the tree's joins from the leaves up."""
    cut = clusters.cut(count)
    leaf = {concept: number for number, concept in enumerate(clusters.members.tolist())}
    rows = [
        [*named[concept], leaf[concept], cut[leaf[concept]]] for concept in clusters.order.tolist()
    ]
    write_table(out / "clusters.csv", ["concept", "category", "node", "cluster"], rows)
    rows = [
        [len(clusters.members) + number, int(left), int(right), np.float32(distance), int(size)]
        for number, (left, right, distance, size) in enumerate(clusters.linkage.tolist())
    ]
    write_table(out / "linkage.csv", ["node", "left", "right", "distance", "concepts"], rows)


def summarise(
    concepts: Sequence[str], categories: Sequence[str], geometry: Geometry
) -> dict[str, Any]:
    """Numbers for a JSON file; null where there is none."""
    unit, table, stability = geometry.unit, geometry.nearest_categories, geometry.stability
    summary: dict[str, Any] = {
        "concepts": len(unit),
        "masked": [concepts[place] for place in np.flatnonzero(~unit.is_valid)],
        "nearest_categories": {
            "neighbours": table.neighbours,
            "categories": table.categories,
            "concepts": table.concepts,
            "fraction": table.fraction,
            "chance": table.chance,
        },
        "similarity": {by: _list_ends(concepts, unit, by) for by in ("max", "mean")},
        "map_pca_explained": geometry.pca.explained,
        "spectrum": geometry.spectrum,
        "spectrum_sum": geometry.spectrum.sum(),
        "stability": None,
    }
    if stability:
        summary["stability"] = {
            "neighbours": stability.neighbours,
            "chance_overlap": stability.chance_overlap,
            "chance_jaccard": stability.chance_jaccard,
            **{
                name: average_categories(getattr(stability, name), categories).summary()
                for name in ("overlap", "jaccard", "cosine")
            },
        }
    return make_jsonable(summary)


def _list_ends(concepts: Sequence[str], unit: UnitEmbeddings, by: Any) -> dict[str, Any]:
    """Concepts most and least similar to others, each with its nearest one (spec A.6)."""
    order, score = rank_by_similarity(unit, by=by)
    nearest = find_nearest_concepts(unit, 1)

    def describe(place: int) -> dict[str, Any]:
        (other, cosine), *_ = nearest.row(place)
        return {
            "concept": concepts[place],
            "score": score[place],
            "nearest": concepts[other],
            "cosine": cosine,
        }

    return {
        "most": [describe(place) for place in order[:MOST_SIMILAR].tolist()],
        "least": [describe(place) for place in order[::-1][:LEAST_SIMILAR].tolist()],
    }


def _cells(*values: float) -> list[Any]:
    """Numbers of a table; an empty cell for NaN."""
    return [np.float32(value) if np.isfinite(value) else "" for value in values]
