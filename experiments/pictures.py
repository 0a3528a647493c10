"""What do an embedding and its best filter mark? Pictures at percentiles of IoU, not only the best.

  python -m experiments.pictures --run RUN [--concepts dog red-c] [--filters 12 40]

For a finished run of experiments.segmentation, OUT (by default RUN/pictures) receives
concept_NUMBER_NAME.png: val images at percentiles of the embedding's individual IoU, with ground
truth, masks of embedding and best filter, and a heat map; filter_NUMBER.png: images over the range
on which a filter fires, and the concepts that it serves; recall.png and .pdf: how many of a
concept's images come first when its embedding or its best filter ranks all val images (reference
spec 8.8). The numbers are in pictures.csv, filter_pictures.csv and recall.csv.
Time: about half a second per sheet, and one pass over the stored activations.
Expected: embeddings mark most of a concept and some of what is around it, best filters a small part
of it and on many images nothing; at the 5th percentile both miss small and dark things.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from tqdm import tqdm

from net2vec_jax.analysis.filters.filter_overlap import NO_FILTER, find_best_filters
from net2vec_jax.analysis.images.example_selection import (
    PERCENTILES,
    choose_across,
    choose_concepts_of_filter,
)
from net2vec_jax.analysis.images.image_ranking import Reduction
from net2vec_jax.core.console import announce_left_out, run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.dataset import ConceptDataset, Split
from net2vec_jax.runs.concept_pictures import (
    ConceptPicture,
    FilterPicture,
    ServedPicture,
    collect_concept_pictures,
    collect_filter_pictures,
    collect_served_pictures,
)
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_unfiltered
from net2vec_jax.runs.predictions import (
    best_filters,
    check_place,
    check_seed,
    check_segmentation,
    embedding_scores,
    read_thresholds,
    single_scores,
)
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.recall import find_unranked, rank_images, write_recall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from net2vec_jax.plots.picture_sheets import FilterRow

CHOSEN = 12
"""Concepts and filters that are drawn where none are named."""
SERVED = 3
"""Concepts of each kind on a filter's sheet."""
FILTER_IMAGES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureFlags(SourceFlags):
    """Flags of the pictures.

    Attributes:
      run: directory of a finished run of experiments.segmentation.
      out: where the sheets go; by default the folder pictures in the run directory.
      concepts: by name or number. By default a dozen: of each category as many, in even steps of
        val IoU from the best on.
      filters: their numbers. By default the best filters of the concepts, a dozen at most.
      percentiles: of individual IoU, 0 … 100.
      highest: draw so many images of highest IoU instead.
      split: of the images.
      repetition: which of the run's repetitions (--seeds) is shown, counted from 0.
      masks: how masks are drawn: outlined on pale grey, or dark outside, as the original did.
      colors: matplotlib colormap of heat maps; the original's is jet.
      reduction: what of a concept's score map ranks images in the recall figure.
      raw: rank by Σ w_k A_k instead of the Σ w_k 1[A_k > T_k] that the embedding was trained on.
    """

    run: Path
    out: Path | None = None
    concepts: tuple[str, ...] = ()
    filters: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = PERCENTILES
    highest: int | None = None
    split: Split = "val"
    repetition: int = 0
    masks: Literal["outline", "dark"] = "outline"
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
    shown, best = embedding_scores(run, repetition), best_filters(run)
    texts = []
    for embedding, mean, filter_, single in zip(
        shown, run.scores.full, best, single_scores(run), strict=True
    ):
        several = f" (mean of {run.seeds} seeds {mean:.2f})" if run.seeds > 1 else ""
        of_filter = f"best filter {single:.2f}" if filter_ != NO_FILTER else "no single filter"
        texts.append(f"set IoU on val: embedding {embedding:.2f}{several}, {of_filter}")
    return texts


