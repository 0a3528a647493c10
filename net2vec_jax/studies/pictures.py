"""What do an embedding and its best filter mark? Pictures at percentiles of IoU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from net2vec_jax.analysis.filters.filter_overlap import find_best_filters
from net2vec_jax.analysis.images.example_selection import (
    PERCENTILES,
    choose_across,
    choose_concepts_of_filter,
)
from net2vec_jax.analysis.images.image_ranking import Reduction
from net2vec_jax.core.console import announce_left_out, track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.dataset import ConceptDataset, Split
from net2vec_jax.plots.paper_style import write_figure
from net2vec_jax.plots.picture_sheets import (
    ConceptRow,
    FilterRow,
    MaskStyle,
    plot_concept_sheet,
    plot_filter_sheet,
)
from net2vec_jax.runs.concept_pictures import (
    ConceptPicture,
    FilterPicture,
    ServedPicture,
    collect_concept_pictures,
    collect_filter_pictures,
    collect_served_pictures,
)
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_unfiltered
from net2vec_jax.runs.predictions import (
    best_filters,
    check_seed,
    embedding_scores,
    find_filters,
    require_segmentation,
    single_scores,
)
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.stats.metrics import NO_FILTER
from net2vec_jax.studies.recall import find_unranked, rank_images, write_recall

CHOSEN = 12
"""Concepts and filters that are drawn where none are named."""
SERVED = 3
"""Concepts of each kind on a filter's sheet."""
FILTER_IMAGES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureFlags(SourceFlags):
    """Flags of the pictures.

    Attributes:
      run: directory of a finished run of the segmentation probe.
      out: where the sheets go; by default the folder pictures in the run directory.
      concepts: by name or number. By default a dozen: of each category as many, in even steps of
        val IoU from the best on.
      filters: their numbers (+3 or -3 of a run with --responses both). By default the best filters
        of the concepts, a dozen at most.
      percentiles: of individual IoU, 0 … 100.
      highest: draw so many images of highest IoU instead.
      split: of the images.
      repetition: which of the run's repetitions (--seeds) is shown, counted from 0.
      masks: how masks are drawn: outlined on pale grey, or dark outside, as the original did.
      colors: matplotlib colormap of heat maps; the original's is jet.
      reduction: what of a concept's score map ranks images in the recall figure.
      raw: rank by Σ w_k A_k instead of the Σ w_k 1[A_k > T_k] that the embedding was trained on;
        of the preset converged both are its score.
    """

    run: Path
    out: Path | None = None
    concepts: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    percentiles: tuple[float, ...] = PERCENTILES
    highest: int | None = None
    split: Split = "val"
    repetition: int = 0
    masks: MaskStyle = "outline"
    colors: Literal["viridis", "magma", "inferno", "cividis", "jet"] = "viridis"
    reduction: Reduction = "max"
    raw: bool = False


def choose_concepts(run: FinishedRun, names: Sequence[str]) -> list[int]:
    """Places of the concepts of these names or numbers, or of a dozen of all categories.

    Raises:
      Net2VecError: the run has no such concept; the nearest names are suggested.
    """
    if not names:
        return choose_across(run.scores.full, run.categories, CHOSEN).tolist()
    return run.find_concepts(names)


def name_sheet(run: FinishedRun, place: int) -> str:
    """File name of a concept's sheet, whatever is in its name; its number makes it unique."""
    return f"concept_{run.numbers[place]:04d}_{make_safe(run.concepts[place])}.png"


def describe_scores(run: FinishedRun, repetition: int) -> list[str]:
    """What a concept's sheet says of set IoU: that of the repetition whose masks it shows."""
    texts = []
    columns = (embedding_scores(run, repetition), run.scores.full, single_scores(run))
    for embedding, mean, single, best in zip(*columns, best_filters(run), strict=True):
        several = f" (mean of {run.seeds} seeds {mean:.2f})" if run.seeds > 1 else ""
        of_filter = f"best filter {single:.2f}" if best != NO_FILTER else "no single filter"
        texts.append(f"set IoU on val: embedding {embedding:.2f}{several}, {of_filter}")
    return texts


