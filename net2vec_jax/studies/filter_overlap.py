"""Do concepts share filters, and do weights follow single filters? (behaviour 8.3, 8.5)"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from net2vec_jax.analysis.filters.chance_overlap import NULLS, Overlaps
from net2vec_jax.analysis.filters.filter_overlap import Ranking, count_shared
from net2vec_jax.analysis.filters.shared_filters import list_concepts, list_filters
from net2vec_jax.analysis.filters.weight_correlations import (
    SIGNIFICANT,
    Correlations,
    compare_spreads,
)
from net2vec_jax.core.console import tabulate
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer
from net2vec_jax.studies.layer_overlap import (
    SINGLE,
    LayerAnalysis,
    LayerConcepts,
    analyse_layer,
    choose_concepts,
)

MOST_LISTED = 10
"""Concepts in the column shared_with, most similar first, and filters in summary.json."""


@dataclasses.dataclass(frozen=True)
class OverlapFlags:
    """Flags of filter_overlap.

    Attributes:
      runs: finished run directories of experiments.segmentation, one per layer.
      classification_runs: those of experiments.classification on some of the same layers, to
        compare the weights of both probes.
      filters: take so many filters of each embedding, as far as a layer has more.
      rankings: by "absolute" weight, as the paper does, or by "positive" weight, of the filters
        whose presence speaks for the concept; or by each of both.
      include_whole_images: count scenes and textures too, whose masks are whole images.
      repetition: take the embeddings of this one of a run's repetitions (--seeds), counted from 0;
        by default their mean direction.
      permutations: samples of either null: of what chance gives, and of what it gives if filters
        keep their popularity.
      seed: of these samples.
      out: folder of the results; by default filter_overlap in the first run's directory.
    """

    runs: tuple[Path, ...]
    classification_runs: tuple[Path, ...] = ()
    filters: tuple[int, ...] = (1, 3, 5, 10, 20)
    rankings: tuple[Ranking, ...] = ("absolute",)
    include_whole_images: bool = False
    repetition: int | None = None
    permutations: int = 1000
    seed: int = 0
    out: Path | None = None


Layers = dict[str, tuple[LayerConcepts, LayerConcepts | None]]
"""Name of a layer → its concepts by the segmentation, and if known by the classification probe."""


def open_layers(flags: OverlapFlags) -> Layers:
    """Open the runs, and match those of both probes.

    Raises:
      Net2VecError: a flag is out of range, a run is none, is of the other probe or is given twice,
        or runs of both probes do not match.
    """
    if any(size < 1 for size in flags.filters):
        raise Net2VecError(f"--filters {min(flags.filters)}: take at least 1 filter")
    if flags.permutations < 1:
        raise Net2VecError(f"--permutations must be at least 1, not {flags.permutations}")
    if not flags.runs:
        raise Net2VecError("--runs is empty; give finished runs of experiments.segmentation")
    runs = [FinishedRun(path) for path in flags.runs]
    for run in runs:
        if run.kind != "segmentation":
            raise Net2VecError(
                f"{run.path} is a run of the classification probe, which has no IoU of single "
                "filters; it belongs to --classification-runs"
            )
    names = name_layers(runs)
    others = [FinishedRun(path) for path in flags.classification_runs]
    for other in others:
        if other.kind != "classification":
            raise Net2VecError(
                f"{other.path} is no run of experiments.classification; it belongs to --runs"
            )
    matched = [_match_classification(run, others) for run in runs]
    idle = [str(other.path) for other in others if other not in matched]
    if idle:
        raise Net2VecError(
            f"no run of --runs is on the same layer, with the same weights, as {', '.join(idle)}"
        )
    choose = partial(
        choose_concepts,
        repetition=flags.repetition,
        include_whole_images=flags.include_whole_images,
    )
    return {
        name: (choose(run), choose(other) if other else None)
        for name, run, other in zip(names, runs, matched, strict=True)
    }


def name_layers(runs: Sequence[FinishedRun]) -> list[str]:
    """Names of the runs' layers, each once: as short as tells them apart.

    Raises:
      Net2VecError: a run is given twice.
    """
    paths = [str(run.path.resolve()) for run in runs]
    if len(set(paths)) < len(paths):
        raise Net2VecError(f"{Counter(paths).most_common(1)[0][0]} is given twice")
    datasets = [f" ({Path(str(run.origin.get('dataset_name', ''))).name})" for run in runs]
    one_network = len({run.network for run in runs}) == 1
    short = [run.layer if one_network else run.name for run in runs]
    names = short
    for ending in (datasets, [f" ({path})" for path in paths]):
        if len(set(names)) < len(names):
            names = [name + end for name, end in zip(short, ending, strict=True)]
    return names


def filter_overlap(flags: OverlapFlags, layers: Layers | None = None) -> Answer:
    """Count which filters serve which concepts, and correlate weights.

    Args:
      flags: what is asked of which runs.
      layers: what `open_layers` gave for these flags, if it was called before.

    Returns:
      Tables of filters, of concepts, of shared_filters (what two categories share, against both
      nulls) and of weight_correlations; a summary per layer.
    """
    found = {
        name: analyse_layer(
            *both, filters=flags.filters, rankings=flags.rankings,
            permutations=flags.permutations, seed=flags.seed,
        )
        for name, both in (layers or open_layers(flags)).items()
    }  # fmt: skip
    listed = {
        (name, source): list_filters(overlaps.found, layer.concepts.names)
        for name, layer in found.items()
        for source, overlaps in layer.overlaps.items()
    }
    called = {name: layer.concepts.run.filter_names for name, layer in found.items()}
    summary = {name: layer.summary() for name, layer in found.items()}
    first = next(iter(found))
    for name, layer in found.items():
        summary[name]["filters_of_most_categories"] = {
            source: [
                served._asdict() | {"filter": called[name][served.filter].item()}
                for served in listed[name, source][:MOST_LISTED]
                if served.concepts
            ]
            for source in layer.overlaps
        }  # fmt: skip
        if name != first:
            difference = _compare_spread(layer, found[first])
            summary[name]["weight_spread"]["relative_to"] = {first: difference}
    filters = [
        {
            "layer": name,
            "source": source,
            "filter": called[name][served.filter],
            "concepts": len(served.concepts),
            "categories": len(served.categories),
            "category_names": "; ".join(served.categories),
            "names": "; ".join(served.concepts),
        }
        for (name, source), rows in listed.items()
        for served in rows
    ]
    correlated = [
        _list_correlations(name, *row)
        for name, layer in found.items()
        for row in layer.correlations()
    ]
    return Answer(
        summary=summary,
        tables={
            "filters": pd.DataFrame(filters),
            "concepts": pd.DataFrame(
                [row for name, layer in found.items() for row in _list_sharing(name, layer)]
            ),
            "shared_filters": pd.DataFrame(
                [
                    {"layer": name, "source": source} | row
                    for name, layer in found.items()
                    for source, overlaps in layer.overlaps.items()
                    for row in _list_category_pairs(overlaps)
                ]
            ),
            "weight_correlations": pd.concat(correlated, ignore_index=True),
        },
        figures=_choose_figures(found),
        console=[
            tabulate(
                "Filters and the concepts they serve",
                (
                    "layer", "filters of a concept", "filters used", "concepts of a used one",
                    "of several categories", "by chance", "popularity kept",
                ),
                [
                    [name, source, *_describe_overlap(overlaps)]
                    for name, layer in found.items()
                    for source, overlaps in layer.overlaps.items()
                ],
                texts=2,
            ),
            tabulate(
                "Filters shared between categories",
                (
                    "layer", "filters of a concept", "found / by chance", "p",
                    "found / popularity kept", "p",
                ),
                [
                    [name, source, *_describe_between(overlaps)]
                    for name, layer in found.items()
                    for source, overlaps in layer.overlaps.items()
                ],
                texts=2,
            ),
            tabulate(
                "Correlations of weights",
                ("layer", "with", "median r", f"p < {SIGNIFICANT}",
                 "discovered at a false discovery rate of 5 %"),
                [
                    [name, each.kind, *_describe_correlations(each.found)]
                    for name, layer in found.items()
                    for each in layer.correlations()
                ],
                texts=2,
            ),
        ],
        notes=NULLS,
        left_out=[
            LeftOut(f"concepts of {name} from {part}", reasons, len(layer.concepts.run))
            for name, layer in found.items()
            for part, reasons in layer.left_out.items()
        ],
    )  # fmt: skip


def main(flags: OverlapFlags) -> None:
    """Count, correlate, draw, and say where everything is."""
    layers = open_layers(flags)
    out = make_folder(flags.out or flags.runs[0] / "filter_overlap")
    answer = filter_overlap(flags, layers)
    write_answer(out, answer)
    sides = zip(*layers.values(), strict=True)
    for run in dict.fromkeys(concepts.run for side in sides for concepts in side if concepts):
        announce_untrained(run)
    print_answer(answer)
    print(f"tables and summary.json are in {out}, figures in {out / FIGURES}")


def _match_classification(run: FinishedRun, others: Sequence[FinishedRun]) -> FinishedRun | None:
    """The run of the classification probe on the same filters of the same weights, if there is one.

    Raises:
      Net2VecError: there are several.
    """

    def identify(run: FinishedRun) -> tuple[str, ...]:
        return run.name, run.origin["weights"], run.responses

    same = [other for other in others if identify(other) == identify(run)]
    if len(same) > 1:
        raise Net2VecError(
            f"several of --classification-runs are on {run.name}: "
            f"{', '.join(str(other.path) for other in same)}; give one of them"
        )
    return same[0] if same else None


def _compare_spread(layer: LayerAnalysis, base: LayerAnalysis) -> dict[str, Any]:
    """Spread less the base's on the concepts of both, and relative to it."""
    names, others = layer.concepts.names, set(base.concepts.names)
    common = [place for place, name in enumerate(names) if name in others]
    difference, relative = compare_spreads(
        layer.spread.deviation[common],
        base.spread.deviation[base.concepts.find([names[place] for place in common])],
        [layer.concepts.categories[place] for place in common],
    )
    return {"difference": difference.summary(), "relative": relative.summary()}


