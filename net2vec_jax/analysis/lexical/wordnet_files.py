"""WordNet's files (index.*, data.*, *.exc), read by NLTK from a folder of the user's.

Nothing is downloaded. Distributions that ship no `lexnames`, such as Debian's wordnet-base, are
read too: only the names of lexicographer's files stand in it, which nothing here asks for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra

_PARTS = ("noun", "verb", "adj", "adv")
FILES = tuple(name for part in _PARTS for name in (f"index.{part}", f"data.{part}", f"{part}.exc"))
"""Files that a WordNet folder must have."""
_LEXNAMES = 100
"""The format has two digits for a lexicographer's file."""
_SYNSET_NAME = re.compile(r".+\.[nvars]\.0*[1-9]\d*")
_DAMAGED = (AssertionError, AttributeError, LookupError, OSError, RuntimeError, StopIteration)


@dataclasses.dataclass(frozen=True)
class Synset:
    """A meaning of a word.

    Attributes:
      name: lemma, part of speech and number of the sense, such as "dog.n.01".
      closure: the meaning itself and all its hypernyms, as part of speech and offset: "n02084071".
    """

    name: str
    closure: frozenset[str]


class WordNet:
    """An open WordNet; see `open_wordnet`."""

    def __init__(self, reader: Any, directory: Path) -> None:
        """Of a reader of `directory`."""
        self._reader = reader
        self._directory = directory

    def find_first(self, lemma: str) -> Synset | None:
        """The first meaning of a word or its base form, nouns first; None if it has none.

        Args:
          lemma: with "_" for spaces.

        Raises:
          Net2VecError: the files are damaged.
        """
        with _explaining(self._directory):
            found = self._reader.synsets(lemma) if lemma else []
            return _describe(found[0]) if found else None

    def find(self, name: str) -> Synset | None:
        """The meaning called LEMMA.PART.NUMBER, such as "white.n.02"; None if there is none.

        The part is n, v, a or r; "a" numbers all adjectives, whatever NLTK calls them.

        Raises:
          Net2VecError: the files are damaged.
        """
        if not _SYNSET_NAME.fullmatch(name):
            return None
        with _explaining(self._directory):
            try:
                return _describe(self._reader.synset(name))
            except _import_reader().WordNetError as error:
                if isinstance(error.__cause__, LookupError):  # of the lemma, or of its sense
                    return None
                raise


@contextlib.contextmanager
def open_wordnet(directory: str | Path) -> Iterator[WordNet]:
    """Open a folder of WordNet's files.

    Raises:
      Net2VecError: files are missing or damaged.
    """
    nltk = import_extra("nltk", "lexical")
    directory = Path(directory).resolve()
    _check_files(directory)
    # NLTK reads only folders that are registered with it; this one is, as long as it is open.
    nltk.data.path.append(str(directory))
    streams: list[Any] = []
    try:
        with _explaining(directory):
            reader = _make_reader(str(directory), streams)
        yield WordNet(reader, directory)
    finally:
        nltk.data.path.remove(str(directory))
        for stream in streams:
            stream.close()


def _import_reader() -> Any:
    return import_extra("nltk.corpus.reader.wordnet", "lexical")


def _make_reader(root: str, streams: list[Any]) -> Any:
    """NLTK's reader of English only; `streams` gets all that it opens, even if it fails."""

    class Reader(_import_reader().WordNetCorpusReader):
        """Has names for lexicographer's files where the folder has none."""

        def open(self, file: str) -> Any:
            if file == "lexnames" and not Path(str(self.root), file).is_file():
                return io.StringIO("".join(f"{n:02d} file{n} 0\n" for n in range(_LEXNAMES)))
            stream = super().open(file)
            streams.append(stream)
            return stream

        def map_wn(self, version: str = "wordnet") -> None:
            """No map to the WordNet of other languages, which are not read."""

    return Reader(root, omw_reader=None)


def _describe(synset: Any) -> Synset:
    reached, waiting = set(), [synset]
    while waiting:
        found = waiting.pop()
        if found not in reached:
            reached.add(found)
            waiting += found.hypernyms()
    closure = frozenset(f"{found.pos()}{found.offset():08d}" for found in reached)
    return Synset(synset.name(), closure)


def _check_files(directory: Path) -> None:
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing and not directory.is_dir():
        raise Net2VecError(f"there is no folder {directory}; give one of WordNet's files")
    for inside in (directory / name for name in ("dict", "wordnet", "corpora/wordnet")):
        if missing and (inside / FILES[0]).is_file():
            raise Net2VecError(f"{directory} is not WordNet's folder; give {inside}")
    if missing:
        raise Net2VecError(
            f"{directory} lacks {', '.join(missing)} of WordNet 3; give a folder with these files, "
            "such as 'dict' of WordNet's own distribution, or the one that Debian's wordnet-base "
            "or NLTK's data installs"
        )


@contextlib.contextmanager
def _explaining(directory: Path) -> Iterator[None]:
    """Say of whatever goes wrong inside that the files are damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "The multilingual functions are not available")
            yield
    except Net2VecError:
        raise
    except (*_DAMAGED, ValueError, Warning, _import_reader().WordNetError) as error:
        raise Net2VecError(
            f"the WordNet in {directory} is damaged ({error!r}); install it again"
        ) from error
