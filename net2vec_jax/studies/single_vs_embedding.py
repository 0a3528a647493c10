"""Is an embedding better than the best single filter? By concept, category, layer and network.

Every concept is tested on its val images: a paired bootstrap, with the false discovery rate held
over a layer's concepts with masks, and by itself over those whose masks are whole images: nearly
all embeddings of these win, and would pay for false discoveries among the others.

The paper compares under two decision rules: a filter marks where its upsampled map is above 0.5, an
embedding where its own is above 0. So embeddings are also compared with single filters under their
own rule, and with what needs no concept in the image (`studies.rivals`). T concepts of a layer have
embeddings, K filters.
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
    compare_scores,
    compare_segmentation,
)
from net2vec_jax.core.console import tabulate
from net2vec_jax.probes.heads import ALL_FILTERS, arrange_repetitions, find_entries
from net2vec_jax.probes.presets import find_preset
from net2vec_jax.probes.segmentation.rivals import RIVAL_LABELS
from net2vec_jax.probes.single_filters.prediction import count_chosen_filters
from net2vec_jax.runs.classification import read_counts
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import open_run
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.study import LayerResults, StudyFlags, finish_study
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import PairedComparison, compare_accuracies, compare_set_ious
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters
from net2vec_jax.stats.overlap import Overlap
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer
from net2vec_jax.studies.rivals import (
    FAMILIES,
    RATE,
    average_terciles,
    compare_rivals,
    count_differences,
    count_different,
    read_val_overlaps,
    summarise_rivals,
)

QUESTION = "single_vs_embedding"
RIVALS, STRATA, ACCURACY = (f"{QUESTION}_{name}" for name in ("rivals", "strata", "accuracy"))
"""Tables beside that of the paper's comparison."""
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
      The tables single_vs_embedding (the test of every layer's concepts by segmentation, as the
      paper compares), …_rivals (the tests under the embeddings' own rule), …_strata (mean set IoUs
      of thirds of the concepts with masks, by their size and their number of train images) and
      …_accuracy (the test by classification); the summary by layer and probe, and figures.
    """
    segmentation, classification, tests, summary = {}, {}, [], {}
    rivals: dict[str, pd.DataFrame] = {}
    strata, accuracies = [], []
    whole_images: dict[str, str] = {}
    left_out = []
    for result in results:
        layer = result.name
        segmentation[layer], test, masked = compare_iou(result)
        classification[layer], unscored = compare_accuracy(result)
        tests.append(test)
        rivals[layer] = _compare_rivals(result)
        strata.append(_average_strata(layer, test, rivals[layer]))
        accuracies.append(_test_accuracies(result))
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
            "segmentation_same_rule": summarise_rivals(rivals[layer]),
            "classification": classification[layer].summary()
            | {"tests": count_different(accuracies[-1]), "left_out": unscored},
        }
    presets = [find_preset(result.segmentation.flags.preset) for result in results]
    rules = dict.fromkeys(preset.decision_rule for preset in presets)
    untested = "concepts from the comparison by segmentation, though they are tested"
    return Answer(
        summary=summary,
        tables={
            QUESTION: pd.concat(tests, ignore_index=True),
            RIVALS: pd.concat(list(rivals.values()), ignore_index=True),
            STRATA: pd.concat(strata, ignore_index=True),
            ACCURACY: pd.concat(accuracies, ignore_index=True),
        },
        figures=_choose_figures(segmentation, classification, rivals),
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
            ),
            tabulate(
                "Rivals and embedding under the embedding's rule, val split",
                ("layer", "rival", "family", "set IoU", "better, worse"),
                [row for layer in rivals for row in _describe_rivals(layer, summary[layer])],
                texts=3,
            ),
            tabulate(
                "Mean set IoU by thirds of the concepts with masks, val split",
                (
                    "layer",
                    "third by",
                    "concepts",
                    "embedding",
                    "filter",
                    "filter, same rule",
                    *(
                        label
                        for rival, label in RIVAL_LABELS.items()
                        if rival != "single_same_rule" and rival in strata[0]
                    ),
                ),
                [row for table in strata for row in _describe_strata(table)],
                texts=2,
            ),
        ],
        notes=[*NOTES, *(f"same rule: {rule}" for rule in rules)],
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
    finished = open_run(run.run.path)
    single = finished.single_ious
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
            "best_filter": pd.Series(pd.array(finished.filter_names[best])).mask(best == NO_FILTER),
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
        f"the tests in {flags.out / QUESTION}.csv, {RIVALS}.csv and {ACCURACY}.csv"
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
    embedding, _, image = read_val_overlaps(finished)
    groups = _find_groups(run)
    return compare_set_ious(
        embedding,
        Overlap(*(values[pairs] for values in single)),
        concept[pairs],
        len(place),
        cluster=None if groups is None else groups[image],
        key=jax.random.key(run.flags.seed),
        samples=2 * run.flags.bootstrap_samples,
    )


def _find_groups(run: LayerRun) -> np.ndarray | None:
    """Group of each image, int32 [N], of a dataset that has groups."""
    return getattr(run.dataset, "image_groups", None)


def _compare_rivals(result: LayerResults) -> pd.DataFrame:
    """Tests of a layer's concepts against all rivals, see `compare_rivals`."""
    run = result.segmentation
    tests = compare_rivals(
        open_run(run.run.path),
        groups=_find_groups(run),
        seed=run.flags.seed,
        samples=2 * run.flags.bootstrap_samples,
    )
    tests.insert(0, "layer", result.name)
    return tests