def _list_sharing(layer_name: str, layer: LayerAnalysis) -> list[dict[str, Any]]:
    """A row per source and concept: with whom it shares its filters."""
    names, categories = layer.concepts.names, layer.concepts.categories
    called = layer.concepts.run.filter_names
    return [
        {
            "layer": layer_name,
            "source": source,
            "concept": name,
            "category": category,
            "filters": "; ".join(str(called[number]) for number in sharing.filters),
            "shared_filters": sharing.shared_filters,
            "sharing_concepts": len(sharing.others),
            "shared_with": "; ".join(
                f"{names[other]} {similarity:.2f}"
                for other, similarity in zip(
                    sharing.others[:MOST_LISTED], sharing.similarity[:MOST_LISTED], strict=True
                )
            ),
        }
        for source, overlaps in layer.overlaps.items()
        for name, category, sharing in zip(
            names, categories, list_concepts(overlaps.found), strict=True
        )
    ]


def _list_correlations(
    layer: str,
    kind: str,
    found: Correlations,
    rows: Sequence[str | int],
    categories: Sequence[str],
) -> pd.DataFrame:
    numbers = {name: pd.Series(getattr(found, name)) for name in ("r", "p_value", "q_value")}
    return pd.DataFrame(
        {"layer": layer, "kind": kind, "row": list(rows), "category": list(categories)}
        | {name: values.astype(object) for name, values in numbers.items()}  # p-values as 1e-58
        | {"discovered": found.discovered.astype(int)}
    )


