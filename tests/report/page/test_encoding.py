"""What is put into the page is what comes out of it, and cannot end an element of it."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from net2vec_jax.report.page.encoding import (
    HEAT_LEVELS,
    OUTSIDE,
    encode_floats,
    encode_heat,
    encode_image,
    encode_json,
    encode_mask,
)


def decode(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


@given(st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(
    st.text(), x)))  # fmt: skip
def test_json_is_read_back_and_ends_no_element(content) -> None:
    text = encode_json(content)
    assert json.loads(text) == content
    assert text.isascii() and not set(text) & set("<>&")


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", "]]>&amp;"])
def test_dangerous_texts_are_escaped(text: str) -> None:
    assert text not in encode_json({text: text})
    assert json.loads(encode_json(text)) == text


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json(float("nan"))


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_floats_are_read_back(kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5)).astype(kind)
    read = np.frombuffer(base64.b64decode(encode_floats(values, kind)), f"<f{values.itemsize}")
    np.testing.assert_array_equal(read.reshape(3, 5), values)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_a_mask_is_dark_outside_and_clear_or_outlined_inside(mask: np.ndarray) -> None:
    color = (1, 200, 3)
    read = np.asarray(decode(encode_mask(mask, color)).convert("RGBA"))
    assert (read[~mask] == OUTSIDE).all()
    inside = read[mask]
    is_outline = (inside == (*color, 255)).all(axis=-1)
    assert (is_outline | (inside[:, 3] == 0)).all()
    if mask.any():
        assert is_outline.any()  # also of a mask of everything, which has a frame


def test_a_heat_map_is_brighter_and_more_opaque_where_the_score_is_higher() -> None:
    score = np.tile(np.linspace(0, 1, HEAT_LEVELS, dtype=np.float32), (20, 1))
    picture = decode(encode_heat(score))
    read = np.asarray(picture.convert("RGBA")).astype(int)[0]
    assert (np.diff(read[:, 3]) >= 0).all() and read[-1, 3] > read[0, 3]
    assert read[-1, :3].sum() > read[HEAT_LEVELS // 2, :3].sum() > read[0, :3].sum()


def test_images_are_reduced_and_never_enlarged() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert decode(encode_image(image, 50)).size == (50, 25)
    assert decode(encode_image(image, 500)).size == (200, 100)
    assert decode(encode_image(image, 50)).format == "WEBP"
