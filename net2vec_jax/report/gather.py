"""What the HTML report of a finished run shows, gathered from the run's directory.

C concepts, K filters, F numbers of filters. Of several seeds, weights and geometry are those of the
mean direction; scores are the table's means over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from net2vec_jax.activations.responses import show_filter
from net2vec_jax.analysis.category_means import mean_with_error
from net2vec_jax.analysis.filters.filter_counts import FRACTIONS, smallest_sufficient
from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.analysis.geometry.embedding_maps import map_principal_components
from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES
from net2vec_jax.probes.presets import find_preset
from net2vec_jax.probes.segmentation.rivals import RIVAL_LABELS
from net2vec_jax.report.page.content import (
    Curves,
    EmbeddingGeometry,
    Fact,
    ReportContent,
    SingleFilters,
)
from net2vec_jax.runs.files import MEASURES, read_measures, read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import best_filters, single_scores
from net2vec_jax.runs.settings import RECIPE
from net2vec_jax.stats.metrics import NO_FILTER

_FINGERPRINTS = {"dataset": "dataset", "weights": "weights", "array": "activation array"}
_SEPARATE = ("network", "layer", "dataset_name", *_FINGERPRINTS)
"""Entries of a run's identity that do not stand among the settings."""
_ALL_IMAGES = {
    "val_iou_all_images": "embedding, set IoU over all val images",
    "val_average_precision": "embedding, average precision over all val images",
}
"""Columns of scores that count false alarms on images without the concept."""


def gather_content(run: FinishedRun) -> ReportContent:
    """All that the page of a run of either probe shows, but pictures and remarks.

    Raises:
      Net2VecError: a file of the run is damaged.
    """
    curves = gather_curves(run)
    single = gather_single_filters(run)
    measures = gather_measures(run)
    unit = average_seeds(run.weights)
    components = map_principal_components(unit)
    axes = [
        f"principal component {number} ({part:.0%} of the variance)"
        for number, part in enumerate(components.explained, 1)
    ]
    if run.seeds > 1:
        weights = unit.vectors.astype(np.float32)
    else:  # as they were learnt
        weights = np.where(unit.is_valid[:, None], run.weights[0], 0)
    return ReportContent(
        probe=run.kind,
        network=run.network,
        layer=run.layer,
        dataset=str(run.origin.get("dataset_name", "")) or "a dataset",
        headline=_summarise(run, curves, single, measures),
        settings=_list_settings(run),
        concepts=run.concepts,
        categories=run.categories,
        whole_image=tuple(name for name in WHOLE_IMAGE_CATEGORIES if name in run.categories),
        numbers=run.numbers,
        train_images=run.train_images,
        val_images=run.val_images,
        curves=curves,
        single=single,
        rule="" if run.kind != "segmentation" else find_preset(run.origin["preset"]).decision_rule,
        comparison=_compare(run, curves, single, measures),
        measures=measures,
        weights=weights,
        unit_weights=run.seeds > 1,
        filter_names=() if run.responses == "positive" else [*map(show_filter, run.filter_names)],
        thresholds=read_thresholds(run.path) if run.has("thresholds.csv") else None,
        geometry=EmbeddingGeometry(
            unit.vectors, unit.is_valid, components.coordinates, (axes[0], axes[1])
        ),
    )


def gather_curves(run: FinishedRun) -> Curves:
    """Val scores with intervals against the number of filters, the last of all filters."""
    column, chance = f"val_{MEASURES[run.kind]}", 0.0 if run.kind == "segmentation" else 0.5
    place = {name: number for number, name in enumerate(run.concepts)}
    sizes = [size for size in run.scores.sizes.tolist() if size < run.filters]
    position = {str(size): number for number, size in enumerate(sizes)} | {"all": len(sizes)}
    values = np.full((3, len(run), len(position)), np.nan)
    for row in run.rows:
        if row["filters"] in position:
            at = place[row["concept"]], position[row["filters"]]
            values[:, *at] = [float(row[column + end] or "nan") for end in ("", "_low", "_high")]
    score, low, high = values
    sufficient = {
        fraction: smallest_sufficient(
            score[:, :-1], np.array(sizes, np.int64), score[:, -1],
            filters=run.filters, fraction=fraction, chance=chance,
        )
        for fraction in FRACTIONS
    }  # fmt: skip
    return Curves(np.array([*sizes, run.filters]), score, low, high, sufficient)


def gather_single_filters(run: FinishedRun) -> SingleFilters | None:
    """Best single filters by IoU; for accuracy the filter of largest weight, retrained alone.

    For accuracy every seed chooses a filter of its own, and the score is the mean over the seeds: a
    filter is named where all have chosen the same.
    """
    if run.kind == "segmentation":
        return SingleFilters(best_filters(run), single_scores(run), run.single_ious[1])
    if 1 not in run.scores.sizes:
        return None
    strength = np.abs(run.subset_weights(1))
    chosen = strength.argmax(axis=2)
    is_one = (strength.max(axis=2) > 0).all(axis=0) & (chosen == chosen[0]).all(axis=0)
    best = np.where(is_one, chosen[0], NO_FILTER)
    score = run.scores.by_size[:, run.scores.sizes.tolist().index(1)]
    return SingleFilters(best, score)


