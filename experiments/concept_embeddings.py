"""What do concept embeddings say of each other? Neighbours, arithmetic, clusters, maps.

  python -m experiments.concept_embeddings --run RUN
  python -m experiments.concept_embeddings --run RUN --query "grass + blue - green"
  python -m experiments.concept_embeddings --run RUN --neighbours dog sky

Geometry of the unit-normalised embeddings of a finished run of either probe (reference spec 8.6,
8.7). The mean of all seeds' unit embeddings is used, and with several seeds it is measured how many
nearest concepts they share. With --query or --neighbours the answers are printed and nothing is
written. All concepts with embeddings take part; the paper's set S, whose tables the reference spec
has in appendix A.5, leaves out scenes and textures in segmentation:
--categories color object part material.
Time: a second for a query; without one, ten seconds for 118 concepts, a minute for 1,200, most of
it t-SNE.
Expected: materials beside the objects made of them, scenes beside scenes; "grass + blue - green"
gives water, sea and sky on the quickstart's run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from net2vec_jax.analysis.geometry.activation_statistics import ActivationStatistics
from net2vec_jax.analysis.geometry.concept_embeddings import (
    Linkage,
    UnitEmbeddings,
    average_seeds,
    find_nearest_concepts,
)
from net2vec_jax.analysis.geometry.concept_queries import answer_query, find_concept
from net2vec_jax.analysis.geometry.embedding_maps import PERPLEXITY
from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.core.result_files import make_folder, write_json
from net2vec_jax.data.dataset import Split
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_undirected
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.embedding_tables import (
    Geometry,
    measure_geometry,
    measure_run_activations,
    summarise,
    write_statistics,
    write_tables,
)

FOLDERS = {
    "learned": "concept_embeddings",
    "activation_probabilities": "concept_embeddings_activation_probabilities",
}
STATISTICS = "activation_statistics.npz"


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
        concept, on which the original did its arithmetic (spec 8.7, 8.10).
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
    """Embeddings of the concepts that take part.

    Attributes:
      concepts: names, C of them.
      categories: primary category of each.
      weights: float [seeds, C, K]; one seed for activation probabilities.
      unit: the mean of the seeds' unit embeddings.
      statistics: of activations, where the embeddings are made of them; of all the run's concepts.
      left_out: why concepts have no neighbours and stand in no map, by name.
    """

    concepts: tuple[str, ...]
    categories: tuple[str, ...]
    weights: np.ndarray
    unit: UnitEmbeddings
    statistics: ActivationStatistics | None
    left_out: dict[str, str]


def load_weights(run: FinishedRun, flags: EmbeddingFlags) -> ConceptWeights:
    """Embeddings of the chosen kind, of concepts of the chosen categories.

    Raises:
      Net2VecError: a category that no concept has, or no concepts.
    """
    for category in flags.categories:
        if category not in run.categories:
            raise unknown_name_error("category", category, sorted(set(run.categories)))
    chosen = [
        place
        for place, category in enumerate(run.categories)
        if category in flags.categories or not flags.categories
    ]
    if not chosen:
        raise Net2VecError(f"the run in {run.path} has no concepts with embeddings")
    statistics = None
    if flags.embeddings == "activation_probabilities":
        statistics = measure_run_activations(RunSources(run, flags), flags.split)
    weights = (run.weights if statistics is None else statistics.probability[None])[:, chosen]
    concepts, unit = tuple(run.concepts[place] for place in chosen), average_seeds(weights)
    inactive = f"no filter is active on {'' if flags.split == 'all' else flags.split + ' '}images"
    return ConceptWeights(
        concepts,
        tuple(run.categories[place] for place in chosen),
        weights,
        unit,
        statistics,
        find_undirected(concepts, unit, **({"reason": inactive} if statistics else {})),
    )


def answer(known: ConceptWeights, flags: EmbeddingFlags, console: Console) -> None:
    """Print what --query and --neighbours ask for, after all of it was understood."""
    tables = []
    for query in flags.query:
        found = answer_query(query, known.unit, known.concepts, count=flags.count)
        rows = zip(found.concept.tolist(), found.score, found.cosine, strict=True)
        tables.append(_tabulate(known, query, ("score", "cosine"), list(rows)))
    if flags.neighbours:
        nearest = find_nearest_concepts(known.unit, flags.count)
        for name in flags.neighbours:
            place = find_concept(name, known.concepts)
            title = f"nearest to {known.concepts[place]}"
            tables.append(_tabulate(known, title, ("cosine",), nearest.row(place)))
    for table in tables:
        console.print(table)


def _tabulate(
    known: ConceptWeights, title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("concept")
    table.add_column("category")
    for column in columns:
        table.add_column(column, justify="right")
    for place, *values in rows:
        name, category = known.concepts[place], known.categories[place]
        table.add_row(name, category, *(f"{value:.3f}" for value in values))
    return table


def main(flags: EmbeddingFlags) -> None:
    """Answer, or measure, write and draw everything."""
    run = FinishedRun(flags.run)
    known = load_weights(run, flags)
    announce_untrained(run)
    announce_left_out("concepts", known.left_out, of=len(known.concepts))
    console = open_console()
    if flags.query or flags.neighbours:
        answer(known, flags, console)
        return
    out = make_folder(flags.out or run.path / FOLDERS[flags.embeddings])
    geometry = measure_geometry(
        known.weights, known.unit, known.categories, linkage=flags.linkage,
        perplexity=flags.perplexity, seed=flags.seed,
    )  # fmt: skip
    write_tables(out, known.concepts, known.categories, geometry, flags.count, flags.clusters)
    if known.statistics:
        write_statistics(out / STATISTICS, run.concepts, known.statistics, flags.split)
    summary = {
        "run": run.name,
        "probe": run.kind,
        "embeddings": flags.embeddings,
        "settings": {
            "categories": sorted(set(known.categories)),
            "split": flags.split if known.statistics else None,
            "linkage": flags.linkage,
            "clusters": flags.clusters,
            "perplexity": flags.perplexity,
            "seed": flags.seed,
        },
        **summarise(known.concepts, known.categories, geometry),
    }
    written = write_json(out / "summary.json", summary)
    draw_figures(out / "figures", f"{run.name}, {run.kind}", known, geometry)
    console.print(tabulate(known, geometry))
    announce_left_out("concepts from the comparison of seeds", find_unstable(known, geometry))
    print(f"tables are in {out}, figures in {out / 'figures'}, their numbers in {written}")


def find_unstable(known: ConceptWeights, geometry: Geometry) -> dict[str, str]:
    """Why concepts that have an embedding cannot be compared between seeds, by name."""
    if geometry.stability is None:
        return {}
    return {
        concept: "the embedding of a seed is 0"
        for concept, shared in zip(known.concepts, geometry.stability.overlap, strict=True)
        if not np.isfinite(shared) and concept not in known.left_out
    }


def tabulate(known: ConceptWeights, geometry: Geometry) -> Table:
    """One row per category."""
    nearest, stability = geometry.nearest_categories, geometry.stability
    title = f"Nearest {nearest.neighbours} concepts"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("category")
    table.add_column("concepts", justify="right")
    table.add_column("of the same category (chance)", justify="right")
    if stability:
        table.add_column(
            f"shared by two seeds (chance {stability.chance_overlap:.2f})", justify="right"
        )
    for place, category in enumerate(nearest.categories):
        cells = [category, str(nearest.concepts[place])]
        cells.append(f"{nearest.fraction[place, place]:.2f} ({nearest.chance[place, place]:.2f})")
        if stability:
            chosen = np.array(known.categories, object) == category
            shared = stability.overlap[chosen & np.isfinite(stability.overlap)]
            cells.append(f"{shared.mean():.2f}" if len(shared) else "")
        table.add_row(*cells)
    return table


def draw_figures(folder: Path, title: str, known: ConceptWeights, geometry: Geometry) -> None:
    """All figures, as PNG and PDF."""
    # Imported here: a query needs no plotting library.
    from net2vec_jax.plots.concept_maps import plot_concept_tree, plot_embedding_map
    from net2vec_jax.plots.embeddings import (
        plot_filter_alphas,
        plot_nearest_categories,
        plot_neighbour_stability,
        plot_spectrum,
    )
    from net2vec_jax.plots.paper_style import save_figure

    names, categories = known.concepts, known.categories
    first, second = (f"{part:.0%} of variance" for part in geometry.pca.explained)
    figures = {
        "map_pca": plot_embedding_map(
            geometry.pca.coordinates, names, categories, title=title,
            labels=(f"principal component 1, {first}", f"principal component 2, {second}"),
        ),
        "nearest_categories": plot_nearest_categories({title: geometry.nearest_categories}),
        "spectrum": plot_spectrum({title: geometry.spectrum}),
    }  # fmt: skip
    if np.isfinite(geometry.tsne).any():
        figures["map_tsne"] = plot_embedding_map(
            geometry.tsne, names, categories, title=f"{title}, t-SNE"
        )
    if len(geometry.clusters.order) > 1:
        figures["tree"] = plot_concept_tree(
            geometry.clusters, known.unit, names, categories, title=title
        )
    if geometry.stability:
        figures["stability"] = plot_neighbour_stability(geometry.stability, categories, title=title)
    if known.statistics:
        figures["filter_alphas"] = plot_filter_alphas({title: known.statistics.alpha})
    for name, figure in figures.items():
        save_figure(figure, folder / name)


if __name__ == "__main__":
    run_script(main, EmbeddingFlags, __doc__.split("\n")[0])
