"""Word vectors of word2vec (text and binary) and GloVe (text), of which only those asked for stay.

Text has a line per word, WORD V1 … VD, after a line COUNT D in word2vec's files. Binary has the
same first line, then WORD, a space and D float32 numbers each; gensim reads it. All may be
compressed (.gz, .bz2). Pickled models are refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra

_LONGEST_LINE = 1 << 20
"""More bytes than the line of a word of thousands of dimensions has."""


class _Layout(NamedTuple):
    """What the first lines say: how many words there are, None without a header, and D."""

    binary: bool
    words: int | None
    size: int


def read_word_vectors(path: str | Path, words: Collection[str]) -> dict[str, np.ndarray]:
    """Read the vectors of some words; the first one, where a word stands there twice.

    Args:
      path: of the file; the format is found from its first lines.
      words: whose vectors are wanted.

    Returns:
      Those of `words` that the file has, each float32 [D].

    Raises:
      Net2VecError: the file is missing, damaged, or of another format.
    """
    path = Path(path).absolute()  # a path never looks like the address of a file elsewhere
    if not path.is_file():
        raise Net2VecError(f"there is no file {path} of word vectors")
    try:
        layout = _find_layout(path)
        read = _read_binary if layout.binary else _read_text
        vectors = read(path, frozenset(words), layout)
    except (EOFError, OSError, zlib.error) as error:
        raise Net2VecError(f"{path} is cut off or damaged ({error})") from error
    for word, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise Net2VecError(f"{path}: the vector of {word!r} is not finite")
    return vectors


def _find_layout(path: Path) -> _Layout:
    with _open(path) as file:
        first, second = (file.readline(_LONGEST_LINE).rstrip(b" \r\n") for _ in range(2))
    if not first.strip():
        raise Net2VecError(f"{path} is empty, or begins with an empty line")
    if first.startswith(b"\x80"):
        raise Net2VecError(
            f"{path} is a pickled model, which is not read; save it with "
            "save_word2vec_format(…, binary=True)"
        )
    fields = first.split(b" ")
    try:
        count, size = (int(field) for field in first.split())
    except ValueError:
        if not _is_text(first) or not _are_numbers(fields[1:]):
            raise Net2VecError(
                f"{path} is neither of word2vec's formats nor GloVe's: its first line is neither "
                "COUNT DIMENSIONS nor a word with numbers"
            ) from None
        return _Layout(False, None, len(fields) - 1)
    if count < 1 or size < 1:
        raise Net2VecError(f"{path}: its first line says {count} words of {size} dimensions")
    is_text = _is_text(second) and _are_numbers(second.split(b" ")[1:])
    return _Layout(not is_text, count, size)


def _open(path: Path) -> BinaryIO:
    """A file that may be compressed."""
    return import_extra("gensim.utils", "lexical").open(str(path), "rb")


def _is_text(line: bytes) -> bool:
    return b"\0" not in line and all(byte >= 32 or byte in b"\t\r\n" for byte in line)


def _are_numbers(fields: list[bytes]) -> bool:
    try:
        return len([float(field) for field in fields]) > 0
    except ValueError:
        return False


def _read_text(path: Path, wanted: frozenset[str], layout: _Layout) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    rows = 0
    with _open(path) as file:
        if layout.words is not None:
            file.readline()
        for number, line in enumerate(file, start=1 if layout.words is None else 2):
            line = line.rstrip(b" \r\n")
            if not line:
                continue
            rows += 1
            name, *numbers = line.rsplit(b" ", layout.size)
            # A few words of GloVe's have spaces; values never stand in front of the word.
            too_many = b" " in name and _are_numbers(name.split(b" ")[1:])
            if len(numbers) < layout.size or too_many:
                raise Net2VecError(
                    f"{path}, line {number}: {line.count(b' ')} numbers, not {layout.size}; the "
                    "file is cut off or damaged"
                )
            try:
                word = name.decode()
                if word in wanted and word not in vectors:
                    vectors[word] = np.array([float(x) for x in numbers], np.float32)
            except UnicodeDecodeError as error:
                raise Net2VecError(
                    f"{path}, line {number}: the word {name!r} is not UTF-8; convert the file to "
                    "UTF-8"
                ) from error
            except ValueError as error:
                raise Net2VecError(f"{path}, line {number}: {error}") from error
            if rows == layout.words:
                break
    if layout.words is not None and rows < layout.words:
        raise Net2VecError(
            f"{path} is cut off: its first line says {layout.words} words, it has {rows}"
        )
    return vectors


def _read_binary(path: Path, wanted: frozenset[str], layout: _Layout) -> dict[str, np.ndarray]:
    read = 0

    class Wanted(import_extra("gensim.models", "lexical").KeyedVectors):
        """Keeps the vectors of wanted words only, so that memory does not grow with the file."""

        def __init__(self, vector_size: int, count: int = 0, dtype: type = np.float32) -> None:
            super().__init__(vector_size, min(count, len(wanted)), dtype=dtype)

        def has_index_for(self, key: str) -> bool:
            return False

        def add_vector(self, key: str, vector: np.ndarray) -> int:
            nonlocal read
            read += 1
            if key not in wanted or key in self.key_to_index:
                return -1
            return super().add_vector(key, vector)

        def set_vecattr(self, key: str, attr: str, val: object) -> None:
            """Invented word counts are not needed."""

    if not wanted:
        return {}
    try:
        found = Wanted.load_word2vec_format(str(path), binary=True)
    except UnicodeDecodeError as error:
        raise Net2VecError(
            f"{path}, word {read + 1}: it is not UTF-8 ({error.reason}); the file is damaged, or "
            "of another encoding or format"
        ) from error
    except EOFError as error:
        raise Net2VecError(
            f"{path} is cut off: its first line says {layout.words} words of {layout.size} "
            f"dimensions, it has {read}"
        ) from error
    return {word: found.vectors[place].copy() for word, place in found.key_to_index.items()}
