"""Do networks, layers, WordNet and word vectors arrange concepts alike?

Distances by concept and category (reference behaviour 8.6), CKA and rank correlation of
similarities with permutation tests, and overlap of nearest neighbours, for every pair of
representations.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pandas as pd
from rich.table import Table

from net2vec_jax.analysis.similarity.network_similarity import (
    DistanceMeasure,
    Representation,
    find_common_concepts,
    list_category_rows,
    list_neighbours,
    order_by_change,
    shorten_names,
)
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison, compare_pair
from net2vec_jax.core.console import tabulate, track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer
from net2vec_jax.studies.representations import (
    Compared,
    collect_representations,
    compare_activations,
    find_left_out,
    measure_seed_distance,
    open_runs,
)

SHOWN = 3
"""Most and least changed concepts whose neighbours are printed, of the first pair."""


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


def open_compared(flags: CompareFlags) -> Compared:
    """Open what is compared.

    Raises:
      Net2VecError: a flag is out of range, a file is missing, or no run has a concept.
    """
    if not flags.runs:
        raise Net2VecError("--runs is empty; give run directories of finished runs")
    if flags.permutations < 1 or flags.neighbours < 1:
        raise Net2VecError("--permutations and --neighbours must be 1 or more")
    compared = collect_representations(
        open_runs(flags.runs),
        wordnet=flags.wordnet,
        word_vectors=flags.word_vectors,
        synsets=flags.synsets,
        average_words=flags.average_words,
    )
    unknown = [name for name in flags.concepts if name not in compared.categories]
    if unknown:
        raise Net2VecError(f"no run has a concept called {', '.join(unknown)}")
    return compared


def compare_networks(flags: CompareFlags, compared: Compared | None = None) -> Answer:
    """Compare every pair of representations.

    Args:
      flags: what to compare, and how.
      compared: what `open_compared` gave for these flags, if it was called before.

    Returns:
      Tables of distances, concept_distances, similarity and neighbours by pair.

    Raises:
      Net2VecError: fewer than four concepts in common.
    """
    compared = compared or open_compared(flags)
    pairs = compare_all(flags, compared)
    left_out = find_left_out(compared)
    activations, gone = (
        compare_activations(compared.runs) if flags.compare_activations else ([], {})
    )
    summary = {
        "representations": [_describe(each, compared) for each in compared.representations],
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
    asked_first = {name: left_out[name] for name in flags.concepts if name in left_out}
    kind = f"concepts from {'some pairs' if flags.pairwise else 'the comparison'}"
    everything = {*compared.categories, *left_out}
    return Answer(
        summary=summary,
        tables=_list_tables(pairs),
        figures=_choose_figures(pairs),
        console=[
            _tabulate_pairs(pairs),
            _tabulate_neighbours(pairs[0], flags.concepts),
            *(
                f"activations on {images} images, {first} – {second}: CKA {value:.3f}"
                for first, second, images, value, _ in activations
            ),
        ],
        notes=[f"no comparison with the activations of {name}: {gone[name]}" for name in gone],
        left_out=[LeftOut(kind, asked_first | left_out, len(everything))],
    )


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
    for (first, second), key in zip(track(pairs, "comparing", unit="pair"), keys, strict=True):
        concepts = find_common_concepts((first, second)) if flags.pairwise else common
        results.append(
            compare_pair(
                first,
                second,
                concepts,
                [compared.categories[name] for name in concepts],
                key=key,
                measure=flags.distance,
                permutations=flags.permutations,
                nearest=flags.neighbours,
            )
        )
    return results


def main(flags: CompareFlags) -> None:
    """Compare, write, draw, and say where everything is."""
    compared = open_compared(flags)
    out = make_folder(flags.out or flags.runs[0] / "compare_networks")
    answer = compare_networks(flags, compared)
    write_answer(out, answer)
    print_answer(answer)
    print(f"tables and summary.json are in {out}, figures in {out / FIGURES}")


def _describe(representation: Representation, compared: Compared) -> dict[str, Any]:
    """A representation in the summary."""
    run = compared.runs.get(representation.name)
    return {
        "name": representation.name,
        "run": run and str(run.path.resolve()),
        "concepts": len(representation.concepts),
        "dimensions": representation.vectors.shape[1],
        "missing": representation.missing,
        "distance_per_entry_between_seeds": run and measure_seed_distance(run),
        "entries": compared.entries.get(representation.name),
    }


def _list_tables(pairs: Sequence[PairComparison]) -> dict[str, pd.DataFrame]:
    header = ["concepts", "distance"]
    header += [f"{name}{end}" for name in ("cka", "rsa") for end in ("", "_low", "_high", "_p")]
    header += ["biased_cka", "neighbour_overlap", "chance_overlap", "rank_changes"]
    listed = {
        "distances": (
            ["category", "concepts", "mean", "std", "stderr"],
            lambda pair: list_category_rows(pair.means),
        ),
        "concept_distances": (
            ["concept", "category", "distance"],
            lambda pair: zip(pair.concepts, pair.categories, pair.distances, strict=True),
        ),
        "similarity": (header, lambda pair: [_list_similarity(pair)]),
        "neighbours": (
            ["concept", "overlap", "first_nearest", "second_nearest"], _list_neighbours
        ),
    }  # fmt: skip
    return {
        name: pd.DataFrame(
            [[pair.first, pair.second, *row] for pair in pairs for row in list_rows(pair)],
            columns=["first", "second", *columns],
            dtype=object,
        )
        for name, (columns, list_rows) in listed.items()
    }


def _list_similarity(pair: PairComparison) -> list[Any]:
    return [
        len(pair.concepts), pair.distance,
        *dataclasses.astuple(pair.cka), *dataclasses.astuple(pair.rank_correlation),
        pair.biased_cka, pair.overlap.mean(), pair.chance_overlap, pair.rank_changes.mean(),
    ]  # fmt: skip


def _list_neighbours(pair: PairComparison) -> Iterator[tuple[str, float, str, str]]:
    """(concept, overlap, its nearest ones in the first, those in the second representation)."""
    nearest = [list_neighbours(g)[:, : pair.nearest] for g in pair.similarities]
    for place, concept in enumerate(pair.concepts):
        first, second = (
            "; ".join(pair.concepts[other] for other in rows[place]) for rows in nearest
        )
        yield concept, pair.overlap[place], first, second


def _tabulate_pairs(pairs: Sequence[PairComparison]) -> Table:
    """One row per pair of the representations, numbered below; intervals are in similarity.csv."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    rows = [
        [
            f"{names.index(pair.first) + 1} – {names.index(pair.second) + 1}",
            str(len(pair.concepts)),
            f"{pair.distance:.4g}",
            f"{pair.cka.value:.2f}",
            f"{pair.cka.p_value:.1g}",
            f"{pair.rank_correlation.value:.2f}",
            f"{pair.rank_correlation.p_value:.1g}",
            f"{pair.overlap.mean():.0%}",
            f"{pair.chance_overlap:.0%}",
        ]
        for pair in pairs
    ]
    same = f"same of {pairs[0].nearest} nearest"
    return tabulate(
        "Representations compared by their concepts",
        ("pair", "concepts", "distance", "CKA", "p", "RSA", "p", same, "chance"),
        rows,
        texts=0,
        caption="\n".join(f"{place + 1}  {name}" for place, name in enumerate(names)),
        caption_justify="left",
    )


