"""What do concept embeddings say of each other? Neighbours, arithmetic, clusters, maps.

Geometry of the unit-normalised embeddings of a finished run (reference behaviour 8.6, 8.7). C
concepts, K filters, S seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.table import Table

from net2vec_jax.analysis.category_means import average_categories
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
    average_seeds,
    cluster_concepts,
    find_nearest_concepts,
    measure_stability,
    normalise_embeddings,
    rank_by_similarity,
    tabulate_nearest_categories,
)
from net2vec_jax.analysis.geometry.concept_queries import answer_query, find_concept
from net2vec_jax.analysis.geometry.embedding_maps import (
    LEAST_CONCEPTS,
    PERPLEXITY,
    PrincipalComponents,
    explain_variance,
    map_neighbourhoods,
    map_principal_components,
)
from net2vec_jax.core.console import announce_left_out, tabulate, track
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.dataset import Split
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_undirected
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer

FOLDERS = {
    "learned": "concept_embeddings",
    "activation_probabilities": "concept_embeddings_activation_probabilities",
}
MOST_SIMILAR, LEAST_SIMILAR = 10, 5
"""Concepts that the summary lists from both ends of a ranking (spec A.6)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddingFlags(SourceFlags):
    """What is asked of a run's embeddings.

    Attributes:
      run: run directory of experiments.segmentation or experiments.classification.
      query: concepts added and subtracted, each query in quotes: "grass + blue - green". A minus
        has a space before it; colours and scenes are found without their -c and -s.
      neighbours: concepts whose nearest ones are printed.
      count: concepts printed per answer, and written per concept.
      embeddings: learned weights; or each filter's probability of being active in images of the
        concept, on which the original did its arithmetic (behaviour 8.7, 8.10).
      split: images over which activation probabilities are taken.
      categories: only concepts of these categories take part; by default all.
      linkage: of the hierarchical clustering, on the cosine distance.
      clusters: the tree is cut into so many.
      perplexity: of t-SNE; lowered for few concepts.
      seed: of t-SNE.
      out: where tables and figures are written; by default RUN/concept_embeddings, or
        RUN/concept_embeddings_activation_probabilities.
    """

    run: Path
    query: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    count: int = 10
    embeddings: Literal["learned", "activation_probabilities"] = "learned"
    split: Split = "train"
    categories: tuple[str, ...] = ()
    linkage: Linkage = "average"
    clusters: int = 10
    perplexity: float = PERPLEXITY
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        for name in ("count", "clusters"):
            if getattr(self, name) < 1:
                raise Net2VecError(f"--{name} is {getattr(self, name)}; it must be at least 1")
        if not self.perplexity > 0:
            raise Net2VecError(f"--perplexity is {self.perplexity}; it must be above 0")
        if not 0 <= self.seed < 2**32:
            raise Net2VecError(f"--seed is {self.seed}; it must be 0 … {2**32 - 1}")


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptWeights:
    """Embeddings of the concepts of a run that take part, C of them."""

    run: FinishedRun
    concepts: tuple[str, ...]
    categories: tuple[str, ...]  # primary category of each
    weights: np.ndarray  # float [S, C, K]; one seed for activation probabilities
    unit: UnitEmbeddings  # the mean of the seeds' unit embeddings
    statistics: ActivationStatistics | None  # of all the run's concepts, if embeddings are of them
    left_out: dict[str, str]  # why concepts have no neighbours and stand in no map, by name


def load_weights(flags: EmbeddingFlags) -> ConceptWeights:
    """Embeddings of the chosen kind, of concepts of the chosen categories.

    Raises:
      Net2VecError: no finished run, a category that no concept has, or no concepts.
    """
    run = FinishedRun(flags.run)
    for category in flags.categories:
        if category not in run.categories:
            raise unknown_name_error("category", category, sorted(set(run.categories)))
    wanted = flags.categories or run.categories
    chosen = [place for place, category in enumerate(run.categories) if category in wanted]
    if not chosen:
        raise Net2VecError(f"the run in {run.path} has no concepts with embeddings")
    weights, statistics, reason = run.weights, None, "the embedding is 0"
    if flags.embeddings == "activation_probabilities":
        statistics = _measure_activations(RunSources(run, flags), flags.split)
        weights = statistics.probability[None]
        of_split = "" if flags.split == "all" else flags.split + " "
        reason = f"no filter is active on {of_split}images"
    weights = weights[:, chosen]
    concepts, unit = tuple(run.concepts[place] for place in chosen), average_seeds(weights)
    categories = tuple(run.categories[place] for place in chosen)
    left_out = find_undirected(concepts, unit, reason=reason)
    return ConceptWeights(run, concepts, categories, weights, unit, statistics, left_out)


