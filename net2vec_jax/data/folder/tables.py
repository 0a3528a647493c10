"""Parse the tables of a folder of images: concepts.csv, image_labels.csv, splits.csv.

Every refusal names the file and the line. The tables are UTF-8 CSV with a header; columns that are
not named here are ignored.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.concepts import (
    CATEGORIES,
    Concept,
    ConceptCatalog,
    is_background,
    is_void,
    normalize_name,
)
from net2vec_jax.data.dataset import SPLITS
from net2vec_jax.data.groups import GROUP_COLUMN, name_group
from net2vec_jax.data.tables import FILLERS, LARGEST_NUMBER, parse_whole_number, read_table

CONCEPT_COLUMNS = ("number", "name", "category")
NO_LABEL_VALUE = 255
"""Unlabelled in indexed and grey masks, as in PASCAL VOC, unless concepts.csv names it."""
_CATEGORY = re.compile(r"[\w][\w .+-]{0,99}")


class ConceptTable(NamedTuple):
    """The concepts, their categories in Broden's order, and what values and colours mean."""

    catalog: ConceptCatalog
    categories: tuple[str, ...]
    values: dict[int, int]
    """Value in an indexed or grey mask → concept number, or 0 for unlabelled."""
    colours: dict[int, int]
    """R + 256·G + 65536·B → concept number, or 0 for unlabelled."""
    notices: tuple[str, ...]
    """What was assumed of the numbers 0 and 255, and how to say otherwise."""


def read_concept_table(path: Path) -> ConceptTable:
    """Read concepts.csv: `number,name,category` and, for RGB masks, `color` as #rrggbb.

    Number 0 means "unlabelled" to all that follows, so rows of number 0 say which colours are no
    concept; black is none unless a concept has it. A row of number 0 that names a thing
    ("0,road,object") is a concept all the same, under the first number that is free. Number 255 is
    unlabelled unless a row names it, and also if that row calls it void or the like.

    Raises:
      Net2VecError: a missing column, a malformed or repeated number or colour, no concept at all.
    """
    _, table = read_table(path, CONCEPT_COLUMNS)
    names_digits = sum(row["name"].strip().isdecimal() for _, row in table) > 1
    rows = [_parse_row(row, f"{path} line {line}", names_digits) for line, row in table]
    concepts: dict[int, Concept] = {}  # by the value in masks
    voids: set[int] = set()
    notices = []
    for row in rows:
        # Of number 0 there may be many rows without a concept, beside one with.
        taken = voids | concepts.keys() if row.value else (() if row.is_none else concepts)
        if row.value in taken:
            raise Net2VecError(f"{row.where}: number {row.value} occurs twice")
        if row.is_none:
            voids.add(row.value)
            if row.category:
                notices.append(
                    f"{row.where}: {row.value} is called {row.name}, so it is no label and no "
                    "concept; call it otherwise if it is one"
                )
        else:
            # How many images have it is not known before all masks are decoded.
            number = row.value or LARGEST_NUMBER
            concepts[row.value] = Concept(number, row.name, {row.category: 0}, row.category)
    if not concepts:
        raise Net2VecError(f"{path} lists no concept")
    if 0 in concepts:
        candidates = itertools.chain(range(max(concepts) + 1, LARGEST_NUMBER + 1), range(1, 2**16))
        number = next(n for n in candidates if n != NO_LABEL_VALUE and n not in concepts)
        concepts[0] = dataclasses.replace(concepts[0], number=number)
        notices.append(
            f"{path}: 0 is the concept {concepts[0].name}, which tables call number {number}, "
            "since 0 means unlabelled there; if 0 is no concept, name it background"
        )
    present = {concept.primary_category for concept in concepts.values()}
    ordered = [c for c in CATEGORIES if c in present] + sorted(present - set(CATEGORIES))
    values = {0: 0, NO_LABEL_VALUE: 0} | {v: concept.number for v, concept in concepts.items()}
    colours: dict[int, int] = {}
    for row in rows:
        if row.colour in colours:
            raise Net2VecError(f"{row.where}: color {row.shown} occurs twice")
        if row.colour is not None:
            colours[row.colour] = 0 if row.is_none else values[row.value]
    if colours:
        colours.setdefault(0, 0)  # black
    catalog = ConceptCatalog.of(concepts.values())
    return ConceptTable(catalog, tuple(ordered), values, colours, tuple(notices))