def draw_concepts(
    run: FinishedRun, sources: RunSources, places: Sequence[int], flags: PictureFlags, out: Path
) -> dict[int, list[ConceptPicture]]:
    """Write the sheets of concepts and pictures.csv, and return the pictures."""
    from net2vec_jax.plots.picture_sheets import ConceptRow, plot_concept_sheet

    pictures = collect_concept_pictures(
        run, sources, places, percentiles=flags.percentiles, highest=flags.highest,
        split=flags.split, seed=flags.repetition,
    )  # fmt: skip
    best, dataset, table = best_filters(run), sources.dataset, []
    scores = describe_scores(run, flags.repetition)
    for place, shown in tqdm(pictures.items(), "concepts", unit="sheet", leave=False, delay=1):
        rows = []
        for picture in shown:
            name = dataset.image_names[picture.image]
            rows.append(ConceptRow(name, dataset.image(picture.image), picture))
            table.append(
                [run.concepts[place], run.categories[place], name, picture.image,
                 np.float64(picture.percentile), np.float64(picture.embedding_iou),
                 "" if best[place] == NO_FILTER else best[place],
                 np.float64(picture.filter_iou)]
            )  # fmt: skip
        if not rows:
            continue
        figure = plot_concept_sheet(
            run.concepts[place], run.categories[place],
            None if best[place] == NO_FILTER else int(best[place]), rows,
            note=f"{run.categories[place]}, {run.name}, {scores[place]}",
            style=flags.masks, colors=flags.colors,
        )  # fmt: skip
        _save(figure, out / name_sheet(run, place))
    header = ["concept", "category", "image", "index", "percentile", "embedding_iou"]
    write_table(out / "pictures.csv", [*header, "best_filter", "filter_iou"], table)
    return pictures


def draw_filters(
    run: FinishedRun,
    sources: RunSources,
    filters: Sequence[int],
    maxima: np.ndarray,
    flags: PictureFlags,
    out: Path,
) -> dict[int, list[FilterPicture]]:
    """Write the sheets of filters and filter_pictures.csv, and return where each filter fires."""
    from net2vec_jax.plots.picture_sheets import plot_filter_sheet

    thresholds, dataset, table = read_thresholds(run), sources.dataset, []
    train_iou, val_iou = run.single_ious
    is_best = find_best_filters(train_iou)
    weights = run.weights[flags.repetition]
    served = {
        filter_: choose_concepts_of_filter(
            filter_, is_best[:, filter_], val_iou[:, filter_], weights, SERVED
        )
        for filter_ in filters
    }
    pairs = [(filter_, place) for filter_, places in served.items() for place in places]
    firing = collect_filter_pictures(run, sources, filters, count=FILTER_IMAGES, maxima=maxima)
    examples = collect_served_pictures(
        run, sources, pairs, maxima, count=FILTER_IMAGES, split=flags.split
    )
    for filter_, shown in tqdm(firing.items(), "filters", unit="sheet", leave=False, delay=1):
        if not shown:
            continue
        count = int((maxima[:, filter_] > thresholds[filter_]).sum())
        note = f"on {count:,} images\nof {len(maxima):,},\nstrongest first"
        captions = [f"maximum {_format(picture.maximum)}" for picture in shown]
        rows = [_make_filter_row("fires", note, "", dataset, shown, captions)]
        for place in served[filter_]:
            pictures = examples[filter_, place]
            rank = int((weights[place] > weights[place, filter_]).sum()) + 1
            why = "its best filter" if is_best[place, filter_] else f"weight no. {rank:,}"
            note = f"{why}\nset IoU {val_iou[place, filter_]:.2f}"
            captions = [
                f"maximum {_format(picture.maximum)}, IoU {picture.iou:.2f}" for picture in pictures
            ]
            name, category = run.concepts[place], run.categories[place]
            if pictures:
                rows.append(_make_filter_row(name, note, category, dataset, pictures, captions))
        table += [
            [filter_, dataset.image_names[picture.image], picture.image,
             np.float32(picture.maximum), thresholds[filter_]]
            for picture in shown
        ]  # fmt: skip
        title = f"{run.name}, coloured where it fires, outlined where the concept is"
        _save(plot_filter_sheet(filter_, rows, note=title), out / f"filter_{filter_:04d}.png")
    header = ["filter", "image", "index", "maximum", "threshold"]
    write_table(out / "filter_pictures.csv", header, table)
    return firing


