"""Which formula of concepts overlaps best with a bitmap, such as what a filter marks.

Formulas are chains ((a ∘ b) ∘ c) … of different concepts, ∘ being OR, AND or AND NOT, scored by
their IoU with the bitmap over all pixels of all images (Mu & Andreas 2020; La Rosa et al. 2023).
Two things make it fast. Pixels that show the same concepts are of one kind, and of kinds there are
few: bitmaps are counted by kind once, and pixels are not looked at again. And written as a
polynomial Σ_S k_S Π_{c∈S} c of its concepts (a OR b = a + b − ab), a formula marks Σ_S k_S |∩S|
pixels, so that all formulas need is how many pixels sets of concepts share, in the bitmap and in
all. C concepts, F bitmaps, G = F + 1, N images, K kinds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int, UInt8

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.formulas import Formula, Operator
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.stats.metrics import iou

FOLDER, TABLE = "formulas", "formulas"
"""Where a run directory has them: the table is FOLDER/TABLE.csv."""
OPERATORS: tuple[Operator, ...] = ("|", "&", "&!")
Chain = tuple[tuple[Operator, int], ...]
"""Concepts, each with what joins it to those before it; the first one's operator says nothing."""
TRIPLES_AT_ONCE = 2**14
MOST_PIXELS = 2**31 - 1
MOST_KNOWN = 2**12


class Match(NamedTuple):
    """A formula and how it overlaps with a bitmap."""

    chain: Chain = ()  # empty where no concept overlaps
    shared: int = 0  # pixels of both
    area: int = 0  # pixels of the formula
    iou: float = 0.0

    def name(self, names: Sequence[str]) -> Formula | str:
        """The formula with the concepts' names; an empty text where there is none."""
        named: Formula | str = names[self.chain[0][1]] if self.chain else ""
        for operator, concept in self.chain[1:]:
            named = Formula(operator, named, names[concept])
        return named


class PixelKinds:
    """Pixels of N images by the concepts that they show.

    Attributes:
      kind: of every pixel, int32 [N, Y, X].
      members: 1 where a kind shows a concept, sparse int64 [K, C].
      size: K.
      concepts: C.
    """

    def __init__(self, masks: ConceptMasks) -> None:
        """Of the masks' concepts.

        Raises:
          Net2VecError: there are too many pixels.
        """
        size = masks.segmentation_size
        kind = np.zeros((len(masks.is_val), math.prod(size)), np.int32)
        if kind.size > MOST_PIXELS:
            raise Net2VecError(
                f"{len(kind)} images have more than {MOST_PIXELS:,} pixels; take fewer"
            )
        numbers: dict[tuple[int, ...], int] = {(): 0}
        by_image = np.argsort(masks.pair_image, kind="stable")
        bounds = np.searchsorted(masks.pair_image[by_image], np.arange(len(kind) + 1))
        for image, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            pairs = by_image[first:last]
            shown = masks.unpack(pairs).reshape(len(pairs), math.prod(size))
            code, place = np.zeros(shown.shape[1], np.int64), np.zeros(1, np.int64)
            for start in range(0, len(pairs), 32):
                part = shown[start : start + 32]
                bits = np.left_shift(1, np.arange(len(part))) @ part
                _, place, code = np.unique(
                    code << 32 | bits, return_index=True, return_inverse=True
                )
            concepts = masks.pair_concept[pairs]
            found = [tuple(concepts[column].tolist()) for column in shown[:, place].T]
            kind[image] = np.array([numbers.setdefault(s, len(numbers)) for s in found])[code]
        self.kind: np.ndarray = kind.reshape(-1, *size)
        concept = np.array([c for s in numbers for c in s], np.int64)
        starts = np.cumsum([0, *map(len, numbers)])
        self.size, self.concepts = len(numbers), len(masks.catalog)
        self.members = scipy.sparse.csr_array(
            (np.ones_like(concept), concept, starts), (self.size, self.concepts)
        )