class _Row(NamedTuple):
    """A row of concepts.csv."""

    where: str
    value: int
    """Its number in masks."""
    name: str
    category: str
    is_none: bool
    """Whether it says that the number is no concept."""
    shown: str
    colour: int | None
    """R + 256·G + 65536·B, see `pack_colours`."""


def _parse_row(row: dict[str, str], where: str, names_digits: bool) -> _Row:
    """A row of concepts.csv; `names_digits`: whether a concept may be called 0."""
    value = parse_whole_number(row["number"], f"{where}, column number")
    if value > LARGEST_NUMBER:
        raise Net2VecError(f"{where}: numbers go up to {LARGEST_NUMBER}, not {value}")
    name, category = (normalize_name(row[column].strip()) for column in ("name", "category"))
    if value and not name:
        raise Net2VecError(f"{where}: concept {value} has no name")
    is_none = (value == NO_LABEL_VALUE and is_void(name)) or (
        value == 0 and is_background(name) and not (names_digits and name == "0")
    )
    if not is_none and (not _CATEGORY.fullmatch(category) or category.lower() in FILLERS):
        raise Net2VecError(
            f"{where}: {category!r:.80} cannot be a category; Broden's are {', '.join(CATEGORIES)}"
        )
    shown = (row.get("color") or row.get("colour") or "").strip()
    if shown and not re.fullmatch("#[0-9a-fA-F]{6}", shown):
        raise Net2VecError(f"{where}: color {shown!r:.80} is not of the form #rrggbb")
    colour = int.from_bytes(bytes.fromhex(shown[1:]), "little") if shown else None
    return _Row(where, value, name, category, is_none, shown, colour)


def read_image_labels(
    path: Path, concepts: ConceptTable, images: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Read image_labels.csv: `image,concepts`, whole-image labels by name or number.

    Args:
      path: the file.
      concepts: those there are.
      images: the images there are.

    Returns:
      Image → its concepts' numbers, ascending.

    Raises:
      Net2VecError: an unknown image or concept, a name of several concepts, an image listed twice.
    """
    catalog, labels = concepts.catalog, {}
    for image, where, text in _read_images(path, "concepts", images):
        numbers = set()
        for element in filter(None, (part.strip() for part in text.split(";"))):
            found = catalog.find(element)
            if element == "0" and concepts.values[0]:
                found = (concepts.values[0],)
            if not found and re.fullmatch(r"[0-9]+\.0*", element):
                parse_whole_number(element, f"{where}, column concepts")
            if not found:
                names = [concept.name for concept in catalog]
                raise Net2VecError(f"{where}: {unknown_name_error('concept', element, names)}")
            if len(found) > 1:
                raise Net2VecError(
                    f"{where}: {element!r} is the name of concepts {list(found)}; give the number"
                )
            numbers.update(found)
        labels[image] = tuple(sorted(numbers))
    return labels


def read_splits(
    path: Path, images: Collection[str]
) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Read splits.csv: `image,split`, train or val; `image,group`, see `name_group`; or all three.

    Returns:
      Image → split, and image → group; None for a column that is not there.

    Raises:
      Net2VecError: an unknown image or split, an image listed twice or without group.
    """
    header, _ = read_table(path, ("image",))
    groups = None
    if GROUP_COLUMN in header:
        rows = _read_images(path, GROUP_COLUMN, images)
        groups = {image: name_group(group, where) for image, where, group in rows}
        if "split" not in header:
            return None, groups
    splits = {}
    for image, where, split in _read_images(path, "split", images):
        if split not in SPLITS:
            raise Net2VecError(f"{where}: split is {split!r:.80}; it must be train or val")
        splits[image] = split
    return splits, groups


def _read_images(path: Path, column: str, images: Collection[str]) -> list[tuple[str, str, str]]:
    """(image, where it stands, the column's cell) of every row."""
    _, table = read_table(path, ("image", column))
    seen: dict[str, int] = {}
    rows = []
    for line, row in table:
        where, image = f"{path} line {line}", normalize_name(row["image"])
        if image in seen:
            raise Net2VecError(f"{where}: {image} stands in line {seen[image]} already")
        if image not in images:
            raise Net2VecError(f"{where}: {unknown_name_error('image', image, images)}")
        seen[image] = line
        rows.append((image, where, row[column]))
    return rows
