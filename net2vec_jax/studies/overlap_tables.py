"""Tables of `experiments.filter_overlap`: CSV, summary.json, and what it prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from net2vec_jax.analysis.category_means import make_jsonable
from net2vec_jax.analysis.filters.shared_filters import ServedConcepts, list_concepts, list_filters
from net2vec_jax.analysis.filters.weight_correlations import (
    SIGNIFICANT,
    Correlations,
    compare_spreads,
)
from net2vec_jax.core.result_files import write_json, write_table
from net2vec_jax.studies.overlap_analysis import LayerAnalysis

FILTER_HEADER = ("layer", "source", "filter", "concepts", "categories", "category_names", "names")
CONCEPT_HEADER = (
    "layer", "source", "concept", "category", "filters", "shared_filters", "sharing_concepts",
    "shared_with",
)  # fmt: skip
CORRELATION_HEADER = ("layer", "kind", "row", "category", "r", "p_value", "q_value", "discovered")
MOST_LISTED = 10
"""Concepts in the column shared_with, most similar first, and filters in summary.json."""
_BETWEEN = "; "


def write_results(out: Path, layers: Mapping[str, LayerAnalysis]) -> None:
    """Write filters.csv, concepts.csv, weight_correlations.csv and summary.json into `out`."""
    listed = {
        name: {
            source: list_filters(overlap, layer.concepts.names)
            for source, (overlap, _) in layer.overlaps.items()
        }
        for name, layer in layers.items()
    }
    write_table(
        out / "filters.csv",
        FILTER_HEADER,
        [
            [name, source, *_describe_filter(served)]
            for name, sources in listed.items()
            for source, filters in sources.items()
            for served in filters
        ],
    )
    write_table(
        out / "concepts.csv",
        CONCEPT_HEADER,
        [[name, *row] for name, layer in layers.items() for row in _list_concepts(layer)],
    )
    write_table(
        out / "weight_correlations.csv",
        CORRELATION_HEADER,
        [[name, *row] for name, layer in layers.items() for row in _list_correlations(layer)],
    )
    summary = {name: layer.summary() for name, layer in layers.items()}
    first = next(iter(layers))
    for name, layer in layers.items():
        summary[name]["filters_of_most_categories"] = {
            source: [served._asdict() for served in filters[:MOST_LISTED] if served.concepts]
            for source, filters in listed[name].items()
        }
        if name != first:
            summary[name]["weight_spread"]["relative_to"] = {
                first: _compare_spread(layer, layers[first])
            }
    write_json(out / "summary.json", make_jsonable(summary))


def tabulate_overlap(layers: Mapping[str, LayerAnalysis]) -> Table:
    """A row per layer and source of memberships."""
    table = Table(title="Filters and the concepts they serve", box=box.SIMPLE_HEAD)
    table.add_column("layer")
    table.add_column("filters of a concept")
    for column in (
        "filters used", "concepts of a used one", "of several categories", "by chance",
        "shared between categories",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for name, layer in layers.items():
        for source, (overlap, chance) in layer.overlaps.items():
            counts = overlap.concepts_per_filter
            used = counts[counts > 0]
            _, low, high = chance.shared_fraction
            ratio, p_value = chance.between
            table.add_row(
                name,
                source,
                f"{len(used)} of {len(counts)}",
                f"median {np.median(used):.0f}, most {used.max()}" if len(used) else "–",
                f"{(overlap.categories_per_filter > 1).sum()} ({overlap.shared_fraction:.1%})",
                f"{low:.1%} … {high:.1%}",
                f"{ratio:.1f} × chance (p {_format_p(p_value)})" if np.isfinite(ratio) else "–",
            )
    return table


def tabulate_correlations(layers: Mapping[str, LayerAnalysis]) -> Table:
    """A row per layer and kind of correlation."""
    table = Table(title="Correlations of weights", box=box.SIMPLE_HEAD)
    table.add_column("layer")
    table.add_column("with")
    for column in ("median r", f"p < {SIGNIFICANT}", "discovered at a false discovery rate of 5 %"):
        table.add_column(column, justify="right")
    for name, layer in layers.items():
        for kind, correlations, _, _ in _collect_correlations(layer):
            known = int(np.isfinite(correlations.r).sum())
            cells = ["–"] * 3
            if known:
                cells = [
                    f"{correlations.median:.2f}",
                    f"{correlations.significant_fraction:.0%}",
                    f"{correlations.discovered.sum()} of {known}",
                ]
            table.add_row(name, kind, *cells)
    return table


def _describe_filter(served: ServedConcepts) -> list[Any]:
    return [
        served.filter,
        len(served.concepts),
        len(served.categories),
        _BETWEEN.join(served.categories),
        _BETWEEN.join(served.concepts),
    ]


def _list_concepts(layer: LayerAnalysis) -> Iterator[list[Any]]:
    names, categories = layer.concepts.names, layer.concepts.categories
    for source, (overlap, _) in layer.overlaps.items():
        for name, category, sharing in zip(names, categories, list_concepts(overlap), strict=True):
            nearest = [
                f"{names[other]} {similarity:.2f}"
                for other, similarity in zip(sharing.others, sharing.similarity, strict=True)
            ]
            yield [
                source,
                name,
                category,
                _BETWEEN.join(map(str, sharing.filters)),
                sharing.shared_filters,
                len(sharing.others),
                _BETWEEN.join(nearest[:MOST_LISTED]),
            ]


def _collect_correlations(
    layer: LayerAnalysis,
) -> Iterator[tuple[str, Correlations, Sequence[Any], Sequence[str]]]:
    """(kind, correlations, what each row is, its category)."""
    names, categories = layer.concepts.names, layer.concepts.categories
    for split, correlations in layer.weight_iou.items():
        yield f"single-filter IoU on {split}, by concept", correlations, names, categories
    if layer.probes:
        by_concept, by_filter = layer.probes
        category = dict(zip(names, categories, strict=True))
        common = [category[name] for name in layer.common]
        yield "classification weights, by concept", by_concept, layer.common, common
        filters = range(len(by_filter.r))
        yield "classification weights, by filter", by_filter, filters, [""] * len(by_filter.r)


def _list_correlations(layer: LayerAnalysis) -> Iterator[list[Any]]:
    for kind, found, rows, categories in _collect_correlations(layer):
        for row, category, r, p_value, q_value, discovered in zip(
            rows, categories, found.r, found.p_value, found.q_value, found.discovered, strict=True
        ):
            numbers = map(float, (r, p_value, q_value))  # p-values as 1e-58, not in full
            yield [kind, row, category, *numbers, int(discovered)]


def _compare_spread(layer: LayerAnalysis, base: LayerAnalysis) -> dict[str, Any]:
    """Spread less the base's on the concepts of both, and relative to it."""
    common = [name for name in layer.concepts.names if name in set(base.concepts.names)]
    deviations = [
        one.spread.deviation[[one.concepts.names.index(name) for name in common]]
        for one in (layer, base)
    ]
    category = dict(zip(layer.concepts.names, layer.concepts.categories, strict=True))
    difference, relative = compare_spreads(*deviations, [category[name] for name in common])
    return {"difference": difference.summary(), "relative": relative.summary()}


def _format_p(p_value: float) -> str:
    return "< 0.01" if p_value < 0.01 else f"= {p_value:.2f}"
