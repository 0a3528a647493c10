"""Names become vectors by WordNet and by word vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nltk.data
import numpy as np
import pytest
from wordnet_writer import write_wordnet

from net2vec_jax.analysis.lexical.alignment import (
    SYNSETS,
    embed_wordnet,
    embed_words,
    parse_synsets,
    write_lemma,
)
from net2vec_jax.analysis.lexical.wordnet_files import FILES, WordNet, open_wordnet
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import strip_suffix

DEBIAN = Path("/usr/share/wordnet")


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WordNet]:
    with open_wordnet(write_wordnet(tmp_path_factory.mktemp("wordnet"))) as opened:
        yield opened


def test_only_a_mark_at_the_end_is_removed() -> None:
    names = ["red-c", "field-wild-s", "t-shirt", "e-s-presso", "swivel chair", "-s"]
    expected = ["red", "field-wild", "t-shirt", "e-s-presso", "swivel chair", "-s"]
    assert [strip_suffix(name) for name in names] == expected
    assert write_lemma("swivel  chair-s") == "swivel_chair"


def test_a_vector_marks_a_synset_and_all_its_hypernyms(wordnet: WordNet) -> None:
    found = embed_wordnet(["dog", "beasts", "unicorn", "coffee table", "t-shirt"], wordnet)
    assert found.concepts == ("dog", "beasts", "coffee table", "t-shirt")
    assert found.missing == ("unicorn",)
    # dog, canine, pet, animal, entity; animal, entity; coffee_table, entity; t-shirt, entity
    assert (found.vectors > 0).sum(axis=1).tolist() == [5, 2, 2, 2]
    assert found.vectors.shape[1] == 7
    cosines = found.vectors @ found.vectors.T
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-6)
    np.testing.assert_allclose(cosines[0, 1], 2 / np.sqrt(10), rtol=1e-6)
    np.testing.assert_allclose(cosines[2, 3], 1 / 2, rtol=1e-6)


def test_meanings_may_be_given(wordnet: WordNet) -> None:
    assert wordnet.find_first("white").name == "white.n.01"
    own = {"dog": "animal.n.01", "pet": None, "bumpy": "bumpy.a.01"}
    found = embed_wordnet(["white-c", "dog", "pet", "bumpy"], wordnet, synsets=own)
    assert found.concepts == ("white-c", "dog", "bumpy")
    assert found.missing == ("pet",)
    assert found.entries[:2] == ("white.n.02", "animal.n.01")
    # The spec's list means the second sense of bumpy.
    second = embed_wordnet(["bumpy", "white-c"], wordnet)
    assert second.missing == () and second.vectors.shape == (2, 3)
    assert wordnet.find("bumpy.a.02").closure != wordnet.find("bumpy.a.01").closure
    for wrong in ("unicorn.n.01", "dog.n.02", "dog", "dog.n.00"):
        with pytest.raises(Net2VecError, match="has no synset"):
            embed_wordnet(["dog"], wordnet, synsets={"dog": wrong})


def test_names_that_several_share_are_looked_up_without_their_number(
    wordnet: WordNet, tmp_path: Path
) -> None:
    names = ["dog (3)", "dog (14)", "white-c (2)", "white-c (9)", "unicorn (1)"]
    found = embed_wordnet(names, wordnet)
    assert found.entries == ("dog.n.01", "dog.n.01", "white.n.02", "white.n.02")
    assert found.missing == ("unicorn (1)",)
    own = {"dog": "animal.n.01", "dog (14)": "pet.n.01", "white-c": None}
    found = embed_wordnet(names, wordnet, synsets=own)
    assert found.entries == ("animal.n.01", "pet.n.01")
    with pytest.raises(Net2VecError, match="has no synset"):
        embed_wordnet(["dog (3)"], wordnet, synsets={"dog": "dog.n.02"})
    path = tmp_path / "words.txt"
    path.write_text("dog 1 0\nwhite 0 1\n")
    assert embed_words(names, path).concepts == tuple(names[:4])


def test_a_meaning_of_the_specs_that_is_not_there_is_no_error(wordnet: WordNet) -> None:
    assert wordnet.find(SYNSETS["orange-c"]) is None
    assert embed_wordnet(["orange-c"], wordnet).missing == ("orange-c",)


def test_assignments_are_read() -> None:
    assert parse_synsets(["a=b.n.01", "c="]) == {"a": "b.n.01", "c": None}
    for wrong in ("a", "=b.n.01"):
        with pytest.raises(Net2VecError, match="is not CONCEPT=SYNSET"):
            parse_synsets([wrong])


def test_a_folder_is_registered_only_while_it_is_open(tmp_path: Path) -> None:
    before = list(nltk.data.path)
    with open_wordnet(write_wordnet(tmp_path)) as opened:
        assert opened.find_first("dog").name == "dog.n.01"
    assert nltk.data.path == before


def test_missing_files_are_named(tmp_path: Path) -> None:
    write_wordnet(tmp_path / "dict")
    with (
        pytest.raises(Net2VecError, match=r"not WordNet's folder; give .*dict"),
        open_wordnet(tmp_path),
    ):
        pass
    (tmp_path / "dict" / "data.adv").unlink()
    with pytest.raises(Net2VecError, match=r"lacks data\.adv"), open_wordnet(tmp_path / "dict"):
        pass
    with pytest.raises(Net2VecError, match="there is no folder"), open_wordnet(tmp_path / "no"):
        pass


@pytest.mark.parametrize("name", sorted({*FILES} - {"data.verb", "data.adv"}))
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    """All but those of parts of speech that no word is."""
    path = write_wordnet(tmp_path) / name
    path.write_bytes(b"\xff\xfe\n" + path.read_bytes())
    with pytest.raises(Net2VecError, match="damaged") as caught, open_wordnet(tmp_path) as wordnet:
        wordnet.find_first("dog")
    assert str(tmp_path) in str(caught.value)


def test_data_that_do_not_fit_the_index_are_refused(tmp_path: Path) -> None:
    path = write_wordnet(tmp_path) / "data.noun"
    path.write_text("x" + path.read_text())
    with open_wordnet(tmp_path) as wordnet, pytest.raises(Net2VecError, match="is damaged"):
        wordnet.find_first("dog")


def test_wordnet_3_is_read_as_debian_installs_it() -> None:
    if not (DEBIAN / "index.noun").is_file():
        pytest.skip(f"WordNet (Debian's wordnet-base) is absent: {DEBIAN}")
    with open_wordnet(DEBIAN) as wordnet:
        found = embed_wordnet([*SYNSETS, "dog", "t-shirt", "street-s"], wordnet)
        animals = embed_wordnet(["dog", "wolf", "teapot"], wordnet)
        assert wordnet.find_first("zzz") is None
    assert found.missing == ("waffled",)
    assert found.entries[-3:] == ("dog.n.01", "jersey.n.03", "street.n.01")
    assert (found.vectors[-3] > 0).sum() == 15  # with 14 hypernyms on both ways up
    wolf, teapot = (animals.vectors[0] @ animals.vectors[1:].T).tolist()
    assert wolf > 0.7 > 0.5 > teapot


def test_words_are_looked_up_as_one_and_if_asked_as_several(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("red 3 4\ncoffee 1 0\ntable 0 1\nswivel_chair 0 -2\nnothing 0 0\n")
    names = ["red-c", "Red", "coffee table", "swivel chair", "teapot", "nothing"]
    found = embed_words(names, path)
    assert found.concepts == ("red-c", "Red", "swivel chair")
    assert found.missing == ("coffee table", "teapot", "nothing")
    np.testing.assert_allclose(found.vectors, [[0.6, 0.8], [0.6, 0.8], [0, -1]], rtol=1e-6)
    found = embed_words(names, path, average=True)
    assert dict(zip(found.concepts, found.entries, strict=True))["coffee table"] == "coffee table"
    np.testing.assert_allclose(found.vectors[2], np.sqrt([0.5, 0.5]), rtol=1e-6)
    assert embed_words(["teapot"], path).concepts == ()
