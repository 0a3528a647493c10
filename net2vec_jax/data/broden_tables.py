"""Parse the CSV tables of a Broden directory (reference spec 1.2, 1.4, 1.5).

Every refusal names the file and the line.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import SPLITS
from net2vec_jax.errors import Net2VecError

SIZE_COLUMNS = ("ih", "iw", "sh", "sw")
INDEX_COLUMNS = ("image", "split", *SIZE_COLUMNS)
LARGEST_NUMBER = 2**16 - 1
"""A plane stores R + 256·G."""
LONGEST_NAME = 1024
"""Characters of a path; systems end at 1024 to 4096 bytes."""
LABEL_COLUMNS = ("number", "name", "category")
LARGEST_SIDE = 2**14
"""Pixels: what is larger is no image for a network, and would need gigabytes per mask."""


class BrodenRow(NamedTuple):
    """One image of index.csv: its place in the file, and per category its planes and numbers."""

    line: int
    image: str
    split: str
    sizes: tuple[int, int, int, int]
    planes: dict[str, tuple[str, ...]]
    whole_image: dict[str, tuple[int, ...]]


def read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict]]]:
    """Header and (line number, row) of a CSV file that must have the `required` columns.

    Raises:
      Net2VecError: the file is missing or no table, a column is missing or occurs twice, a row is
        of another length than the header.
    """
    if not path.is_file():
        raise Net2VecError(f"{path} is missing")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            missing = [column for column in required if column not in header]
            if missing:
                hint = "; separate the fields by commas" if ";" in "".join(header) else ""
                raise Net2VecError(
                    f"{path}: column {', '.join(missing)} is missing; the header has "
                    f"{header!s:.1000}{hint}"
                )
            if len(set(header)) != len(header):
                raise Net2VecError(f"{path}: a column occurs twice in the header {header!s:.1000}")
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise Net2VecError(
                        f"{path} line {reader.line_num}: the row has not as many fields as the "
                        f"header, {len(header)}"
                    )
                rows.append((reader.line_num, row))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Net2VecError(f"{path} is not a UTF-8 CSV table: {error}") from error
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror}") from error
    return header, rows


def parse_whole_number(text: str, where: str) -> int:
    """A number of decimal digits only.

    Raises:
      Net2VecError: it is none; the message begins with `where`.
    """
    # int() alone would accept "1_000", " 7" and other scripts' digits.
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Net2VecError(f"{where}: {text!r:.60} is not a whole number")
    return int(text)


def read_index(path: Path) -> tuple[tuple[str, ...], list[BrodenRow]]:
    """The category columns of index.csv and its rows.

    Raises:
      Net2VecError: a missing column, a malformed cell, a path that leads out of images/.
    """
    header, table = read_table(path, INDEX_COLUMNS)
    categories = tuple(column for column in header if column not in INDEX_COLUMNS)
    for category in categories:
        # It becomes part of a file name, c_<category>.csv, and of cells, name(count).
        if not re.fullmatch(r"[^/\\\0();]+", category) or len(category.encode()) > 100:
            raise Net2VecError(f"{path}: column {category!r:.80} cannot be the name of a category")
    rows = []
    for line, cells in table:
        where = f"{path} line {line}"
        if cells["split"] not in SPLITS:
            raise Net2VecError(f"{where}: split is {cells['split']!r:.60}; it must be train or val")
        sizes = tuple(parse_whole_number(cells[c], f"{where}, column {c}") for c in SIZE_COLUMNS)
        if min(sizes) < 1 or max(sizes) > LARGEST_SIDE:
            raise Net2VecError(
                f"{where}: sizes must be positive and at most {LARGEST_SIDE} pixels, not {sizes}"
            )
        planes: dict[str, tuple[str, ...]] = {}
        whole_image: dict[str, tuple[int, ...]] = {}
        for category in categories:
            elements = [element for element in cells[category].split(";") if element]
            numbers = tuple(int(e) for e in elements if re.fullmatch(r"[0-9]{1,9}", e))
            names = tuple(e for e in elements if not re.fullmatch(r"[0-9]{1,9}", e))
            for name in names:
                check_inside(name, where)
            if names:
                planes[category] = names
            if numbers:
                whole_image[category] = numbers
        check_inside(cells["image"], where)
        rows.append(BrodenRow(line, cells["image"], cells["split"], sizes, planes, whole_image))
    return categories, rows


def check_inside(name: str, where: str) -> None:
    """Refuse a path that leads out of images/.

    Raises:
      Net2VecError: it does; the message begins with `where`.
    """
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or name[1:2] == ":"  # a Windows drive
    if not 0 < len(name) <= LONGEST_NAME or outside or "\\" in name or "\0" in name:
        raise Net2VecError(f"{where}: {name!r:.200} is not a path below images/")


def read_catalog(path: Path, categories: Sequence[str]) -> ConceptCatalog:
    """The concepts of label.csv that belong to one of the `categories`.

    The primary category is the one of largest coverage by the tables c_<category>.csv beside it.

    Raises:
      Net2VecError: a missing column, a malformed or repeated number, a malformed category cell.
    """
    _, table = read_table(path, LABEL_COLUMNS)
    coverage = {c: _read_coverage(path.parent / f"c_{c}.csv") for c in categories}
    concepts: dict[int, Concept] = {}
    for line, row in table:
        where = f"{path} line {line}"
        number = parse_whole_number(row["number"], where)
        if number == 0:
            continue  # the unlabelled background, which some tables list
        if number > LARGEST_NUMBER:
            raise Net2VecError(f"{where}: label numbers go up to {LARGEST_NUMBER}, not {number}")
        if number in concepts:
            raise Net2VecError(f"{where}: label number {number} occurs twice")
        counts: dict[str, int] = {}
        for part in filter(None, row["category"].split(";")):
            category, count = _category_count(part, where)
            if category in categories:
                counts[category] = count
        if counts:
            # spec 1.8: largest coverage wins, ties go to the later category of index.csv.
            ordered = [category for category in categories if category in counts]
            primary = max(reversed(ordered), key=lambda c: coverage[c].get(number, 0.0))
            concepts[number] = Concept(number, row["name"], counts, primary)
    return ConceptCatalog.of(concepts.values())


def _category_count(text: str, where: str) -> tuple[str, int]:
    """Category and image count of "object(3)"."""
    # Without regular expression: one that allows spaces takes minutes for a long row of them.
    category, bracket, count = text.strip().rpartition("(")
    category, digits = category.strip(), count.removesuffix(")").strip()
    if not (bracket and category and count.endswith(")") and re.fullmatch("[0-9]{1,9}", digits)):
        raise Net2VecError(f"{where}: category {text!r:.80} is not of the form name(count)")
    return category, int(digits)


def check_categories(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns of index.csv that the optional table category.csv does not list (spec 1.2).

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
        try:
            value = float(row["coverage"])
        except ValueError as error:
            raise Net2VecError(f"{where}: coverage {row['coverage']!r:.60} is no number") from error
        if not math.isfinite(value):
            raise Net2VecError(f"{where}: coverage {row['coverage']:.60} is not finite")
        coverage[parse_whole_number(row["number"], where)] = value
    return coverage
