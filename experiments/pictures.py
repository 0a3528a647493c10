"""What do an embedding and its best filter mark? Pictures at percentiles of IoU, not only the best.

  python -m experiments.pictures --run RUN [--concepts dog red-c] [--filters 12 40]

For a finished run of experiments.segmentation, OUT (by default RUN/pictures) receives
concept_NUMBER_NAME.png: val images at percentiles of the embedding's individual IoU, with ground
truth, masks of embedding and best filter, and a heat map; filter_NUMBER.png: images over the range
on which a filter fires, and the concepts that it serves; recall.png and .pdf: how many of a
concept's images come first when its embedding or its best filter ranks all val images (reference
spec 8.8). The numbers are in pictures.csv, filter_pictures.csv and recall.csv.
Time: about half a second per sheet, and one pass over the stored activations.
Expected: embeddings mark more of a concept than their best filters, most of all at low percentiles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from experiments.concept_pictures import (
    PERCENTILES,
    ConceptPicture,
    Split,
    best_filters,
    check_segmentation,
    collect_concept_pictures,
    collect_filter_pictures,
    read_thresholds,
)
from experiments.finished_run import FinishedRun
from experiments.result_files import replacing, write_table
from experiments.run_sources import RunSources, SourceFlags
from experiments.script import run_script
from net2vec_jax.analysis.example_selection import choose_across, choose_concepts_of_filter
from net2vec_jax.analysis.image_ranking import (
    RecallComparison,
    Reduction,
    compare_recall,
    score_images,
)
from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES
from net2vec_jax.errors import Net2VecError, unknown_name_error

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
      dataset: as the run's --dataset; by default what the run was given.
      network: as the run's --network; not needed here.
      weights: as the run's --weights; not needed here.
      activations: as the run's --activations; by default where the run stored them.
      cache_data: keep decoded labels beside the dataset, as the run did.
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
    known = {str(number): place for place, number in enumerate(run.numbers.tolist())}
    known |= {name: place for place, name in enumerate(run.concepts)}
    for name in names:
        if name not in known:
            raise unknown_name_error("concept", name, run.concepts)
    return list(dict.fromkeys(known[name] for name in names))


def name_sheet(run: FinishedRun, place: int) -> str:
    """File name of a concept's sheet, whatever is in its name; its number makes it unique."""
    safe = "".join(c if c.isalnum() or c in "-+." else "_" for c in run.concepts[place][:40])
    return f"concept_{run.numbers[place]:04d}_{safe}.png"


def draw_concepts(
    run: FinishedRun, sources: RunSources, places: Sequence[int], flags: PictureFlags, out: Path
) -> dict[int, list[ConceptPicture]]:
    """Write the sheets of concepts and pictures.csv, and return the pictures."""
    from net2vec_jax.report.picture_sheets import ConceptRow, plot_concept_sheet

    pictures = collect_concept_pictures(
        run, sources, places, percentiles=flags.percentiles, highest=flags.highest,
        split=flags.split, seed=flags.repetition,
    )  # fmt: skip
    best, dataset, table = best_filters(run), sources.dataset, []
    for place, shown in tqdm(pictures.items(), "concepts", unit="sheet", leave=False, delay=1):
        rows = []
        for picture in shown:
            name = dataset.image_names[picture.image]
            rows.append(
                ConceptRow(
                    name, picture.percentile, dataset.image(picture.image), picture.truth,
                    picture.embedding_mask, picture.filter_mask, picture.score,
                    picture.embedding_iou, picture.filter_iou,
                )
            )  # fmt: skip
            table.append(
                [run.concepts[place], run.categories[place], name, picture.image,
                 np.float32(picture.percentile), np.float64(picture.embedding_iou), best[place],
                 np.float64(picture.filter_iou)]
            )  # fmt: skip
        if not rows:
            print(f"{run.concepts[place]} is on no {flags.split} image", flush=True)
            continue
        single = run.single_ious[1][place, best[place]]
        figure = plot_concept_sheet(
            run.concepts[place], run.categories[place], int(best[place]), rows,
            note=f"{run.categories[place]}, {run.name}, set IoU on val: embedding "
            f"{run.scores.full[place]:.2f}, best filter {single:.2f}",
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
) -> None:
    """Write the sheets of filters and filter_pictures.csv."""
    from net2vec_jax.report.picture_sheets import FilterRow, plot_filter_sheet

    firing = collect_filter_pictures(run, sources, filters, count=FILTER_IMAGES, maxima=maxima)
    best, thresholds, dataset, table = best_filters(run), read_thresholds(run), sources.dataset, []
    single = run.single_ious[1][np.arange(len(run)), best]
    weights = run.weights[flags.repetition]
    for filter_, shown in tqdm(firing.items(), "filters", unit="sheet", leave=False, delay=1):
        if not shown:
            print(f"filter {filter_} is above its threshold on no image", flush=True)
            continue
        count = int((maxima[:, filter_] > thresholds[filter_]).sum())
        rows = [
            FilterRow(
                "fires", f"on {count:,} of {len(maxima):,} images\nstrongest first", "",
                [dataset.image(picture.image) for picture in shown],
                [picture.mask for picture in shown], (),
                [f"maximum {picture.maximum:.3g}" for picture in shown],
            )
        ]  # fmt: skip
        table += [
            [filter_, dataset.image_names[picture.image], picture.image,
             np.float32(picture.maximum), thresholds[filter_]]
            for picture in shown
        ]  # fmt: skip
        served, weighed = choose_concepts_of_filter(filter_, best, single, weights, SERVED)
        places = [*served, *weighed]
        concepts = collect_concept_pictures(
            run, sources, places, percentiles=np.linspace(95, 25, FILTER_IMAGES).tolist(),
            split=flags.split, seed=flags.repetition, filters=[filter_] * len(places),
        )  # fmt: skip
        for place, examples in concepts.items():
            if not examples:
                continue
            rank = int((weights[place] > weights[place, filter_]).sum()) + 1
            serves = "its best filter" if place in served else f"weight {rank} of {run.filters}"
            rows.append(
                FilterRow(
                    run.concepts[place],
                    f"{serves}\nset IoU {run.single_ious[1][place, filter_]:.2f}",
                    run.categories[place],
                    [dataset.image(picture.image) for picture in examples],
                    [picture.filter_mask for picture in examples],
                    [picture.truth for picture in examples],
                    [f"IoU {picture.filter_iou:.2f}" for picture in examples],
                )
            )
        note = f"{run.name}, coloured where it fires, outlined where the concept is"
        _save(plot_filter_sheet(filter_, rows, note=note), out / f"filter_{filter_:04d}.png")
    header = ["filter", "image", "index", "maximum", "threshold"]
    write_table(out / "filter_pictures.csv", header, table)