def _make_filter_row(
    name: str,
    note: str,
    category: str,
    dataset: ConceptDataset,
    pictures: Sequence[FilterPicture],
    captions: Sequence[str],
) -> FilterRow:
    from net2vec_jax.plots.picture_sheets import FilterRow

    return FilterRow(
        name,
        note,
        category,
        [dataset.image(picture.image) for picture in pictures],
        [picture.mask for picture in pictures],
        [picture.truth for picture in pictures if isinstance(picture, ServedPicture)],
        captions,
    )


def find_left_out(
    run: FinishedRun,
    flags: PictureFlags,
    pictures: Mapping[int, Sequence[ConceptPicture]],
    firing: Mapping[int, Sequence[FilterPicture]],
) -> dict[str, dict[str, str]]:
    """By kind, what has no sheet, or not all of one, and why."""
    split = "" if flags.split == "all" else f"{flags.split} "
    unfiltered = find_unfiltered(run)
    return {
        "concepts": {
            run.concepts[place]: f"on no {split}image"
            for place, shown in pictures.items()
            if not shown
        },
        "best filters": {
            run.concepts[place]: unfiltered[run.concepts[place]]
            for place in pictures
            if run.concepts[place] in unfiltered
        },
        "filters": {
            str(filter_): "above the threshold on no image"
            for filter_, shown in firing.items()
            if not shown
        },
    }


def main(flags: PictureFlags) -> None:
    """Choose, collect, draw, and say where everything is."""
    if not flags.percentiles or (flags.highest is not None and flags.highest < 1):
        raise Net2VecError("--percentiles needs a number and --highest one of at least 1")
    run = FinishedRun(flags.run)
    check_segmentation(run)
    sources, out = RunSources(run, flags), flags.out or flags.run / "pictures"
    places = choose_concepts(run, flags.concepts)
    check_seed(run, flags.repetition)
    best = dict.fromkeys(best_filters(run)[places].tolist())
    filters = flags.filters or tuple(filter_ for filter_ in best if filter_ != NO_FILTER)[:CHOSEN]
    for filter_ in filters:
        check_place(filter_, run.filters, "filters", run)
    make_folder(out)
    if not flags.concepts:
        announce_untrained(run)
    maxima, comparison = rank_images(
        run, sources, reduction=flags.reduction, raw=flags.raw, seed=flags.repetition
    )
    pictures = draw_concepts(run, sources, places, flags, out)
    firing = draw_filters(run, sources, filters, maxima, flags, out)
    if comparison is not None:
        write_recall(comparison, out)
    left_out = find_left_out(run, flags, pictures, firing)
    for kind, reasons in left_out.items():
        announce_left_out(kind, reasons)
    announce_left_out("concepts from the recall", find_unranked(run, sources), of=len(run))
    shown = sum(map(bool, pictures.values())), sum(map(bool, firing.values()))
    print(f"sheets of {shown[0]} concepts and {shown[1]} filters are in {out}")


def _format(maximum: float) -> str:
    """An activation in few letters."""
    if 1 <= abs(maximum) < 1000:
        return f"{maximum:.3g}"
    return f"{maximum:.2f}" if abs(maximum) < 1 else f"{maximum:.0f}"


def _save(figure: Figure, path: Path) -> None:
    from net2vec_jax.plots.paper_style import write_figure

    write_figure(figure, path, dpi=150)


if __name__ == "__main__":
    run_script(main, PictureFlags, __doc__.split("\n")[0])