def draw_concepts(
    run: FinishedRun,
    dataset: ConceptDataset,
    pictures: Mapping[int, Sequence[ConceptPicture]],
    out: Path,
    *,
    repetition: int = 0,
    style: MaskStyle = "outline",
    colors: str = "viridis",
) -> None:
    """Write pictures.csv and a sheet of each concept that has pictures.

    Args:
      run: of the segmentation probe.
      dataset: of the run.
      pictures: by place of a concept among the run's.
      out: folder to write to.
      repetition: of the embeddings that the pictures show.
      style: how masks are drawn.
      colors: matplotlib colormap of heat maps.
    """
    scores, best, names = describe_scores(run, repetition), best_filters(run), dataset.image_names
    table = []
    for place, shown in track(pictures.items(), "concepts", unit="sheet"):
        concept, category = run.concepts[place], run.categories[place]
        filter_ = None if best[place] == NO_FILTER else str(run.filter_names[best[place]])
        for picture in shown:
            ious = np.array([picture.percentile, picture.embedding_iou, picture.filter_iou])
            cells = [concept, category, names[picture.image], picture.image, *ious]
            table.append([*cells[:6], "" if filter_ is None else filter_, cells[6]])
        if shown:
            rows = [ConceptRow(names[p.image], dataset.image(p.image), p) for p in shown]
            note = f"{category}, {run.name}, {scores[place]}"
            figure = plot_concept_sheet(
                concept, category, filter_, rows, note=note, style=style, colors=colors
            )
            write_figure(figure, out / name_sheet(run, place), dpi=150)
    header = ["concept", "category", "image", "index", "percentile", "embedding_iou"]
    write_table(out / "pictures.csv", [*header, "best_filter", "filter_iou"], table)


def draw_filters(
    run: FinishedRun,
    sources: RunSources,
    filters: Sequence[int],
    maxima: np.ndarray,
    out: Path,
    *,
    repetition: int = 0,
    split: Split = "val",
) -> dict[int, list[FilterPicture]]:
    """Write filter_pictures.csv and a sheet of each filter that fires.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      filters: their numbers.
      maxima: largest activations of all images, [N, K].
      out: folder to write to.
      repetition: of the embeddings whose weights say which concepts a filter serves.
      split: of the images of these concepts.

    Returns:
      By filter, the pictures of where it fires.
    """
    thresholds, dataset = read_thresholds(run.path), sources.dataset
    weights = run.weights[repetition]
    train_iou, val_iou = run.single_ious
    is_best = find_best_filters(train_iou)
    served = {
        filter_: choose_concepts_of_filter(
            filter_, is_best[:, filter_], val_iou[:, filter_], weights, SERVED
        )
        for filter_ in filters
    }
    pairs = [(filter_, place) for filter_, places in served.items() for place in places]
    firing = collect_filter_pictures(run, sources, filters, count=FILTER_IMAGES, maxima=maxima)
    examples = collect_served_pictures(
        run, sources, pairs, maxima, count=FILTER_IMAGES, split=split
    )
    table = []
    title = f"{run.name}, coloured where it fires, outlined where the concept is"
    for filter_, shown in track(firing.items(), "filters", unit="sheet"):
        if not shown:
            continue
        called = str(run.filter_names[filter_])
        count = int((maxima[:, filter_] > thresholds[filter_]).sum())
        note = f"on {count:,} images\nof {len(maxima):,},\nstrongest first"
        rows = [_make_filter_row("fires", note, "", dataset, shown)]
        for place in served[filter_]:
            if of_place := examples[filter_, place]:
                rank = int((weights[place] > weights[place, filter_]).sum()) + 1
                why = "its best filter" if is_best[place, filter_] else f"weight no. {rank:,}"
                note = f"{why}\nset IoU {val_iou[place, filter_]:.2f}"
                name, category = run.concepts[place], run.categories[place]
                rows.append(_make_filter_row(name, note, category, dataset, of_place))
        for picture in shown:
            name, maximum = dataset.image_names[picture.image], np.float32(picture.maximum)
            table.append([called, name, picture.image, maximum, thresholds[filter_]])
        figure = plot_filter_sheet(called, rows, note=title)
        write_figure(figure, out / f"filter_{called.zfill(4)}.png", dpi=150)
    header = ["filter", "image", "index", "maximum", "threshold"]
    write_table(out / "filter_pictures.csv", header, table)
    return firing