def _tabulate_neighbours(pair: PairComparison, concepts: Sequence[str]) -> Table:
    """Nearest concepts of a few in both representations of a pair."""
    chosen = [name for name in concepts if name in pair.concepts]
    if not chosen:
        order = order_by_change(pair.distances)
        ends = [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]
        chosen = [pair.concepts[place] for place in ends]
    nearest = {concept: lists for concept, _, *lists in _list_neighbours(pair)}
    distance = dict(zip(pair.concepts, pair.distances, strict=True))
    table = tabulate("Nearest concepts", ("concept", "distance"), [])
    for name in shorten_names([pair.first, pair.second]):
        table.add_column(name, overflow="fold")
    for name in chosen:
        table.add_row(name, f"{distance[name]:.3g}", *nearest[name])
    return table


def _choose_figures(pairs: Sequence[PairComparison]) -> dict[str, Callable[[], Any]]:
    """Matrices and bars of all pairs; a cluster map and the changed concepts of each."""
    from net2vec_jax.plots import similarity  # matplotlib, for those who draw

    figures: dict[str, Callable[[], Any]] = {
        "distances": lambda: similarity.plot_distances(pairs),
        "cka_and_rsa": lambda: similarity.plot_associations(pairs),
        "distances_by_category": lambda: similarity.plot_category_distances(pairs),
    }
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    short = dict(zip(names, shorten_names(names), strict=True))
    for number, pair in enumerate(pairs, 1):
        slugs = (
            re.sub(r"[^A-Za-z0-9]+", "-", short[name]).strip("-")[-60:]
            for name in (pair.first, pair.second)
        )
        ending = "_".join((str(number), *slugs))
        figures[f"changed_concepts_{ending}"] = partial(similarity.plot_changes, pair)
        figures[f"difference_{ending}"] = partial(similarity.plot_cluster_map, pair)
    return figures
