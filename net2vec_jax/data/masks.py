"""The ground truth of every (concept, image) pair, bit-packed (reference behaviour 5.3, 5.4).

P pairs, sorted by concept, then image; a pair exists where the concept is marked on the image.
Masks are packed down the columns: uint8 [P, ceil(Y / 8), X], bit s of byte (j, x) is pixel
(8j + s, x). Unpacking is then a broadcast shift along contiguous rows, which vectorizes everywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Literal

import jax
import numpy as np

from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, gather_remarks, map_in_order
from net2vec_jax.data.python2 import dictionary_order

SMALL_PLANE = 128**2
"""Planes of at most so many pixels are decoded by one thread: several wait for each other's Python.

Two threads took 0.40 ms for a plane of 112² pixels where one took 0.36, and 0.70 for one of 224²
where one took 0.99.
"""
CategoryChoice = Literal["union", "containing", "first_available"]
"""Which categories of an image give a concept its mask, see `collect_concept_masks`."""

MASKS_AT_ONCE = 2**16
"""Masks whose pixels are counted at a time: Broden's all at once would take gigabytes."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        *("is_val", "pair_concept", "pair_image", "packed", "pixels", "whole_image"),
        "image_groups",
    ],
    meta_fields=["catalog", "segmentation_size", "category_choice", "notices"],
)
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
        the planes of the category (behaviour B-3).
      whole_image: bool [P], the mask is the whole image because a whole-image label made it so.
      segmentation_size: (Y, X).
      category_choice: how the masks were made.
      notices: what was assumed while the labels were read, and how to say otherwise.
      image_groups: int32 [N], group of each image, see `ConceptDataset`; None where none is given.
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
    notices: tuple[str, ...] = ()
    image_groups: np.ndarray | None = None

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

    def find_missing(self) -> dict[str, str]:
        """Concepts that are not in both splits, and why, see `find_missing`."""
        return find_missing([concept.name for concept in self.catalog], *self.count_images())

    def train_coverage(self) -> np.ndarray:
        """Mean fraction of marked pixels over the train images of each concept, float64 [C].

        α = 1 − train_coverage (behaviour 5.4); NaN for a concept without train images.
        """
        height, width = self.segmentation_size
        train = ~self.pair_is_val
        concept, size = self.pair_concept[train], len(self.catalog)
        fraction = self.pixels[train] / (height * width)
        total = np.bincount(concept, weights=fraction, minlength=size)
        count = np.bincount(concept, minlength=size)
        return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)

    def select(self, catalog: ConceptCatalog) -> ConceptMasks:
        """The same masks for the concepts of `catalog` only, a part of this catalog.

        Those of its formulas that are not among these masks are computed from their parts.
        """
        known = self.catalog.by_number
        made = [c for c in catalog if c.formula is not None and c.number not in known]
        if made:
            return self._join(made).select(catalog)
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

    def _join(self, made: Sequence[Concept]) -> ConceptMasks:
        """These masks, and behind them those of formulas, where they mark a pixel."""
        columns = [[self.pair_concept], [self.pair_image], [self.packed], [self.whole_image]]
        for place, concept in enumerate(made, len(self.catalog)):
            assert concept.formula is not None
            used = np.isin(
                self.catalog.numbers[self.pair_concept],
                [number for name in concept.formula.names for number in self.catalog.find(name)],
            )
            image = np.unique(self.pair_image[used])
            packed, whole = (
                concept.formula.evaluate(partial(self._spread, values=values, image=image))
                for values in (self.packed, self.whole_image)
            )
            area = np.bitwise_count(packed).sum((1, 2), np.int64)
            kept, whole = area > 0, whole & (area == math.prod(self.segmentation_size))
            number = np.full(kept.sum(), place, np.int32)
            found = (number, image[kept], packed[kept], whole[kept])
            columns = [[*column, more] for column, more in zip(columns, found, strict=True)]
        pair_concept, pair_image, packed, whole = map(np.concatenate, columns)
        joined = dataclasses.replace(
            self,
            catalog=ConceptCatalog((*self.catalog, *made)),
            pair_concept=pair_concept, pair_image=pair_image, packed=packed, whole_image=whole,
            pixels=np.zeros(len(packed), np.int32),
        )  # fmt: skip
        pixels = joined.area.astype(np.int32)
        pixels[: len(self.pixels)] = self.pixels
        return dataclasses.replace(joined, pixels=pixels)

    def _spread(self, name: str, *, values: np.ndarray, image: np.ndarray) -> np.ndarray:
        """A concept's values on each of these images, 0 where it is absent."""
        spread = np.zeros((len(image), *values.shape[1:]), values.dtype)
        for number in self.catalog.find(name):
            rows = np.flatnonzero(self.catalog.numbers[self.pair_concept] == number)
            spread[np.searchsorted(image, self.pair_image[rows])] |= values[rows]
        return spread

    def select_images(self, images: np.ndarray) -> ConceptMasks:
        """The same masks on these images only, indices [n] in ascending order."""
        place = np.full(len(self.is_val), -1, np.int32)
        place[images] = np.arange(len(images))
        kept = place[self.pair_image] >= 0
        groups = self.image_groups
        return dataclasses.replace(
            self,
            is_val=self.is_val[images],
            pair_concept=self.pair_concept[kept],
            pair_image=place[self.pair_image[kept]],
            packed=self.packed[kept],
            pixels=self.pixels[kept],
            whole_image=self.whole_image[kept],
            image_groups=None if groups is None else groups[images],
        )

    def isolate(self, pairs: np.ndarray) -> ConceptMasks:
        """The masks of these pairs, indices [n], each of a concept of its own on a train image.

        The concepts are numbered from 1 in the order of `pairs`; all images stay.
        """
        image, concepts = self.pair_image[pairs], []
        for number, (place, index) in enumerate(zip(self.pair_concept[pairs], image, strict=True)):
            known = self.catalog.concepts[place]
            name = f"{known.name} on image {index}"
            concepts.append(dataclasses.replace(known, number=number + 1, name=name))
        return dataclasses.replace(
            self,
            catalog=ConceptCatalog(tuple(concepts)), is_val=np.zeros_like(self.is_val),
            pair_concept=np.arange(len(concepts), dtype=np.int32), pair_image=image,
            packed=self.packed[pairs], pixels=self.pixels[pairs],
            whole_image=self.whole_image[pairs],
        )  # fmt: skip

    def unite(self, groups: Sequence[Sequence[int]]) -> ConceptMasks:
        """Masks of unions of concepts, each named after its concepts and of the first's category.

        Args:
          groups: of each union, numbers of concepts of the catalog; one alone stays as it is.

        Returns:
          Masks of as many concepts, numbered from 1; `pixels` are the unions' areas.
        """
        position = {concept.number: place for place, concept in enumerate(self.catalog)}
        concepts, parts = [], []
        for union, numbers in enumerate(groups):
            members = [self.catalog.by_number[number] for number in numbers]
            rows = np.flatnonzero(np.isin(self.pair_concept, [position[n] for n in numbers]))
            rows = rows[np.argsort(self.pair_image[rows], kind="stable")]
            image, first = np.unique(self.pair_image[rows], return_index=True)
            category = members[0].primary_category
            name = " + ".join(member.name for member in members)
            concepts.append(Concept(union + 1, name, {category: len(image)}, category))
            if len(rows):
                packed = np.bitwise_or.reduceat(self.packed[rows], first)
                whole = np.logical_or.reduceat(self.whole_image[rows], first)
                parts.append((np.full(len(image), union, np.int32), image, packed, whole))
        empty = (self.pair_concept[:0], self.pair_image[:0], self.packed[:0], self.whole_image[:0])
        concept, image, packed, whole = map(np.concatenate, zip(empty, *parts, strict=True))
        united = dataclasses.replace(
            self,
            catalog=ConceptCatalog(tuple(concepts)),
            pair_concept=concept, pair_image=image, packed=packed, whole_image=whole,
            pixels=np.zeros(len(concept), np.int32),
        )  # fmt: skip
        return dataclasses.replace(united, pixels=united.area.astype(np.int32))


