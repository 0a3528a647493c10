"""Names of concepts: told apart, found, and the same in either form of Unicode."""

import unicodedata

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog, strip_number, strip_suffix


def test_concepts_of_one_name_are_told_apart_by_number() -> None:
    catalog = ConceptCatalog.of(
        Concept(number, name, {"object": 0}, "object")
        for number, name in ((205, "crane"), (17, "crane"), (3, "dog"))
    )
    assert [concept.name for concept in catalog] == ["dog", "crane (17)", "crane (205)"]
    assert catalog.find("crane") == (17, 205)
    assert catalog.find("crane (17)") == catalog.find("17") == (17,)
    assert catalog.find("heron") == ()
    assert [c.number for c in catalog.select(["crane"])] == [17, 205]


def test_the_number_behind_a_shared_name_is_taken_off() -> None:
    names = ["crane (17)", "red-c (5)", "sea (beach)-s", "hat (2) (3)", "(4)", " (4)", "Route 66"]
    assert [strip_number(name) for name in names] == [
        "crane", "red-c", "sea (beach)-s", "hat (2)", "(4)", " (4)", "Route 66",
    ]  # fmt: skip
    assert strip_suffix("red-c (5)") == "red" and strip_suffix("sea-s") == "sea"


def test_names_that_stay_the_same_are_refused() -> None:
    names = {1: "a", 2: "a", 3: "a (2)"}
    with pytest.raises(Net2VecError, match=r"concepts 2 and 3 .*'a \(2\)'; rename"):
        ConceptCatalog.of(Concept(n, name, {"object": 0}, "object") for n, name in names.items())


def test_composed_and_decomposed_letters_are_one_name() -> None:
    decomposed = unicodedata.normalize("NFD", "Küche")
    catalog = ConceptCatalog.of([Concept(1, decomposed, {"scene": 0}, "scene")])
    assert catalog.concepts[0].name == "Küche" != decomposed
    assert catalog.find(decomposed) == catalog.find("Küche") == (1,)
    both = [Concept(n, name, {"scene": 0}, "scene") for n, name in ((1, "Küche"), (2, decomposed))]
    assert [c.name for c in ConceptCatalog.of(both)] == ["Küche (1)", "Küche (2)"]


def test_a_name_that_is_another_concepts_number_is_refused() -> None:
    digits = {1: "0", 2: "1", 3: "3"}
    catalog = ConceptCatalog.of(
        Concept(number, name, {"digit": 0}, "digit") for number, name in digits.items()
    )
    assert catalog.find("0") == (1,)
    assert catalog.find("3") == (3,)  # both its name and its number
    assert catalog.find("2") == (2,)
    with pytest.raises(Net2VecError, match=r"'1' is the name of concept 2 and the number of .*'0'"):
        catalog.find("1")
