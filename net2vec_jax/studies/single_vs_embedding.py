"""Is an embedding better than the best single filter? By concept, category, layer and network.

Every concept is tested on its val images: a paired bootstrap, with the false discovery rate held
over a layer's concepts with masks, and by itself over those whose masks are whole images: nearly
all embeddings of these win, and would pay for false discoveries among the others. T concepts of a
layer have embeddings, K filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import pandas as pd

from net2vec_jax.analysis.filters.single_against_embedding import (
    EMBEDDING_DETECTOR_IOU,
    SINGLE_DETECTOR_IOU,
    ClassificationComparison,
    SegmentationComparison,
    compare_classification,
    compare_segmentation,
)
from net2vec_jax.core.console import tabulate
from net2vec_jax.probes.heads import ALL_FILTERS, arrange_repetitions, find_entries
from net2vec_jax.probes.single_filters.prediction import count_chosen_filters
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import open_run
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.study import LayerResults, StudyFlags, finish_study
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import PairedComparison, compare_set_ious
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters
from net2vec_jax.stats.overlap import Overlap
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer

QUESTION = "single_vs_embedding"
RATE = 0.05
"""False discovery rate."""
FAMILIES = ("masks", "whole images")
"""Of concepts' tests: by what their labels mark."""
NOTES = (
    f"detectors: concepts that a single filter segments with IoU ≥ {SINGLE_DETECTOR_IOU:g} on val, "
    "the filter chosen on val as the paper counts them, then chosen on train; and those that "
    f"embeddings segment with IoU ≥ {EMBEDDING_DETECTOR_IOU:g}",
    f"better, worse: the false discovery rate is {RATE:.0%} among concepts with masks and, by "
    "itself, among those whose masks are whole images",
)


def single_vs_embedding(results: Sequence[LayerResults]) -> Answer:
    """Compare single filters with embeddings by both probes, and test every concept.

    Args:
      results: of layers, from `run_study`.

    Returns:
      The table single_vs_embedding (the test of every layer's concepts by segmentation), the
      summary by layer and probe, and figures.
    """
    segmentation, classification, tests, summary = {}, {}, [], {}
    whole_images: dict[str, str] = {}
    left_out = []
    for result in results:
        layer = result.name
        segmentation[layer], test, masked = compare_iou(result)
        classification[layer], unscored = compare_accuracy(result)
        tests.append(test)
        whole_images |= masked
        left_out.append(
            LeftOut(
                f"concepts from the comparison by classification, {layer}",
                unscored,
                len(classification[layer].single),
            )
        )
        summary[layer] = {
            "segmentation": segmentation[layer].summary()
            | {"tests": count_differences(test), "left_out": masked},
            "classification": classification[layer].summary() | {"left_out": unscored},
        }
    untested = "concepts from the comparison by segmentation, though they are tested"
    return Answer(
        summary=summary,
        tables={QUESTION: pd.concat(tests, ignore_index=True)},
        figures=_choose_figures(segmentation, classification),
        console=[
            tabulate(
                "Best single filter and embedding, val split",
                (
                    "layer",
                    "set IoU",
                    "detectors",
                    *(f"better, worse: {x}" for x in FAMILIES),
                    "accuracy",
                ),
                [
                    _describe(layer, segmentation[layer], test, classification[layer])
                    for layer, test in zip(segmentation, tests, strict=True)
                ],
            )
        ],
        notes=NOTES,
        left_out=[LeftOut(untested, whole_images), *left_out],
    )


def compare_iou(
    result: LayerResults,
) -> tuple[SegmentationComparison, pd.DataFrame, dict[str, str]]:
    """Segmentation: the best single filter on train against the embedding, by set IoU on val.

    Returns:
      The comparison, the test of each of the T concepts, and why some are tested but not compared:
      scenes and textures, whose masks are whole images (behaviour 8).
    """
    run = result.segmentation
    scores = run.scores()
    names = [concept.name for concept in run.catalog]
    place = np.array([names.index(name) for name in scores.concepts])
    single = open_run(run.run.path).single_ious
    left_out = find_whole_images(scores.concepts, scores.categories)
    kept = [at for at, name in enumerate(scores.concepts) if name not in left_out]
    comparison = compare_segmentation(
        single[:, kept], scores.full[kept], [scores.categories[at] for at in kept]
    )
    best, _, single_val = choose_best_filters(single)
    test = _test_concepts(run, place, best)
    family = np.array([FAMILIES[name in left_out] for name in scores.concepts])
    discoveries = control_false_discoveries(test.p_value, rate=RATE, family=family)
    detected = pd.DataFrame(comparison.detected, kept).astype("Int64").reindex(range(len(family)))
    table = pd.DataFrame(
        {
            "layer": result.name,
            "concept": scores.concepts,
            "category": scores.categories,
            "family": family,
            "best_filter": pd.Series(best, dtype="Int64").mask(best == NO_FILTER),
            "single_val_iou": single_val,
            "val_iou": scores.full,
            "difference": test.difference,
            "difference_low": test.low,
            "difference_high": test.high,
            "p_value": test.p_value,
            "q_value": discoveries.q_value,
            "differs": discoveries.rejected.astype(int),
        }
        | {f"{name}_detects": column for name, column in detected.items()}
    )
    return comparison, table, left_out