def find_missing(
    names: Sequence[str], train_images: np.ndarray, val_images: np.ndarray
) -> dict[str, str]:
    """Concepts that are not in both splits, and why: {"dog": "no val image"}.

    Args:
      names: of C concepts.
      train_images: train images with each, [C].
      val_images: val images with each, [C].
    """
    reasons = {(True, False): "no val image", (False, True): "no train image"}
    return {
        name: reasons.get((train > 0, val > 0), "no image")
        for name, train, val in zip(names, train_images, val_images, strict=True)
        if not (train and val)
    }


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
        "union": all in which it is marked there (the default, fixes behaviour B-2);
        "containing": the first, in the reference's order, in which it is marked there;
        "first_available": the first, in the reference's order, that has any data there, though
          the concept may not be in it; a whole-image category then marks every pixel (behaviour
          Q-7).
      workers: decoding threads; by default one per core and at most 16, and one for planes of at
        most `SMALL_PLANE` pixels.
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
    size = height, width = dataset.segmentation_size

    def pack(index: int) -> tuple[list[tuple], ImageLabels]:
        labels = dataset.labels(index)
        marked = {category: _pack_planes(planes) for category, planes in labels.planes.items()}
        numbers = {n for listed in (*marked.values(), *labels.whole_image.values()) for n in listed}
        found = []
        for number in numbers & position.keys():
            given = [c for c in order[number] if c in marked or c in labels.whole_image]
            if category_choice != "first_available":
                given = [
                    c
                    for c in given
                    if number in labels.whole_image.get(c, ()) or number in marked.get(c, ())
                ]
            if category_choice != "union":
                given = given[:1]
            mask = _combine(marked, labels.whole_image, number, given, size)
            found.append((position[number], index, *mask))
        return found, dataclasses.replace(labels, planes={}, whole_image={})

    pairs, remarks, hints = [], [], []
    if height * width <= SMALL_PLANE:
        workers = workers or 1
    decoded = map_in_order(pack, range(len(dataset)), workers=workers)
    bar = track(decoded, "labels" if progress else None, unit="image", total=len(dataset))
    for name, (found, said) in zip(dataset.image_names, bar, strict=True):
        pairs.extend(found)
        remarks.append((name, said.remarks))
        hints.append((name, said.hints))
    if len({pair[0] for pair in pairs}) == len(position):
        hints = []
    pairs.sort(key=lambda pair: pair[:2])
    packed = np.empty((len(pairs), -(-height // 8), width), np.uint8)
    for row, pair in enumerate(pairs):
        packed[row] = pair[4]
    concept, image, pixels, whole = np.array([pair[:4] for pair in pairs], int).reshape(-1, 4).T
    return ConceptMasks(
        catalog=dataset.catalog,
        is_val=np.asarray(dataset.is_val),
        pair_concept=concept.astype(np.int32),
        pair_image=image.astype(np.int32),
        packed=packed,
        pixels=pixels.astype(np.int32),
        whole_image=whole.astype(bool),
        segmentation_size=size,
        category_choice=category_choice,
        notices=gather_remarks(remarks) + gather_remarks(hints),
        image_groups=getattr(dataset, "image_groups", None),
    )


def _pack_planes(planes: np.ndarray) -> dict[int, tuple[np.ndarray, int]]:
    """Of every concept in the planes [D, Y, X] its packed mask and its pixels, summed over planes.

    Packing goes along contiguous rows, hence of the transposed plane: that is what is fast.
    """
    marked: dict[int, tuple[np.ndarray, int]] = {}
    for plane in planes:
        counts = np.bincount(plane.ravel())
        counts[0] = 0
        numbers = np.flatnonzero(counts).astype(plane.dtype)
        equal = np.ascontiguousarray(plane.T) == numbers[:, None, None]  # [n, X, Y]
        height, width = plane.shape
        if height % 8:
            bits = np.packbits(equal, axis=-1, bitorder="little")
        else:  # rows of whole bytes are packed as one
            bits = np.packbits(equal, bitorder="little")
            bits = bits.reshape(len(numbers), width, height // 8)
        bits = bits.transpose(0, 2, 1)
        for number, mask in zip(numbers.tolist(), bits, strict=True):
            pixels = int(counts[number])
            if number in marked:
                mask, pixels = mask | marked[number][0], pixels + marked[number][1]
            marked[number] = mask, pixels
    return marked


@functools.cache
def _pack_all(size: tuple[int, int]) -> np.ndarray:
    """The packed mask of all pixels."""
    mask = np.packbits(np.ones(size, bool), axis=-2, bitorder="little")
    mask.flags.writeable = False
    return mask


def _combine(
    marked: Mapping[str, Mapping[int, tuple[np.ndarray, int]]],
    whole_image: Mapping[str, tuple[int, ...]],
    number: int,
    categories: Sequence[str],
    size: tuple[int, int],
) -> tuple[int, bool, np.ndarray]:
    """Pixels as α counts them, whether a whole-image label filled the mask, the packed mask.

    In one category, planes and numbers of a cell are layers: a number is a full layer (behaviour
    1.6). Over several categories (union) a pixel counts once, so that α stays a coverage.
    """
    # Where a category has only whole-image labels: whichever they are (behaviour 5.3).
    whole = [c for c in categories if c not in marked or number in whole_image.get(c, ())]
    layers = [marked[c][number] for c in categories if number in marked.get(c, ())]
    if whole:
        mask = _pack_all(size)
    elif layers:
        mask = functools.reduce(np.bitwise_or, (bits for bits, _ in layers))
    else:
        mask = np.zeros((-(-size[0] // 8), size[1]), np.uint8)
    if len(categories) > 1:
        return int(np.bitwise_count(mask).sum()), bool(whole), mask
    return len(whole) * math.prod(size) + sum(count for _, count in layers), bool(whole), mask