def answer_queries(flags: EmbeddingFlags, known: ConceptWeights | None = None) -> Answer:
    """Answer --query and --neighbours, with a table to print for each.

    Raises:
      Net2VecError: a concept is unknown, or a query is not understood.
    """
    known = known or load_weights(flags)
    tables = []
    for query in flags.query:
        found = answer_query(query, known.unit, known.concepts, count=flags.count)
        rows = zip(found.concept.tolist(), found.score, found.cosine, strict=True)
        tables.append(_tabulate_concepts(known, query, ("score", "cosine"), list(rows)))
    if flags.neighbours:
        nearest = find_nearest_concepts(known.unit, flags.count)
        for name in flags.neighbours:
            place = find_concept(name, known.concepts)
            title = f"nearest to {known.concepts[place]}"
            tables.append(_tabulate_concepts(known, title, ("cosine",), nearest.row(place)))
    return Answer(summary={}, console=tables)


def concept_embeddings(flags: EmbeddingFlags, known: ConceptWeights | None = None) -> Answer:
    """Measure the geometry of a run's embeddings.

    Args:
      flags: what is asked of which run.
      known: what `load_weights` gave for these flags, if it was called before.

    Returns:
      Tables of neighbours, categories of neighbours, similarity, maps, clusters, and with several
      seeds stability. Cells of concepts without an embedding are empty, or they have no rows.
    """
    known = known or load_weights(flags)
    run, unit, categories, statistics = known.run, known.unit, known.categories, known.statistics
    nearest = tabulate_nearest_categories(unit, categories)
    clusters = cluster_concepts(unit, method=flags.linkage)
    pca = map_principal_components(unit)
    tsne = np.full((len(unit), 2), np.nan)
    if unit.is_valid.sum() >= LEAST_CONCEPTS:
        tsne = map_neighbourhoods(unit, perplexity=flags.perplexity, seed=flags.seed)
    spectrum = np.mean([explain_variance(rows) for rows in known.weights], axis=0)
    stable = normalise_embeddings(known.weights).is_valid.all(axis=0).sum()
    several = len(known.weights) > 1 and stable > 1
    stability = measure_stability(known.weights) if several else None
    named = pd.DataFrame({"concept": known.concepts, "category": categories})
    largest, mean = (rank_by_similarity(unit, by=by)[1] for by in ("max", "mean"))
    tables = {
        "neighbours": _list_neighbours(known, flags.count),
        "nearest_categories": _list_categories(nearest),
        "similarity": named.assign(
            max_absolute_cosine=_blank(largest), mean_absolute_cosine=_blank(mean)
        ),
        "map": named.assign(
            pca_1=_blank(pca.coordinates[:, 0]), pca_2=_blank(pca.coordinates[:, 1]),
            tsne_1=_blank(tsne[:, 0]), tsne_2=_blank(tsne[:, 1]),
        ),
        "clusters": _list_leaves(named, clusters, flags.clusters),
        "linkage": _list_joins(clusters),
    }  # fmt: skip
    unstable = {}
    if stability:
        measures = {name: getattr(stability, name) for name in ("cosine", "overlap", "jaccard")}
        tables["stability"] = named.assign(**{n: _blank(x) for n, x in measures.items()})
        unstable = {
            known.concepts[place]: "the embedding of a seed is 0"
            for place in np.flatnonzero(~np.isfinite(stability.overlap) & unit.is_valid)
        }
    summary = {
        "run": run.name,
        "probe": run.kind,
        "embeddings": flags.embeddings,
        "settings": {
            "categories": sorted(set(categories)),
            "split": flags.split if statistics else None,
            "linkage": flags.linkage,
            "clusters": flags.clusters,
            "perplexity": flags.perplexity,
            "seed": flags.seed,
        },
        "concepts": len(unit),
        "masked": [known.concepts[place] for place in np.flatnonzero(~unit.is_valid)],
        "nearest_categories": {
            name: getattr(nearest, name)
            for name in ("neighbours", "categories", "concepts", "fraction", "chance")
        },
        "similarity": {by: _list_ends(known, by) for by in ("max", "mean")},
        "map_pca_explained": pca.explained,
        "spectrum": spectrum,
        "spectrum_sum": spectrum.sum(),
        "stability": stability
        and {
            "neighbours": stability.neighbours,
            "chance_overlap": stability.chance_overlap,
            "chance_jaccard": stability.chance_jaccard,
            "overlap": average_categories(stability.overlap, categories).summary(),
            "jaccard": average_categories(stability.jaccard, categories).summary(),
            "cosine": average_categories(stability.cosine, categories).summary(),
        },
    }
    return Answer(
        summary=summary,
        tables=tables,
        figures=_choose_figures(known, nearest, clusters, pca, tsne, spectrum, stability),
        arrays={
            "activation_statistics": {
                "concept": np.array(run.concepts),
                "split": flags.split,
                **dataclasses.asdict(statistics),
            }
        }
        if statistics
        else {},
        console=[_tabulate_categories(categories, nearest, stability)],
        left_out=[LeftOut("concepts from the comparison of seeds", unstable)],
    )


