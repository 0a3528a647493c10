"""Formulas found by counting are those that brute force finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import make_masks, pack_masks

from net2vec_jax.analysis.filters import formula_search
from net2vec_jax.analysis.filters.formula_search import (
    OPERATORS,
    Chain,
    PixelKinds,
    SharedPixels,
    list_chains,
    measure,
    search_beam,
    search_optimal,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks

IMAGES, CONCEPTS, BITMAPS, SIZE = 6, 5, 4, (9, 7)


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray, ConceptMasks]:
    """Coarse random masks [C, N, Y, X], some absent; bitmaps [F, N, Y, X], one of them empty."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((CONCEPTS, IMAGES, 3, 7)) < rng.uniform(0.1, 0.6, (CONCEPTS, 1, 1, 1))
    masks = coarse.repeat(3, axis=2)
    masks[rng.random((CONCEPTS, IMAGES)) < 0.3] = False
    mixed = masks[rng.integers(CONCEPTS, size=(BITMAPS, 2))]
    bitmaps = (mixed.any(axis=1) & (rng.random((BITMAPS, IMAGES, *SIZE)) < 0.8)) | (
        rng.random((BITMAPS, IMAGES, *SIZE)) < 0.05
    )
    bitmaps[0] = False
    marked = {
        (concept, image): masks[concept, image]
        for concept, image in itertools.product(range(CONCEPTS), range(IMAGES))
        if masks[concept, image].any()
    }
    return masks, bitmaps, make_masks([False] * IMAGES, marked, CONCEPTS)


def _share(bitmaps: np.ndarray, masks: ConceptMasks) -> SharedPixels:
    return SharedPixels(PixelKinds(masks), np.stack([pack_masks(bitmap) for bitmap in bitmaps]))


def _evaluate(chain: Chain, masks: np.ndarray) -> np.ndarray:
    found = masks[chain[0][1]]
    for operator, concept in chain[1:]:
        right = masks[concept]
        found = {"|": found | right, "&": found & right, "&!": found & ~right}[operator]
    return found


def _all_chains(length: int) -> list[Chain]:
    return [
        tuple(zip(("|", *operators), concepts, strict=True))
        for size in range(1, length + 1)
        for concepts in itertools.permutations(range(CONCEPTS), size)
        for operators in itertools.product(OPERATORS, repeat=size - 1)
    ]


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / max((one | other).sum(), 1)


@pytest.mark.parametrize("seed", range(6))
def test_optimal_formulas_are_those_of_brute_force(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formula_search, "TRIPLES_AT_ONCE", 20)  # 4 pairs, in several parts
    masks, bitmaps, concept_masks = _draw(seed)
    for length in (1, 2, 3):
        shared = _share(bitmaps, concept_masks)
        for found, bitmap in zip(search_optimal(shared, length=length), bitmaps, strict=True):
            scores = [_iou(_evaluate(chain, masks), bitmap) for chain in _all_chains(length)]
            assert found.iou == pytest.approx(max(scores), abs=1e-12)
            if found.chain:
                mask = _evaluate(found.chain, masks)
                assert (found.shared, found.area) == ((mask & bitmap).sum(), mask.sum())
            else:
                assert not bitmap.any()


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_beam_without_end_finds_the_best(length: int) -> None:
    masks, bitmaps, concept_masks = _draw(7)
    every = [_evaluate(chain, masks) for chain in _all_chains(length)]
    shared = _share(bitmaps, concept_masks)
    wide, narrow = (search_beam(shared, length=length, width=w) for w in (10_000, 1))
    for bitmap, found, fewer in zip(bitmaps, wide, narrow, strict=True):
        assert found.iou == pytest.approx(max(_iou(mask, bitmap) for mask in every), abs=1e-12)
        assert fewer.iou <= found.iou


def test_what_is_measured_is_what_is_marked() -> None:
    masks, bitmaps, concept_masks = _draw(8)
    shared = _share(bitmaps, concept_masks)
    rng = np.random.default_rng(0)
    chains = [*_all_chains(1), *(_all_chains(4)[k] for k in rng.integers(3000, size=40))]
    for chain, place in itertools.product(chains, range(BITMAPS)):
        found, mask = measure(shared, place, chain), _evaluate(chain, masks)
        assert (found.shared, found.area) == ((mask & bitmaps[place]).sum(), mask.sum())
        assert found.iou == pytest.approx(_iou(mask, bitmaps[place]))


def test_every_function_is_listed_once() -> None:
    cases = np.array([*itertools.product([False, True], repeat=3)]).T
    of_three = {_evaluate(chain, cases).tobytes() for chain in list_chains(3)}
    assert [len(list_chains(n)) for n in (1, 2, 3)] == [1, 4, 23] and len(of_three) == 23


def test_wrong_questions_are_refused() -> None:
    _, bitmaps, masks = _draw(0)
    shared = _share(bitmaps, masks)
    with pytest.raises(Net2VecError, match="at most 3"):
        search_optimal(shared, length=4)
    with pytest.raises(Net2VecError, match="at least 1"):
        search_beam(shared, length=0)
    with pytest.raises(Net2VecError, match="as masks are"):
        _share(bitmaps[:, 1:], masks)


def test_more_concepts_on_an_image_than_bits() -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((70, 1, 8, 40)) < 0.3
    packed = make_masks([False], {(c, 0): masks[c, 0] for c in range(70)}, 70)
    shared = _share(np.ones((1, 1, 8, 40), bool), packed)
    np.testing.assert_array_equal(shared.single[:, 0], masks.sum(axis=(1, 2, 3)))
    both = (masks[:, None] & masks[None]).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(shared.pairs[..., 1], both)