def rank_images(
    run: FinishedRun, sources: RunSources, flags: PictureFlags
) -> tuple[np.ndarray, RecallComparison | None]:
    """Maxima of all filters on all images, [N, K], and the recall that they and embeddings have.

    Scenes and textures, whose embeddings only ever saw images of them, are not ranked (spec 8); no
    comparison if there is nothing else.
    """
    weights, maxima, scores = run.weights[flags.repetition], [], []
    thresholds = None if flags.raw else read_thresholds(run)
    for batch in sources.activations.batches():
        maxima.append(batch.max(axis=(1, 2)))
        scores.append(
            score_images(batch, weights, reduction=flags.reduction, thresholds=thresholds)
        )
    largest, masks = np.concatenate(maxima), sources.masks
    positive = np.zeros((len(masks.is_val), len(run)), bool)
    positive[masks.pair_image, masks.pair_concept] = True
    kept = [c for c, name in enumerate(run.categories) if name not in WHOLE_IMAGE_CATEGORIES]
    val = np.flatnonzero(masks.is_val)
    if not positive[np.ix_(val, kept)].any(axis=0).any():
        return largest, None
    of_filters = largest[:, best_filters(run)]
    chosen = [values[np.ix_(val, kept)] for values in (np.concatenate(scores), of_filters)]
    return largest, compare_recall(*chosen, positive[np.ix_(val, kept)])


def write_recall(comparison: RecallComparison, out: Path) -> None:
    """Write the recall figure and recall.csv."""
    from net2vec_jax.report.paper_style import save_figure
    from net2vec_jax.report.ranking_figures import plot_recall

    names = ("embedding", "single", "chance", "difference", "error")
    columns = [getattr(comparison, name) for name in names]
    rows = [[place + 1, *values] for place, values in enumerate(zip(*columns, strict=True))]
    header = ["images", "embedding_recall", "filter_recall", "chance", "difference", "error"]
    write_table(out / "recall.csv", header, rows)
    save_figure(plot_recall(comparison), out / "recall")


def main(flags: PictureFlags) -> None:
    """Choose, collect, draw, and say where everything is."""
    run = FinishedRun(flags.run)
    check_segmentation(run)
    sources, out = RunSources(run, flags), flags.out or flags.run / "pictures"
    places = choose_concepts(run, flags.concepts)
    filters = list(dict.fromkeys(flags.filters or best_filters(run)[places].tolist()))
    try:
        out.mkdir(parents=True, exist_ok=True)
        maxima, comparison = rank_images(run, sources, flags)
        draw_concepts(run, sources, places, flags, out)
        draw_filters(
            run, sources, filters if flags.filters else filters[:CHOSEN], maxima, flags, out
        )
        if comparison is not None:
            write_recall(comparison, out)
    except OSError as error:
        raise Net2VecError(f"{out} cannot be written: {error}") from error
    print(f"sheets of {len(places)} concepts and {len(filters)} filters are in {out}")


def _save(figure, path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")


if __name__ == "__main__":
    run_script(main, PictureFlags, __doc__.split("\n")[0])