def main(flags: EmbeddingFlags) -> None:
    """Answer, or measure, write and draw everything."""
    known = load_weights(flags)
    announce_untrained(known.run)
    announce_left_out("concepts", known.left_out, of=len(known.concepts))
    if flags.query or flags.neighbours:
        print_answer(answer_queries(flags, known))
        return
    out = make_folder(flags.out or known.run.path / FOLDERS[flags.embeddings])
    answer = concept_embeddings(flags, known)
    written = write_answer(out, answer)
    print_answer(answer)
    print(f"tables are in {out}, figures in {out / FIGURES}, their numbers in {written}")


def _measure_activations(sources: RunSources, split: Split) -> ActivationStatistics:
    """Statistics of the run's stored activations on the images of a split with each concept.

    Raises:
      Net2VecError: the dataset or the activations are not where they were, or have changed.
    """
    masks = sources.masks
    has_concept = np.zeros((len(masks.is_val), len(masks.catalog)), bool)
    has_concept[masks.pair_image, masks.pair_concept] = True
    if split != "all":
        has_concept[masks.is_val != (split == "val")] = False
    batches = track(sources.activations.batches(), "activations", unit="batch")
    return measure_activations(batches, has_concept, ~masks.is_val)


def _blank(values: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """A column in single precision whose cells are empty where there is no number."""
    return pd.array(np.where(np.isfinite(values), values, np.nan).astype(np.float32), "Float32")


def _list_neighbours(known: ConceptWeights, count: int) -> pd.DataFrame:
    nearest = find_nearest_concepts(known.unit, count)
    named = list(zip(known.concepts, known.categories, strict=True))
    rows = [
        [*named[place], rank, *named[other], cosine]
        for place in range(len(named))
        for rank, (other, cosine) in enumerate(nearest.row(place), 1)
    ]
    header = ["concept", "category", "rank", "neighbour", "neighbour_category", "cosine"]
    return pd.DataFrame(rows, columns=header).astype({"cosine": np.float32})


def _list_categories(nearest: NearestCategories) -> pd.DataFrame:
    count = len(nearest.categories)
    return pd.DataFrame(
        {
            "category": np.repeat(nearest.categories, count),
            "concepts": np.repeat(nearest.concepts, count),
            "neighbour_category": np.tile(nearest.categories, count),
            "fraction": _blank(nearest.fraction.ravel()),
            "chance": _blank(nearest.chance.ravel()),
        }
    )


def _list_leaves(named: pd.DataFrame, clusters: ConceptClusters, count: int) -> pd.DataFrame:
    """Leaves in the tree's order, with their clusters."""
    leaf = {concept: number for number, concept in enumerate(clusters.members.tolist())}
    number = np.array([leaf[concept] for concept in clusters.order.tolist()], int)
    return named.iloc[clusters.order].assign(node=number, cluster=clusters.cut(count)[number])


def _list_joins(clusters: ConceptClusters) -> pd.DataFrame:
    """The tree's joins, from the leaves up."""
    joins = pd.DataFrame(
        clusters.linkage.reshape(-1, 4), columns=["left", "right", "distance", "concepts"]
    ).astype({"left": int, "right": int, "distance": np.float32, "concepts": int})
    joins.insert(0, "node", np.arange(len(joins)) + len(clusters.members))
    return joins


def _list_ends(known: ConceptWeights, by: Literal["max", "mean"]) -> dict[str, Any]:
    """Concepts most and least similar to others, each with its nearest one (spec A.6)."""
    order, score = rank_by_similarity(known.unit, by=by)
    nearest = find_nearest_concepts(known.unit, 1)

    def describe(place: int) -> dict[str, Any]:
        (other, cosine), *_ = nearest.row(place)
        return {
            "concept": known.concepts[place],
            "score": score[place],
            "nearest": known.concepts[other],
            "cosine": cosine,
        }

    return {
        "most": [describe(place) for place in order[:MOST_SIMILAR].tolist()],
        "least": [describe(place) for place in order[::-1][:LEAST_SIMILAR].tolist()],
    }


def _tabulate_concepts(
    known: ConceptWeights, title: str, columns: Sequence[str], rows: Sequence[tuple]
) -> Table:
    named = [
        [known.concepts[place], known.categories[place], *(f"{value:.3f}" for value in values)]
        for place, *values in rows
    ]
    return tabulate(title, ("concept", "category", *columns), named, texts=2, title_justify="left")


def _tabulate_categories(
    categories: Sequence[str], nearest: NearestCategories, stability: NeighbourStability | None
) -> Table:
    columns = ["category", "concepts", "of the same category (chance)"]
    rows = [
        [category, str(count), f"{same:.2f} ({chance:.2f})"]
        for category, count, same, chance in zip(
            nearest.categories, nearest.concepts, nearest.fraction.diagonal(),
            nearest.chance.diagonal(), strict=True,
        )
    ]  # fmt: skip
    if stability:
        columns.append(f"shared by two seeds (chance {stability.chance_overlap:.2f})")
        for row in rows:
            shared = stability.overlap[np.array(categories, object) == row[0]]
            shared = shared[np.isfinite(shared)]
            row.append(f"{shared.mean():.2f}" if len(shared) else "")
    return tabulate(f"Nearest {nearest.neighbours} concepts", columns, rows)


def _choose_figures(
    known: ConceptWeights,
    nearest: NearestCategories,
    clusters: ConceptClusters,
    pca: PrincipalComponents,
    tsne: np.ndarray,
    spectrum: np.ndarray,
    stability: NeighbourStability | None,
) -> dict[str, Callable[[], Any]]:
    from net2vec_jax.plots import concept_maps, embeddings  # matplotlib, for those who draw

    title = f"{known.run.name}, {known.run.kind}"
    names, categories, statistics = known.concepts, known.categories, known.statistics
    first, second = (f"{part:.0%} of variance" for part in pca.explained)
    labels = f"principal component 1, {first}", f"principal component 2, {second}"
    figures: dict[str, Callable[[], Any]] = {
        "map_pca": lambda: concept_maps.plot_embedding_map(
            pca.coordinates, names, categories, title=title, labels=labels
        ),
        "nearest_categories": lambda: embeddings.plot_nearest_categories({title: nearest}),
        "spectrum": lambda: embeddings.plot_spectrum({title: spectrum}),
    }
    if np.isfinite(tsne).any():
        figures["map_tsne"] = lambda: concept_maps.plot_embedding_map(
            tsne, names, categories, title=f"{title}, t-SNE"
        )
    if len(clusters.order) > 1:
        figures["tree"] = lambda: concept_maps.plot_concept_tree(
            clusters, known.unit, names, categories, title=title
        )
    if stability:
        figures["stability"] = lambda: embeddings.plot_neighbour_stability(
            stability, categories, title=title
        )
    if statistics:
        figures["filter_alphas"] = lambda: embeddings.plot_filter_alphas({title: statistics.alpha})
    return figures
