"""Tables of experiments.compare_networks: CSV files, and those that are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from net2vec_jax.analysis.similarity.network_similarity import (
    list_category_rows,
    list_neighbours,
    order_by_change,
    shorten_names,
)
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison
from net2vec_jax.core.result_files import write_table

SHOWN = 3
"""Most and least changed concepts whose neighbours are printed, of the first pair."""


def write_tables(out: Path, pairs: Sequence[PairComparison]) -> None:
    """distances.csv, concept_distances.csv, similarity.csv and neighbours.csv."""
    write_table(
        out / "distances.csv",
        ["first", "second", "category", "concepts", "mean", "std", "stderr"],
        [[p.first, p.second, *row] for p in pairs for row in list_category_rows(p.means)],
    )
    write_table(
        out / "concept_distances.csv",
        ["first", "second", "concept", "category", "distance"],
        [
            [p.first, p.second, *row]
            for p in pairs
            for row in zip(p.concepts, p.categories, p.distances, strict=True)
        ],
    )
    header = ["first", "second", "concepts", "distance"]
    header += [f"{name}{end}" for name in ("cka", "rsa") for end in ("", "_low", "_high", "_p")]
    header += ["biased_cka", "neighbour_overlap", "chance_overlap", "rank_changes"]
    write_table(
        out / "similarity.csv",
        header,
        [
            [
                p.first, p.second, len(p.concepts), p.distance,
                *dataclasses.astuple(p.cka), *dataclasses.astuple(p.rank_correlation),
                p.biased_cka, p.overlap.mean(), p.chance_overlap, p.rank_changes.mean(),
            ]
            for p in pairs
        ],
    )  # fmt: skip
    write_table(
        out / "neighbours.csv",
        ["first", "second", "concept", "overlap", "first_nearest", "second_nearest"],
        [row for pair in pairs for row in _list_rows_of_neighbours(pair)],
    )


def _list_rows_of_neighbours(pair: PairComparison) -> list[list]:
    nearest = [list_neighbours(g)[:, : pair.nearest] for g in pair.similarities]
    return [
        [
            pair.first,
            pair.second,
            concept,
            pair.overlap[place],
            *("; ".join(pair.concepts[other] for other in rows[place]) for rows in nearest),
        ]
        for place, concept in enumerate(pair.concepts)
    ]


def tabulate(pairs: Sequence[PairComparison]) -> Table:
    """One row per pair of the representations, numbered below; intervals are in similarity.csv."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    table = Table(
        title="Representations compared by their concepts",
        caption="\n".join(f"{place + 1}  {name}" for place, name in enumerate(names)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    columns = ("pair", "concepts", "distance", "CKA", "p", "RSA", "p")
    for column in (*columns, f"same of {pairs[0].nearest} nearest", "chance"):
        table.add_column(column, justify="right")
    for pair in pairs:
        table.add_row(
            f"{names.index(pair.first) + 1} – {names.index(pair.second) + 1}",
            str(len(pair.concepts)),
            f"{pair.distance:.4g}",
            f"{pair.cka.value:.2f}",
            f"{pair.cka.p_value:.1g}",
            f"{pair.rank_correlation.value:.2f}",
            f"{pair.rank_correlation.p_value:.1g}",
            f"{pair.overlap.mean():.0%}",
            f"{pair.chance_overlap:.0%}",
        )
    return table


def tabulate_neighbours(pair: PairComparison, concepts: Sequence[str]) -> Table:
    """Nearest concepts of a few in both representations of a pair."""
    chosen = [name for name in concepts if name in pair.concepts]
    if not chosen:
        order = order_by_change(pair.distances)
        ends = [*order[:SHOWN], *order[SHOWN:][-SHOWN:]]
        chosen = [pair.concepts[place] for place in ends]
    rows = {row[2]: row for row in _list_rows_of_neighbours(pair)}
    distance = dict(zip(pair.concepts, pair.distances, strict=True))
    table = Table(title="Nearest concepts", box=box.SIMPLE_HEAD)
    table.add_column("concept")
    table.add_column("distance", justify="right")
    for name in shorten_names([pair.first, pair.second]):
        table.add_column(name, overflow="fold")
    for name in chosen:
        table.add_row(name, f"{distance[name]:.3g}", *rows[name][4:])
    return table
