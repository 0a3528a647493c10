"""Read a Broden directory (reference behaviour 1).

`index.csv` has one row per image; each category cell lists whole-image concept numbers and PNG
label planes (concept = R + 256·G); number 0 is no concept in either. Any set of categories and any
segmentation size may occur, as long as all images of a directory share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.core.errors import Net2VecError, join_messages, list_names, unknown_name_error
from net2vec_jax.data.broden.tables import (
    BrodenRow,
    LabelRow,
    check_categories,
    make_catalog,
    read_index,
    read_labels,
)
from net2vec_jax.data.concepts import normalize_name
from net2vec_jax.data.dataset import VAL, ConceptDataset, ImageLabels
from net2vec_jax.data.groups import GROUP_COLUMN, number_groups, remark_on_groups
from net2vec_jax.data.images.files import (
    check_regular_file,
    find_file,
    read_image,
    read_label_plane,
)
from net2vec_jax.data.images.resized import remark_on_photograph


class BrodenDataset(ConceptDataset):
    """A Broden directory, as a `ConceptDataset`.

    Images with no data in any of the categories are dropped (behaviour 1.6), so are those with
    nothing but whole-image numbers 0; the others keep the order of index.csv. Files are decoded
    when asked for; that every file is there is checked at once.

    Attributes: those of `ConceptDataset`, and
      directory: where it lies.
      image_size: (H, W) of the images.
      notices: which labels are left out because index.csv has none of their categories, and what
        is to be said of groups.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        categories: Sequence[str] | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Read the tables of `directory`.

        Args:
          directory: holds index.csv, label.csv and images/.
          categories: the categories to use; all of index.csv by default.
          allow_missing: open the directory though images or planes are missing; they are refused
            when they are read.

        Raises:
          Net2VecError: missing files, all of them listed; a missing column, a malformed row, a
            number that label.csv lacks, images of different sizes, an unknown category, a column
            that category.csv does not list; the message names file and line.
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
        check_categories(self.directory / "category.csv", present)
        labels = read_labels(label_path)
        everything = make_catalog(labels, self.directory, present)
        notices = _name_left_out(labels, present)
        if categories is not None:
            for category in categories:
                if category not in present:
                    raise unknown_name_error("category", category, present)
            present = tuple(category for category in present if category in categories)
        self.categories = present
        self.catalog = make_catalog(labels, self.directory, present)
        # A plane may hold a number that label.csv lists under categories that were not chosen.
        self._known = np.zeros(2**16, bool)
        self._known[[0, *everything.by_number]] = True
        self._rows = [row for row in rows if _has_data(row, present)]
        if not self._rows:
            raise Net2VecError(f"{index_path}: no image has data in the categories {present}")
        self._check_rows(index_path, labels)
        height, width, rows_y, columns_x = self._rows[0].sizes
        self.image_size = (height, width)
        self.segmentation_size = (rows_y, columns_x)
        self.image_names = tuple(row.image for row in self._rows)
        self.is_val = np.array([row.split == VAL for row in self._rows])
        groups = [row.group for row in self._rows if row.group is not None] or None
        self.image_groups = None if groups is None else number_groups(groups)
        remedy = f"a column {GROUP_COLUMN} of index.csv"
        on_groups = remark_on_groups(self.image_names, groups, self.is_val, remedy=remedy)
        self.notices = (*notices, *on_groups)
        self.fingerprint = self._fingerprint(index_path, label_path, allow_missing)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`; see `read_image` for other kinds.

        Raises:
          Net2VecError: the file is missing, damaged, not of the size that index.csv gives, or of a
            kind that cannot be shown in RGB.
        """
        row = self._rows[index]
        source = f"index.csv line {row.line}"
        return read_image(self._path(row.image), self.image_size, source=source)

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
        remarks = remark_on_photograph(
            self._path(row.image),
            self.image_size,
            prefer_stored=True,
            otherwise="where planes lie otherwise, save upright photographs without that tag",
        )
        return ImageLabels(planes, whole, remarks)

    def source_files(self) -> Iterator[Path]:
        """The tables, images and planes that all else is read from."""
        yield from (self.directory / name for name in ("index.csv", "label.csv"))
        yield from (self._path(name) for _, name in self._files())

    def _plane(self, row: BrodenRow, name: str) -> np.ndarray:
        path = self._path(name)
        source = f"index.csv line {row.line}"
        plane = read_label_plane(path, self.segmentation_size, source=source)
        if not self._known.take(plane).all():
            unknown = int(plane[~self._known[plane]][0])
            raise Net2VecError(
                f"{path}: label number {unknown} is not in label.csv with a category of index.csv"
            )
        return plane

    def _path(self, name: str) -> Path:
        return find_file(self.directory / "images", name)

    def _files(self) -> Iterator[tuple[BrodenRow, str]]:
        for row in self._rows:
            yield row, row.image
            for category in self.categories:
                for name in row.planes.get(category, ()):
                    yield row, name

    def _check_rows(self, index_path: Path, labels: Mapping[int, LabelRow]) -> None:
        """Sizes agree over all rows, whole-image numbers are known, image names are unique."""
        first, seen = self._rows[0], {}
        for row in self._rows:
            where = f"{index_path} line {row.line}"
            if row.sizes != first.sizes:
                raise Net2VecError(
                    f"{where}: sizes ih, iw, sh, sw are {row.sizes}, but {first.sizes} in line "
                    f"{first.line}; all images must be of one size: resize them"
                )
            name = normalize_name(row.image)
            if name in seen:
                raise Net2VecError(f"{where}: {row.image} stands in line {seen[name]} already")
            seen[name] = row.line
            for category in self.categories:
                for number in row.whole_image.get(category, ()):
                    if number and (
                        number not in labels or category not in labels[number].categories
                    ):
                        raise Net2VecError(
                            f"{where}, column {category}: label number {number} is not in "
                            f"label.csv with category {category}"
                        )

    def _fingerprint(self, index_path: Path, label_path: Path, allow_missing: bool) -> str:
        """Digest of the tables and of every file's name and size; missing files raise."""
        missing: list[str] = []
        digest = hashlib.sha256(repr(self.categories).encode())
        for path in (index_path, label_path):
            digest.update(path.read_bytes())
        for row, name in self._files():
            try:
                where = f"index.csv line {row.line}"
                size = check_regular_file(self._path(name), where).st_size
            except Net2VecError as error:
                size = -1
                missing.append(str(error))
            digest.update(f"{name}\0{size}\0".encode())
        if missing and not allow_missing:
            raise Net2VecError(join_messages(missing))
        return digest.hexdigest()


def _name_left_out(labels: Mapping[int, LabelRow], present: Sequence[str]) -> tuple[str, ...]:
    """A notice of the labels that belong to no category of index.csv, if there are any."""
    left_out = [label for label in labels.values() if not set(label.categories) & set(present)]
    if not left_out:
        return ()
    categories = {category for label in left_out for category in label.categories}
    reason = (
        f"belong to categories that index.csv has no column for ({list_names(sorted(categories))})"
        if categories
        else "have no category"
    )
    names = list_names(label.name for label in left_out)
    return (f"{len(left_out):,} labels of label.csv {reason} and are left out: {names}",)


def _has_data(row: BrodenRow, categories: Sequence[str]) -> bool:
    return any(row.planes.get(c) or any(row.whole_image.get(c, ())) for c in categories)
