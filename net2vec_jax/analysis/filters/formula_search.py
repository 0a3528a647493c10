"""Which formula of concepts overlaps best with a bitmap, such as what a filter marks.

Formulas are chains ((a ∘ b) ∘ c) … of different concepts, ∘ being OR, AND or AND NOT, scored by
their IoU with the bitmap over all pixels of all images (Mu & Andreas 2020; La Rosa et al. 2023).
Written as a polynomial Σ_S k_S Π_{c∈S} c of its concepts (a OR b = a + b − ab), a formula marks
Σ_S k_S |∩S| pixels. So nothing is counted but the pixels that sets of concepts share, with each
other and with each bitmap: popcounts of packed masks, on the images that show all of the set.
C concepts, F bitmaps, G = F + 1, N images, P (concept, image) pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8, UInt32

from net2vec_jax.core.devices import fetch, make_mesh, pad_first_axis, place_copies, place_parts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.formulas import Formula, Operator
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.stats.metrics import iou

FOLDER, TABLE = "formulas", "formulas"
"""Where a run directory has them: the table is FOLDER/TABLE.csv."""
OPERATORS: tuple[Operator, ...] = ("|", "&", "&!")
Chain = tuple[tuple[Operator, int], ...]
"""Concepts, each with what joins it to those before it; the first one's operator says nothing."""
WORDS_AT_ONCE, ROWS_AT_ONCE = 2**24, 2**11
"""Of 32 pixels, of bitmaps that are counted in one call: 64 MB; and at most so many masks."""
TRIPLES_AT_ONCE = 2**12
MOST_PIXELS = 2**31 - 1


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


