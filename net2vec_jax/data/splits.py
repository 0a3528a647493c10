"""Which images are for training and which for validation, from their names alone.

By a hash of the name, as in Broden (reference behaviour 1.7), or by folders named train/, val/ and
such.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

from net2vec_jax.core.errors import list_names
from net2vec_jax.data.dataset import TRAIN, VAL

TRAIN_FRACTION = 0.7
_WORD = (
    r"(?:(?P<train>train(?:ing)?)|val|valid|validation|test|testing|dev|eval|evaluation"
    r"|hold[-_ ]?out)[-_ ]?\d*"
)
_AFFIX = r"(?:images?|imgs?|photos?|pictures?|frames?|data|dataset|sets?|splits?)"
_IN_FILE_NAMES = re.compile(_WORD, re.IGNORECASE)
_IN_FOLDERS = re.compile(
    rf"(?:{_AFFIX}[-_ ])?{_WORD}(?:[-_ ]{_AFFIX}|(?-i:[AB]))?/?", re.IGNORECASE
)
"""Names of folders that are splits: train2017, train_images, images_train, trainA."""


def place_by_hash(name: str) -> float:
    """A name's place in [0, 1): the first 8 bytes of its MD5, big-endian, over 2^64 (behaviour
    1.7).

    Images are ordered by it, and those up to 0.7 are for training.
    """
    digest = hashlib.md5(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_hash(name: str) -> str:
    """The split of an image, "train" or "val", from its name alone (behaviour 1.7)."""
    return TRAIN if place_by_hash(name) <= TRAIN_FRACTION else VAL


def split_by_folders(
    names: Collection[str],
    *,
    otherwise: str,
    sources: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> tuple[dict[str, str] | None, str | None]:
    """The split that the folders of images say, such as train/ and val/, and what to tell of it.

    A hash of the names would tear such folders apart. They are followed where every image lies in
    one of them and there are both kinds; test images count as val.

    Args:
      names: of the images, with "/" between folders.
      otherwise: what to do for another split, the end of the notice.
      sources: what may say it → image → words that may be those of splits; the first that says
        anything counts. By default the folders.

    Returns:
      image → "train" or "val", or None where nothing says so of all; and a notice, or None where no
      folder or image is named like a split.
    """
    by_hash = f"the split is by a hash of the names; {otherwise}"
    sources = sources or {"folders": {name: folders_of(name) for name in names}}
    for what, words in sources.items():
        found = {name: _find_splits(words[name], _IN_FOLDERS) for name in names}
        named = {word: split for some in found.values() for word, split in some.items()}
        is_both = {*named.values()} == {TRAIN, VAL}
        unclear = [name for name, some in found.items() if len({*some.values()}) != 1]
        if is_both and not unclear:
            shown = ", ".join(f"{word} is {split}" for word, split in sorted(named.items()))
            splits = {name: next(iter(some.values())) for name, some in found.items()}
            return splits, f"the split is that of the {what}: {shown}; {otherwise}"
        if is_both:
            reason = f"they do not say it of {list_names(unclear, most=3)}"
        elif named and all(found.values()):
            reason = "none is of the other split"
        else:
            continue
        return None, (
            f"{what} are named like splits ({', '.join(sorted(named))}), but {reason}; {by_hash}"
        )
    parts = [re.split(r"[-_. ]+", name.rpartition("/")[2]) for name in names]
    in_names = [_find_splits(words, _IN_FILE_NAMES) for words in parts]
    named = {word: split for some in in_names for word, split in some.items()}
    if all(len({*some.values()}) == 1 for some in in_names) and len({*named.values()}) == 2:
        return None, (
            f"names of images look like splits ({', '.join(sorted(named))}), but only folders are "
            f"followed; {by_hash}"
        )
    return None, None


def folders_of(path: str) -> list[str]:
    """The folders of a path, each with "/" behind it."""
    return [f"{part}/" for part in path.split("/")[:-1]]


def _find_splits(words: Sequence[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """The words that name a split, in lower case, and which."""
    matches = ((word.lower(), pattern.fullmatch(word)) for word in words)
    return {word: TRAIN if match["train"] else VAL for word, match in matches if match}