def _average_strata(layer: str, paper: pd.DataFrame, rivals: pd.DataFrame) -> pd.DataFrame:
    """Mean set IoUs of thirds of the concepts with masks, by their size and train images."""
    parts = {
        str(name): rows.query("family == @FAMILIES[0]").set_index("concept")
        for name, rows in rivals.groupby("rival")
    }
    names = [name for name in RIVAL_LABELS if name in parts]
    table = parts[names[0]].assign(
        single=paper.set_index("concept")["single_val_iou"],
        **{name: parts[name]["rival_val_iou"] for name in names},
    )
    strata = [
        average_terciles(table, by, ["val_iou", "single", *names])
        for by in ("train_coverage", "train_images")
    ]
    found = pd.concat(strata, ignore_index=True)
    found.insert(0, "layer", layer)
    return found


def _test_accuracies(result: LayerResults) -> pd.DataFrame:
    """Test of each concept's embedding against its top filter alone, by accuracy on val images.

    Concepts, accuracies over val images, and the columns of the test; no rows where no filter was
    trained alone.
    """
    run = result.classification
    finished = open_run(run.run.path)
    heads, counts = finished.trained.heads, read_counts(finished.path)
    sides = []
    for size in (ALL_FILTERS, 1):
        rows = arrange_repetitions(heads, heads.filters == size)
        sides.append(find_entries(rows, counts.head))
    (embedding, concept), (single, of_single) = sides
    tested = len(finished) if len(concept) == len(of_single) else 0
    if not tested:
        embedding, single, concept = embedding[:, :0], single[:1, :0], concept[:0]
    groups = _find_groups(run)
    test = compare_accuracies(
        counts.correct[embedding],
        counts.correct[single],
        concept,
        tested,
        stratum=counts.shows[embedding[0]].astype(int),
        cluster=None if groups is None else groups[counts.image[embedding[0]]],
        key=jax.random.key(run.flags.seed),
        samples=2 * run.flags.bootstrap_samples,
    )
    discoveries = control_false_discoveries(test.p_value, rate=RATE)

    def average(entries: np.ndarray) -> np.ndarray:
        values = counts.correct[entries].mean(axis=0)
        return np.bincount(concept, values, tested) / np.maximum(np.bincount(concept), 1)

    return pd.DataFrame(
        {
            "layer": result.name,
            "concept": finished.concepts[:tested],
            "category": finished.categories[:tested],
            "train_images": finished.train_images[:tested],
            "single_val_accuracy": average(single),
            "val_accuracy": average(embedding),
            "difference": test.difference,
            "difference_low": test.low,
            "difference_high": test.high,
            "p_value": test.p_value,
            "q_value": discoveries.q_value,
            "differs": discoveries.rejected.astype(int),
        }
    )


def _describe_rivals(layer: str, summary: dict[str, Any]) -> list[list[str]]:
    """Rows for the console."""
    return [
        [
            layer, RIVAL_LABELS[rival], family,
            f"{found['rival_mean']:.3f} → {found['embedding_mean']:.3f}",
            f"{found['better']} of {found['concepts']}, {found['worse']}",
        ]
        for rival, families in summary["segmentation_same_rule"].items()
        for family, found in families.items()
    ]  # fmt: skip


def _describe_strata(strata: pd.DataFrame) -> list[list[str]]:
    """Rows for the console."""
    return [
        [
            layer, f"{stratum.replace('_', ' ')}: {least:.3g} – {greatest:.3g}", str(concepts),
            *(f"{score:.3f}" for score in scores),
        ]
        for layer, stratum, least, greatest, concepts, *scores in strata.itertuples(index=False)
    ]  # fmt: skip


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
    iou: dict[str, SegmentationComparison],
    accuracy: dict[str, ClassificationComparison],
    rivals: dict[str, pd.DataFrame],
) -> dict[str, Callable[[], Any]]:
    """Figures of both probes, and of segmentation under the embeddings' own rule."""
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
    same_rule, means = {}, {}
    for layer, table in rivals.items():
        compared = {
            str(name): compare_scores(
                rows["rival_val_iou"].to_numpy(), rows["val_iou"].to_numpy(), [*rows["category"]]
            )
            for name, of_rival in table.groupby("rival", sort=False)
            for rows in [of_rival.query("family == @FAMILIES[0]")]
        }
        same_rule[layer] = compared["single_same_rule"]
        means[layer] = {
            "embedding": iou[layer].embedding_means,
            "best single filter, paper's rule": iou[layer].single_means,
        } | {RIVAL_LABELS[name]: found.single_means for name, found in compared.items()}
    figures["segmentation_rivals"] = lambda: plots.plot_rival_means(means)
    for probe, found, score, chance in (
        ("segmentation", iou, "set IoU on val", None),
        ("segmentation_same_rule", same_rule, "set IoU on val, same rule", None),
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