def count_differences(test: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many embeddings of each family are tested, significantly better, and worse.

    Args:
      test: rows of the table single_vs_embedding, of one layer.
    """
    p_value, differs, difference = (
        test[column].to_numpy(np.float64) for column in ("p_value", "differs", "difference")
    )
    counts = {}
    for family in FAMILIES:
        member = np.array(test["family"] == family)
        found = difference[member & (differs == 1)]
        counts[family] = {
            "concepts": int((member & np.isfinite(p_value)).sum()),
            "better": int((found > 0).sum()),
            "worse": int((found < 0).sum()),
        }
    return counts


def compare_accuracy(result: LayerResults) -> tuple[ClassificationComparison, dict[str, str]]:
    """Classification: the filter of largest weight, retrained alone, against the embedding.

    Returns:
      The comparison, and why some concepts are not compared.
    """
    scores = result.classification.scores()
    single, reason = np.full(len(scores.full), np.nan), "no filter was trained alone (--filters 1)"
    if 1 in scores.sizes:
        single, reason = scores.by_size[:, scores.sizes.tolist().index(1)], "there is no accuracy"
    compared = np.isfinite(single) & np.isfinite(scores.full)
    left_out = {scores.concepts[place]: reason for place in np.flatnonzero(~compared)}
    images = {
        row["name"]: int(row["train_images"])
        for row in result.classification.run.read_table("concepts.csv")
    }
    comparison = compare_classification(
        single,
        scores.full,
        scores.categories,
        train_images=np.array([images[name] for name in scores.concepts]),
    )
    return comparison, left_out


def main(flags: StudyFlags) -> None:
    """Run what is missing, compare, test, draw, and say where everything is."""
    answer = single_vs_embedding(finish_study(flags))
    written = write_answer(flags.out, answer, question=QUESTION)
    print_answer(answer)
    print(
        f"figures are in {flags.out / FIGURES}, their numbers in {written}, "
        f"the tests in {flags.out / QUESTION}.csv"
    )


def _test_concepts(run: LayerRun, place: np.ndarray, best: np.ndarray) -> PairedComparison:
    """Embedding less best single filter, on each concept's val images.

    Args:
      run: of the layer.
      place: of the T concepts in the run's catalog.
      best: their filters.
    """
    masks = run.masks
    chosen = np.zeros(len(masks.catalog), np.int64)
    chosen[place] = best
    finished = open_run(run.run.path)
    binary = run.layer.binary(read_thresholds(finished.path))
    single = count_chosen_filters(binary, masks, chosen)
    position = np.full(len(masks.catalog), -1)
    position[place] = np.arange(len(place))
    concept = position[masks.pair_concept]
    pairs = np.flatnonzero(masks.pair_is_val & (concept >= 0))
    pairs = pairs[np.lexsort([masks.pair_image[pairs], concept[pairs]])]
    heads, overlaps = finished.trained.heads, finished.overlaps
    rows = arrange_repetitions(heads, heads.filters == ALL_FILTERS)
    val = np.flatnonzero(overlaps.is_val)
    entries, _ = find_entries(rows, overlaps.head[val])
    embedding = overlaps.select(val[entries])
    return compare_set_ious(
        embedding,
        Overlap(*(values[pairs] for values in single)),
        concept[pairs],
        len(place),
        key=jax.random.key(run.flags.seed),
        samples=2 * run.flags.bootstrap_samples,
    )


def _describe(
    layer: str, iou: SegmentationComparison, test: pd.DataFrame, accuracy: ClassificationComparison
) -> list[str]:
    """A row for the console."""
    single, chosen_on_train, embedding = (found.sum() for found in iou.detected.values())
    means = [
        f"{each.single_means.overall_mean:.3f} → {each.embedding_means.overall_mean:.3f}"
        for each in (iou, accuracy)
    ]
    tests = [
        f"{found['better']} of {found['concepts']}, {found['worse']}"
        for found in count_differences(test).values()
    ]
    detected = f"{single}, {chosen_on_train} → {embedding}"
    return [layer, means[0], detected, *tests, means[1]]


def _choose_figures(
    iou: dict[str, SegmentationComparison], accuracy: dict[str, ClassificationComparison]
) -> dict[str, Callable[[], Any]]:
    """Figures of both probes."""
    from net2vec_jax.plots import (
        single_against_embedding as plots,  # matplotlib, for those who draw
    )

    figures: dict[str, Callable[[], Any]] = {
        "segmentation_improvement": lambda: plots.plot_improvements(iou),
        "segmentation_mean_improvement": lambda: plots.plot_mean_improvements(iou),
        "unique_detectors": lambda: plots.plot_unique_detectors(iou),
        "classification_at_least_as_good": lambda: plots.plot_at_least_as_good(accuracy),
        "classification_exceptions": lambda: plots.plot_exception_images(accuracy),
    }
    for probe, found, score, chance in (
        ("segmentation", iou, "set IoU on val", None),
        ("classification", accuracy, "accuracy on val", 0.5),
    ):
        for name, plot in (
            ("by_category", partial(plots.plot_category_scores, chance=chance)),
            ("by_layer", partial(plots.plot_scores_by_layer, chance=chance)),
            ("by_concept", plots.plot_concept_scores),
            ("histograms", plots.plot_score_histograms),
        ):
            figures[f"{probe}_{name}"] = partial(plot, found, score=score)
    return figures
