"""What a Broden directory must count to if it is complete and read right (reference behaviour 1,
9).

Rows and labels count the same at every resolution, and so do images of whole-image labels. Pixels
were published of 683 labels at 224, on label planes of 112 × 112 (pixels.csv), and of 31 of
them at 227, on 113 × 113. The masks of 384 are the same annotations at another size, so there the
pixels of these 31 are expected in proportion. A label's pixels are summed over all its categories
and planes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.data.tables import read_table

RESOLUTIONS = (224, 227, 384)
"""S of the published archives: images of S × S, label planes of floor(S / 2) (behaviour 1.1)."""

MOST_DESCRIBED = 50
"""Differences that one message names."""


class PublishedPixels(NamedTuple):
    """How many pixels a label marks, and how far the number may be off, relative."""

    pixels: int
    tolerance: float = 0.0


@dataclasses.dataclass(frozen=True)
class ExpectedCounts:
    """What is counted, and how exactly it must agree.

    Attributes:
      images: rows of index.csv with data.
      labels: concepts of label.csv.
      masked_labels: those whose primary category marks pixels, not whole images (behaviour 1.8).
      numbers: label numbers by name.
      whole_images: images by name of the labels that hold for whole images only.
      pixels: marked pixels by name of other labels, exact on planes of `plane_size`.
      plane_size: (Y, X).
      other_sizes: (Y, X) → by name, pixels that were published at that size.
      scaled_tolerance: where label planes are of a size that nothing was published of: of the
        labels of `other_sizes`, relative to `pixels` in proportion.
      train_share: of the images, within `train_share_tolerance` (behaviour 1.7: a split by hash).
      train_share_tolerance: absolute.
    """

    images: int
    labels: int
    masked_labels: int
    numbers: Mapping[str, int]
    whole_images: Mapping[str, int]
    pixels: Mapping[str, int]
    plane_size: tuple[int, int] = (112, 112)
    other_sizes: Mapping[tuple[int, int], Mapping[str, PublishedPixels]] = dataclasses.field(
        default_factory=dict
    )
    scaled_tolerance: float = 0.02
    train_share: float = 0.7
    train_share_tolerance: float = 0.01


@functools.cache
def published_counts() -> ExpectedCounts:
    """Read what the published Broden counts to (behaviour 1.4, 1.6, 1.8, 9.1, 9.2).

    `pixels.csv` beside this module has number, name, and pixels at 112 × 112 or images of a
    whole-image label, from the results that users of NetDissect published; and of some labels
    pixels at 113 × 113, where tallies other than of colours were capped: hence a tolerance.
    """
    _, table = read_table(Path(__file__).with_name("pixels.csv"), ("number", "name", "images"))
    rows = [row for _, row in table]
    return ExpectedCounts(
        images=63305,
        labels=1197,
        masked_labels=682,
        numbers={row["name"]: int(row["number"]) for row in rows},
        whole_images={row["name"]: int(row["images"]) for row in rows if row["images"]},
        pixels={row["name"]: int(row["pixels"]) for row in rows if row["pixels"]},
        other_sizes={
            (113, 113): {
                row["name"]: PublishedPixels(int(row["pixels_113"]), float(row["tolerance_113"]))
                for row in rows
                if row["pixels_113"]
            }
        },
    )


@dataclasses.dataclass(frozen=True)
class CountCheck:
    """One thing counted.

    Attributes:
      name: what, such as "pixels of dog".
      expected: how many there must be.
      found: how many there are.
      tolerance: by how many the two may differ.
    """

    name: str
    expected: int
    found: int
    tolerance: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.found - self.expected) <= self.tolerance

    def __str__(self) -> str:
        about = f" (± {self.tolerance})" if self.tolerance else ""
        return f"{self.name}: {self.expected}{about} expected, {self.found} found"


def count_label_pixels(dataset: ConceptDataset, *, progress: bool = False) -> np.ndarray:
    """Marked pixels per label number, summed over images, categories and planes.

    Args:
      dataset: N images with their labels.
      progress: whether a bar is shown.

    Returns:
      int64 [largest number + 1]; a whole-image label counts Y·X. Number 0 is not counted.

    Raises:
      Net2VecError: a label file is missing, damaged or holds unknown numbers.
    """
    size = dataset.catalog.largest_number + 1
    plane_pixels = int(np.prod(dataset.segmentation_size))

    def count(index: int) -> np.ndarray:
        labels = dataset.labels(index)
        counts = np.zeros(size, np.int64)
        for planes in labels.planes.values():
            counts += np.bincount(planes.ravel(), minlength=size)[:size]
        for numbers in labels.whole_image.values():
            for number in numbers:
                counts[number] += plane_pixels
        return counts

    total = np.zeros(size, np.int64)
    counted = map_in_order(count, range(len(dataset)))
    name = "labels" if progress else None
    for counts in track(counted, name, unit="image", total=len(dataset)):
        total += counts
    total[0] = 0
    return total


def check_tables(
    dataset: ConceptDataset, resolution: int, expected: ExpectedCounts, image_size: tuple[int, int]
) -> list[CountCheck]:
    """What the tables say: sizes, rows, labels and their numbers.

    Args:
      dataset: the whole Broden, all categories.
      resolution: S.
      expected: what it must count to.
      image_size: (H, W) of the images.
    """
    side = resolution // 2
    sizes = zip(
        ("image height", "image width", "label plane height", "label plane width"),
        (resolution, resolution, side, side),
        (*image_size, *dataset.segmentation_size),
        strict=True,
    )
    images = expected.images
    masked = [c for c in dataset.catalog if c.primary_category not in WHOLE_IMAGE_CATEGORIES]
    found = {concept.name: concept.number for concept in dataset.catalog}
    numbers = [
        CountCheck(f"label number of {name}", number, found.get(name, 0))
        for name, number in expected.numbers.items()
    ]
    return [
        *(CountCheck(*size) for size in sizes),
        CountCheck("images", images, len(dataset)),
        CountCheck(
            "train images",
            round(images * expected.train_share),
            int((~dataset.is_val).sum()),
            round(images * expected.train_share_tolerance),
        ),
        CountCheck("labels", expected.labels, len(dataset.catalog)),
        CountCheck("labels that mark pixels", expected.masked_labels, len(masked)),
        CountCheck("label numbers", len(numbers), sum(check.agrees for check in numbers)),
        *(check for check in numbers if not check.agrees),
    ]


def check_pixels(
    dataset: ConceptDataset, expected: ExpectedCounts, pixels: np.ndarray
) -> list[CountCheck]:
    """Marked pixels of the labels that were published.

    Args:
      dataset: the whole Broden, all categories.
      expected: what it must count to.
      pixels: int64 [label number], as `count_label_pixels` counts them.
    """
    found = {concept.name: int(pixels[concept.number]) for concept in dataset.catalog}
    size = dataset.segmentation_size
    area = size[0] * size[1]
    if size == expected.plane_size:
        published = {name: PublishedPixels(count) for name, count in expected.pixels.items()}
    elif size in expected.other_sizes:
        published = expected.other_sizes[size]
    else:
        scale = area / (expected.plane_size[0] * expected.plane_size[1])
        names = {name for labels in expected.other_sizes.values() for name in labels}
        published = {
            name: PublishedPixels(round(count * scale), expected.scaled_tolerance)
            for name, count in expected.pixels.items()
            if name in names
        }
    counts = [(n, each.pixels, int(each.pixels * each.tolerance)) for n, each in published.items()]
    counts += [(name, images * area, 0) for name, images in expected.whole_images.items()]
    return [
        CountCheck(f"pixels of {name}", count, found.get(name, 0), tolerance)
        for name, count, tolerance in counts
    ]


def describe_differences(checks: Sequence[CountCheck]) -> str:
    """Those that do not agree, in one line, of many the first; empty if all do."""
    differences = [str(check) for check in checks if not check.agrees]
    more = len(differences) - MOST_DESCRIBED
    return "; ".join(differences[:MOST_DESCRIBED]) + (f"; and {more} more" if more > 0 else "")


def check_published_resolution(resolution: int) -> None:
    """Refuse a resolution that was not published.

    Raises:
      Net2VecError: it was not.
    """
    if resolution not in RESOLUTIONS:
        raise Net2VecError(
            f"Broden was published at {', '.join(map(str, RESOLUTIONS))} pixels, not {resolution}"
        )
