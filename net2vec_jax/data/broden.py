"""Read a Broden directory (reference spec, section 1).

`index.csv` has one row per image; each category cell lists whole-image concept numbers and PNG
label planes (concept = R + 256·G, 0 = unlabelled). Any set of categories and any segmentation size
may occur, as long as all images of a directory share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from net2vec_jax.data.broden_tables import BrodenRow, read_catalog, read_index
from net2vec_jax.data.dataset import VAL, ImageLabels
from net2vec_jax.errors import Net2VecError, unknown_name_error


class BrodenDataset:
    """A Broden directory, as a `ConceptDataset`.

    Images with no data in any of the categories are dropped (spec 1.6); the others keep the order
    of index.csv. Files are decoded when asked for; that every file is there is checked at once.

    Attributes: those of `ConceptDataset`, and
      directory: where it lies.
      image_size: (H, W) of the images.
    """

    def __init__(self, directory: str | Path, *, categories: Sequence[str] | None = None) -> None:
        """Read the tables of `directory`.

        Args:
          directory: holds index.csv, label.csv and images/.
          categories: the categories to use; all of index.csv by default.

        Raises:
          Net2VecError: a missing file or column, a malformed row, a number that label.csv lacks,
            images of different sizes, an unknown category; the message names file and line.
        """
        self.directory = Path(directory)
        self.name = self.directory.resolve().name
        index_path = self.directory / "index.csv"
        label_path = self.directory / "label.csv"
        if not index_path.is_file():
            raise Net2VecError(
                f"{index_path} is missing: a Broden directory holds index.csv, label.csv, images/"
            )
        present, rows = read_index(index_path)
        if categories is not None:
            for category in categories:
                if category not in present:
                    raise unknown_name_error("category", category, present)
            present = tuple(category for category in present if category in categories)
        self.categories = present
        self.catalog = read_catalog(label_path, present)
        self._rows = [row for row in rows if _has_data(row, present)]
        if not self._rows:
            raise Net2VecError(f"{index_path}: no image has data in the categories {present}")
        self._check_rows(index_path)
        height, width, rows_y, columns_x = self._rows[0].sizes
        self.image_size = (height, width)
        self.segmentation_size = (rows_y, columns_x)
        self.image_names = tuple(row.image for row in self._rows)
        self.is_val = np.array([row.split == VAL for row in self._rows])
        self._known = np.zeros(2**16, bool)
        self._known[[0, *self.catalog.by_number]] = True
        self.fingerprint = self._fingerprint(index_path, label_path)

    def __len__(self) -> int:
        """The number of images N."""
        return len(self._rows)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB; grey images are repeated over the channels (spec 2.1).

        Raises:
          Net2VecError: the file is missing, damaged, or not of the size that index.csv gives.
        """
        row = self._rows[index]
        path = self._path(row.image)
        image = _decode(path, convert="RGB")
        if image.shape[:2] != self.image_size:
            raise Net2VecError(
                f"{path}: the image is {image.shape[0]}×{image.shape[1]} pixels, but index.csv "
                f"line {row.line} says {row.sizes[0]}×{row.sizes[1]}"
            )
        return image

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`.

        Raises:
          Net2VecError: a plane is missing, damaged, of the wrong size or type, or holds a number
            that label.csv lacks.
        """
        row = self._rows[index]
        planes = {}
        for category in self.categories:
            paths = row.planes.get(category, ())
            if paths:
                planes[category] = np.stack([self._plane(row, path) for path in paths])
        whole = {c: row.whole_image[c] for c in self.categories if c in row.whole_image}
        return ImageLabels(planes, whole)

    def source_files(self) -> Iterator[Path]:
        """The tables, images and planes that all else is read from."""
        yield from (self.directory / name for name in ("index.csv", "label.csv"))
        yield from (self._path(name) for _, name in self._files())

    def _plane(self, row: BrodenRow, name: str) -> np.ndarray:
        path = self._path(name)
        pixels = _decode(path).astype(np.int32)
        if pixels.ndim != 3 or pixels.shape[2] != 3:
            raise Net2VecError(f"{path}: a label plane must be an 8-bit RGB image (R + 256·G)")
        if pixels.shape[:2] != self.segmentation_size:
            raise Net2VecError(
                f"{path}: the label plane is {pixels.shape[0]}×{pixels.shape[1]} pixels, but "
                f"index.csv line {row.line} says {row.sizes[2]}×{row.sizes[3]}"
            )
        plane = pixels[..., 0] + 256 * pixels[..., 1]
        if not self._known[plane].all():
            unknown = int(plane[~self._known[plane]][0])
            raise Net2VecError(
                f"{path}: label number {unknown} is not in {self.directory / 'label.csv'}"
            )
        return plane

    def _path(self, name: str) -> Path:
        return self.directory / "images" / name

    def _files(self) -> Iterator[tuple[BrodenRow, str]]:
        for row in self._rows:
            yield row, row.image
            for category in self.categories:
                for name in row.planes.get(category, ()):
                    yield row, name

    def _check_rows(self, index_path: Path) -> None:
        """Sizes agree over all rows, whole-image numbers are known, image names are unique."""
        first, known, seen = self._rows[0], self.catalog.by_number, {}
        for row in self._rows:
            where = f"{index_path} line {row.line}"
            if row.sizes != first.sizes:
                raise Net2VecError(
                    f"{where}: sizes ih, iw, sh, sw are {row.sizes}, but {first.sizes} in line "
                    f"{first.line}; all images must be of one size: resize them"
                )
            if row.image in seen:
                raise Net2VecError(f"{where}: {row.image} stands in line {seen[row.image]} already")
            seen[row.image] = row.line
            for category in self.categories:
                for number in row.whole_image.get(category, ()):
                    if number not in known:
                        raise Net2VecError(f"{where}: label number {number} is not in label.csv")

    def _fingerprint(self, index_path: Path, label_path: Path) -> str:
        """Digest of the tables and of every file's name and size; a missing file raises."""
        digest = hashlib.sha256(repr(self.categories).encode())
        for path in (index_path, label_path):
            digest.update(path.read_bytes())
        for row, name in self._files():
            try:
                size = self._path(name).stat().st_size
            except OSError as error:
                raise Net2VecError(
                    f"{self._path(name)} is missing (index.csv line {row.line}): {error.strerror}"
                ) from error
            digest.update(f"{name}\0{size}\0".encode())
        return digest.hexdigest()


def _decode(path: Path, *, convert: str | None = None) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(convert) if convert else image)
    except FileNotFoundError as error:
        raise Net2VecError(f"{path} is missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Net2VecError(f"{path} cannot be decoded as an image: {error}") from error


def _has_data(row: BrodenRow, categories: Sequence[str]) -> bool:
    return any(row.planes.get(c) or row.whole_image.get(c) for c in categories)
