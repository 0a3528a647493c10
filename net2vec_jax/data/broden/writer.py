"""Write labelled images as a Broden directory (reference behaviour 1).

The counterpart of `net2vec_jax.data.broden.dataset`: what is written here reads back with the same
concept numbers in the same planes, bit for bit; images are stored as JPEG, as in Broden.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from net2vec_jax.core.errors import Net2VecError, list_names, writing_error
from net2vec_jax.core.locks import complete_folder, only_one_process
from net2vec_jax.core.result_files import write_table
from net2vec_jax.data.broden.tables import INDEX_COLUMNS
from net2vec_jax.data.concepts import CATEGORIES
from net2vec_jax.data.dataset import LabelledImage
from net2vec_jax.data.groups import GROUP_COLUMN
from net2vec_jax.data.tables import LARGEST_NUMBER, check_inside

JPEG_QUALITY = 95


def write_broden(
    directory: str | Path, examples: Iterable[LabelledImage], names: Mapping[int, str]
) -> None:
    """Write `examples` into the new Broden directory `directory`.

    The directory appears complete or not at all: it is written beside and then renamed.

    Args:
      directory: must not exist yet, or be empty.
      examples: the images, in the order of the index; all with planes of one size.
      names: number → name of every concept that occurs.

    Raises:
      Net2VecError: the directory has contents or cannot be written, the disk is full, a number has
        no name, a name repeats or leads out of the directory, planes differ in size, some images
        have a group and others none, or nothing was given. Nothing is left behind.
    """
    directory = Path(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with only_one_process(directory, "written"):
            if directory.exists() and any(directory.iterdir()):
                raise Net2VecError(f"{directory} has contents already; choose a new directory")
            with complete_folder(directory) as partial:
                _write_all(partial, examples, names)
    except OSError as error:
        raise writing_error(directory, error) from error


def _write_all(partial: Path, examples: Iterable[LabelledImage], names: Mapping[int, str]) -> None:
    """Write the images, then the tables that count them."""
    (partial / "images").mkdir(parents=True)
    images: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    coverage: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    rows = []
    segmentation_size = None
    written: set[PurePosixPath] = set()
    for example in examples:
        stem = PurePosixPath(example.name).with_suffix("")
        check_inside(example.name, "image name")
        if stem in written:
            raise Net2VecError(f"{example.name}: another image of that name was written already")
        written.add(stem)
        cells, size = _write_example(partial / "images", example, images, coverage)
        if size and segmentation_size and size != segmentation_size:
            raise Net2VecError(
                f"{example.name}: its planes are {size}, those before {segmentation_size}; all "
                "planes must be of one size"
            )
        segmentation_size = size or segmentation_size
        rows.append((example, cells))
    if not rows:
        raise Net2VecError("there is no image to write")
    if segmentation_size is None:  # whole-image labels only: Broden's rule, half the image
        segmentation_size = tuple(side // 2 for side in rows[0][0].image.shape[:2])
    unnamed = sorted({n for counts in images.values() for n in counts} - set(names))
    if unnamed:
        raise Net2VecError(f"concept numbers without a name: {unnamed}")
    # A category counts even where its planes mark nothing: the image has data in it.
    present = {category for _, cells in rows for category in cells}
    ordered = [c for c in CATEGORIES if c in present] + sorted(present - set(CATEGORIES))
    _write_index(partial / "index.csv", rows, ordered, segmentation_size)
    _write_labels(partial, ordered, images, coverage, names)


def _write_example(
    root: Path,
    example: LabelledImage,
    images: Mapping[str, dict[int, int]],
    coverage: Mapping[str, dict[int, float]],
) -> tuple[dict[str, str], tuple[int, int] | None]:
    """Write one image and its planes, count them, and return its cells and plane size."""
    path = PurePosixPath(example.name)
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(example.image).save(root / path, quality=JPEG_QUALITY, subsampling=0)
    cells: dict[str, list[str]] = defaultdict(list)
    present: dict[str, set[int]] = defaultdict(set)
    size = None
    for category, planes in example.labels.planes.items():
        for order, plane in enumerate(planes, start=1):
            suffix = f"_{order}" if len(planes) > 1 else ""
            name = f"{path.with_suffix('')}_{category}{suffix}.png"
            if plane.min() < 0 or plane.max() > LARGEST_NUMBER:
                raise Net2VecError(
                    f"{example.name}: concept numbers of a plane go from 0 to {LARGEST_NUMBER}"
                )
            zero = np.zeros_like(plane)
            pixels = np.stack([plane % 256, plane // 256, zero], axis=-1).astype(np.uint8)
            Image.fromarray(pixels).save(root / name)
            cells[category].append(name)
            size = plane.shape
            numbers, counts = np.unique(plane, return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                if number:
                    coverage[category][number] += count / plane.size
                    present[category].add(number)
    for category, numbers in example.labels.whole_image.items():
        for number in numbers:
            cells[category].append(str(number))
            if number:
                coverage[category][number] += 1.0
                present[category].add(number)
    for category, numbers in present.items():
        for number in numbers:
            images[category][number] += 1
    return {category: ";".join(values) for category, values in cells.items()}, size


def _write_index(path: Path, rows: list, categories: list[str], size: tuple[int, ...]) -> None:
    alone = [example.name for example, _ in rows if example.group is None]
    grouped = len(alone) < len(rows)
    if grouped and alone:
        raise Net2VecError(f"{list_names(alone)}: no group, but other images have one; give all")
    table = []
    for example, cells in rows:
        values = [cells.get(category, "") for category in categories]
        sizes = (*example.image.shape[:2], *size)
        group = [example.group] if grouped else []
        table.append([example.name, example.split, *sizes, *group, *values])
    columns = [*INDEX_COLUMNS, *([GROUP_COLUMN] if grouped else [])]
    write_table(path, [*columns, *categories], table)


def _write_labels(
    root: Path,
    categories: list[str],
    images: Mapping[str, Mapping[int, int]],
    coverage: Mapping[str, Mapping[int, float]],
    names: Mapping[int, str],
) -> None:
    """label.csv, category.csv and one c_<category>.csv per category (behaviour 1.4, 1.5)."""
    numbers = sorted({number for counts in images.values() for number in counts})

    def label_row(number: int) -> list:
        counts = {c: images[c][number] for c in categories if number in images[c]}
        listed = sorted(counts, key=lambda c: -counts[c])
        total = sum(coverage[c][number] for c in counts)
        cell = ";".join(f"{c}({counts[c]})" for c in listed)
        return [number, names[number], cell, sum(counts.values()), f"{total:.6f}", ""]

    label_header = ["number", "name", "category", "frequency", "coverage", "syns"]
    write_table(root / "label.csv", label_header, [label_row(number) for number in numbers])

    def category_row(category: str) -> list:
        counts = images[category]
        ends = [min(counts, default=0), max(counts, default=0)]
        return [category, *ends, len(counts), sum(counts.values())]

    category_header = ["name", "first", "last", "count", "frequency"]
    write_table(root / "category.csv", category_header, [category_row(c) for c in categories])
    for category in categories:
        order = sorted(
            images[category], key=lambda n: (-images[category][n], -coverage[category][n])
        )
        rows = [
            [code, n, names[n], images[category][n], f"{coverage[category][n]:.6f}"]
            for code, n in enumerate(order, start=1)
        ]
        header = ["code", "number", "name", "frequency", "coverage"]
        write_table(root / f"c_{category}.csv", header, rows)
