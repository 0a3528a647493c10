"""Read a Broden directory that was written into TFDS's format (see `builders`).

A record is one row of index.csv: `name`, the `image` file's bytes, `planes` (category and PNG of
each label plane, R + 256·G, in the cell's order) and `numbers` (category and concept number of each
whole-image label). metadata.json holds the catalog, the sizes and the order of the rows.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import SPLITS, VAL, ConceptDataset, ImageLabels
from net2vec_jax.data.groups import number_groups
from net2vec_jax.data.images.files import read_image, read_label_plane
from net2vec_jax.data.tables import LARGEST_NUMBER
from net2vec_jax.data.tfds.records import TfdsRecords

FORMAT = 1
"""Version of the metadata and of the meaning of the records."""


class TfdsBrodenDataset(ConceptDataset):
    """A prepared `broden` or `scenes`, as a `ConceptDataset`.

    Images, labels, names, splits and order are those of the Broden directory it was written from.
    Records are decoded when asked for.

    Attributes: those of `ConceptDataset`, and
      directory: where it lies.
      image_size: (H, W) of the images.
      source_fingerprint: fingerprint of the Broden directory.
      notices: those of the Broden directory.
    """

    def __init__(self, records: TfdsRecords) -> None:
        """Read the metadata of `records`.

        Raises:
          Net2VecError: it is missing, malformed or does not agree with the records.
        """
        self.directory = records.directory
        path = self.directory / "metadata.json"
        metadata = _load_metadata(path)
        try:
            self.name = str(metadata["name"])
            self.source_fingerprint = str(metadata["source_fingerprint"])
            self.categories = tuple(map(str, metadata["categories"]))
            self.catalog = catalog_from_metadata(metadata["concepts"])
            self.image_size = _pair(metadata["image_size"])
            self.segmentation_size = _pair(metadata["segmentation_size"])
            rows = [(str(name), str(split)) for name, split in metadata["images"]]
            self.notices = tuple(map(str, metadata.get("notices", ())))
            groups = metadata.get("groups")
            if groups is not None and len(groups) != len(rows):
                raise ValueError(f"{len(groups)} groups of {len(rows)} images")
            self.image_groups = None if groups is None else number_groups(list(map(str, groups)))
            digests = [str(metadata["sha256"].get(split)) for split in SPLITS]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Net2VecError(
                f"{path} is not as net2vec_jax writes it ({type(error).__name__}: {error}); "
                "prepare the dataset again"
            ) from error
        self.image_names = tuple(name for name, _ in rows)
        self.is_val = np.array([split == VAL for _, split in rows])
        self._records = records
        self._places = self._find_places(path, rows)
        self._known = np.zeros(LARGEST_NUMBER + 1, bool)
        self._known[[0, *self.catalog.by_number]] = True
        used = tuple(dict.fromkeys(split for _, split in rows))
        self.fingerprint = records.fingerprint(used, FORMAT, self.source_fingerprint, digests)

    def source_files(self) -> Iterator[Path]:
        """The files that all else is read from."""
        return self._records.source_files()

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB; grey images are repeated over the channels (behaviour 2.1).

        Raises:
          Net2VecError: the record is damaged, or the image not of the dataset's size.
        """
        where = f"{self.directory}: image {self.image_names[index]}"
        image = self._read(index)["image"]
        return read_image(image, self.image_size, source="metadata.json", where=where)

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`.

        Raises:
          Net2VecError: the record is damaged, a plane is of the wrong size or type, or a concept
            number or a category is unknown.
        """
        record, name = self._read(index), self.image_names[index]
        encoded: dict[str, list[np.ndarray]] = {}
        cells = record["planes"]
        for category, plane in zip(cells["category"], cells["plane"], strict=True):
            category = self._category(category, name)
            order = len(encoded.setdefault(category, [])) + 1
            where = f"{self.directory}: {name}, plane {order} of category {category}"
            pixels = read_label_plane(
                plane, self.segmentation_size, source="metadata.json", where=where
            )
            if not self._known[pixels].all():
                unknown = int(pixels[~self._known[pixels]][0])
                raise Net2VecError(f"{where}: concept number {unknown} is not in metadata.json")
            encoded[category].append(pixels)
        whole: dict[str, list[int]] = {}
        cells = record["numbers"]
        for category, number in zip(cells["category"], cells["number"], strict=True):
            category = self._category(category, name)
            if int(number) and int(number) not in self.catalog.by_number:
                raise Net2VecError(
                    f"{self.directory}: {name}, category {category}: concept number {number} is "
                    "not in metadata.json"
                )
            whole.setdefault(category, []).append(int(number))
        return ImageLabels(
            {c: np.stack(encoded[c]) for c in self.categories if c in encoded},
            {c: tuple(whole[c]) for c in self.categories if c in whole},
        )

    def _category(self, encoded: bytes, name: str) -> str:
        category = encoded.decode("utf-8", "replace")
        if category not in self.categories:
            raise Net2VecError(
                f"{self.directory}: {name} has a label of category {category!r}, which is not in "
                "metadata.json"
            )
        return category

    def _read(self, index: int) -> Mapping[str, Any]:
        split, position = self._places[index]
        record = self._records.read(split, position)
        found = record["name"].decode("utf-8", "replace")
        if found != self.image_names[index]:
            raise Net2VecError(
                f"{self.directory}: record {position} of split {split!r} is {found}, but "
                f"metadata.json says {self.image_names[index]}; prepare the dataset again"
            )
        return record

    def _find_places(self, path: Path, rows: list[tuple[str, str]]) -> list[tuple[str, int]]:
        """(split, position within it) of every image; checks that the splits are as listed."""
        if not rows:
            raise Net2VecError(f"{path} lists no image")
        if len({name for name, _ in rows}) != len(rows):
            raise Net2VecError(f"{path} lists an image twice")
        places, counts = [], collections.Counter()
        for _, split in rows:
            if split not in SPLITS:
                raise Net2VecError(f"{path}: split is {split!r}; it must be train or val")
            places.append((split, counts[split]))
            counts[split] += 1
        for split, count in counts.items():
            stored = self._records.open_split(split)
            if stored != count:
                raise Net2VecError(
                    f"{path} lists {count} images of split {split!r}, but {stored} are stored; "
                    "prepare the dataset again"
                )
        return places


def catalog_to_metadata(catalog: ConceptCatalog) -> list[list[Any]]:
    """[number, name, [[category, images] …], primary category] of every concept."""
    return [
        [c.number, c.name, [list(pair) for pair in c.categories.items()], c.primary_category]
        for c in catalog
    ]


def catalog_from_metadata(rows: list[list[Any]]) -> ConceptCatalog:
    """The catalog that `catalog_to_metadata` was given.

    Raises:
      ValueError: the rows are malformed; Net2VecError is one.
    """
    concepts = []
    for number, name, categories, primary in rows:
        counts = {str(category): int(images) for category, images in categories}
        if not isinstance(number, int) or number > LARGEST_NUMBER:
            raise ValueError(f"concept number {number!r}")
        concepts.append(Concept(number, str(name), counts, str(primary)))
    return ConceptCatalog.of(concepts)


def _pair(values: list[int]) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    if min(first, second) < 1:
        raise ValueError(f"sizes must be positive, not {values}")
    return first, second


def _load_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Net2VecError(
            f"{path} is missing: this dataset was not written by net2vec_jax"
        ) from error
    except (OSError, ValueError) as error:
        raise Net2VecError(f"{path} cannot be read: {error}") from error
    version = metadata.get("net2vec_format") if isinstance(metadata, dict) else None
    if version != FORMAT:
        raise Net2VecError(
            f"{path}: net2vec_format is {version!r}, and this version of net2vec_jax reads {FORMAT}"
        )
    return metadata
