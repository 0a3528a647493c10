"""Is an embedding better than the best single filter? By concept, category, layer and network.

  python -m experiments.single_vs_embedding --dataset DIR --out OUT \\
      --layers efficientnet_lite0/block10 efficientnet_lite0/head

Runs both probes (or takes the runs that experiments.how_many_filters left in OUT), compares single
filters with embeddings by the definitions of reference spec 8.1 and 8.4, and tests every concept
on its val images: a paired bootstrap, with the false discovery rate held over a layer's concepts.
Figures lie in OUT/figures, their numbers in OUT/summary.json, the tests in
OUT/single_vs_embedding.csv.
Time: as experiments.how_many_filters, whose runs it shares; a few seconds where they are there.
Expected: embeddings are better for nearly every object, and detect several times as many concepts.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
from rich import box
from rich.table import Table

from net2vec_jax.analysis.filters.single_against_embedding import (
    ClassificationComparison,
    SegmentationComparison,
    compare_classification,
    compare_segmentation,
)
from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.result_files import write_table
from net2vec_jax.probes.single_filters.prediction import count_chosen_filters
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.study import LayerResults, StudyFlags, run_study, write_summary
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import PairedComparison, compare_set_ious
from net2vec_jax.stats.overlap import Overlap

TESTS = "single_vs_embedding.csv"
RATE = 0.05
"""False discovery rate."""


def compare_layer(
    result: LayerResults,
) -> tuple[SegmentationComparison, list[list], dict[str, str]]:
    """Segmentation: the comparison, a row of TESTS per concept, and why some are not compared.

    Scenes and textures, whose masks are whole images, are tested but not compared (spec 8).
    """
    run = result.segmentation
    scores = run.scores("val_iou")
    names = [concept.name for concept in run.catalog]
    place = np.array([names.index(name) for name in scores.concepts])
    with np.load(run.run / "single_filter.npz") as file:
        single = np.stack([file["train_iou"], file["val_iou"]])[:, place]
    left_out = find_whole_images(scores.concepts, scores.categories)
    masked = np.array([concept not in left_out for concept in scores.concepts], bool)
    comparison = compare_segmentation(
        single[:, masked],
        scores.full[masked],
        [c for c, keep in zip(scores.categories, masked, strict=True) if keep],
    )
    best = single[0].argmax(axis=1)
    test = _test_concepts(run, place, best)
    discoveries = control_false_discoveries(test.p_value, rate=RATE)
    rows = [
        [result.name, name, category, *values]
        for name, category, *values in zip(
            scores.concepts, scores.categories, best,
            single[1][np.arange(len(best)), best], scores.full,
            test.difference, test.low, test.high, test.p_value,
            discoveries.q_value, discoveries.rejected.astype(int), strict=True,
        )
    ]  # fmt: skip
    return comparison, rows, left_out


def _test_concepts(run: LayerRun, place: np.ndarray, best: np.ndarray) -> PairedComparison:
    """Embedding less best single filter, on each concept's val images."""
    masks = run.masks
    chosen = np.zeros(len(masks.catalog), np.int64)
    chosen[place] = best
    single = count_chosen_filters(run.binary, masks, chosen)
    position = np.full(len(masks.catalog), -1)
    position[place] = np.arange(len(place))
    kept = masks.pair_is_val & (position[masks.pair_concept] >= 0)
    pairs = np.flatnonzero(kept)
    pairs = pairs[np.lexsort([masks.pair_image[pairs], position[masks.pair_concept[pairs]]])]
    with np.load(run.run / "segmentation_images.npz") as file:
        counts = dict(file)
    heads = len(place) * run.flags.seeds  # those over all filters come first, seed by seed
    full = counts["is_val"] & (counts["head"] < heads)
    order = np.lexsort([counts["image"][full], counts["head"][full]])
    embedding = Overlap(
        *(
            counts[name][full][order].reshape(run.flags.seeds, -1)
            for name in ("intersection", "union")
        )
    )
    return compare_set_ious(
        embedding,
        Overlap(*(values[pairs] for values in single)),
        position[masks.pair_concept[pairs]],
        len(place),
        key=jax.random.key(run.flags.seed),
        samples=2 * run.flags.bootstrap_samples,
    )


