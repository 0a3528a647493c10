"""Vector arithmetic on concepts: "grass + blue - green" and the concepts that answer it best.

Reference spec 8.7: the mean of the signed unit embeddings, its dot product with all unit
embeddings, best first, without the query's own words. C concepts, K filters.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np

from net2vec_jax.analysis.geometry.concept_embeddings import UnitEmbeddings, rank_concepts
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.concepts import strip_number, strip_suffix

ANSWERS = 10
EXAMPLE = 'write for example "grass + blue - green"'
_SIGN = re.compile(r"[+\-−]")
_NEXT_SIGN = re.compile(r"\+|(?<=\s)[-−]")  # a hyphen inside a name is part of it
_WEIGHT = re.compile(r"(\d+\.?\d*|\.\d+)\s*[*×]")
_CANCELLED = 1e-9
"""Below this length a query's terms cancel out."""


@dataclasses.dataclass(frozen=True)
class QueryTerm:
    """A concept in a query.

    Attributes:
      weight: its factor with its sign, not 0.
      name: as it was written, without quotes.
    """

    weight: float
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class QueryAnswer:
    """The concepts that answer a query, best first.

    Attributes:
      words: indices of the query's concepts, in its order.
      concept: indices of the answers, int64 [answers].
      score: dot product of each with the query's mean, float64 [answers] in [-1, 1].
      cosine: the same with a query of length 1, float64 [answers] in [-1, 1].
    """

    words: tuple[int, ...]
    concept: np.ndarray
    score: np.ndarray
    cosine: np.ndarray


def parse_query(text: str) -> tuple[QueryTerm, ...]:
    """Read names separated by + and -.

    A minus has a space before it, or begins the query: other hyphens are part of a name. Quotes
    enclose a name that contains a sign. "2 * grass" weighs a term.

    Raises:
      Net2VecError: a name is missing, quotes do not end, or a weight is zero or too large; says
        where.
    """
    terms: list[QueryTerm] = []
    place = _skip_spaces(text, 0)
    while place < len(text) or not terms:
        sign = _SIGN.match(text, place)
        if terms and not sign:
            raise _parsing_error(text, f"{text[place:]!r} needs + or - before it")
        if sign:
            place = _skip_spaces(text, sign.end())
        weight, place = _read_weight(text, place)
        name, place = _read_name(text, place)
        negative = sign is not None and sign[0] != "+"
        terms.append(QueryTerm(-weight if negative else weight, name))
        place = _skip_spaces(text, place)
    return tuple(terms)


def find_concept(name: str, concepts: Sequence[str]) -> int:
    """Index of the concept of this name, upper and lower case alike.

    A name that no concept has is looked up without Broden's suffix, and without the number of a
    name that several share: "blue" finds "blue-c".

    Raises:
      Net2VecError: there is none, or there are several.
    """
    wanted = name.casefold()
    exact = [place for place, concept in enumerate(concepts) if concept == name]
    alike = [place for place, concept in enumerate(concepts) if concept.casefold() == wanted]
    short = [
        place
        for place, concept in enumerate(concepts)
        if wanted in (strip_number(concept).casefold(), strip_suffix(concept).casefold())
    ]
    found = exact or alike or short
    if not found:
        raise unknown_name_error("concept", name, concepts)
    names = sorted({concepts[place] for place in found})
    if len(names) > 1:
        raise Net2VecError(f"{name!r} may be {' or '.join(map(repr, names))}; write the full name")
    return found[0]


def answer_query(
    query: str | Sequence[QueryTerm],
    unit: UnitEmbeddings,
    concepts: Sequence[str],
    *,
    count: int = ANSWERS,
) -> QueryAnswer:
    """Add and subtract concepts, and find what is nearest (spec 8.7).

    Args:
      query: as `parse_query` reads it, or its terms.
      unit: the embeddings.
      concepts: names of the C concepts.
      count: answers at most.

    Raises:
      Net2VecError: a query or a name that cannot be understood, a concept without an embedding, or
        terms that cancel out.
    """
    terms = parse_query(query) if isinstance(query, str) else query
    words = [_find_word(term.name, concepts) for term in terms]
    for word in words:
        if not unit.is_valid[word]:
            raise Net2VecError(
                f"concept {concepts[word]!r} has no embedding (its weights are all zero); leave "
                "it out of the query"
            )
    weights = np.array([term.weight for term in terms])
    weights /= np.abs(weights).max()
    mean = weights @ unit.vectors[words] / np.abs(weights).sum()
    length = float(np.linalg.norm(mean))
    if length < _CANCELLED:
        raise Net2VecError("the terms of the query cancel out; there is nothing to look for")
    allowed = unit.is_valid.copy()
    allowed[words] = False
    answers = rank_concepts((unit.vectors @ mean)[None], allowed[None], count).row(0)
    score = np.array([score for _, score in answers])
    return QueryAnswer(
        tuple(words),
        np.array([concept for concept, _ in answers], np.int64),
        score,
        np.clip(score / length, -1, 1),
    )


def _find_word(name: str, concepts: Sequence[str]) -> int:
    try:
        return find_concept(name, concepts)
    except Net2VecError as error:
        parts = re.split(r"\s*[-−]\s*", name)
        if len(parts) > 1 and all(parts):
            raise Net2VecError(f"{error} (put a space before a minus)") from error
        raise


def _read_weight(text: str, place: int) -> tuple[float, int]:
    """(weight, where the name begins)."""
    found = _WEIGHT.match(text, place)
    if not found:
        return 1.0, place
    weight = float(found[1])
    if not 0 < weight < math.inf:
        raise _parsing_error(text, f"the weight {found[1][:20]} must be above 0 and finite")
    return weight, _skip_spaces(text, found.end())


def _read_name(text: str, place: int) -> tuple[str, int]:
    """(name, where it ends)."""
    if text[place : place + 1] in ('"', "'"):
        end = text.find(text[place], place + 1)
        if end < 0:
            raise _parsing_error(text, f"the quotes of {text[place:]} do not end")
        name, end = text[place + 1 : end], end + 1
    else:
        found = _NEXT_SIGN.search(text, place)
        end = found.start() if found else len(text)
        name = text[place:end]
    name = " ".join(name.split())
    if not name:
        before = text[:place].rstrip()
        raise _parsing_error(
            text, f"a name is missing after {before!r}" if before else "it is empty"
        )
    return name, end


def _skip_spaces(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip())


def _parsing_error(text: str, reason: str) -> Net2VecError:
    return Net2VecError(f"the query {text!r} cannot be read: {reason}; {EXAMPLE}")
