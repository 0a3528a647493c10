"""What is in a dataset? Concepts, how many images of each split show them, and contact sheets.

  python -m experiments.inspect_data --dataset DATASET --out DIR

Prints a table per category, writes all of it to DIR/concept_counts.csv, and draws every concept on
a few of its images: DIR/contact_sheet_<category>.png. Look at them before a long run: masks that
are shifted, turned or of the wrong concept are seen at once.
Time: every photograph and mask is decoded, a thousand in two seconds on two cores, and kept for the
runs that follow, 150 kB per photograph of 224 × 224 pixels (--no-cache-data keeps nothing); half a
minute more for every thousand concepts drawn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from net2vec_jax.core.console import announce, announce_left_out, open_console, run_script
from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.core.result_files import make_folder, make_safe, write_table
from net2vec_jax.data.concepts import Concept
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


@dataclasses.dataclass(frozen=True)
class ConceptCount:
    """A concept and how often it is there.

    Attributes:
      concept: which one.
      train: train images that show it.
      val: val images that show it.
      coverage: mean fraction of these images' pixels that it covers; 0 without images.
    """

    concept: Concept
    train: int
    val: int
    coverage: float


def count_concepts(masks: ConceptMasks) -> list[ConceptCount]:
    """Images and coverage of every concept of the masks, in their order."""
    train, val = masks.count_images()
    area = np.bincount(masks.pair_concept, weights=masks.area, minlength=len(masks.catalog))
    coverage = area / np.maximum(train + val, 1) / np.prod(masks.segmentation_size)
    columns = zip(masks.catalog, train.tolist(), val.tolist(), coverage.tolist(), strict=True)
    return [ConceptCount(*values) for values in columns]


def tabulate_category(category: str, counts: Sequence[ConceptCount], rows: int) -> Table:
    """The concepts of a category, those on most images first."""
    missing = sum(not (count.train and count.val) for count in counts)
    title = f"{category}: {len(counts)} concepts"
    if missing:
        title += f", {missing} of them not in both splits"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("number", justify="right")
    table.add_column("concept")
    for name in ("train images", "val images", "coverage"):
        table.add_column(name, justify="right")
    ordered = sorted(counts, key=lambda count: -(count.train + count.val))
    for count in ordered[:rows]:
        table.add_row(
            str(count.concept.number),
            count.concept.name,
            f"{count.train:,}",
            f"{count.val:,}",
            _percent(count.coverage),
            style=None if count.train and count.val else "yellow",
        )
    if len(ordered) > rows:
        table.caption = f"and {len(ordered) - rows} more in {COUNTS_FILE}"
    return table


def write_counts(path: Path, counts: Sequence[ConceptCount]) -> None:
    """Write the CSV table of all concepts; it appears complete or not at all."""
    header = ["number", "name", "category", "train_images", "val_images", "coverage"]
    rows = []
    for count in counts:
        concept = count.concept
        values = [count.train, count.val, f"{count.coverage:.6f}"]
        rows.append([concept.number, concept.name, concept.primary_category, *values])
    write_table(path, header, rows)


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
    dataset: ConceptDataset, masks: ConceptMasks, count: ConceptCount, place: int, images: int
) -> ConceptExamples:
    """A few images of a concept, with its masks."""
    pairs = choose_pairs(masks, place, images)
    shown = masks.pair_image[pairs].tolist()
    covered = masks.area[pairs] / np.prod(masks.segmentation_size)
    return ConceptExamples(
        name=count.concept.name,
        category=count.concept.primary_category,
        note=f"{count.train:,} train and {count.val:,} val images",
        images=[dataset.image(image) for image in shown],
        masks=list(masks.unpack(pairs)),
        captions=[
            f"{VAL if dataset.is_val[image] else TRAIN}, {_percent(fraction)}"
            for image, fraction in zip(shown, covered, strict=True)
        ],
    )


def draw_sheets(
    dataset: ConceptDataset,
    masks: ConceptMasks,
    counts: Sequence[ConceptCount],
    flags: InspectionFlags,
) -> Iterator[Path]:
    """Write contact sheets, one or several per category, and yield their paths."""
    area = np.bincount(masks.pair_concept, weights=masks.area, minlength=len(counts))
    names: dict[str, str] = {}  # of files, by category
    for category in dataset.categories:
        name = make_safe(category)
        names[category] = f"{name}_{len(names)}" if name in names.values() else name
        places = [
            place
            for place, count in enumerate(counts)
            if count.concept.primary_category == category and area[place]
        ]
        for start in range(0, len(places), CONCEPTS_PER_SHEET):
            chosen = places[start : start + CONCEPTS_PER_SHEET]
            figure = plot_contact_sheet(
                [gather_examples(dataset, masks, counts[p], p, flags.images) for p in chosen]
            )
            suffix = f"_{start // CONCEPTS_PER_SHEET + 1}" if len(places) > len(chosen) else ""
            path = flags.out / f"contact_sheet_{names[category]}{suffix}.png"
            write_figure(figure, path, dpi=150)
            yield path


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
    try:
        masks = decode_masks(dataset, "union", cache=flags.cache_data).select(catalog)
        dataset = decode_images(dataset, cache=flags.cache_data, checked=flags.skip_bad_images)
        announce((*masks.notices, *filter(None, [describe_split_shortage(dataset)])))
        announce_left_out("concepts in runs", masks.find_missing(), of=len(catalog))
        counts = count_concepts(masks)
        write_counts(flags.out / COUNTS_FILE, counts)
        console = open_console()
        _describe(console, dataset)
        for category in dataset.categories:
            some = [count for count in counts if count.concept.primary_category == category]
            if some:
                console.print(tabulate_category(category, some, flags.rows))
        sheets = draw_sheets(dataset, masks, counts, flags) if flags.images else ()
        for path in sheets:
            console.print(f"drawn: {path}", highlight=False, soft_wrap=True)
    except OSError as error:
        raise Net2VecError(f"{flags.out} cannot be written: {error}") from error
    console.print(f"all concepts are in {flags.out / COUNTS_FILE}", soft_wrap=True)


def _percent(fraction: float) -> str:
    if 0 < fraction < 0.001:
        return "< 0.1%"
    return f"{fraction:.1%}" if fraction < 0.1 else f"{fraction:.0%}"


def _describe(console: Console, dataset: ConceptDataset) -> None:
    val = int(np.count_nonzero(dataset.is_val))
    height, width = dataset.image(0).shape[:2]
    rows, columns = dataset.segmentation_size
    console.print(
        f"{dataset.name}: {len(dataset) - val:,} train and {val:,} val images of {height}×{width} "
        f"pixels, masks of {rows}×{columns}",
        highlight=False,
        soft_wrap=True,
    )
    left_out = getattr(dataset, "unlabelled_images", ())
    if left_out:
        console.print(
            f"{len(left_out):,} images without any label are left out: {list_names(left_out)}",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    run_script(main, InspectionFlags, __doc__.split("\n")[0])
