"""Parse the CSV tables of a Broden directory (reference behaviour 1.2, 1.4, 1.5).

Every refusal names the file and the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog, is_background
from net2vec_jax.data.dataset import SPLITS
from net2vec_jax.data.groups import GROUP_COLUMN, name_group
from net2vec_jax.data.tables import (
    LARGEST_NUMBER,
    check_inside,
    parse_float,
    parse_whole_number,
    read_table,
    refuse_filler,
)

SIZE_COLUMNS = ("ih", "iw", "sh", "sw")
INDEX_COLUMNS = ("image", "split", *SIZE_COLUMNS)
LABEL_COLUMNS = ("number", "name", "category")
LARGEST_SIDE = 2**14
"""Pixels: what is larger is no image for a network, and would need gigabytes per mask."""


class BrodenRow(NamedTuple):
    """One image of index.csv: its place in the file, and per category its planes and numbers.

    A whole-image number 0 is no label; a category with nothing else still has data (behaviour 1.6).
    """

    line: int
    image: str
    split: str
    sizes: tuple[int, int, int, int]
    planes: dict[str, tuple[str, ...]]
    whole_image: dict[str, tuple[int, ...]]
    group: str | None
    """None without a column `group`."""


class LabelRow(NamedTuple):
    """One label of label.csv: its name, and category → number of images, 0 where none is given."""

    name: str
    categories: dict[str, int]


def read_index(path: Path) -> tuple[tuple[str, ...], list[BrodenRow]]:
    """The category columns of index.csv and its rows.

    A column `group` is no category: it names the film, patient or place that an image is of.

    Raises:
      Net2VecError: a missing column, a malformed cell, a path that leads out of images/, an image
        without group where others have one; the message names line and column.
    """
    header, table = read_table(path, INDEX_COLUMNS)
    others = (*INDEX_COLUMNS, GROUP_COLUMN)
    categories = tuple(column for column in header if column not in others)
    for category in categories:
        # It becomes part of a file name, c_<category>.csv, and of cells, name(count).
        if not re.fullmatch(r"[^/\\\0();]+", category) or len(category.encode()) > 100:
            raise Net2VecError(
                f"{path}: column {category!r:.80} cannot be the name of a category; remove the "
                "column, or rename it"
            )
    rows = []
    for line, cells in table:
        where = f"{path} line {line}"
        if cells["split"] not in SPLITS:
            raise Net2VecError(f"{where}: split is {cells['split']!r:.60}; it must be train or val")
        ih, iw, sh, sw = (
            parse_whole_number(cells[c], f"{where}, column {c}") for c in SIZE_COLUMNS
        )
        sizes = (ih, iw, sh, sw)
        if min(sizes) < 1 or max(sizes) > LARGEST_SIDE:
            raise Net2VecError(
                f"{where}: sizes must be positive and at most {LARGEST_SIDE} pixels, not {sizes}"
            )
        planes: dict[str, tuple[str, ...]] = {}
        whole_image: dict[str, tuple[int, ...]] = {}
        for category in categories:
            names, numbers = _parse_cell(cells[category], f"{where}, column {category}")
            if names:
                planes[category] = names
            if numbers:
                whole_image[category] = numbers
        refuse_filler(cells["image"], f"{where}, column image", "write the image's path")
        check_inside(cells["image"], where)
        group = name_group(cells[GROUP_COLUMN], where) if GROUP_COLUMN in cells else None
        rows.append(
            BrodenRow(line, cells["image"], cells["split"], sizes, planes, whole_image, group)
        )
    return categories, rows


def _parse_cell(text: str, where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The planes and the whole-image numbers of a category's cell (behaviour 1.2)."""
    names, numbers = [], []
    for element in filter(None, text.split(";")):
        refuse_filler(element, where, "leave the cell empty")
        if parse_float(element) is None:
            check_inside(element, where)
            names.append(element)
        else:
            numbers.append(parse_whole_number(element, where))
    return tuple(names), tuple(numbers)