def compare_accuracy(result: LayerResults) -> tuple[ClassificationComparison, dict[str, str]]:
    """Classification: the filter of largest weight, retrained alone, against the embedding.

    Returns:
      The comparison, and why some concepts are not compared.
    """
    scores = result.classification.scores("val_accuracy")
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
    results = run_study(flags)
    segmentation, classification, rows, summary = {}, {}, [], {}
    whole_images: dict[str, str] = {}
    unscored: dict[str, dict[str, str]] = {}
    for result in results:
        name = result.name
        segmentation[name], tested, not_compared = compare_layer(result)
        classification[name], unscored[name] = compare_accuracy(result)
        rows += tested
        whole_images |= not_compared
        summary[name] = {
            "segmentation": segmentation[name].summary() | {"left_out": not_compared},
            "classification": classification[name].summary() | {"left_out": unscored[name]},
        }
    written = write_summary(flags.out, "single_vs_embedding", summary)
    _write_tests(flags.out / TESTS, rows)
    draw_figures(flags, segmentation, classification)
    open_console().print(tabulate(segmentation, classification, rows))
    announce_left_out(
        "concepts from the comparison by segmentation, though they are tested", whole_images
    )
    for layer, reasons in unscored.items():
        announce_left_out(
            f"concepts from the comparison by classification, {layer}",
            reasons,
            of=len(classification[layer].single),
        )
    print(
        f"figures are in {flags.out / 'figures'}, their numbers in {written}, "
        f"the tests in {flags.out / TESTS}"
    )


def _write_tests(path: Path, rows: list[list]) -> None:
    header = ["layer", "concept", "category", "best_filter", "single_val_iou", "val_iou"]
    header += ["difference", "difference_low", "difference_high", "p_value", "q_value", "differs"]
    write_table(path, header, rows)


def tabulate(
    segmentation: dict[str, SegmentationComparison],
    classification: dict[str, ClassificationComparison],
    rows: list[list],
) -> Table:
    """One row per layer."""
    table = Table(title="Best single filter and embedding, val split", box=box.SIMPLE_HEAD)
    table.add_column("layer")
    for column in ("set IoU", "detectors", "better (false discoveries < 5 %)", "accuracy"):
        table.add_column(column, justify="right")
    for layer, comparison in segmentation.items():
        tested = [row for row in rows if row[0] == layer]
        better = sum(row[-1] and row[6] > 0 for row in tested)
        worse = sum(row[-1] and row[6] < 0 for row in tested)
        accuracy = classification[layer]
        single, embedding = (int(numbers.sum()) for numbers in comparison.count_detected())
        table.add_row(
            layer,
            f"{comparison.single_means.overall_mean:.3f} → "
            f"{comparison.embedding_means.overall_mean:.3f}",
            f"{single} → {embedding}",
            f"{better} of {len(tested)}, worse {worse}",
            f"{accuracy.single_means.overall_mean:.3f} → "
            f"{accuracy.embedding_means.overall_mean:.3f}",
        )
    return table


def draw_figures(
    flags: StudyFlags,
    segmentation: dict[str, SegmentationComparison],
    classification: dict[str, ClassificationComparison],
) -> None:
    """Figures of both probes, as PNG and PDF."""
    # Imported here: the probes themselves need no plotting library.
    from net2vec_jax.plots.comparison import (
        plot_category_scores,
        plot_concept_scores,
        plot_improvements,
        plot_unique_detectors,
    )
    from net2vec_jax.plots.layers import (
        plot_at_least_as_good,
        plot_exception_images,
        plot_mean_improvements,
        plot_score_histograms,
        plot_scores_by_layer,
    )
    from net2vec_jax.plots.paper_style import save_figure

    accuracy = "accuracy on val"
    figures = {
        "segmentation_by_category": plot_category_scores(segmentation),
        "segmentation_by_concept": plot_concept_scores(segmentation),
        "segmentation_by_layer": plot_scores_by_layer(segmentation),
        "segmentation_histograms": plot_score_histograms(segmentation),
        "segmentation_improvement": plot_improvements(segmentation),
        "segmentation_mean_improvement": plot_mean_improvements(segmentation),
        "unique_detectors": plot_unique_detectors(segmentation),
        "classification_by_category": plot_category_scores(
            classification, score=accuracy, chance=0.5
        ),
        "classification_by_concept": plot_concept_scores(classification, score=accuracy),
        "classification_by_layer": plot_scores_by_layer(classification, score=accuracy, chance=0.5),
        "classification_histograms": plot_score_histograms(classification, score=accuracy),
        "classification_at_least_as_good": plot_at_least_as_good(classification),
        "classification_exceptions": plot_exception_images(classification),
    }
    for name, figure in figures.items():
        save_figure(figure, flags.out / "figures" / name)


if __name__ == "__main__":
    run_script(main, StudyFlags, __doc__.split("\n")[0])
