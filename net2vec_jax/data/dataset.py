"""What a dataset of labelled images is to the rest of the package.

N images of H × W pixels; labels on a segmentation grid Y × X (half the image size in Broden).
"""

from __future__ import annotations

import collections
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from net2vec_jax.core.errors import list_names
from net2vec_jax.data.concepts import ConceptCatalog

TRAIN, VAL = "train", "val"
SPLITS = (TRAIN, VAL)
Split = Literal["train", "val", "all"]
"""Which images of a dataset are meant: those of a split, or of both."""

PIECE_SECONDS = 0.02
"""How long a thread of `map_in_order` is busy with what it is given at once."""
MOST_ITEMS = 32
"""Of a thread at once, however fast they are computed: their results are held."""

T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class ImageLabels:
    """The concepts marked on one image.

    Attributes:
      planes: category → int32 array [D planes, Y, X] of concept numbers, 0 = unlabelled.
      whole_image: category → concept numbers that hold for the whole image. A category may be in
        both; a category in neither has no data for this image. Number 0 is no concept, but data.
      remarks: what was assumed while reading this image's files, see `gather_remarks`.
      hints: likewise, but worth saying only if some concept is on no image.
    """

    planes: Mapping[str, np.ndarray]
    whole_image: Mapping[str, tuple[int, ...]]
    remarks: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """One image with its labels, as a writer takes it.

    Attributes:
      name: path below the images folder, for example "scenes/00012.jpg".
      split: "train" or "val".
      image: uint8 [H, W, 3], RGB.
      labels: the concepts marked on it.
      group: what film, patient or place it is of; of all images of a dataset or of none.
    """

    name: str
    split: str
    image: np.ndarray
    labels: ImageLabels
    group: str | None = None


@runtime_checkable
class ConceptDataset(Protocol):
    """Random access to images and to the concepts marked on them.

    Decoded images and masks are kept on disk (`net2vec_jax.data.cache`) of a dataset that also has
    `source_files() -> Iterator[Path]`, all files it is read from; they lie in its `directory`, a
    path, if it has one. A dataset may have `notices`, lines that say what was assumed when it was
    opened and how to say otherwise, and `skipped_annotations`, identity → why. It may have
    `image_groups`, int32 [N]: of each image the number of its group, 0 … G − 1 in the order of
    first appearance, where frames of one film, say, are not independent; None means that all are.

    Attributes:
      name: what the dataset is called in results.
      catalog: its concepts.
      categories: its categories, in the order of its index.
      image_names: N names, unique, for messages.
      is_val: bool [N]; True for the images of the val split.
      segmentation_size: (Y, X) of the label planes.
      fingerprint: hexadecimal digest that changes when the index or a label table changes.
    """

    name: str
    catalog: ConceptCatalog
    categories: tuple[str, ...]
    image_names: tuple[str, ...]
    is_val: np.ndarray
    segmentation_size: tuple[int, int]
    fingerprint: str

    def __repr__(self) -> str:
        val = int(np.count_nonzero(self.is_val))
        groups = getattr(self, "image_groups", None)
        in_groups = "" if groups is None else f" in {len(np.unique(groups)):,} groups"
        return (
            f"{type(self).__name__}({self.name}: {len(self) - val:,} train and {val:,} val "
            f"images{in_groups}, {len(self.catalog):,} concepts)"
        )

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.image_names)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        ...

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`."""
        ...


class DatasetView(ConceptDataset):
    """A `ConceptDataset` that gives what another one gives; a subclass changes some of it.

    Attributes: all that the other one has, also those that only some datasets have.
    """

    name: str
    catalog: ConceptCatalog
    categories: tuple[str, ...]
    image_names: tuple[str, ...]
    is_val: np.ndarray
    segmentation_size: tuple[int, int]
    fingerprint: str

    def __init__(self, dataset: ConceptDataset) -> None:
        """View all of `dataset`."""
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not set yet, as when a copy is made
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        return self._dataset.image(index)

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`."""
        return self._dataset.labels(index)


def gather_remarks(remarks: Iterable[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """One notice per remark on images, for all images that have it.

    Args:
      remarks: (image, its remarks); a remark is a sentence in which {count} and {images} stand for
        how many images have it and which: "masks hold 255 ({count}: {images}): …".

    Returns:
      The notices, in the order in which their remarks first occur.
    """
    images: dict[str, list[str]] = {}
    for image, some in remarks:
        for remark in some:
            images.setdefault(remark, []).append(image)
    return tuple(
        remark.replace("{count}", f"{len(names):,}").replace("{images}", list_names(names))
        for remark, names in images.items()
    )


def map_in_order(
    function: Callable[[T], R], items: Iterable[T], *, workers: int | None = None
) -> Iterator[R]:
    """`function` of every item, computed in threads, yielded in the order of the items.

    Only a few results per worker are held at a time, so that decoding ahead of a slow consumer
    needs bounded memory. The first exception of an item is raised where its result is due.

    To hand a small image to a thread takes about as long as to decode it. Of a sequence, a thread
    therefore gets as many items at once as take `PIECE_SECONDS`, which of large images is one.

    Args:
      function: applied to each item; decoding with Pillow releases the interpreter lock.
      items: what to apply it to, a few ahead of the results; taken one by one if it is no sequence.
      workers: number of threads; by default one per core and at most 16.

    Yields:
      One result per item.
    """
    workers = workers or min(16, os.cpu_count() or 1)

    def compute(piece: list[T]) -> tuple[list[R], Exception | None, float]:
        start, results = time.perf_counter(), []
        for item in piece:
            try:
                results.append(function(item))
            except Exception as error:
                return results, error, 0.0
        return results, None, (time.perf_counter() - start) / len(piece)

    most = MOST_ITEMS if isinstance(items, Sequence) else 1
    rest, length = iter(items), 1
    with ThreadPoolExecutor(workers) as executor:
        waiting: collections.deque[Future] = collections.deque()
        try:
            while True:
                while len(waiting) < 4 * workers and (piece := list(islice(rest, length))):
                    waiting.append(executor.submit(compute, piece))
                if not waiting:
                    return
                results, error, seconds = waiting.popleft().result()
                yield from results
                if error is not None:
                    raise error
                length = max(1, min(most, round(PIECE_SECONDS / max(seconds, 1e-6))))
        finally:
            for future in waiting:
                future.cancel()
