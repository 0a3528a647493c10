"""Concepts: their numbers, names and categories (reference behaviour 1.4, 1.8).

A concept is a label of a Broden-style dataset. Number 0 is the unlabelled background, no concept.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Int

from net2vec_jax.core.errors import Net2VecError, list_names, unknown_name_error
from net2vec_jax.data.formulas import Formula, is_formula, list_names_in, parse_formula

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
"""Broden's six categories in the order of its index.csv (behaviour 1.2)."""
WHOLE_IMAGE_CATEGORIES = ("scene", "texture", "breed")
"""Those that say something of an image as a whole; breeds are not Broden's."""
VOID_NAMES = (
    *("", "dontcare", "ignore", "ignored", "ignorelabel", "nolabel", "none", "nothing", "null"),
    *("outofroi", "unannotated", "undefined", "unknown", "unlabeled", "unlabelled", "void"),
)
"""What tables call pixels without label, in lower case and without spaces and signs."""
BACKGROUND_NAMES = (*VOID_NAMES, "0", "background", "bg", "other", "others", "rest")
"""What tables call number 0, written likewise."""
SUFFIXES = ("-c", "-s")
"""Broden's marks of colours and scenes at the end of a name."""


def normalize_name(name: str) -> str:
    """A name in Unicode's composed form (NFC): "é" typed on any system is then one name."""
    return unicodedata.normalize("NFC", name)


def is_background(name: str) -> bool:
    """Whether a name of number 0 says that it is no concept: "background", "Unlabeled", ""."""
    return is_void(name) or _strip_signs(name) in BACKGROUND_NAMES


def is_void(name: str) -> bool:
    """Whether a name says that pixels of it have no label: "Out of ROI", "void (ignore)"."""
    words = re.split(r"[\W_]+", name.lower())
    return _strip_signs(name) in VOID_NAMES or any(word in VOID_NAMES for word in words if word)


