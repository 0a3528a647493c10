"""Vector arithmetic on concepts: "grass + blue - green" and the concepts that answer it best.

Reference behaviour 8.7: the mean of the signed unit embeddings, its dot product with all unit
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
_TERM = re.compile(
    r"""\s* (?P<sign>[+\-−])? \s*
    (?: (?P<weight>\d+\.?\d*|\.\d+) \s* [*×] \s* )?
    (?P<name> "[^"]*"? | '[^']*'? | [^+]*? (?= \+ | (?<=\s)[-−] | \Z ) ) \s*""",
    re.VERBOSE,
)
"""A term: [sign] [weight *] name. Quotes that do not end reach to the end of the query."""
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

    Examples:
      >>> [(term.weight, term.name) for term in parse_query("2 * grass + blue-c - 'a + b'")]
      [(2.0, 'grass'), (1.0, 'blue-c'), (-1.0, 'a + b')]

    Raises:
      Net2VecError: a name is missing, quotes do not end, or a weight is zero or too large; says
        where.
    """
    terms: list[QueryTerm] = []
    place = 0
    while place < len(text) or not terms:
        term = _TERM.match(text, place)
        assert term  # the pattern matches any text, with an empty name at worst
        before, quoted = text[: term.start("name")].rstrip(), term["name"]
        is_quoted = quoted[:1] in ("'", '"')
        name = " ".join((quoted[1:-1] if is_quoted else quoted).split())
        weight = float(term["weight"] or 1)
        problem = None
        if terms and not term["sign"]:
            problem = f"{text[place:]!r} needs + or - before it"
        elif not 0 < weight < math.inf:
            problem = f"the weight {term['weight'][:20]} must be above 0 and finite"
        elif is_quoted and (len(quoted) == 1 or quoted[0] != quoted[-1]):
            problem = f"the quotes of {quoted} do not end"
        elif not name:
            problem = f"a name is missing after {before!r}" if before else "it is empty"
        if problem:
            raise Net2VecError(f"the query {text!r} cannot be read: {problem}; {EXAMPLE}")
        terms.append(QueryTerm(weight if term["sign"] in (None, "+") else -weight, name))
        place = term.end()
    return tuple(terms)


def find_concept(name: str, concepts: Sequence[str]) -> int:
    """Index of the concept of this name, upper and lower case alike.

    Examples:
      >>> find_concept("Blue", ["grass", "blue-c"])
      1

    A name that no concept has is looked up without Broden's suffix, and without the number of a
    name that several share: "blue" finds "blue-c".

    Raises:
      Net2VecError: there is none, or there are several.
    """
    wanted = name.casefold()
    exact = [concept for concept in concepts if concept == name]
    alike = [concept for concept in concepts if concept.casefold() == wanted]
    short = [
        concept
        for concept in concepts
        if wanted in (strip_number(concept).casefold(), strip_suffix(concept).casefold())
    ]
    found = sorted(set(exact or alike or short))
    if not found:
        raise unknown_name_error("concept", name, concepts)
    if len(found) > 1:
        raise Net2VecError(f"{name!r} may be {' or '.join(map(repr, found))}; write the full name")
    return list(concepts).index(found[0])


def answer_query(
    query: str | Sequence[QueryTerm],
    unit: UnitEmbeddings,
    concepts: Sequence[str],
    *,
    count: int = ANSWERS,
) -> QueryAnswer:
    """Add and subtract concepts, and find what is nearest (behaviour 8.7).

    Examples:
      >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
      >>> unit = UnitEmbeddings(vectors, np.ones(3, bool))
      >>> answer_query("a + b", unit, ["a", "b", "c"]).concept.tolist()
      [2]

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
    lacking = [concepts[word] for word in words if not unit.is_valid[word]]
    if lacking:
        raise Net2VecError(
            f"concept {lacking[0]!r} has no embedding (its weights are all zero); leave it out of "
            "the query"
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