def _list_category_pairs(overlaps: Overlaps) -> list[dict[str, Any]]:
    """A row per two categories with pairs of concepts: what these share, against both nulls."""
    found = overlaps.found
    shared = count_shared(found.by_category)
    rows = []
    for place in zip(*np.triu_indices(len(found.categories)), strict=True):
        if np.isfinite(found.similarity[place]):
            one, other = (found.categories[group] for group in place)
            # Within a category the counts have every pair twice.
            number = shared[place] // (2 if one == other else 1)
            row = {"category": one, "other_category": other, "shared_filters": number,
                   "mean_jaccard": found.similarity[place]}  # fmt: skip
            for ending, null in (
                ("", overlaps.chance),
                ("_popularity_kept", overlaps.popularity_kept),
            ):
                row[f"over_chance{ending}"] = null.shared[place]
                row[f"p_value{ending}"] = null.p_value[place]
                row[f"q_value{ending}"] = null.q_value[place]
            rows.append(row)
    return rows


def _describe_overlap(overlaps: Overlaps) -> list[str]:
    overlap, *nulls = overlaps
    counts = overlap.concepts_per_filter
    used = counts[counts > 0]
    return [
        f"{len(used)} of {len(counts)}",
        f"median {np.median(used):.0f}, most {used.max()}" if len(used) else "–",
        f"{(overlap.categories_per_filter > 1).sum()} ({overlap.shared_fraction:.1%})",
        *("{1:.1%} … {2:.1%}".format(*null.shared_fraction) for null in nulls),
    ]


