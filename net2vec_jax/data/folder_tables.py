"""Parse the tables of a folder of images: concepts.csv, image_labels.csv, splits.csv.

Every refusal names the file and the line. The tables are UTF-8 CSV with a header; columns that are
not named here are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from net2vec_jax.data.broden_tables import LARGEST_NUMBER, parse_whole_number, read_table
from net2vec_jax.data.concepts import CATEGORIES, Concept, ConceptCatalog
from net2vec_jax.data.dataset import SPLITS
from net2vec_jax.errors import Net2VecError, unknown_name_error

CONCEPT_COLUMNS = ("number", "name", "category")
_CATEGORY = re.compile(r"[\w][\w .+-]{0,99}")


class ConceptTable(NamedTuple):
    """The concepts, their categories in Broden's order, and which colour means which number."""

    catalog: ConceptCatalog
    categories: tuple[str, ...]
    colours: dict[int, int]
    """R + 256·G + 65536·B → concept number, or 0 for unlabelled."""


def read_concept_table(path: Path) -> ConceptTable:
    """Read concepts.csv: `number,name,category` and, for RGB masks, `color` as #rrggbb.

    Rows of number 0 say which colours are no concept; black is none unless a concept has it.

    Raises:
      Net2VecError: a missing column, a malformed or repeated number or colour, no concept at all.
    """
    _, table = read_table(path, CONCEPT_COLUMNS)
    concepts: dict[int, Concept] = {}
    colours: dict[int, int] = {}
    for line, row in table:
        where = f"{path} line {line}"
        number = parse_whole_number(row["number"], f"{where}, column number")
        if number > LARGEST_NUMBER:
            raise Net2VecError(f"{where}: numbers go up to {LARGEST_NUMBER}, not {number}")
        if number in concepts:
            raise Net2VecError(f"{where}: number {number} occurs twice")
        if number:
            name, category = row["name"].strip(), row["category"].strip()
            if not name:
                raise Net2VecError(f"{where}: concept {number} has no name")
            if not _CATEGORY.fullmatch(category):
                raise Net2VecError(
                    f"{where}: {category!r:.80} cannot be a category; Broden's are "
                    f"{', '.join(CATEGORIES)}"
                )
            # How many images have it is not known before all masks are decoded.
            concepts[number] = Concept(number, name, {category: 0}, category)
        text = row.get("color", "").strip()
        if text:
            match = re.fullmatch("#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
            if match is None:
                raise Net2VecError(f"{where}: color {text!r:.80} is not of the form #rrggbb")
            red, green, blue = (int(part, 16) for part in match.groups())
            colour = red + 256 * green + 65536 * blue
            if colour in colours:
                raise Net2VecError(f"{where}: color {text} occurs twice")
            colours[colour] = number
    if not concepts:
        raise Net2VecError(f"{path} lists no concept")
    if colours:
        colours.setdefault(0, 0)
    present = {concept.primary_category for concept in concepts.values()}
    ordered = [c for c in CATEGORIES if c in present] + sorted(present - set(CATEGORIES))
    catalog = ConceptCatalog.of(concepts.values())
    return ConceptTable(catalog, tuple(ordered), colours)


def read_image_labels(
    path: Path, catalog: ConceptCatalog, images: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Read image_labels.csv: `image,concepts`, whole-image labels by name or number.

    Args:
      path: the file.
      catalog: the concepts there are.
      images: the images there are.

    Returns:
      Image → its concepts' numbers, ascending.

    Raises:
      Net2VecError: an unknown image or concept, a name of several concepts, an image listed twice.
    """
    labels = {}
    for image, where, text in _read_images(path, "concepts", images):
        numbers = set()
        for element in filter(None, (part.strip() for part in text.split(";"))):
            found = catalog.find(element)
            if not found:
                names = [concept.name for concept in catalog]
                raise Net2VecError(f"{where}: {unknown_name_error('concept', element, names)}")
            if len(found) > 1:
                raise Net2VecError(
                    f"{where}: {element!r} is the name of concepts {list(found)}; give the number"
                )
            numbers.add(found[0])
        labels[image] = tuple(sorted(numbers))
    return labels


def read_splits(path: Path, images: Collection[str]) -> dict[str, str]:
    """Read splits.csv: `image,split`, train or val.

    Raises:
      Net2VecError: an unknown image or split, an image listed twice.
    """
    splits = {}
    for image, where, split in _read_images(path, "split", images):
        if split not in SPLITS:
            raise Net2VecError(f"{where}: split is {split!r:.80}; it must be train or val")
        splits[image] = split
    return splits


def _read_images(path: Path, column: str, images: Collection[str]) -> list[tuple[str, str, str]]:
    """(image, where it stands, the column's cell) of every row."""
    _, table = read_table(path, ("image", column))
    seen: dict[str, int] = {}
    rows = []
    for line, row in table:
        where, image = f"{path} line {line}", row["image"]
        if image in seen:
            raise Net2VecError(f"{where}: {image} stands in line {seen[image]} already")
        if image not in images:
            raise Net2VecError(f"{where}: {unknown_name_error('image', image, images)}")
        seen[image] = line
        rows.append((image, where, row[column]))
    return rows
