"""Formulas of concepts are read as they are written."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from helpers import make_masks
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.formulas import Formula, parse_formula
from net2vec_jax.data.masks import ConceptMasks

NAMES = ("a", "traffic light", "crane (17)", "black & white", "red-c")
FORMULAS = st.recursive(
    st.sampled_from(NAMES),
    lambda inner: st.builds(Formula, st.sampled_from(["|", "&", "&!"]), inner, inner),
    max_leaves=6,
)
CASES = np.array([*itertools.product([False, True], repeat=len(NAMES))]).T  # [names, cases]


def _evaluate(formula: Formula | str) -> list[bool]:
    names: list[str] = [*NAMES]
    read = dict(zip(names, CASES, strict=True)).__getitem__
    return (read(formula) if isinstance(formula, str) else formula.evaluate(read)).tolist()


@given(FORMULAS)
def test_what_is_written_is_read_again(formula: Formula | str) -> None:
    text = str(formula) if isinstance(formula, Formula) else str(Formula("|", formula, formula))
    again = parse_formula(text)
    assert str(again) == text
    assert _evaluate(again) == _evaluate(formula)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a & !(red-c | traffic light)", "(a & !red-c) & !traffic light"),  # De Morgan
        ("a & !(red-c & traffic light)", "a & !red-c | a & !traffic light"),
        ("a | red-c & traffic light", "a | (red-c & traffic light)"),
        ("a & !red-c & traffic light", "(a & !red-c) & traffic light"),
        (' "crane (17)"&a', 'a & "crane (17)"'),
    ],
)
def test_formulas_mean_the_same(one: str, other: str) -> None:
    assert _evaluate(parse_formula(one)) == _evaluate(parse_formula(other))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "1"), ("a &", r"\d"), ("a & | b", "5"), ("!a", "1"), (" a | !b", "6"),
        ("(a | b", r"\d"), ("a | b)", "6"), ('a | "b', "5"), ('a "b"', r"\d"),
        ("a (b)", r"\d"), ("a & !!b", "6"), ('a | ""', "5"), ("a & ()", "5"),
    ],
)  # fmt: skip
def test_errors_name_their_place(text: str, place: str) -> None:
    with pytest.raises(Net2VecError, match=rf"character {place}:"):
        parse_formula(text)


def _make_masks() -> tuple[np.ndarray, ConceptMasks]:
    """Masks [C, N, Y, X] of three concepts, the third on image 2 alone, which it covers."""
    rng = np.random.default_rng(0)
    masks = rng.random((3, 5, 11, 6)) < 0.4
    masks[2], masks[2, 2], masks[0, 4] = False, True, False
    marked = {(c, n): masks[c, n] for c in range(3) for n in range(5) if masks[c, n].any()}
    packed = make_masks([False] * 3 + [True] * 2, marked, 3)
    whole = packed.pair_concept == 2
    return masks, dataclasses.replace(packed, whole_image=whole)


def test_formulas_are_concepts_where_concepts_are_named() -> None:
    masks, packed = _make_masks()
    names = ["concept 2", "concept 1&!concept 2", "1 | concept 3", "concept 1 & !concept 2"]
    catalog = packed.catalog.select(names)
    assert [(c.number, c.name) for c in catalog] == [
        (2, "concept 2"), (4, "concept 1 & !concept 2"), (5, "1 | concept 3"),
    ]  # fmt: skip
    chosen = packed.select(catalog)
    dense = np.zeros((3, *masks.shape[1:]), bool)
    dense[chosen.pair_concept, chosen.pair_image] = chosen.unpack(slice(None))
    np.testing.assert_array_equal(dense, [masks[1], masks[0] & ~masks[1], masks[0] | masks[2]])
    np.testing.assert_array_equal(chosen.pixels, chosen.area)
    assert (
        np.flatnonzero(chosen.whole_image).tolist()
        == np.flatnonzero((chosen.pair_concept == 2) & (chosen.pair_image == 2)).tolist()
    )
    again = chosen.select(chosen.catalog)
    np.testing.assert_array_equal(again.packed, chosen.packed)


@pytest.mark.parametrize(
    ("name", "message"),
    [("concept 1 & wheel", "unknown concept 'wheel'"), ("concept 1 &", "character")],
)
def test_wrong_formulas_are_refused(name: str, message: str) -> None:
    with pytest.raises(Net2VecError, match=message):
        _make_masks()[1].catalog.select([name])
