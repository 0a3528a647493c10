"""What is in a dataset? Concepts, how many images of each split show them, and contact sheets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from net2vec_jax.core.console import announce, announce_left_out, open_console, tabulate
from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder, make_safe
from net2vec_jax.data.dataset import TRAIN, VAL, ConceptDataset
from net2vec_jax.data.decoded import decode_images, decode_masks
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.data.open import describe_split_shortage, open_screened_dataset
from net2vec_jax.plots.contact_sheet import ConceptExamples, plot_contact_sheet
from net2vec_jax.plots.paper_style import write_figure
from net2vec_jax.runs.directory import SCENES_FOLDER

COUNTS_FILE = "concept_counts.csv"
CONCEPTS_PER_SHEET = 24


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectionFlags:
    """Flags of the inspection.

    Attributes:
      dataset: a Broden directory, a folder of your own images and masks or
        coco:ANNOTATIONS.json:IMAGES (docs/own_images.md), tfds:NAME (docs/tfds.md), or "scenes"
        (built in).
      out: where the table and the contact sheets go.
      concepts: only these concepts, by name or number; all by default.
      images: how many images of each concept are drawn; 0 draws none.
      rows: how many concepts of a category are printed, those on most images; the file has all.
      cache_data: decode images and labels once and keep them beside the dataset (or in the user's
        cache, if nothing may be written there) for all later runs.
      skip_bad_images: go on without the images that cannot be read, and list them; by default the
        inspection stops and lists them.
      skip_bad_annotations: go on without the annotations of a COCO file that cannot be read, and
        list them; by default the inspection stops and lists them.
    """

    dataset: str
    out: Path
    concepts: tuple[str, ...] = ()
    images: int = 4
    rows: int = 40
    cache_data: bool = True
    skip_bad_images: bool = False
    skip_bad_annotations: bool = False


def count_concepts(masks: ConceptMasks) -> pd.DataFrame:
    """Count the images of every concept, and measure how much of them it covers.

    Args:
      masks: of C concepts.

    Returns:
      Number, name, category, train_images and val_images of each concept in their order, and its
      coverage: the mean fraction of these images' pixels, 0 without images.
    """
    train, val = masks.count_images()
    area = np.bincount(masks.pair_concept, weights=masks.area, minlength=len(masks.catalog))
    return pd.DataFrame(
        {
            "number": [concept.number for concept in masks.catalog],
            "name": [concept.name for concept in masks.catalog],
            "category": [concept.primary_category for concept in masks.catalog],
            "train_images": train,
            "val_images": val,
            "coverage": area / np.maximum(train + val, 1) / np.prod(masks.segmentation_size),
        }
    )


def tabulate_category(category: str, counts: pd.DataFrame, rows: int) -> Table:
    """The concepts of a category, those on most images first; at most `rows` of them."""
    missing = int(((counts.train_images == 0) | (counts.val_images == 0)).sum())
    title = f"{category}: {len(counts)} concepts"
    if missing:
        title += f", {missing} of them not in both splits"
    table = tabulate(
        title, ("number", "concept", "train images", "val images", "coverage"), (), texts=0,
        title_justify="left", pad_edge=False,
    )  # fmt: skip
    table.columns[1].justify = "left"
    order = np.argsort(-(counts.train_images + counts.val_images).to_numpy(), kind="stable")
    for count in counts.iloc[order[:rows]].itertuples():
        train, val = count.train_images, count.val_images
        cells = (str(count.number), count.name, f"{train:,}", f"{val:,}", _percent(count.coverage))
        table.add_row(*cells, style=None if train and val else "yellow")
    if len(counts) > rows:
        table.caption = f"and {len(counts) - rows} more in {COUNTS_FILE}"
    return table


def choose_pairs(masks: ConceptMasks, place: int, images: int) -> np.ndarray:
    """A few pairs of a concept: from the largest masks to the smallest, in even steps.

    Args:
      masks: of all concepts.
      place: of the concept in their catalog.
      images: how many at most.

    Returns:
      int64 [at most `images`], indices of pairs, none of them empty.
    """
    pairs = np.flatnonzero((masks.pair_concept == place) & (masks.area > 0))
    ordered = pairs[np.argsort(-masks.area[pairs], kind="stable")]
    count = min(images, len(ordered))
    steps = (np.arange(count) + 0.5) * len(ordered) / max(count, 1)
    return ordered[steps.astype(int)]


def gather_examples(
    dataset: ConceptDataset, masks: ConceptMasks, place: int, note: str, images: int
) -> ConceptExamples:
    """A few images of the concept at this place of the catalog, with its masks."""
    pairs = choose_pairs(masks, place, images)
    shown = masks.pair_image[pairs].tolist()
    covered = masks.area[pairs] / np.prod(masks.segmentation_size)
    concept = masks.catalog.concepts[place]
    return ConceptExamples(
        name=concept.name,
        category=concept.primary_category,
        note=note,
        images=[dataset.image(image) for image in shown],
        masks=list(masks.unpack(pairs)),
        captions=[
            f"{VAL if dataset.is_val[image] else TRAIN}, {_percent(fraction)}"
            for image, fraction in zip(shown, covered, strict=True)
        ],
    )


def draw_sheets(
    dataset: ConceptDataset, masks: ConceptMasks, *, images: int = 4
) -> Iterator[tuple[str, Figure]]:
    """Draw every concept on a few of its images, on one or several sheets per category.

    Args:
      dataset: whose images are shown.
      masks: of its concepts.
      images: how many of each concept.

    Yields:
      File name of a sheet, without ending, and the sheet.
    """
    counts = count_concepts(masks)
    notes = [
        f"{train:,} train and {val:,} val images"
        for train, val in zip(counts.train_images, counts.val_images, strict=True)
    ]
    names: dict[str, str] = {}  # of files, by category
    for category in dataset.categories:
        name = make_safe(category)
        names[category] = f"{name}_{len(names)}" if name in names.values() else name
        places = np.flatnonzero((counts.category == category) & (counts.coverage > 0)).tolist()
        for start in range(0, len(places), CONCEPTS_PER_SHEET):
            chosen = places[start : start + CONCEPTS_PER_SHEET]
            examples = [gather_examples(dataset, masks, p, notes[p], images) for p in chosen]
            suffix = f"_{start // CONCEPTS_PER_SHEET + 1}" if len(places) > len(chosen) else ""
            yield f"contact_sheet_{names[category]}{suffix}", plot_contact_sheet(examples)


def describe_dataset(dataset: ConceptDataset) -> str:
    """How many images, how large, and which are left out, in one or two lines."""
    val = int(np.count_nonzero(dataset.is_val))
    height, width = dataset.image(0).shape[:2]
    rows, columns = dataset.segmentation_size
    text = (
        f"{dataset.name}: {len(dataset) - val:,} train and {val:,} val images of {height}×{width} "
        f"pixels, masks of {rows}×{columns}"
    )
    left_out: Sequence[str] = getattr(dataset, "unlabelled_images", ())
    if left_out:
        named = list_names(left_out)
        text += f"\n{len(left_out):,} images without any label are left out: {named}"
    return text


def main(flags: InspectionFlags) -> None:
    """Print the tables, write the files, and say where they are."""
    if flags.images < 0 or flags.rows < 0:
        raise Net2VecError("--images and --rows must be at least 0")
    dataset = open_screened_dataset(
        flags.dataset,
        scenes_directory=flags.out / SCENES_FOLDER,
        skip_bad_images=flags.skip_bad_images,
        skip_bad_annotations=flags.skip_bad_annotations,
    )
    catalog = dataset.catalog.select(flags.concepts) if flags.concepts else dataset.catalog
    make_folder(flags.out)
    console = open_console()
    try:
        masks = decode_masks(dataset, "union", cache=flags.cache_data).select(catalog)
        dataset = decode_images(dataset, cache=flags.cache_data, checked=flags.skip_bad_images)
        announce((*masks.notices, *filter(None, [describe_split_shortage(dataset)])))
        announce_left_out("concepts in runs", masks.find_missing(), of=len(catalog))
        counts = count_concepts(masks)
        with replacing(flags.out / COUNTS_FILE) as partial:
            counts.to_csv(partial, index=False, float_format="%.6f", lineterminator="\n")
        console.print(describe_dataset(dataset), highlight=False, soft_wrap=True)
        for category in dataset.categories:
            some = counts.loc[counts.category == category]
            if len(some):
                console.print(tabulate_category(category, some, flags.rows))
        sheets = draw_sheets(dataset, masks, images=flags.images) if flags.images else ()
        for name, figure in sheets:
            path = flags.out / f"{name}.png"
            write_figure(figure, path, dpi=150)
            console.print(f"drawn: {path}", highlight=False, soft_wrap=True)
    except OSError as error:
        raise Net2VecError(f"{flags.out} cannot be written: {error}") from error
    console.print(f"all concepts are in {flags.out / COUNTS_FILE}", soft_wrap=True)


def _percent(fraction: float) -> str:
    if 0 < fraction < 0.001:
        return "< 0.1%"
    return f"{fraction:.1%}" if fraction < 0.1 else f"{fraction:.0%}"
