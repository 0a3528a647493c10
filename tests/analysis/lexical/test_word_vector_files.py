"""Word vectors are read from every format, and damaged files are refused with their place."""

from __future__ import annotations

import bz2
import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.lexical.word_vector_files import read_word_vectors
from net2vec_jax.core.errors import Net2VecError

WORDS = ["the", "dog", "swivel_chair", "café", "12"]
VECTORS = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
FORMATS = ("word2vec", "binary", "glove")


def write(path: Path, layout: str, words=WORDS, vectors=VECTORS) -> Path:
    if layout == "glove":
        rows = (
            f"{w} {' '.join(map(repr, v.tolist()))}\n" for w, v in zip(words, vectors, strict=True)
        )
        path.write_text("".join(rows), encoding="utf-8")
        return path
    model = KeyedVectors(vectors.shape[1])
    model.add_vectors(list(words), vectors)
    model.save_word2vec_format(str(path), binary=layout == "binary")
    return path


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_wanted_vectors_are_read(tmp_path: Path, layout: str, ending: str) -> None:
    path = write(tmp_path / "vectors", layout)
    if ending:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}[ending]
        (tmp_path / f"vectors{ending}").write_bytes(pack(path.read_bytes()))
        path = tmp_path / f"vectors{ending}"
    found = read_word_vectors(path, {"dog", "café", "12", "unicorn"})
    assert found.keys() == {"dog", "café", "12"}
    for word, vector in found.items():
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, VECTORS[WORDS.index(word)], rtol=1e-5)
    assert read_word_vectors(path, set()) == {}


@pytest.mark.parametrize("layout", FORMATS)
def test_the_first_of_two_rows_of_a_word_counts(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "x", layout, ["ab", "dog", "cd"], VECTORS[:3])
    path.write_bytes(path.read_bytes().replace(b"cd ", b"ab "))
    np.testing.assert_allclose(read_word_vectors(path, {"ab"})["ab"], VECTORS[0], rtol=1e-5)


def test_gloves_words_with_spaces_are_words(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("the 1 2\n. . . 3 4\nto name@a.b 5 6\n")
    found = read_word_vectors(path, {". . .", "to name@a.b", "to"})
    assert {word: vector.tolist() for word, vector in found.items()} == {
        ". . .": [3, 4],
        "to name@a.b": [5, 6],
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\n", "empty line"),
        (b"the 1 2\ndog 3\n", "line 2: 1 numbers, not 2"),
        (b"the 1 2\ndog 3 4 5\n", "line 2: 3 numbers, not 2"),
        (b"the 1 2\ndog 3 x\n", "line 2: could not convert"),
        (b"the 1 2\nd\xf6g 3 4\n", "line 2: the word .* is not UTF-8"),
        (b"the 1 2\ndog 3 nan\n", "vector of 'dog' is not finite"),
        (b"2 2\nthe 1 2\ndog 3\n", "line 3: 1 numbers"),
        (b"3 2\nthe 1 2\ndog 3 4\n", "is cut off: .* says 3 words, it has 2"),
        (b"0 2\n", "says 0 words of 2 dimensions"),
        (b"<html>\n", "neither of word2vec's formats nor GloVe's"),
        (b"PK\x03\x04\0\0 1 2\n", "neither of word2vec's formats nor GloVe's"),
        (pickle.dumps({"dog": 1}), "is a pickled model"),
    ],
)
def test_damaged_text_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "words"
    path.write_bytes(content)
    with pytest.raises(Net2VecError, match=complaint) as caught:
        read_word_vectors(path, {"dog"})
    assert str(path) in str(caught.value)


def test_damaged_binary_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x", "binary")
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    with pytest.raises(Net2VecError, match=r"is cut off: .* says 5 words of 300 .* it has 4"):
        read_word_vectors(path, {"dog"})
    path.write_bytes(whole.replace(b"dog ", b"d\xf6g "))
    with pytest.raises(Net2VecError, match="word 2: it is not UTF-8"):
        read_word_vectors(path, {"dog"})
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(whole)[:-2000])
    with pytest.raises(Net2VecError, match="is cut off or damaged"):
        read_word_vectors(packed, {"dog"})
    packed.write_bytes(whole)
    with pytest.raises(Net2VecError, match="is cut off or damaged"):
        read_word_vectors(packed, {"dog"})
    with pytest.raises(Net2VecError, match="there is no file"):
        read_word_vectors(tmp_path / "http:" / "x", {"dog"})


@pytest.mark.parametrize("layout", FORMATS)
@given(data=st.data())
def test_no_damage_is_an_unexpected_error(
    tmp_path_factory: pytest.TempPathFactory, layout: str, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("damage") / "x", layout, WORDS, VECTORS[:, :3])
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(place + 1, len(content)))]))
    try:
        found = read_word_vectors(path, set(WORDS))
    except Net2VecError:
        return
    assert found.keys() <= set(WORDS)
    assert all(np.isfinite(vector).all() for vector in found.values())
