"""The order of a Python 2 dictionary, by the reference spec's list of what it gave (5.3)."""

import itertools

import pytest

from net2vec_jax.data.concepts import CATEGORIES
from net2vec_jax.data.python2 import dictionary_order

ORDERED_PAIRS = [
    *(("color", other) for other in CATEGORIES if other != "color"),
    ("part", "object"),
    ("material", "object"),
    ("object", "scene"),
    ("object", "texture"),
    ("part", "scene"),
    ("part", "texture"),
    ("material", "scene"),
    ("material", "texture"),
    ("scene", "texture"),
]


@pytest.mark.parametrize("pair", ORDERED_PAIRS)
def test_pairs_have_one_order_however_they_were_inserted(pair: tuple[str, str]) -> None:
    assert dictionary_order(pair) == pair
    assert dictionary_order(pair[::-1]) == pair


def test_part_and_material_depend_on_the_order_of_insertion() -> None:
    # Both want slot 3, and whichever comes second moves to a slot before it.
    assert dictionary_order(("part", "material")) == ("material", "part")
    assert dictionary_order(("material", "part")) == ("part", "material")


@pytest.mark.parametrize(
    ("inserted", "printed"),
    [
        ("object part material", "material part object"),
        ("color object part material scene texture", "object color material scene texture part"),
        ("texture scene material part object color", "object color material scene texture part"),
        ("a b c", "a c b"),
        ("0 1 2 3 4 5 6 7 8 9 10 11", "11 10 1 0 3 2 5 4 7 6 9 8"),  # the table has grown
    ],
)
def test_orders_that_python_2_7_18_printed(inserted: str, printed: str) -> None:
    assert dictionary_order(inserted.split()) == tuple(printed.split())


def test_all_keys_stay_when_the_table_grows() -> None:
    keys = [f"category {number}" for number in range(100)]
    assert sorted(dictionary_order(keys)) == sorted(keys)
    for order in itertools.permutations(CATEGORIES[:4]):
        assert sorted(dictionary_order(order)) == sorted(order)


def test_no_keys_and_the_empty_key() -> None:
    assert dictionary_order(()) == ()
    assert dictionary_order(("",)) == ("",)
