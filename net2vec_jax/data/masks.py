"""The ground truth of every (concept, image) pair, bit-packed (reference spec 5.3, 5.4).

P pairs, sorted by concept, then image; a pair exists where the concept is marked on the image.
Masks are packed down the columns: uint8 [P, ceil(Y / 8), X], bit s of byte (j, x) is pixel
(8j + s, x). Unpacking is then a broadcast shift along contiguous rows, which vectorizes everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from tqdm import tqdm

from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, map_in_order
from net2vec_jax.data.python2 import dictionary_order
from net2vec_jax.errors import Net2VecError

CategoryChoice = Literal["union", "containing", "first_available"]
"""Which categories of an image give a concept its mask, see `collect_concept_masks`."""

MASKS_AT_ONCE = 2**16
"""Masks whose pixels are counted at a time: Broden's all at once would take gigabytes."""


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptMasks:
    """Masks of C concepts on N images, P pairs.

    Attributes:
      catalog: the C concepts.
      is_val: bool [N], True for images of the val split.
      pair_concept: int32 [P], position in the catalog, ascending.
      pair_image: int32 [P], image index, ascending within a concept.
      packed: uint8 [P, ceil(Y / 8), X], bits of the masks; a pair's mask may be empty.
      pixels: int32 [P], marked pixels as α counts them: equal to the mask's area, or summed over
        the planes of the category (spec B-3).
      whole_image: bool [P], the mask is the whole image because a whole-image label made it so.
      segmentation_size: (Y, X).
      category_choice: how the masks were made.
    """

    catalog: ConceptCatalog
    is_val: np.ndarray
    pair_concept: np.ndarray
    pair_image: np.ndarray
    packed: np.ndarray
    pixels: np.ndarray
    whole_image: np.ndarray
    segmentation_size: tuple[int, int]
    category_choice: CategoryChoice

    @property
    def pair_is_val(self) -> np.ndarray:
        """bool [P], True for pairs whose image is in the val split."""
        return self.is_val[self.pair_image]

    def unpack(self, pairs: np.ndarray | slice) -> np.ndarray:
        """bool [len(pairs), Y, X]: the masks of these pairs."""
        rows = self.segmentation_size[0]
        bits = np.unpackbits(self.packed[pairs], axis=-2, count=rows, bitorder="little")
        return bits.astype(bool)

    @cached_property
    def area(self) -> np.ndarray:
        """Pixels of each mask, int64 [P]."""
        parts = [
            np.bitwise_count(self.packed[start : start + MASKS_AT_ONCE]).sum((1, 2), np.int64)
            for start in range(0, len(self.packed), MASKS_AT_ONCE)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def count_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Images per concept, (train int64 [C], val int64 [C])."""
        counts = np.zeros((2, len(self.catalog)), np.int64)
        np.add.at(counts, (self.pair_is_val.astype(int), self.pair_concept), 1)
        return counts[0], counts[1]

    def train_coverage(self) -> np.ndarray:
        """Mean fraction of marked pixels over the train images of each concept, float64 [C].

        α = 1 − train_coverage (spec 5.4); NaN for a concept without train images.
        """
        height, width = self.segmentation_size
        train = ~self.pair_is_val
        concept, size = self.pair_concept[train], len(self.catalog)
        fraction = self.pixels[train] / (height * width)
        total = np.bincount(concept, weights=fraction, minlength=size)
        count = np.bincount(concept, minlength=size)
        return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)

    def select(self, catalog: ConceptCatalog) -> ConceptMasks:
        """The same masks for the concepts of `catalog` only, a part of this catalog."""
        position = {concept.number: place for place, concept in enumerate(catalog)}
        mapping = np.array([position.get(c.number, -1) for c in self.catalog], np.int32)
        kept = mapping[self.pair_concept] >= 0
        return dataclasses.replace(
            self,
            catalog=catalog,
            pair_concept=mapping[self.pair_concept[kept]],
            pair_image=self.pair_image[kept],
            packed=self.packed[kept],
            pixels=self.pixels[kept],
            whole_image=self.whole_image[kept],
        )


def collect_concept_masks(
    dataset: ConceptDataset,
    *,
    category_choice: CategoryChoice = "union",
    workers: int | None = None,
    progress: bool = False,
) -> ConceptMasks:
    """Decode the labels of all images once and pack a mask for every (concept, image) pair.

    Args:
      dataset: N images with their labels.
      category_choice: which of a concept's categories give the mask on an image:
        "union": all in which it is marked there (DESIGN's default, fixes spec B-2);
        "containing": the first, in the reference's order, in which it is marked there;
        "first_available": the first, in the reference's order, that has any data there, though
          the concept may not be in it; a whole-image category then marks every pixel (spec Q-7).
      workers: decoding threads.
      progress: show a progress bar.

    Returns:
      Masks of all concepts of the catalog.

    Raises:
      Net2VecError: a label file is missing, damaged or holds unknown numbers.
    """
    if category_choice not in ("union", "containing", "first_available"):
        raise Net2VecError(f"category choice {category_choice!r} is none of those there are")
    position = {concept.number: place for place, concept in enumerate(dataset.catalog)}
    order = {c.number: dictionary_order(tuple(c.categories)) for c in dataset.catalog}

    def pack(index: int) -> list[tuple[int, int, bool, np.ndarray]]:
        labels = dataset.labels(index)
        found = []
        for number in _marked_numbers(labels):
            if number in position:
                categories = _choose_categories(labels, number, order[number], category_choice)
                mask, pixels, whole = _mask_of(labels, number, categories, dataset)
                packed = np.packbits(mask, axis=-2, bitorder="little")
                found.append((position[number], pixels, whole, packed))
        return found

    pairs = []
    decoded = map_in_order(pack, range(len(dataset)), workers=workers)
    bar = tqdm(
        decoded, "labels", len(dataset), unit="image", disable=not progress, leave=False, delay=1
    )
    for image, found in enumerate(bar):
        pairs.extend((place, image, *rest) for place, *rest in found)
    pairs.sort(key=lambda pair: pair[:2])
    height, width = dataset.segmentation_size
    packed = np.empty((len(pairs), -(-height // 8), width), np.uint8)
    for row, pair in enumerate(pairs):
        packed[row] = pair[4]
    columns = list(zip(*(pair[:4] for pair in pairs), strict=True)) or [[], [], [], []]
    return ConceptMasks(
        catalog=dataset.catalog,
        is_val=np.asarray(dataset.is_val),
        pair_concept=np.array(columns[0], np.int32),
        pair_image=np.array(columns[1], np.int32),
        packed=packed,
        pixels=np.array(columns[2], np.int32),
        whole_image=np.array(columns[3], bool),
        segmentation_size=(height, width),
        category_choice=category_choice,
    )


def _marked_numbers(labels: ImageLabels) -> list[int]:
    """The concept numbers anywhere on the image, in any category (spec 1.9), ascending."""
    numbers = {number for listed in labels.whole_image.values() for number in listed}
    for planes in labels.planes.values():
        numbers.update(np.flatnonzero(np.bincount(planes.ravel())).tolist())
    return sorted(numbers - {0})


def _choose_categories(
    labels: ImageLabels, number: int, ordered: Sequence[str], choice: CategoryChoice
) -> tuple[str, ...]:
    if choice == "first_available":
        with_data = [c for c in ordered if c in labels.planes or c in labels.whole_image]
        return tuple(with_data[:1])
    containing = [
        category
        for category in ordered
        if number in labels.whole_image.get(category, ())
        or (category in labels.planes and (labels.planes[category] == number).any())
    ]
    return tuple(containing if choice == "union" else containing[:1])


def _mask_of(
    labels: ImageLabels, number: int, categories: Sequence[str], dataset: ConceptDataset
) -> tuple[np.ndarray, int, bool]:
    """Mask bool [Y, X], pixels as α counts them, and whether a whole-image label filled it.

    In one category, planes and numbers of a cell are layers: a number is a full layer (spec 1.6).
    Over several categories (union) a pixel counts once, so that α stays a coverage.
    """
    mask = np.zeros(dataset.segmentation_size, bool)
    pixels, whole = 0, False
    for category in categories:
        if category in labels.planes:
            layers = labels.planes[category] == number
            mask |= layers.any(axis=0)
            pixels += int(layers.sum())
            if number in labels.whole_image.get(category, ()):
                whole = True
                pixels += mask.size
        else:  # only whole-image labels: every pixel, whichever they are (spec 5.3)
            whole = True
            pixels += mask.size
    if whole:
        mask[:] = True
    return mask, pixels if len(categories) == 1 else int(mask.sum()), whole