class SharedPixels:
    """Pixels that sets of concepts share with each other and with bitmaps.

    Attributes:
      concepts: C.
      hits: pixels of each bitmap, int64 [F].
      single: pixels of each concept in each bitmap and, last, in all; int64 [C, G].
      pairs: likewise those of two different concepts, int64 [C, C, G].
      after: gives the pixels that a set of concepts, a tuple, shares with each concept, int64
        [C, G]; it remembers the last `MOST_KNOWN` sets.
    """

    def __init__(self, kinds: PixelKinds, bitmaps: UInt8[np.ndarray, "F N rows X"]) -> None:
        """Of concepts, and bitmaps that are packed as `ConceptMasks.packed` is.

        Raises:
          Net2VecError: they are of different images.
        """
        images, height, width = kinds.kind.shape
        if bitmaps.shape[1:] != (expected := (images, -(-height // 8), width)):
            raise Net2VecError(f"bitmaps {bitmaps.shape} must be {('F', *expected)}, as masks are")
        self._members, size = kinds.members, kinds.size
        self.concepts = kinds.concepts
        counts = [np.bincount(kinds.kind.ravel(), minlength=size)]
        for bitmap in bitmaps[::-1]:
            active = np.flatnonzero(bitmap.any(axis=(1, 2)))
            bits = np.unpackbits(bitmap[active], axis=1, count=height, bitorder="little")
            counts.append(np.bincount(kinds.kind[active][bits.view(bool)], minlength=size))
        self._counts = np.stack(counts[::-1], axis=1)  # [K, G]
        self.hits = self._counts[:, :-1].sum(axis=0)
        columns = kinds.members.tocsc()
        self._kinds_of = np.split(columns.indices, columns.indptr[1:-1])
        self.after = lru_cache(MOST_KNOWN)(self._count_beside)
        self.single = self.after(())
        self.pairs = np.stack([self.after((concept,)) for concept in range(self.concepts)])

    def _count_beside(self, concepts: tuple[int, ...]) -> Int[np.ndarray, "C G"]:
        shown = [self._kinds_of[concept] for concept in concepts]
        rows = reduce(np.intersect1d, shown) if shown else np.arange(len(self._counts))
        return self._members[rows].T @ self._counts[rows]


@lru_cache(maxsize=2**16)
def expand(chain: Chain) -> Mapping[tuple[int, ...], int]:
    """Coefficients of the polynomial, by sets of concepts, each ascending.

    Examples:
      >>> expand((("|", 4), ("|", 7)))
      {(4,): 1, (7,): 1, (4, 7): -1}
    """
    operator, concept = chain[-1]
    alone = {(concept,): 1}
    if len(chain) == 1:
        return alone
    before = expand(chain[:-1])
    both = {tuple(sorted((*each, concept))): k for each, k in before.items()}
    if operator == "&":
        return both
    less = {each: -k for each, k in both.items()}
    return dict(before) | (alone if operator == "|" else {}) | less


def measure(shared: SharedPixels, bitmap: int, chain: Chain) -> Match:
    """How a formula overlaps with a bitmap, such as one that was found on other images."""
    counts = np.zeros(2, np.int64)
    for (*others, last), k in (expand(chain) if chain else {}).items():
        counts += k * shared.after(tuple(others))[last, [bitmap, -1]]
    inside, area = counts.tolist()
    return Match(chain, inside, area, float(iou(counts[0], shared.hits[bitmap] + area - inside)))


def search_beam(shared: SharedPixels, *, length: int = 3, width: int = 5) -> list[Match]:
    """The best formulas that a beam search finds, one for each bitmap.

    As in La Rosa's package `compositional-explanations`: 2 · `width` concepts are extended by every
    concept and operator, then the `width` best formulas of each length; the best of all is taken.

    Args:
      shared: of concepts and bitmaps.
      length: concepts in a formula, at most.
      width: of the beam.

    Raises:
      Net2VecError: length or width are below 1.
    """
    if length < 1 or width < 1:
        raise Net2VecError(f"length {length} and width {width} must be at least 1")
    beams = []
    for bitmap, hits in enumerate(shared.hits):
        inside, area = shared.single[:, [bitmap, -1]].T
        score = iou(inside, hits + area - inside)
        order = np.argsort(-score, kind="stable")[: 2 * width].tolist()
        beams.append(
            [
                Match((("|", c),), int(inside[c]), int(area[c]), float(score[c]))
                for c in order
                if inside[c]
            ]
        )
    for size in range(1, length):
        grown = [[match for match in beam if len(match.chain) == size] for beam in beams]
        kept = width if size < length - 1 else 1
        for bitmap, beam in enumerate(beams):
            found = _extend(shared, bitmap, grown[bitmap]) if grown[bitmap] else ()
            best: dict[frozenset, Match] = {}  # by function
            for match in itertools.chain(beam, found):
                best.setdefault(frozenset(expand(match.chain).items()), match)
                if len(best) == len(beam) + kept:
                    break
            beams[bitmap] = _rank(best.values())[:kept]
    return [beam[0] if beam else Match() for beam in beams]


def _rank(matches: Iterable[Match]) -> list[Match]:
    return sorted(matches, key=lambda match: -match.iou)


def _extend(shared: SharedPixels, bitmap: int, beam: list[Match]) -> Iterator[Match]:
    """Formulas extended by a concept, where they overlap with the bitmap, the best ones first."""
    columns = [bitmap, -1]
    single, counts = shared.single[:, columns], []
    for match in beam:
        both = sum(k * shared.after(s)[:, columns] for s, k in expand(match.chain).items())
        own = np.array([match.shared, match.area])
        grown = np.stack([own + single - both, both, own - both])  # as OPERATORS
        grown[:, [concept for _, concept in match.chain]] = 0
        counts.append(grown)
    inside, area = np.moveaxis(np.stack(counts), -1, 0)  # [beam, operators, C]
    score = iou(inside, shared.hits[bitmap] + area - inside)
    for place in np.argsort(-score, axis=None, kind="stable")[: np.count_nonzero(inside)]:
        at = row, sign, concept = np.unravel_index(place, score.shape)
        chain = (*beam[row].chain, (OPERATORS[sign], int(concept)))
        yield Match(chain, int(inside[at]), int(area[at]), float(score[at]))


def search_optimal(shared: SharedPixels, *, length: int = 3, width: int = 5) -> list[Match]:
    """The best formulas there are, one for each bitmap: all are bounded, what may be best counted.

    A beam search gives a score to begin with. Those of two concepts are all counted. Of three
    concepts, the pixels that any two share bound those of all three from below and above, inside
    the bitmap and outside, and so the IoU of each of the 23 formulas.

    Args:
      shared: of concepts and bitmaps.
      length: concepts in a formula, at most 3.
      width: of the beam search.

    Raises:
      Net2VecError: the length is not 1, 2 or 3.
    """
    if not 1 <= length <= 3:
        raise Net2VecError(
            f"optimal formulas have at most 3 concepts, not {length}; longer ones are found by a "
            "beam search"
        )
    best = search_beam(shared, length=length, width=width)
    pairs = np.stack(np.triu_indices(shared.concepts, 1), axis=1).astype(np.int32)
    for bitmap in range(len(best) if length > 1 and len(pairs) else 0):
        _improve(shared, best, bitmap, pairs)
    counts = [jnp.asarray(x, jnp.int32) for x in (shared.single, shared.pairs, shared.hits)]
    at_once = max(1, TRIPLES_AT_ONCE // shared.concepts)
    for start in range(0, len(pairs) if length > 2 else 0, at_once):
        some = pairs[start : start + at_once]
        padded = np.pad(some, ((0, at_once - len(some)), (0, 0)), mode="edge")
        # Bounds are of single precision; almost equal ones are looked at, too.
        score = np.array([match.iou for match in best]) * (1 - 1e-5)
        bound = np.asarray(_bound_triples(*counts, padded))[: len(some)]
        place, third, bitmaps = np.nonzero(bound > score)
        for bitmap in np.unique(bitmaps).tolist():
            own = bitmaps == bitmap
            _improve(shared, best, bitmap, np.column_stack([some[place[own]], third[own]]))
    return best


def list_chains(length: int) -> list[Chain]:
    """Chains of all concepts 0 … length − 1, each function once: 1, 4 and 23 of up to three."""
    found: dict[frozenset, Chain] = {}
    for order in itertools.permutations(range(length)):
        for operators in itertools.product(OPERATORS, repeat=length - 1):
            chain = tuple(zip(("|", *operators), order, strict=True))
            found.setdefault(frozenset(expand(chain).items()), chain)
    return list(found.values())


def _list_subsets(length: int) -> list[tuple[int, ...]]:
    return [s for n in range(1, length + 1) for s in itertools.combinations(range(length), n)]


def _list_coefficients(length: int) -> Int[np.ndarray, "chains sets"]:
    polynomials = [expand(chain) for chain in list_chains(length)]
    return np.array([[each.get(s, 0) for s in _list_subsets(length)] for each in polynomials])


def _improve(shared: SharedPixels, best: list[Match], bitmap: int, sets: np.ndarray) -> None:
    """Take the best formula of any two or three concepts, if it is better than the best so far.

    Args:
      shared: in which their pixels are counted.
      best: of every bitmap.
      bitmap: which one is meant.
      sets: concepts, ascending, int [n, 2] or [n, 3].
    """
    columns, hits = [bitmap, -1], shared.hits[bitmap]
    pixels = [shared.single[c][:, columns] for c in sets.T]
    pixels += [shared.pairs[a, b][:, columns] for a, b in itertools.combinations(sets.T, 2)]
    if sets.shape[1] == 3:
        pixels.append(np.stack([shared.after((a, b))[c, columns] for a, b, c in sets.tolist()]))
    coefficients = _list_coefficients(sets.shape[1])
    inside, area = np.einsum("cs,snx->xnc", coefficients, np.stack(pixels))
    score = iou(inside, hits + area - inside)
    at = row, number = np.unravel_index(score.argmax(), score.shape)
    if score[at] > best[bitmap].iou:
        chain = list_chains(sets.shape[1])[int(number)]
        named: Chain = tuple((operator, int(sets[row, place])) for operator, place in chain)
        best[bitmap] = Match(named, int(inside[at]), int(area[at]), float(score[at]))


@jax.jit
def _bound_triples(
    single: Int[Array, "C G"],
    pairs: Int[Array, "C C G"],
    hits: Int[Array, " F"],
    two: Int[Array, "n 2"],
) -> Float[Array, "n C F"]:
    """The highest IoU that a formula of two concepts and one behind them may have; 0 of others.

    Sums are of 32 bits and may overflow on the way, but not in the end.
    """
    one, other = two.T
    everywhere = [single[one][:, None], single[other][:, None], single[None]]
    everywhere += [pairs[one, other][:, None], pairs[one], pairs[other]]
    inside = [x[..., :-1] for x in everywhere]
    outside = [x[..., -1:] - x[..., :-1] for x in everywhere]

    def bound(pixels: list[Array]) -> tuple[Array, Array]:
        """Least and most pixels of all three concepts."""
        a, b, c, ab, ac, bc = pixels
        least = jnp.maximum(jnp.maximum(ab + ac - a, ab + bc - b), ac + bc - c)
        return jnp.maximum(least, 0), jnp.minimum(jnp.minimum(ab, ac), bc)

    (least_inside, most_inside), (least_outside, most_outside) = bound(inside), bound(outside)
    best = jnp.zeros(most_inside.shape, jnp.float32)
    for *known, sign in _list_coefficients(3).tolist():
        shared = sum(k * x for k, x in zip(known, inside, strict=True) if k)
        extra = sum(k * x for k, x in zip(known, outside, strict=True) if k)
        shared += most_inside if sign > 0 else -least_inside
        extra += least_outside if sign > 0 else -most_outside
        best = jnp.maximum(best, shared / (hits[None, None] + extra))
    return jnp.where((jnp.arange(len(single))[None] > other[:, None])[..., None], best, 0)
