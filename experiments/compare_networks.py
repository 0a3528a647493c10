"""Do networks, layers, WordNet and word vectors arrange concepts alike?

  python -m experiments.compare_networks --runs RUN RUN [RUN ...] [--wordnet DIR] \\
      [--word-vectors FILE] [--permutations 1000] [--out DIR]

Compares the embeddings of finished runs, of any layer, network and probe, on the concepts that all
have (with --pairwise, that two have): distances by concept and category (reference spec 8.6), CKA
and rank correlation of similarities with permutation tests, and overlap of nearest neighbours.
Tables, summary.json and figures lie in OUT, by default FIRST_RUN/compare_networks.
Time: seconds for a hundred concepts; about 20 s a pair for a thousand, nearly all for the tests.
Expected: layers of a network are alike (p at its least), all much less so to WordNet.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import jax
from tqdm import tqdm

from net2vec_jax.analysis.category_means import make_jsonable
from net2vec_jax.analysis.similarity.network_similarity import (
    DistanceMeasure,
    find_common_concepts,
    shorten_names,
)
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison, compare_pair
from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder, write_json
from net2vec_jax.studies.comparison_tables import tabulate, tabulate_neighbours, write_tables
from net2vec_jax.studies.representations import (
    Compared,
    collect_representations,
    compare_activations,
    find_left_out,
    measure_seed_distance,
    open_runs,
)


@dataclasses.dataclass(frozen=True)
class CompareFlags:
    """What to compare.

    Attributes:
      runs: run directories of finished runs, segmentation or classification.
      wordnet: folder of WordNet's files (index.noun, data.noun, …); WordNet joins the comparison.
      word_vectors: file of word vectors, word2vec's (text or binary) or GloVe's, which may be
        compressed with gzip; they join the comparison.
      out: folder of the results; by default compare_networks in the first run.
      pairwise: compare each pair on all concepts that these two have, instead of those that all
        have.
      distance: squared distance of a concept's row of similarities; per_entry divides by the
        number of concepts; row_normalized divides each row by its length first.
      permutations: of each test; no p-value lies below 1 / (permutations + 1).
      neighbours: how many nearest concepts are compared.
      concepts: whose neighbours are printed; by default a few of those most and least changed.
      synsets: CONCEPT=SYNSET, such as crane=crane.n.04, where WordNet's first meaning of a name is
        not the one meant; CONCEPT= leaves it out.
      average_words: take the mean of its words for a name of several that has no vector.
      compare_activations: compare the layers' activations on the images too, by CKA; runs whose
        activations are no longer where they left them are named and passed over.
      seed: of the permutations.
    """

    runs: tuple[Path, ...]
    wordnet: Path | None = None
    word_vectors: Path | None = None
    out: Path | None = None
    pairwise: bool = False
    distance: DistanceMeasure = "squared"
    permutations: int = 1000
    neighbours: int = 5
    concepts: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()
    average_words: bool = False
    compare_activations: bool = False
    seed: int = 0


def compare_all(flags: CompareFlags, compared: Compared) -> list[PairComparison]:
    """Compare every pair of representations.

    Raises:
      Net2VecError: fewer than four concepts in common.
    """
    representations = compared.representations
    common = () if flags.pairwise else find_common_concepts(representations)
    pairs = list(itertools.combinations(representations, 2))
    keys = jax.random.split(jax.random.key(flags.seed), len(pairs))
    results = []
    bar = tqdm(pairs, "comparing", unit="pair", leave=False, delay=2)
    for (first, second), key in zip(bar, keys, strict=True):
        concepts = find_common_concepts((first, second)) if flags.pairwise else common
        categories = [compared.categories[name] for name in concepts]
        results.append(
            compare_pair(
                first,
                second,
                concepts,
                categories,
                key=key,
                measure=flags.distance,
                permutations=flags.permutations,
                nearest=flags.neighbours,
            )
        )
    return results


def main(flags: CompareFlags) -> None:
    """Compare, write, draw, and say where everything is."""
    if not flags.runs:
        raise Net2VecError("--runs is empty; give run directories of finished runs")
    if flags.permutations < 1 or flags.neighbours < 1:
        raise Net2VecError("--permutations and --neighbours must be 1 or more")
    runs = open_runs(flags.runs)
    out = flags.out or flags.runs[0] / "compare_networks"
    compared = collect_representations(
        runs,
        wordnet=flags.wordnet,
        word_vectors=flags.word_vectors,
        synsets=flags.synsets,
        average_words=flags.average_words,
    )
    unknown = [name for name in flags.concepts if name not in compared.categories]
    if unknown:
        raise Net2VecError(f"no run has a concept called {', '.join(unknown)}")
    make_folder(out)
    pairs = compare_all(flags, compared)
    write_tables(out, pairs)
    left_out = find_left_out(runs, compared)
    activations, gone = compare_activations(runs) if flags.compare_activations else ([], {})
    summary = {
        "representations": [
            {
                "name": representation.name,
                "run": str(runs[representation.name].path.resolve())
                if representation.name in runs
                else None,
                "concepts": len(representation.concepts),
                "dimensions": representation.vectors.shape[1],
                "missing": representation.missing,
                "distance_per_entry_between_seeds": measure_seed_distance(runs[representation.name])
                if representation.name in runs
                else None,
                "entries": compared.entries.get(representation.name),
            }
            for representation in compared.representations
        ],
        "left_out": left_out,
        "pairwise": flags.pairwise,
        "permutations": flags.permutations,
        "seed": flags.seed,
        "pairs": [pair.summary() for pair in pairs],
        "activations": [
            dict(zip(("first", "second", "images", "cka", "biased_cka"), row, strict=True))
            for row in activations
        ],
    }
    write_json(out / "summary.json", make_jsonable(summary))
    draw_figures(out / "figures", pairs)
    console = open_console()
    console.print(tabulate(pairs))
    console.print(tabulate_neighbours(pairs[0], flags.concepts))
    for first, second, images, value, _ in activations:
        console.print(f"activations on {images} images, {first} – {second}: CKA {value:.3f}")
    for name, reason in gone.items():
        print(f"no comparison with the activations of {name}: {reason}")
    of = "some pairs" if flags.pairwise else "the comparison"
    asked_first = {name: left_out[name] for name in flags.concepts if name in left_out}
    announce_left_out(
        f"concepts from {of}", asked_first | left_out, of=len({*compared.categories, *left_out})
    )
    print(f"tables and summary.json are in {out}, figures in {out / 'figures'}")


def draw_figures(folder: Path, pairs: list[PairComparison]) -> None:
    """Matrices and bars of all pairs; a cluster map and the changed concepts of each."""
    # Imported here: the numbers themselves need no plotting library.
    from net2vec_jax.plots.changes import plot_changes, plot_cluster_map
    from net2vec_jax.plots.paper_style import save_figure
    from net2vec_jax.plots.similarity import (
        plot_associations,
        plot_category_distances,
        plot_distances,
    )

    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    short = dict(zip(names, shorten_names(names), strict=True))
    save_figure(plot_distances(pairs), folder / "distances")
    save_figure(plot_associations(pairs), folder / "cka_and_rsa")
    save_figure(plot_category_distances(pairs), folder / "distances_by_category")
    for place, pair in enumerate(pairs):
        slugs = (_write_slug(short[name]) for name in (pair.first, pair.second))
        ending = "_".join((str(place + 1), *slugs))
        save_figure(plot_changes(pair), folder / f"changed_concepts_{ending}")
        save_figure(plot_cluster_map(pair), folder / f"difference_{ending}")


def _write_slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-60:]


if __name__ == "__main__":
    run_script(main, CompareFlags, __doc__.split("\n")[0])