def _make_filter_row(
    name: str,
    note: str,
    category: str,
    dataset: ConceptDataset,
    pictures: Sequence[FilterPicture],
) -> FilterRow:
    captions, truths = [], []
    for picture in pictures:
        caption = f"maximum {_format(picture.maximum)}"
        if isinstance(picture, ServedPicture):
            truths.append(picture.truth)
            caption += f", IoU {picture.iou:.2f}"
        captions.append(caption)
    images = [dataset.image(picture.image) for picture in pictures]
    masks = [picture.mask for picture in pictures]
    return FilterRow(name, note, category, images, masks, truths, captions)


def find_left_out(
    run: FinishedRun,
    pictures: Mapping[int, Sequence[ConceptPicture]],
    firing: Mapping[int, Sequence[FilterPicture]],
    split: Split = "val",
) -> dict[str, dict[str, str]]:
    """By kind, what has no sheet, or not all of one, and why."""
    nowhere = "on no image" if split == "all" else f"on no {split} image"
    unfiltered = find_unfiltered(run)
    shown = {run.concepts[place]: of_place for place, of_place in pictures.items()}
    return {
        "concepts": {name: nowhere for name, of_concept in shown.items() if not of_concept},
        "best filters": {name: unfiltered[name] for name in shown if name in unfiltered},
        "filters": {
            str(run.filter_names[filter_]): "above the threshold on no image"
            for filter_, of_filter in firing.items()
            if not of_filter
        },
    }


def main(flags: PictureFlags) -> None:
    """Choose, collect, draw, and say where everything is."""
    if not flags.percentiles or (flags.highest is not None and flags.highest < 1):
        raise Net2VecError("--percentiles needs a number and --highest one of at least 1")
    run = FinishedRun(flags.run)
    require_segmentation(run)
    sources, out = RunSources(run, flags), flags.out or flags.run / "pictures"
    places = choose_concepts(run, flags.concepts)
    seed = check_seed(run, flags.repetition)
    best = dict.fromkeys(best_filters(run)[places].tolist())
    filters = find_filters(run, flags.filters) or [k for k in best if k != NO_FILTER][:CHOSEN]
    make_folder(out)
    if not flags.concepts:
        announce_untrained(run)
    maxima, comparison = rank_images(
        run, sources, reduction=flags.reduction, raw=flags.raw, seed=seed
    )
    pictures = collect_concept_pictures(
        run, sources, places, percentiles=flags.percentiles, highest=flags.highest,
        split=flags.split, seed=seed,
    )  # fmt: skip
    draw_concepts(
        run, sources.dataset, pictures, out, repetition=seed, style=flags.masks, colors=flags.colors
    )
    firing = draw_filters(run, sources, filters, maxima, out, repetition=seed, split=flags.split)
    if comparison is not None:
        write_recall(comparison, out)
    for kind, reasons in find_left_out(run, pictures, firing, flags.split).items():
        announce_left_out(kind, reasons)
    announce_left_out("concepts from the recall", find_unranked(run, sources), of=len(run))
    shown = sum(map(bool, pictures.values())), sum(map(bool, firing.values()))
    print(f"sheets of {shown[0]} concepts and {shown[1]} filters are in {out}")


def _format(maximum: float) -> str:
    """An activation in few letters."""
    if 1 <= abs(maximum) < 1000:
        return f"{maximum:.3g}"
    return f"{maximum:.2f}" if abs(maximum) < 1 else f"{maximum:.0f}"
