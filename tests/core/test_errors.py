"""Messages for unknown names suggest the nearest, or list what there is."""

import pytest

from net2vec_jax.core.errors import Net2VecError, unknown_name_error

LAYERS = ["stem", "block1", "block10", "block10_expand", "head"]


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("blok10", "'block10'"), ("BLOCK1", "'block1'"), ("haed", "'head'"), ("block", "'block1'")],
)
def test_nearest_names_are_suggested(name: str, suggested: str) -> None:
    message = str(unknown_name_error("layer", name, LAYERS))
    assert message.startswith(f"unknown layer {name!r}; did you mean ")
    assert suggested in message


def test_names_are_listed_where_none_is_near() -> None:
    assert str(unknown_name_error("layer", "zzz", LAYERS)) == (
        "unknown layer 'zzz'; there are: stem, block1, block10, block10_expand, head"
    )


def test_a_long_list_is_cut() -> None:
    message = str(unknown_name_error("concept", "?", (f"name {n}" for n in range(1000))))
    assert message.endswith("name 19, …")


def test_no_names_at_all() -> None:
    assert str(unknown_name_error("concept", "dog", [])).endswith("there are: none")


def test_bad_input_is_a_value_error() -> None:
    assert issubclass(Net2VecError, ValueError)
    assert isinstance(unknown_name_error("layer", "x", LAYERS), Net2VecError)
