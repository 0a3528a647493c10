"""Queries are read as they are meant, and planted analogies are found."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings
from net2vec_jax.analysis.geometry.concept_queries import (
    QueryTerm,
    answer_query,
    find_concept,
    parse_query,
)
from net2vec_jax.core.errors import Net2VecError

NAMES = ("king", "man", "woman", "queen", "apple", "pear")


def plant_analogy(seed: int = 0) -> np.ndarray:
    """king - man + woman = queen, and two fruits, in random directions of 50 filters."""
    rng = np.random.default_rng(seed)
    royal, male, female, fruit = np.linalg.qr(rng.normal(size=(50, 4)))[0].T
    rows = np.array([royal + male, male, female, royal + female, fruit, fruit + 0.3 * male])
    return rows * rng.uniform(0.2, 5, (6, 1))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("grass", [(1, "grass")]),
        ("grass + blue - green", [(1, "grass"), (1, "blue"), (-1, "green")]),
        ("  grass+blue -green ", [(1, "grass"), (1, "blue"), (-1, "green")]),
        ("- blue-c + grey-c", [(-1, "blue-c"), (1, "grey-c")]),
        ("-swivel  chair", [(-1, "swivel chair")]),
        ("street-s - horse-drawn carriage", [(1, "street-s"), (-1, "horse-drawn carriage")]),
        ("2 * grass - .5*sky + 3× sea", [(2, "grass"), (-0.5, "sky"), (3, "sea")]),
        ("+ 1.5 * \"C++ book\" - 'a - b'", [(1.5, "C++ book"), (-1, "a - b")]),
        ("baker's shop + '3 * x'", [(1, "baker's shop"), (1, "3 * x")]),
        ("grass − green", [(1, "grass"), (-1, "green")]),
        ("7 up", [(1, "7 up")]),
    ],
)
def test_queries_are_read(text: str, terms: list[tuple[float, str]]) -> None:
    assert parse_query(text) == tuple(QueryTerm(*term) for term in terms)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("+", r"a name is missing after '\+'"),
        ("grass +", r"a name is missing after 'grass \+'"),
        ("grass + - green", r"a name is missing after 'grass \+'"),
        ("grass - + green", "a name is missing after 'grass -'"),
        ("2 *", r"a name is missing after '2 \*'"),
        ("'' + grass", "it is empty"),
        ("grass + 'green", "the quotes of 'green do not end"),
        ("'grass' green", "'green' needs \\+ or - before it"),
        ("0 * grass", "the weight 0 must be above 0 and finite"),
        ("9" * 400 + " * grass", "must be above 0 and finite"),
    ],
)
def test_queries_that_cannot_be_read_say_why(text: str, complaint: str) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        parse_query(text)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1.0, -1.0, 2.5, -0.25]),
            st.text(st.characters(codec="utf-8", exclude_characters='"'), min_size=1).filter(
                lambda name: name.strip()
            ),
        ),
        min_size=1,
    )
)
def test_quoted_names_are_read_back(terms: list[tuple[float, str]]) -> None:
    text = " ".join(f'{"+-"[weight < 0]} {abs(weight)} * "{name}"' for weight, name in terms)
    expected = tuple(QueryTerm(weight, " ".join(name.split())) for weight, name in terms)
    assert parse_query(text) == expected


@given(st.text("ab +-*2'\"−", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        terms = parse_query(text)
    except Net2VecError:
        return
    assert terms
    assert all(term.name and term.weight for term in terms)


def test_names_are_found_without_suffix_unless_that_is_ambiguous() -> None:
    names = ("blue-c", "sea", "sea-s", "orange-c", "orange-s", "Dog", "cat-c", "cats")
    assert find_concept("blue", names) == 0
    assert find_concept("blue-c", names) == 0
    assert find_concept("BLUE", names) == 0
    assert find_concept("sea", names) == 1
    assert find_concept("sea-s", names) == 2
    assert find_concept("dog", names) == 5
    with pytest.raises(Net2VecError, match="'orange' may be 'orange-c' or 'orange-s'; write the f"):
        find_concept("orange", names)
    with pytest.raises(Net2VecError, match="unknown concept 'blve'; did you mean 'blue-c'"):
        find_concept("blve", names)


def test_names_that_several_share_are_written_in_full() -> None:
    names = ["crane (17)", "crane (205)", "red-c (4)", "dog"]
    assert find_concept("crane (205)", names) == 1
    assert find_concept("red", names) == find_concept("red-c", names) == 2
    with pytest.raises(Net2VecError, match=r"may be 'crane \(17\)' or 'crane \(205\)'; write"):
        find_concept("crane", names)


def test_planted_analogies_are_found() -> None:
    unit = normalise_embeddings(plant_analogy())
    answer = answer_query("king - man + woman", unit, NAMES, count=2)
    assert NAMES[answer.concept[0]] == "queen"
    assert answer.words == (0, 1, 2)
    # king = (r + m)/√2, queen = (r + f)/√2: (king - man + woman) · queen / 3
    np.testing.assert_allclose(answer.score[0], (0.5 + 0.5**0.5) / 3)
    length = np.sqrt(0.5 + (0.5**0.5 - 1) ** 2 + 1)
    np.testing.assert_allclose(answer.cosine[0], (0.5 + 0.5**0.5) / length)


def test_words_of_the_query_are_no_answers() -> None:
    unit = normalise_embeddings(plant_analogy())
    answer = answer_query("king - man + woman", unit, NAMES)
    assert sorted(answer.concept.tolist()) == [3, 4, 5]
    assert (np.diff(answer.score) <= 0).all()
    everything = " + ".join(NAMES)
    assert answer_query(everything, unit, NAMES).concept.tolist() == []


def test_a_query_of_one_word_gives_its_neighbours() -> None:
    unit = normalise_embeddings(plant_analogy())
    answer = answer_query("apple", unit, NAMES)
    np.testing.assert_allclose(answer.score, answer.cosine)
    others = np.sort(unit.cosines()[4][[0, 1, 2, 3, 5]])[::-1]
    np.testing.assert_allclose(answer.score, others, atol=1e-15)  # orthogonal but for rounding


def test_weights_are_repetitions() -> None:
    unit = normalise_embeddings(plant_analogy())
    weighted = answer_query("2 * king - apple", unit, NAMES)
    repeated = answer_query("king + king - apple", unit, NAMES)
    np.testing.assert_array_equal(weighted.concept, repeated.concept)
    np.testing.assert_allclose(weighted.score, repeated.score)


@given(seed=st.integers(0, 10**6))
def test_rotating_the_filters_changes_no_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(6, 5))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    first, second = (
        answer_query("king - 2*apple", normalise_embeddings(rows), NAMES)
        for rows in (weights, weights @ rotation)
    )
    np.testing.assert_array_equal(first.concept, second.concept)
    np.testing.assert_allclose(first.score, second.score, atol=1e-12)


def test_concepts_without_embedding_neither_ask_nor_answer() -> None:
    weights = plant_analogy()
    weights[3] = 0
    unit = normalise_embeddings(weights)
    assert 3 not in answer_query("king - man + woman", unit, NAMES).concept
    with pytest.raises(Net2VecError, match="'queen' has no embedding"):
        answer_query("queen - woman", unit, NAMES)


def test_what_has_no_answer_is_refused() -> None:
    unit = normalise_embeddings(plant_analogy())
    with pytest.raises(Net2VecError, match="cancel out"):
        answer_query("king - king", unit, NAMES)
    with pytest.raises(Net2VecError, match="unknown concept 'kin'; did you mean 'king'"):
        answer_query("kin + man", unit, NAMES)
    with pytest.raises(Net2VecError, match=r"unknown concept 'king-man'.*a space before a minus"):
        answer_query("king-man", unit, NAMES)