class SharedPixels:
    """Pixels that sets of concepts share with each other and with bitmaps, each counted once.

    Attributes:
      concepts: C.
      hits: pixels of each bitmap, int64 [F].
      single: pixels of each concept in each bitmap and, last, in all; int32 [C, G].
      pairs: likewise those of two different concepts, int32 [C, C, G].
      popcounts: words of 32 pixels that were counted so far.
    """

    def __init__(self, masks: ConceptMasks, bitmaps: UInt8[np.ndarray, "F N rows X"]) -> None:
        """Of concepts' masks, and bitmaps that are packed as `ConceptMasks.packed` is.

        Raises:
          Net2VecError: they are of different images, or have too many pixels.
        """
        images, (height, width) = len(masks.is_val), masks.segmentation_size
        expected = (images, *masks.packed.shape[1:])
        if bitmaps.shape[1:] != expected:
            raise Net2VecError(f"bitmaps {bitmaps.shape} must be {('F', *expected)}, as masks are")
        if images * height * width > MOST_PIXELS:
            raise Net2VecError(f"{images} images have more than {MOST_PIXELS:,} pixels; take fewer")
        self.concepts, self.popcounts = len(masks.catalog), 0
        self.hits = np.array([np.bitwise_count(x).sum(dtype=np.int64) for x in bitmaps], np.int64)
        self._concept, self._image = masks.pair_concept, masks.pair_image
        self._pair = np.full((self.concepts, images), -1, np.int32)  # of a concept and an image
        self._pair[self._concept, self._image] = np.arange(len(self._concept))
        words = _pack_words(np.concatenate([bitmaps, np.full((1, *expected), 255, np.uint8)]))
        mesh = make_mesh()
        share = -(-len(words) // mesh.size)
        self._bitmaps = place_parts(
            mesh, lambda place: pad_first_axis(words[place * share : (place + 1) * share], share)
        )
        self._masks = place_copies(mesh, _pack_words(masks.packed))
        self._rows = max(1, min(ROWS_AT_ONCE, WORDS_AT_ONCE // (words.shape[-1] * share)))
        self.single = self._count([()])[0]
        half = self._count([(concept,) for concept in range(self.concepts)])
        self.pairs = half + half.swapaxes(0, 1)
        self._known = {(): self.single} | {(c,): row for c, row in enumerate(self.pairs)}

    def after(self, concepts: tuple[int, ...]) -> Int[np.ndarray, "C G"]:
        """Pixels that a set of concepts, ascending and counted, shares with each other concept."""
        return self._known[concepts]

    def count(self, sets: Iterable[tuple[int, ...]]) -> None:
        """Count what sets of concepts, each ascending, share with every other concept."""
        missing = sorted({each for each in sets if each not in self._known}, key=len)
        if missing:
            self.count(each[:-1] for each in missing)
        for _, group in itertools.groupby(missing, key=len):
            some = list(group)
            shown = [each for each in some if self._known[each[:-1]][each[-1], -1]]
            self._known |= dict.fromkeys(some, np.zeros_like(self.single))
            self._known |= zip(shown, self._count(shown), strict=True) if shown else ()

    def _count(self, sets: Sequence[tuple[int, ...]]) -> Int[np.ndarray, "sets C G"]:
        found = [self._list_rows(each) for each in sets]
        group = np.repeat(np.arange(len(sets)), [rows.shape[1] for rows in found])
        rows = np.concatenate(found, axis=1)
        group = group * self.concepts + self._concept[rows[-1]]  # ascending
        total = np.zeros((len(sets) * self.concepts, len(self.hits) + 1), np.int32)
        for start in range(0, len(group), self._rows):
            part = slice(start, start + self._rows)
            padded = np.pad(rows[:, part], ((0, 0), (0, self._rows)))[:, : self._rows]
            counts = _popcount(self._masks, self._bitmaps, padded, self._image[padded[0]])
            counts = fetch(counts).reshape(-1, self._rows)[: total.shape[1], : len(group[part])].T
            begins = np.flatnonzero(np.diff(group[part], prepend=-1))
            total[group[part][begins]] += np.add.reduceat(counts, begins, axis=0)
        self.popcounts += len(group) * total.shape[1] * self._masks.shape[-1]
        return total.reshape(len(sets), self.concepts, -1)

    def _list_rows(self, concepts: tuple[int, ...]) -> Int[np.ndarray, "n rows"]:
        """Pairs of a set's concepts on each image that shows all, and one of another there.

        Of a single concept only the others behind it: the rest is symmetric.
        """
        own = self._pair[list(concepts)]
        image = np.flatnonzero((own >= 0).all(axis=0))
        other = self._pair[:, image]
        other[list(concepts)] = -1
        if len(concepts) == 1:
            other[: concepts[0]] = -1
        concept, place = np.nonzero(other >= 0)
        return np.concatenate([own[:, image[place]], other[None, concept, place]])


@jax.jit
def _popcount(
    masks: UInt32[Array, "P words"],
    bitmaps: UInt32[Array, "D f N words"],
    rows: Int[Array, "n rows"],
    image: Int[Array, " rows"],
) -> Int[Array, "D f rows"]:
    """Pixels of the intersections of rows of masks, in each bitmap."""
    both = masks[rows[0]]
    for more in rows[1:]:
        both &= masks[more]
    words = bitmaps[:, :, image] & both[None, None]
    return jnp.sum(jax.lax.population_count(words), axis=-1, dtype=jnp.int32)


def _pack_words(packed: UInt8[np.ndarray, "n *m rows X"]) -> UInt32[np.ndarray, "n *m words"]:
    flat = packed.reshape(*packed.shape[:-2], -1)
    padding = [(0, 0)] * (flat.ndim - 1) + [(0, -flat.shape[-1] % 4)]
    return np.ascontiguousarray(np.pad(flat, padding)).view(np.uint32)


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
    return {**before, **(alone if operator == "|" else {}), **less}


def measure(shared: SharedPixels, bitmap: int, chain: Chain) -> Match:
    """How a formula overlaps with a bitmap, such as one that was found on other images."""
    polynomial = expand(chain) if chain else {}
    shared.count(concepts[:-1] for concepts in polynomial)
    counts = np.zeros(2, np.int64)
    for (*others, last), k in polynomial.items():
        counts += k * shared.after(tuple(others))[last, [bitmap, -1]].astype(np.int64)
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
        inside, area = shared.single[:, [bitmap, -1]].T.astype(np.int64)
        score = iou(inside, hits + area - inside)
        order = np.argsort(-score, kind="stable")[: 2 * width].tolist()
        found = [(c, int(inside[c]), int(area[c]), float(score[c])) for c in order if inside[c]]
        beams.append([Match((("|", concept),), *counts) for concept, *counts in found])
    for size in range(1, length):
        grown = [[match for match in beam if len(match.chain) == size] for beam in beams]
        shared.count(each for beam in grown for match in beam for each in expand(match.chain))
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
    single, counts = shared.single[:, columns].astype(np.int64), []
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
        shared.count(map(tuple, some[np.unique(place)].tolist()))
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
    inside, area = np.einsum("cs,snx->xnc", coefficients, np.stack(pixels).astype(np.int64))
    score = iou(inside, hits + area - inside)
    at = row, number = np.unravel_index(score.argmax(), score.shape)
    if score[at] > best[bitmap].iou:
        chain = list_chains(sets.shape[1])[number]
        named = tuple((operator, int(sets[row, place])) for operator, place in chain)
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
    coefficients = jnp.asarray(_list_coefficients(3), jnp.int32)
    sign = coefficients[:, -1, None, None, None]  # of all three, ±1
    one, other = two.T
    shape = (len(two), *single.shape)
    pixels = jnp.stack(
        [
            *(jnp.broadcast_to(x[:, None], shape) for x in (single[one], single[other])),
            jnp.broadcast_to(single[None], shape),
            jnp.broadcast_to(pairs[one, other][:, None], shape),
            *(pairs[one], pairs[other]),
        ]
    )

    def bound(pixels: Array) -> Array:
        """Least and most pixels of each formula, [2, 23, n, C, F]."""
        a, b, c, ab, ac, bc = pixels
        most = jnp.minimum(jnp.minimum(ab, ac), bc)
        least = jnp.maximum(jnp.maximum(ab + ac - a, ab + bc - b), ac + bc - c)
        ends = jnp.stack([sign * jnp.maximum(least, 0)[None], sign * most[None]])
        known = jnp.einsum("fs,s...->f...", coefficients[:, :-1], pixels)
        return known[None] + jnp.sort(ends, axis=0)

    inside = pixels[..., :-1]
    shared, extra = bound(inside)[1], bound(pixels[..., -1:] - inside)[0]
    found = (shared / (hits[None, None, None] + extra)).max(axis=0)
    return jnp.where((jnp.arange(len(single))[None] > other[:, None])[..., None], found, 0)
