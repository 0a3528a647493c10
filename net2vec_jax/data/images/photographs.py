"""Photographs of a user's own: found in folders, named, read for a network; bad ones noted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import check_regular_file, walk_files
from net2vec_jax.data.images.resized import read_photograph


class Photograph(NamedTuple):
    """A file with a photograph.

    Attributes:
      name: path below the folder that all photographs share, "/" between folders; unique.
      path: of the file.
      stamp: size and time of the file: it changes when the file does.
    """

    name: str
    path: Path
    stamp: str


def find_photographs(given: Sequence[Path], *, outside: Path) -> list[Photograph]:
    """The files that `given` names, and those in the folders among them, each once, by name.

    Args:
      given: files and folders; hidden files and what systems leave in folders are passed over.
      outside: a folder whose files are none of them, such as the one that results are written to.

    Raises:
      Net2VecError: a path is missing, or there is no file.
    """
    paths: dict[str, None] = {}
    for path in given:
        if not path.is_dir():
            check_regular_file(path)
            paths[os.path.abspath(path)] = None
        else:
            paths |= {os.path.abspath(file): None for _, file in walk_files(path)}
    excluded = os.path.abspath(outside) + os.sep
    kept = [path for path in paths if not path.startswith(excluded)]
    if not kept:
        raise Net2VecError(f"there are no photographs in {', '.join(map(str, given)) or 'nothing'}")
    roots = [path if path.is_dir() else path.parent for path in given]
    root = os.path.commonpath([os.path.abspath(path) for path in roots])
    found: dict[str, Photograph] = {}
    for path in kept:
        # Names that are no Unicode are written with escapes, so that tables can hold them.
        name = Path(os.path.relpath(path, root)).as_posix()
        name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        status = os.stat(path)
        found[name] = Photograph(name, Path(path), f"{status.st_size}:{status.st_mtime_ns}")
    return [found[name] for name in sorted(found)]


class PhotographFiles:
    """Photographs that are read one by one, each at the size that a network sees.

    Of one that cannot be read, the pixels are 0 and the reason is noted.

    Attributes:
      photographs: the files.
      image_names: names of the N photographs.
      sizes: (height, width) of each that was read, upright, by its index.
      unreadable: why others could not be, by index.
    """

    def __init__(self, photographs: Sequence[Photograph], size: tuple[int, int]) -> None:
        """Of these photographs, each brought to `size` (H, W)."""
        self.photographs, self._size = photographs, size
        self.image_names = [photograph.name for photograph in photographs]
        self.sizes: dict[int, tuple[int, int]] = {}
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        """The number of photographs N."""
        return len(self.photographs)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the photograph at `index`."""
        try:
            pixels, self.sizes[index] = read_photograph(self.photographs[index].path, self._size)
        except Net2VecError as error:
            self.unreadable[index] = str(error)
            return np.zeros((*self._size, 3), np.uint8)
        return pixels