def _describe_between(overlaps: Overlaps) -> list[str]:
    cells = []
    for ratio, p_value in (overlaps.chance.between, overlaps.popularity_kept.between):
        cells.append(f"{ratio:.2f}" if np.isfinite(ratio) else "–")
        cells.append("–" if np.isnan(p_value) else "< 0.01" if p_value < 0.01 else f"{p_value:.2f}")
    return cells


def _describe_correlations(found: Correlations) -> list[str]:
    known = int(np.isfinite(found.r).sum())
    if not known:
        return ["–"] * 3
    return [
        f"{found.median:.2f}",
        f"{found.significant_fraction:.0%}",
        f"{found.discovered.sum()} of {known}",
    ]


def _choose_figures(layers: Mapping[str, LayerAnalysis]) -> dict[str, Callable[[], Any]]:
    """Figures of every source of memberships, and of the weights."""
    from net2vec_jax.plots import correlations, overlap  # matplotlib, for those who draw

    figures: dict[str, Callable[[], Any]] = {}
    for source in dict.fromkeys(source for layer in layers.values() for source in layer.overlaps):
        chosen = {
            name: layer.overlaps[source]
            for name, layer in layers.items()
            if source in layer.overlaps
        }
        ending = "" if source == SINGLE else f"_{source.replace(' ', '_')}"
        for name, plot in (
            ("concepts_per_filter", overlap.plot_concepts_per_filter),
            ("categories_per_filter", overlap.plot_categories_per_filter),
            ("category_overlap", overlap.plot_category_overlap),
            (
                "category_overlap_popularity_kept",
                partial(overlap.plot_category_overlap, null="popularity_kept"),
            ),
        ):
            figures[name + ending] = partial(plot, chosen)
    by_size = {name: layer.by_size for name, layer in layers.items() if layer.by_size}
    if by_size:
        figures["shared_filters"] = lambda: overlap.plot_shared_filters(by_size)
    figures["weight_iou_correlations"] = lambda: correlations.plot_weight_iou_correlations(
        {
            name: (layer.weight_iou["val"], layer.concepts.categories)
            for name, layer in layers.items()
        }
    )
    known = {
        name: (
            layer.concepts.weights,
            layer.concepts.single_ious[1],
            layer.weight_iou["val"],
            layer.concepts.names,
        )
        for name, layer in layers.items()
        if np.isfinite(layer.weight_iou["val"].r).any()
    }
    if known:
        figures["weights_against_ious"] = lambda: correlations.plot_weights_against_ious(known)
    figures["weight_spread"] = lambda: correlations.plot_weight_spread(
        {name: layer.spread for name, layer in layers.items()}
    )
    probes = {name: layer.probes for name, layer in layers.items() if layer.probes}
    if probes:
        figures["probe_correlations"] = lambda: correlations.plot_probe_correlations(probes)
    return figures