def gather_measures(run: FinishedRun) -> dict[str, np.ndarray]:
    """What the page shows beside a segmentation embedding's set IoU, float64 [C] by column."""
    if run.kind != "segmentation":
        return {}
    is_full = np.array([row["filters"] == "all" for row in run.rows], bool)
    found = read_measures(run.path)
    names = ["single_same_rule_filter", "everything_val_iou"]
    for name in (*(f"{rival}_val_iou" for rival in RIVAL_LABELS), *_ALL_IMAGES):
        names += [name, f"{name}_low", f"{name}_high"]
    measures = {name: found[name][is_full] for name in names if name in found}
    if run.responses == "both":  # the table has channel and sign, the page the filter's place
        is_negative = found["single_same_rule_sign"][is_full] < 0
        measures["single_same_rule_filter"] += is_negative * (run.filters // 2)
    return measures


def _compare(
    run: FinishedRun,
    curves: Curves,
    single: SingleFilters | None,
    measures: Mapping[str, np.ndarray],
) -> list[Fact]:
    """Means of a segmentation's embeddings and of what they are compared with."""
    if run.kind != "segmentation" or single is None:
        return []
    counted = _count_masks(run)
    compared = {
        "embedding": curves.score[:, -1],
        "best single filter, the paper’s rule": single.score,
        **{
            label: measures[f"{rival}_val_iou"]
            for rival, label in RIVAL_LABELS.items()
            if f"{rival}_val_iou" in measures
        },
        "everything marked": measures["everything_val_iou"],
        **{label: measures[name] for name, label in _ALL_IMAGES.items()},
    }
    return [_mean(label, scores[counted]) for label, scores in compared.items()]


def _count_masks(run: FinishedRun) -> np.ndarray:
    """Concepts that means count, bool [C]: of a segmentation, those with masks."""
    return np.array(
        [
            run.kind == "classification" or category not in WHOLE_IMAGE_CATEGORIES
            for category in run.categories
        ],
        bool,
    )


def _summarise(
    run: FinishedRun,
    curves: Curves,
    single: SingleFilters | None,
    measures: Mapping[str, np.ndarray],
) -> list[Fact]:
    """Figures at the top; a segmentation's leave out concepts whose masks are whole images."""
    counted = _count_masks(run)
    full = curves.score[:, -1]
    name = "IoU" if run.kind == "segmentation" else "accuracy"
    categories = len(set(run.categories))
    facts = [
        Fact(
            "concepts", f"{len(run):,}", f"{categories} categor{'y' if categories == 1 else 'ies'}"
        ),
        Fact("filters", f"{run.filters:,}", f"{run.seeds} seed{'' if run.seeds == 1 else 's'}"),
    ]
    if single is not None:
        label = "best single filter" if run.kind == "segmentation" else "top filter alone"
        facts.append(_mean(f"{label}, mean {name}", single.score[counted]))
    facts.append(_mean(f"embedding, mean {name}", full[counted]))
    if single is None:
        return facts
    same = measures.get("single_same_rule_val_iou")
    if same is not None:
        wins = int((full > same)[counted].sum())
        facts.append(
            Fact("embedding is better, same rule", f"{wins} of {counted.sum()}", "concepts")
        )
    both = counted & np.isfinite(single.score) & np.isfinite(full)
    wins = int((full > single.score)[both].sum())
    facts.append(Fact("embedding is better", f"{wins} of {both.sum()}", "concepts"))
    return facts


def _mean(label: str, scores: np.ndarray) -> Fact:
    mean, error, count = (float(value) for value in mean_with_error(scores))
    note = f"± {error:.3f}, {count:.0f} concepts" if count > 1 else f"{count:.0f} concepts"
    return Fact(label, "–" if np.isnan(mean) else f"{mean:.3f}", note)


def _list_settings(run: FinishedRun) -> list[tuple[str, list[Fact]]]:
    identity, record = run.origin, run.record
    unused = RECIPE if find_preset(identity["preset"]).to_optimum else ()
    settings = {
        name: value for name, value in identity.items() if name not in (*_SEPARATE, *unused)
    }
    groups = [
        ("Settings", _facts(settings.items())),
        ("Versions", _facts(record.get("versions", {}).items(), plain=True)),
        (
            "Time per stage",
            [
                Fact(str(name).replace("_", " "), f"{float(seconds):.1f} s")
                for name, seconds in record.get("timings", {}).items()
                if isinstance(seconds, int | float)
            ],
        ),
        (
            "Fingerprints",
            _facts(
                (label, identity[name])
                for name, label in _FINGERPRINTS.items()
                if identity.get(name)
            ),
        ),
    ]
    skipped = record.get("skipped", {})
    if skipped:
        groups.append((f"Concepts left out ({len(skipped)})", _facts(skipped.items(), plain=True)))
    return [(title, facts) for title, facts in groups if facts]


def _facts(entries: Iterable[tuple[str, Any]], *, plain: bool = False) -> list[Fact]:
    """Settings as text; those that say nothing are left out."""
    return [
        Fact(str(name) if plain else str(name).replace("_", " "), _write_value(value))
        for name, value in entries
        if value not in (None, [], {}, "")
    ]


def _write_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_write_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
