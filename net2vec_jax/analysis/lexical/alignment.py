"""Embeddings of concepts' names by WordNet's hypernyms or word vectors (reference behaviour 8.6).

C concepts → vectors [n, D] of the n whose names are found. Files are read by `wordnet_files` and
`word_vector_files`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from net2vec_jax.analysis.lexical.word_vector_files import read_word_vectors
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import strip_number, strip_suffix

if TYPE_CHECKING:
    from net2vec_jax.analysis.lexical.wordnet_files import WordNet

SYNSETS: Mapping[str, str | None] = {
    "grey-c": "gray.n.01",
    "gray-c": "gray.n.01",
    "white-c": "white.n.02",
    "orange-c": "orange.n.02",
    "muzzle": "muzzle.n.02",
    "bannister": "bannister.n.02",
    "blotchy": "blotchy.a.02",
    "bumpy": "bumpy.a.02",
    "porous": "porous.a.02",
    "meshed": "meshed.a.01",
    "crane": "crane.n.04",
    "jersey": "jersey.n.04",
    "waffled": None,
}
"""Concepts whose first synset is not what is meant, with the one that is; None: none is.

The reference's list, by name instead of by position. Its satellite adjectives, called s there, are
numbered among all adjectives here, as releases of NLTK differ on those.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class LexicalEmbedding:
    """Vectors of names.

    Attributes:
      concepts: the n concepts that were found.
      vectors: float32 [n, D]; D may be 0 if n is.
      entries: what was found for each: a synset or words.
      missing: concepts that were not found.
    """

    concepts: tuple[str, ...]
    vectors: np.ndarray
    entries: tuple[str, ...]
    missing: tuple[str, ...]


def write_lemma(concept: str) -> str:
    """A concept's name as lexicons write it: without mark and number, "_" for spaces.

    Examples:
      >>> write_lemma("swivel chair-s")
      'swivel_chair'
    """
    return "_".join(strip_suffix(concept).split())


def embed_wordnet(
    concepts: Sequence[str], wordnet: WordNet, *, synsets: Mapping[str, str | None] | None = None
) -> LexicalEmbedding:
    """Binary vectors over synsets: 1 for a concept's own and all its hypernyms, of length 1.

    Args:
      concepts: names.
      wordnet: an open WordNet.
      synsets: concepts with the synset meant, such as {"crane": "crane.n.04"}, or None to leave
        one out; they go before `SYNSETS`, and those, where this WordNet has them, before a name's
        first synset. A name without number means all concepts that share it.

    Raises:
      Net2VecError: a synset given does not exist, or the files are damaged.
    """
    meant = synsets or {}
    found = {}
    for concept in concepts:
        shared = strip_number(concept)
        is_given = concept in meant or shared in meant
        name = meant.get(concept, meant.get(shared)) if is_given else SYNSETS.get(shared, "")
        synset = wordnet.find(name) if name else None
        if synset is None and is_given and name:
            raise Net2VecError(
                f"WordNet has no synset {name!r}, which {concept!r} was said to be; write "
                "LEMMA.PART.NUMBER, for example white.n.02"
            )
        if synset is None and name is not None:
            synset = wordnet.find_first(write_lemma(concept))
        if synset is not None:
            found[concept] = synset
    known = sorted(set().union(*(synset.closure for synset in found.values())))
    columns = {key: column for column, key in enumerate(known)}
    vectors = np.zeros((len(found), len(columns)), np.float32)
    for row, synset in zip(vectors, found.values(), strict=True):
        row[[columns[key] for key in synset.closure]] = len(synset.closure) ** -0.5
    return LexicalEmbedding(
        tuple(found),
        vectors,
        tuple(synset.name for synset in found.values()),
        tuple(concept for concept in concepts if concept not in found),
    )


def embed_words(
    concepts: Sequence[str], path: str | Path, *, average: bool = False
) -> LexicalEmbedding:
    """Word vectors of concepts' names, of length 1.

    A name of several words is looked up joined by "_", first as it is written, then in lower case.

    Args:
      concepts: names.
      path: of a file of word vectors; see `word_vector_files`.
      average: a name that is not found is the mean of its words, if all of these are found.

    Raises:
      Net2VecError: the file cannot be read.
    """
    spellings = {}
    for concept in concepts:
        lemma = write_lemma(concept)
        whole = [(lemma,), (lemma.lower(),)]
        parts = tuple(re.findall(r"[^\W_]+", lemma))
        split = [parts, tuple(part.lower() for part in parts)]
        spellings[concept] = whole + split if average and len(parts) > 1 else whole
    wanted = {word for ways in spellings.values() for words in ways for word in words}
    known = read_word_vectors(path, wanted)
    vectors, entries = {}, {}
    for concept, ways in spellings.items():
        words = next((way for way in ways if all(word in known for word in way)), None)
        if words:
            mean = np.mean([known[word].astype(np.float64) for word in words], axis=0)
            length = np.linalg.norm(mean)
            if length > 0:
                vectors[concept], entries[concept] = mean / length, " ".join(words)
    size = len(next(iter(known.values()))) if known else 0
    return LexicalEmbedding(
        tuple(vectors),
        np.array(list(vectors.values()), np.float32).reshape(len(vectors), size),
        tuple(entries.values()),
        tuple(concept for concept in concepts if concept not in vectors),
    )


def parse_synsets(assignments: Sequence[str]) -> dict[str, str | None]:
    """Read CONCEPT=SYNSET, or CONCEPT= for a concept to be left out.

    Examples:
      >>> parse_synsets(["crane=crane.n.04", "waffled="])
      {'crane': 'crane.n.04', 'waffled': None}

    Raises:
      Net2VecError: one is not of this form.
    """
    synsets: dict[str, str | None] = {}
    for assignment in assignments:
        concept, equals, synset = assignment.rpartition("=")
        if not equals or not concept:
            raise Net2VecError(
                f"{assignment!r} is not CONCEPT=SYNSET, for example crane=crane.n.04"
            )
        synsets[concept] = synset or None
    return synsets