def read_labels(path: Path) -> dict[int, LabelRow]:
    """The labels of label.csv, by number, in all categories that it names.

    Raises:
      Net2VecError: a missing column, a malformed or repeated number, a malformed category cell, a
        label without name, a number 0 with the name of a concept.
    """
    _, table = read_table(path, LABEL_COLUMNS)
    labels: dict[int, LabelRow] = {}
    for line, row in table:
        where, name = f"{path} line {line}", row["name"]
        number = parse_whole_number(row["number"], f"{where}, column number")
        if number == 0:
            if not is_background(name):
                raise Net2VecError(
                    f"{where}: label number 0 marks what is not labelled, but is called "
                    f"{name!r:.60}; call it background, or give {name!r:.60} another number, in "
                    "index.csv and the label planes too"
                )
            continue
        if number > LARGEST_NUMBER:
            raise Net2VecError(f"{where}: label numbers go up to {LARGEST_NUMBER}, not {number}")
        if number in labels:
            raise Net2VecError(f"{where}: label number {number} occurs twice")
        if not name.strip():
            raise Net2VecError(f"{where}: label {number} has no name; write one")
        parts = filter(None, row["category"].split(";"))
        labels[number] = LabelRow(name, dict(_category_count(part, where) for part in parts))
    return labels


def make_catalog(
    labels: Mapping[int, LabelRow], folder: Path, categories: Sequence[str]
) -> ConceptCatalog:
    """The concepts of those labels that belong to one of the `categories`.

    The primary category is the one of largest coverage by the tables c_<category>.csv of `folder`.

    Raises:
      Net2VecError: one of these tables is malformed.
    """
    coverage = {c: _read_coverage(folder / f"c_{c}.csv") for c in categories}
    concepts = []
    for number, label in labels.items():
        counts = {c: count for c, count in label.categories.items() if c in categories}
        if counts:
            # behaviour 1.8: largest coverage wins, ties go to the later category of index.csv.
            ordered = [category for category in categories if category in counts]
            primary = max(reversed(ordered), key=lambda c: coverage[c].get(number, 0.0))
            concepts.append(Concept(number, label.name, counts, primary))
    return ConceptCatalog.of(concepts)


def _category_count(text: str, where: str) -> tuple[str, int]:
    """Category and image count of "object(3)"; of "object" the count is 0."""
    # Without regular expression: one that allows spaces takes minutes for a long row of them.
    category, bracket, rest = text.strip().partition("(")
    category, digits = category.strip(), rest.removesuffix(")").strip()
    refuse_filler(category, f"{where}, column category", "name the label's category")
    counted = rest.endswith(")") and re.fullmatch("[0-9]{1,9}", digits)
    if not category or ")" in category or (bracket and not counted):
        raise Net2VecError(f"{where}: category {text!r:.80} is not of the form name or name(count)")
    return category, int(digits or 0)


def check_categories(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns of index.csv that the optional table category.csv does not list (behaviour
    1.2).

    Raises:
      Net2VecError: there is one, or the table is malformed.
    """
    if not path.is_file():
        return
    listed = [row["name"] for _, row in read_table(path, ("name",))[1]]
    for column in columns:
        if column not in listed:
            raise Net2VecError(
                f"{path.with_name('index.csv')}: column {column!r} is none that a Broden index has "
                f"and no category of category.csv ({', '.join(listed):.1000}); remove the column, "
                "or list it there"
            )


def _read_coverage(path: Path) -> dict[int, float]:
    """Concept number → coverage within a category; empty where the optional table is absent."""
    if not path.is_file():
        return {}
    _, table = read_table(path, ("number", "coverage"))
    coverage = {}
    for line, row in table:
        where = f"{path} line {line}"
        value = parse_float(row["coverage"])
        if value is None or not math.isfinite(value):
            raise Net2VecError(
                f"{where}, column coverage: {row['coverage']!r:.60} is not a finite number; write "
                "one, or remove the row"
            )
        coverage[parse_whole_number(row["number"], f"{where}, column number")] = value
    return coverage
