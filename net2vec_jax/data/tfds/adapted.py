"""A dataset of TFDS's own, as a `ConceptDataset`, given an adapter that names its concepts.

Images of all sizes become S × S (bilinear, without aliasing), whatever their aspect ratio; class
masks become ⌊S/2⌋ × ⌊S/2⌋ (nearest), as in Broden (reference behaviour 1.1, 1.11).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.dataset import VAL, ConceptDataset, ImageLabels, map_in_order
from net2vec_jax.data.groups import name_group, number_groups, remark_on_groups
from net2vec_jax.data.images.resized import open_image, resize_image
from net2vec_jax.data.tfds.records import TfdsRecords


@dataclasses.dataclass(frozen=True)
class Labelling:
    """The concepts of an opened dataset, and how a record's labels name them.

    Attributes:
      catalog: the concepts. Nobody has counted their images: the counts are 0.
      read_labels: (record, where, segmentation size) → labels.
    """

    catalog: ConceptCatalog
    read_labels: Callable[[Mapping[str, Any], str, tuple[int, int]], ImageLabels]


@dataclasses.dataclass(frozen=True)
class TfdsAdapter:
    """What is to be known of one of TFDS's datasets.

    Attributes:
      splits: TFDS's split → ours; a split that is absent from the data or from here is not used.
      features: the features that are read; the first is the image.
      categories: of its concepts.
      make_labelling: from the opened records, of which all splits are open.
      default_config: which config is meant where none is given.
      version: raised when the same data would give other labels.
    """

    splits: Mapping[str, str]
    features: tuple[str, ...]
    categories: tuple[str, ...]
    make_labelling: Callable[[TfdsRecords, str], Labelling]
    default_config: str | None = None
    version: int = 1


class AdaptedDataset(ConceptDataset):
    """One of TFDS's datasets, as a `ConceptDataset`.

    Images are numbered split by split in the order of the files; TFDS keeps no names that could be
    had without reading everything, so an image is called SPLIT/POSITION, as TFDS counts it.

    Attributes: those of `ConceptDataset`, and
      image_size: (S, S).
      notices: what is to be said of groups.
    """

    def __init__(
        self,
        name: str,
        records: TfdsRecords,
        adapter: TfdsAdapter,
        *,
        resolution: int,
        group: str | None = None,
    ) -> None:
        """Open the splits of `records`.

        Args:
          name: what the dataset is called in results.
          records: the prepared data.
          adapter: for this dataset.
          resolution: S, in pixels.
          group: the feature that names an image's group, text or a number; of all records it is
            read at once.

        Raises:
          Net2VecError: a feature or all splits are missing, or a file is; or an image has no group.
        """
        missing = [feature for feature in adapter.features if feature not in records.features]
        if missing:
            raise Net2VecError(
                f"{records.directory} has no {' and no '.join(missing)}, only "
                f"{', '.join(records.features)}: it is another config or version of the dataset "
                "than the one that is understood"
            )
        used = [split for split in adapter.splits if split in records.splits]
        places = [(split, at) for split in used for at in range(records.open_split(split))]
        if not places:
            raise Net2VecError(
                f"{records.directory} has no images in the splits {', '.join(adapter.splits)}"
            )
        self.name = name
        self.categories = adapter.categories
        self.image_names = tuple(f"{split}/{at:06d}" for split, at in places)
        self.is_val = np.array([adapter.splits[split] == VAL for split, _ in places])
        self.image_size = (resolution, resolution)
        self.segmentation_size = (resolution // 2, resolution // 2)
        self._image_feature = adapter.features[0]
        self._records, self._places = records, places
        self._labelling = adapter.make_labelling(records, used[0])
        self.catalog = self._labelling.catalog
        concepts = [[c.number, c.name] for c in self.catalog]
        more = [] if group is None else [group]
        self.fingerprint = records.fingerprint(
            used, records.file_digest(used), resolution, adapter.version, concepts, *more
        )
        groups = None if group is None else self._read_groups(group)
        self.image_groups = None if groups is None else number_groups(groups)
        self.notices = remark_on_groups(
            self.image_names, groups, self.is_val, remedy="#FEATURE behind the name"
        )

    def source_files(self) -> Iterator[Path]:
        """The files that all else is read from."""
        return self._records.source_files()

    def image(self, index: int) -> np.ndarray:
        """uint8 [S, S, 3], RGB.

        Raises:
          Net2VecError: the record or the image in it is damaged.
        """
        record = self._records.read(*self._places[index])
        where = f"{self._where(index)}, feature {self._image_feature}"
        return resize_image(open_image(record[self._image_feature], where), self.image_size)

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`; planes are [D, ⌊S/2⌋, ⌊S/2⌋].

        Raises:
          Net2VecError: the record is damaged, or holds a class that the dataset has not.
        """
        record = self._records.read(*self._places[index])
        return self._labelling.read_labels(record, self._where(index), self.segmentation_size)

    def _read_groups(self, feature: str) -> list[str]:
        if feature not in self._records.features:
            raise unknown_name_error("feature", feature, self._records.features)

        def read(index: int) -> str:
            value = self._records.read(*self._places[index])[feature]
            return name_group(value, f"{self._where(index)}, feature {feature}")

        return list(map_in_order(read, range(len(self))))

    def _where(self, index: int) -> str:
        return f"{self._records.directory}: {self.image_names[index]}"
