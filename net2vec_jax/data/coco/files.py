"""Find the files that COCO's annotation files name, or say why one is not found."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import normalize_name
from net2vec_jax.data.images.files import find_file, walk_files
from net2vec_jax.data.tables import check_inside

_CITYSCAPES = re.compile(
    r"(?P<frame>(?P<city>[^/_]+)_\d+_\d+)(?:_gt(?:Fine|Coarse))?_leftImg8bit\.png"
)
"""What cityscapesScripts calls an image; its file is named without gtFine, in the city's folder."""


def check_text(value: Any, what: str) -> str:
    """The value itself.

    Raises:
      Net2VecError: it is no text, an empty one, or not valid Unicode.
    """
    if value is None:
        raise Net2VecError(f"{what} is missing")
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Net2VecError(f'{what} is the number {value!r:.80}: write it as text, "{value!r:.80}"')
    if not isinstance(value, str) or not value.strip():
        raise Net2VecError(f"{what} is {value!r:.80}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Net2VecError(f"{what} is {value!r:.80}, which is not valid Unicode") from error
    return value


def check_file_name(name: str, where: str) -> None:
    """Refuse a name that is no path below the folder of its files, and say what to write.

    Raises:
      Net2VecError: it is none; the message begins with `where`.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    relative = f"write it relative to the folder of the images, such as {path.name!r:.200}"
    if re.match(r"[A-Za-z][\w+.-]*://|data:", name):
        wrong = (
            "is an address; download the file and write its name, relative to the folder of the "
            "images"
        )
    elif path.is_absolute() or re.match("[A-Za-z]:", name):
        wrong = f"is an absolute path; {relative}"
    elif "\\" in name:
        wrong = f"has backslashes; write / between folders: {str(path)!r:.200}"
    elif ".." in path.parts:
        wrong = f"leads out of the folder of the images; {relative}"
    else:
        return check_inside(name, where)
    raise Net2VecError(f"{where}: file_name {name!r:.200} {wrong}")


def find_image(folder: Path, name: str, url: str | None = None) -> Path:
    """The file of an image, which may have Cityscapes' name or lie in the folder of its address.

    Args:
      folder: of the images.
      name: its file_name, or the last part of its address.
      url: its address, as LVIS has it: the folder before the last part is its split of COCO.

    Returns:
      The file that is there, or else the path as named.
    """
    found = find_file(folder, name)
    cityscapes = _CITYSCAPES.fullmatch(name)
    others = ["/".join(url.split("/")[-2:])] if url and "/../" not in url else []
    if cityscapes:
        file = f"{cityscapes['frame']}_leftImg8bit.png"
        others += [file, f"{cityscapes['city']}/{file}"]
    if not others or found.exists():
        return found
    return next((folder / other for other in others if (folder / other).exists()), found)


def name_apart(paths: Sequence[Path]) -> list[str]:
    """Names of paths: of each the last part, or as many of the last parts as tell all apart.

    Examples:
      >>> name_apart([Path("/a/train/images"), Path("/a/valid/images")])
      ['train/images', 'valid/images']
    """
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(some[-count:]) for some in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


class FileIndex:
    """The files below a folder, by their last names; for what to say of one that is not found."""

    def __init__(self, folder: Path) -> None:
        """List the files below `folder`, hidden ones aside."""
        self._names: dict[str, str] = {}
        for name, _ in walk_files(folder):
            key = _key(name)
            self._names.setdefault(key, name)
            self._names.setdefault(os.path.splitext(key)[0], name)

    def suggest(self, name: str) -> str:
        """Where a file of that name lies, the end of a message; nothing if there is none.

        Percent-encoding, case, Unicode form and suffix may differ.
        """
        key = _key(name)
        found = self._names.get(key) or self._names.get(os.path.splitext(key)[0])
        if found is None:
            return ""
        encoded = " (the name is percent-encoded)" if urllib.parse.unquote(name) != name else ""
        return f"; there is {found!r:.200}{encoded}"


def _key(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    return normalize_name(urllib.parse.unquote(last)).casefold()
