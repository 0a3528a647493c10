"""Which formula of concepts, with AND, OR and AND NOT, does a filter or an embedding mark?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.standardized import SpatialActivations, StandardizedActivations
from net2vec_jax.analysis.filters.formula_search import (
    FOLDER,
    TABLE,
    PixelKinds,
    SharedPixels,
    measure,
    search_beam,
    search_optimal,
)
from net2vec_jax.core.console import tabulate, track
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.segmentation.prediction import (
    predict_filters,
    score_grids,
    summarise_pixels,
)
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import find_filters, read_weighed, require_segmentation
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.answer import Answer, print_answer, write_answer

IMAGES_AT_ONCE = 64
BITMAP_BYTES = 2**30
"""Of the bitmaps that are searched together."""
MOST_LISTED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormulaFlags(SourceFlags):
    """Flags of formulas.

    Attributes:
      run: a finished run of the segmentation probe.
      length: concepts in a formula, at most.
      search: "optimal" bounds all formulas of at most three concepts and finds the best; "beam"
        extends the best few, to any length.
      width: formulas that the beam search extends.
      filters: their numbers (+3 or -3 of a run with --responses both); all by default.
      embeddings: also describe what the concepts' embeddings mark.
      out: where results go; by default RUN/formulas, where the report finds them.
    """

    run: Path
    length: int = 3
    search: Literal["optimal", "beam"] = "optimal"
    width: int = 5
    filters: tuple[str, ...] = ()
    embeddings: bool = True
    out: Path | None = None


def find_formulas(run: FinishedRun, sources: RunSources, flags: FormulaFlags) -> Answer:
    """Find for each filter and embedding the formula of highest IoU over all train images.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      flags: what is searched.

    Returns:
      A table, formulas, with a row per filter and embedding: kind, name, concept (the best one
      alone) with its train and val IoU, formula, length, train_iou and val_iou.

    Raises:
      Net2VecError: the run is of the other probe, has no such filter, or a source is not where it
        was; or no search finds formulas of this length.
    """
    require_segmentation(run)
    filters = find_filters(run, flags.filters) if flags.filters else range(run.filters)
    names = [("filter", str(run.filter_names[k])) for k in filters]
    if flags.embeddings:
        names += [("embedding", concept) for concept in run.concepts]
    masks = sources.masks
    splits = [np.flatnonzero(masks.is_val == is_val) for is_val in (False, True)]
    kinds = [PixelKinds(masks.select_images(images)) for images in splits]
    search = search_optimal if flags.search == "optimal" else search_beam
    rows = []
    for bitmaps in _collect_bitmaps(run, sources, list(filters), embeddings=flags.embeddings):
        train, val = (
            SharedPixels(each, bitmaps[:, images])
            for each, images in zip(kinds, splits, strict=True)
        )
        single = search_beam(train, length=1)
        found = search(train, length=flags.length, width=flags.width)
        for place, (alone, best) in enumerate(zip(single, found, strict=True)):
            kind, name = names[len(rows)]
            rows.append(
                {
                    "kind": kind,
                    "name": name,
                    "concept": str(alone.name(run.concepts)),
                    "concept_train_iou": alone.iou,
                    "concept_val_iou": measure(val, place, alone.chain).iou,
                    "formula": str(best.name(run.concepts)),
                    "length": len(best.chain),
                    "train_iou": best.iou,
                    "val_iou": measure(val, place, best.chain).iou,
                }
            )
    table = pd.DataFrame(rows)
    scores = ["concept_train_iou", "train_iou", "concept_val_iou", "val_iou"]
    means = {
        str(kind): {name: of_kind[name].to_numpy(float).mean() for name in scores}
        | {"several_concepts": int(np.sum(of_kind["length"].to_numpy() > 1))}
        for kind, of_kind in table.groupby("kind", sort=False)
    }
    top = sorted(rows, key=lambda row: -row["train_iou"])[:MOST_LISTED]
    return Answer(
        summary={
            "length": flags.length,
            "search": flags.search,
            **means,
        },
        tables={TABLE: table},
        console=[
            tabulate(
                "Formulas that overlap best",
                ("", "name", "concept", "formula", "concept, val IoU", "formula, val IoU"),
                [
                    [*(row[name] for name in ("kind", "name", "concept", "formula")),
                     f"{row['concept_val_iou']:.3f}", f"{row['val_iou']:.3f}"]
                    for row in top
                ],
                texts=4,
            )
        ],
        notes=[
            f"mean val IoU of {kind}s: {mean['concept_val_iou']:.3f} by one concept, "
            f"{mean['val_iou']:.3f} by a formula of at most {flags.length}"
            for kind, mean in means.items()
        ],
    )  # fmt: skip


def main(flags: FormulaFlags) -> None:
    """Search, print, and say where the table is."""
    run = FinishedRun(flags.run)
    require_segmentation(run)
    out = make_folder(flags.out or run.path / FOLDER)
    answer = find_formulas(run, RunSources(run, flags), flags)
    write_answer(out, answer)
    print_answer(answer)
    print(f"{TABLE}.csv and summary.json are in {out}")


def _collect_bitmaps(
    run: FinishedRun, sources: RunSources, filters: Sequence[int], *, embeddings: bool
) -> Iterator[np.ndarray]:
    """What filters, then embeddings mark, packed as masks are: uint8 [n, N, ceil(Y / 8), X]."""
    masks = sources.masks
    at_once = max(1, BITMAP_BYTES // max(1, masks.packed[0].size * len(masks.is_val)))
    binary = sources.activations.binary(read_thresholds(run.path))
    for start in track(range(0, len(filters), at_once), "filters", unit="part"):
        yield mark_by_filters(binary, filters[start : start + at_once], masks)
    if embeddings:
        every = np.arange(len(masks.is_val))
        weighed = binary if run.scale is None else read_weighed(run, sources, every)[0]
        for start in range(0, len(run), at_once):
            part = slice(start, start + at_once)
            yield mark_by_embeddings(weighed, run.weights[0, part], run.levels[0, part], masks)


def mark_by_filters(
    binary: BinaryActivations, filters: Sequence[int], masks: ConceptMasks
) -> np.ndarray:
    """What filters mark on all images, upsample(1[A_k > T_k]) > 0.5, packed as masks are."""
    chosen = np.asarray(filters)
    packed = np.zeros((len(filters), len(binary), *masks.packed.shape[1:]), np.uint8)
    for start in range(0, len(binary), IMAGES_AT_ONCE):
        part = binary.select(slice(start, start + IMAGES_AT_ONCE))
        image, place = np.nonzero(np.any(part.unpack(), axis=(1, 2))[:, chosen])
        marked = predict_filters(chosen[place], image, part, masks.segmentation_size)
        packed[place, start + image] = np.packbits(marked, axis=1, bitorder="little")
    return packed


def mark_by_embeddings(
    weighed: SpatialActivations, weights: np.ndarray, level: np.ndarray, masks: ConceptMasks
) -> np.ndarray:
    """What embeddings [n, K] mark on all images, packed as masks are."""
    size = masks.segmentation_size
    packed = np.zeros((len(weights), len(weighed), *masks.packed.shape[1:]), np.uint8)
    for start in range(0, len(weighed), IMAGES_AT_ONCE):
        images = slice(start, start + IMAGES_AT_ONCE)
        part = (
            weighed.select(images)
            if isinstance(weighed, BinaryActivations)
            else StandardizedActivations(weighed.values[images], weighed.grid)
        )
        found = summarise_pixels(score_grids(weights, part), level, size, keep_masks=True)
        assert found.packed is not None
        marked = np.unpackbits(found.packed, axis=-1, count=size[1])
        packed[:, images] = np.packbits(marked, axis=2, bitorder="little").swapaxes(0, 1)
    return packed
