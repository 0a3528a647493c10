"""Data of Broden's size with Broden's statistics, in packed form, without Broden.

63,305 images and 1,197 concepts in six categories; as many images per concept as in Broden on
average, spread log-normally within a category. Binary activations are those of AlexNet's conv5: 256
filters on 13 × 13 positions, 0.5 % active, on some images more than on others. Masks are boxes on
113 × 113 pixels; of scenes and textures whole images. What is learned from it means nothing: it is
for measuring time and memory. N images, K filters, P (concept, image) pairs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.masks import ConceptMasks

BRODEN_IMAGES = 63_305
TRAIN_SHARE = 0.7
AT_ONCE = 4096
"""Images or pairs drawn at a time."""


@dataclasses.dataclass(frozen=True)
class CategorySize:
    """A category of Broden.

    Attributes:
      category: its name.
      concepts: how many there are.
      images: mean number of images of a concept.
      spread: standard deviation of the logarithm of that number.
      whole_image: its masks are whole images.
    """

    category: str
    concepts: int
    images: float
    spread: float
    whole_image: bool = False


BRODEN_CATEGORIES = (
    CategorySize("color", 11, 59_250, 0.05),
    CategorySize("part", 234, 854, 1.0),
    CategorySize("object", 406, 491, 1.0),
    CategorySize("material", 31, 1_703, 1.0),
    CategorySize("texture", 47, 140, 0.2, whole_image=True),
    CategorySize("scene", 468, 38, 1.0, whole_image=True),
)
"""Means as in the published dataset (1,197 concepts); the spreads are round numbers."""


@dataclasses.dataclass(frozen=True)
class ProblemSize:
    """How large a problem is.

    Attributes:
      images: N; the concepts' images shrink with it.
      filters: K.
      density: share of the activations that are active.
      concept_share: share of each category's concepts that are kept, at least one.
      grid: (h, w) of the activations.
      segmentation_size: (Y, X) of the masks.
    """

    images: int = BRODEN_IMAGES
    filters: int = 256
    density: float = 0.005
    concept_share: float = 1.0
    grid: tuple[int, int] = (13, 13)
    segmentation_size: tuple[int, int] = (113, 113)

    def __post_init__(self) -> None:
        if self.images < 20 or self.filters < 1:
            raise Net2VecError(f"{self.images} images, {self.filters} filters: too few")
        if not (0 < self.density < 1 and 0 < self.concept_share <= 1):
            raise Net2VecError("density and concept share must lie between 0 and 1")


def draw_problem(size: ProblemSize, seed: int = 0) -> tuple[BinaryActivations, ConceptMasks]:
    """Binary activations and masks of this size; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return draw_activations(rng, size), draw_masks(rng, size)


def draw_activations(rng: np.random.Generator, size: ProblemSize) -> BinaryActivations:
    """Active entries at random places; their number per image is spread log-normally by 0.3."""
    places = size.grid[0] * size.grid[1]
    mean = size.density * places * size.filters
    count = rng.poisson(mean * np.exp(rng.normal(-0.045, 0.3, size.images)))
    packed = np.zeros((size.images, places, -(-size.filters // 8)), np.uint8)
    for start in range(0, size.images, AT_ONCE):
        part = packed[start : start + AT_ONCE]
        image = np.repeat(np.arange(len(part)), count[start : start + AT_ONCE])
        place = rng.integers(0, places, len(image))
        filter_ = rng.integers(0, size.filters, len(image))
        bit = np.uint8(1) << (filter_ % 8).astype(np.uint8)
        np.bitwise_or.at(part, (image, place, filter_ // 8), bit)
    return BinaryActivations(packed, size.grid, size.filters)


def draw_masks(rng: np.random.Generator, size: ProblemSize) -> ConceptMasks:
    """A mask for every concept on each of its images; train images come first, as in Broden."""
    concepts, images = [], []
    for category in BRODEN_CATEGORIES:
        kept = max(1, round(category.concepts * size.concept_share))
        for count in _draw_counts(rng, category, kept, size.images):
            number = len(concepts) + 1
            name = f"{category.category} {number}"
            concepts.append(Concept(number, name, {category.category: count}, category.category))
            images.append(np.sort(rng.choice(size.images, count, replace=False, shuffle=False)))
    catalog = ConceptCatalog(tuple(concepts))
    per_concept = [len(each) for each in images]
    whole_category = {each.category: each.whole_image for each in BRODEN_CATEGORIES}
    whole = np.repeat([whole_category[each.primary_category] for each in concepts], per_concept)
    packed = _draw_boxes(rng, whole, size.segmentation_size)
    masks = ConceptMasks(
        catalog=catalog,
        is_val=np.arange(size.images) >= round(TRAIN_SHARE * size.images),
        pair_concept=np.repeat(np.arange(len(concepts), dtype=np.int32), per_concept),
        pair_image=np.concatenate(images).astype(np.int32),
        packed=packed,
        pixels=np.zeros(len(whole), np.int32),
        whole_image=whole,
        segmentation_size=size.segmentation_size,
        category_choice="union",
    )
    return dataclasses.replace(masks, pixels=masks.area.astype(np.int32))


def _draw_counts(
    rng: np.random.Generator, category: CategorySize, concepts: int, images: int
) -> list[int]:
    """Images of each concept: log-normal, with the category's mean, at least 10."""
    drawn = np.exp(rng.normal(0, category.spread, concepts))
    mean = category.images * images / BRODEN_IMAGES
    counts = np.round(drawn * mean / drawn.mean()).astype(int)
    return np.clip(counts, min(10, images), images).tolist()


def _draw_boxes(
    rng: np.random.Generator, whole: np.ndarray, segmentation_size: tuple[int, int]
) -> UInt8[np.ndarray, "P bytes X"]:
    """Packed masks: a box with sides of 5 to 60 % of the image, or the whole image."""
    height, width = segmentation_size
    packed = np.empty((len(whole), -(-height // 8), width), np.uint8)
    for start in range(0, len(whole), AT_ONCE):
        part = whole[start : start + AT_ONCE]
        spans = []
        for size in (height, width):
            length = np.where(part, size, (rng.uniform(0.05, 0.6, len(part)) * size).astype(int))
            first = (rng.random(len(part)) * (size - length + 1)).astype(int)
            place = np.arange(size)[None]
            spans.append((place >= first[:, None]) & (place < (first + length)[:, None]))
        rows = np.packbits(spans[0], axis=1, bitorder="little")
        columns = np.where(spans[1], 255, 0).astype(np.uint8)
        packed[start : start + AT_ONCE] = rows[:, :, None] & columns[:, None, :]
    return packed