def _strip_signs(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def strip_number(concept: str) -> str:
    """A concept's name without the number that tells it from others of its name: "crane (17)".

    See `ConceptCatalog.of`.
    """
    return re.sub(r"(?<=.) \([0-9]+\)$", "", concept)


def strip_suffix(concept: str) -> str:
    """A concept's name without Broden's mark of a colour or scene at its end (behaviour 8.6).

    The number of a name that several share goes too. The spec removes everything from the first
    "-c" or "-s" on, which makes "t" of "t-shirt"; for Broden's own marks, which stand at the end,
    that is the same.
    """
    name = strip_number(concept)
    return name[:-2] if name.endswith(SUFFIXES) and len(name) > 2 else name


def find_numbers(name: str, known: Mapping[int, str]) -> tuple[int, ...]:
    """The numbers of the concepts that a name, or a decimal number, means; none if unknown.

    A name that several concepts share (see `ConceptCatalog.of`) means all of them; the name of one
    concept comes before the number of another.

    Args:
      name: as it was asked for.
      known: names by number.
    """
    found = _index_names(known).get(normalize_name(name), ())
    return found or ((_parse_number(name),) if _parse_number(name) in known else ())


def _index_names(known: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Numbers by name, and by the name that several concepts share (see `ConceptCatalog.of`)."""
    found: dict[str, tuple[int, ...]] = {}
    for number, name in known.items():
        name = normalize_name(name)
        for each in dict.fromkeys((name, name.removesuffix(f" ({number})"))):
            found[each] = (*found.get(each, ()), number)
    return found


def _parse_number(name: str) -> int:
    """The number that decimal digits write; 0, which no concept has, of anything else."""
    return int(name) if re.fullmatch("[0-9]{1,9}", name) else 0


@dataclasses.dataclass(frozen=True)
class Concept:
    """One concept.

    Attributes:
      number: its label number in the planes, at least 1.
      name: its name as printed, for example "dog" or "red-c".
      categories: the categories it belongs to, with the number of images in each, in the order of
        label.csv (most images first).
      primary_category: the category in which it covers most (behaviour 1.8).
      formula: of a concept that is made of others, which masks are computed from.
    """

    number: int
    name: str
    categories: Mapping[str, int] = dataclasses.field(hash=False)  # a dict has no hash
    primary_category: str
    formula: Formula | None = None

    def __post_init__(self) -> None:
        if self.number < 1:
            raise Net2VecError(
                f"concept {self.name!r} has number {self.number}; numbers start at 1"
            )
        if self.primary_category not in self.categories:
            raise Net2VecError(
                f"concept {self.name!r}: its primary category {self.primary_category!r} is not one "
                f"of its categories {list(self.categories)}"
            )


@dataclasses.dataclass(frozen=True)
class ConceptCatalog:
    """All concepts of a dataset, ordered by number.

    Attributes:
      concepts: the concepts, in ascending order of their numbers (gaps are allowed).
    """

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        numbers = [concept.number for concept in self.concepts]
        if numbers != sorted(set(numbers)):
            raise Net2VecError(
                "concept numbers must be unique and ascending; the catalog's are "
                f"{list_names(map(str, numbers))}"
            )

    def __len__(self) -> int:
        return len(self.concepts)

    def __iter__(self) -> Iterator[Concept]:
        return iter(self.concepts)

    @property
    def numbers(self) -> Int[np.ndarray, " C"]:
        """Label numbers of the concepts, int64."""
        return np.array([concept.number for concept in self.concepts], np.int64)

    @classmethod
    def of(cls, concepts: Iterable[Concept]) -> ConceptCatalog:
        """The catalog of these concepts, in which every name is one concept's.

        Concepts that share a name get their number behind it, "crane (17)" and "crane (205)", so
        that every table tells them apart.

        Raises:
          Net2VecError: a number occurs twice, or names are the same all the same.
        """
        ordered = sorted(concepts, key=lambda concept: concept.number)
        names = [normalize_name(concept.name.strip()) for concept in ordered]
        times = collections.Counter(names)
        seen: dict[str, int] = {}
        told_apart = []
        for concept, name in zip(ordered, names, strict=True):
            if times[name] > 1:
                name = f"{name} ({concept.number})"
            if name in seen:
                raise Net2VecError(
                    f"concepts {seen[name]} and {concept.number} are both called {name!r}; rename "
                    "one"
                )
            seen[name] = concept.number
            told_apart.append(dataclasses.replace(concept, name=name))
        return cls(tuple(told_apart))

    @cached_property
    def by_number(self) -> Mapping[int, Concept]:
        """The concepts by their number."""
        return {concept.number: concept for concept in self.concepts}

    @property
    def largest_number(self) -> int:
        """The largest concept number, 0 for an empty catalog."""
        return self.concepts[-1].number if self.concepts else 0

    @cached_property
    def _numbers_by_name(self) -> Mapping[str, tuple[int, ...]]:
        return _index_names({concept.number: concept.name for concept in self.concepts})

    def find(self, name: str) -> tuple[int, ...]:
        """The numbers of the concepts that a name, or a decimal number, means; none if unknown.

        A name that several concepts share (see `of`) means all of them.

        Raises:
          Net2VecError: it is the name of one concept and the number of another.
        """
        found = self._numbers_by_name.get(normalize_name(name), ())
        number = _parse_number(name)
        if number not in self.by_number:
            return found
        if found and found != (number,):
            raise Net2VecError(
                f"{name!r} is the name of concept {found[0]} and the number of concept "
                f"{self.by_number[number].name!r}; rename concepts whose names are numbers"
            )
        return (number,)

    def select(self, names: Iterable[str]) -> ConceptCatalog:
        """The concepts of these names (or decimal numbers), in the catalog's order.

        A formula such as "wheel & !car" makes a concept of its own, behind all others, of the
        category of its first concept.

        Raises:
          Net2VecError: a name that no concept has, the nearest names are suggested; or a formula
            that is none.

        Examples:
          >>> named = [Concept(n, x, {"part": 9}, "part") for n, x in [(1, "wheel"), (2, "car")]]
          >>> [c.name for c in ConceptCatalog(tuple(named)).select(["car", "wheel&!car"])]
          ['car', 'wheel & !car']
        """
        chosen: set[int] = set()
        joined: dict[str, Concept] = {}
        for name in map(normalize_name, names):
            formula = parse_formula(name) if not self.find(name) and is_formula(name) else name
            parts = [self._find_known(part) for part in list_names_in(formula)]
            if isinstance(formula, str):
                chosen.update(parts[0])
                continue
            number = self.largest_number + len(joined) + 1
            first = self.by_number[parts[0][0]]
            category = first.primary_category
            images = {category: first.categories[category]}
            joined.setdefault(
                str(formula), Concept(number, str(formula), images, category, formula)
            )
        kept = [c for c in self.concepts if c.number in chosen]
        return ConceptCatalog((*kept, *joined.values()))

    def _find_known(self, name: str) -> tuple[int, ...]:
        if not (found := self.find(name)):
            raise unknown_name_error("concept", name, (c.name for c in self.concepts))
        return found
