"""What a Broden directory must count to if it is complete and read right (reference spec 1, 9).

Rows and labels count the same at every resolution. Pixels were published at 227, on label planes of
113 × 113; there, colours and whole-image labels are exact. The masks of the other resolutions are
the same annotations at another size, so pixels are expected in proportion, and whole-image labels
exactly. A label's pixels are summed over all its categories and planes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.errors import Net2VecError

RESOLUTIONS = (224, 227, 384)
"""S of the published archives: images of S × S, label planes of floor(S / 2) (spec 1.1)."""


@dataclasses.dataclass(frozen=True)
class ExpectedCounts:
    """What is counted, and how exactly it must agree.

    Attributes:
      images: rows of index.csv with data.
      train_share: of the images, within `train_share_tolerance` (spec 1.7: a split by hash).
      labels: concepts of label.csv.
      masked_labels: those whose primary category marks pixels, not whole images (spec 1.8).
      numbers: label numbers by name (spec 1.10).
      exact_pixels: marked pixels by name, exact at `plane_size`.
      pixels: marked pixels by name, within `pixel_tolerance`; their tallies were capped (spec 9.2).
      whole_images: images by name of a label that holds for whole images.
      plane_size: (Y, X) at which the pixels were counted.
      pixel_tolerance: relative.
      other_size_tolerance: of all pixels, relative, where label planes are of another size.
      train_share_tolerance: absolute.
    """

    images: int
    labels: int
    masked_labels: int
    numbers: Mapping[str, int]
    exact_pixels: Mapping[str, int]
    pixels: Mapping[str, int]
    whole_images: Mapping[str, int]
    train_share: float = 0.7
    plane_size: tuple[int, int] = (113, 113)
    pixel_tolerance: float = 0.001
    other_size_tolerance: float = 0.02
    train_share_tolerance: float = 0.01


BRODEN = ExpectedCounts(
    images=63305,
    labels=1197,
    masked_labels=682,
    numbers={
        "person": 19,
        "chair": 36,
        "car": 38,
        "sofa": 63,
        "dog": 93,
        "cat": 105,
        "bicycle": 115,
        "boat": 123,
        "bird": 128,
        "airplane": 154,
        "horse": 183,
        "train": 185,
        "bus": 203,
        "sheep": 243,
    },
    exact_pixels={
        "brown-c": 185306464,
        "grey-c": 161925849,
        "black-c": 142117568,
        "white-c": 73689572,
        "green-c": 64303167,
        "blue-c": 62464739,
        "yellow-c": 34739742,
        "orange-c": 30864899,
        "red-c": 21346526,
        "pink-c": 18799488,
        "purple-c": 11026903,
    },
    pixels={
        "person": 14745720,
        "wall": 49711970,
        "sky": 37221416,
        "building": 35808068,
        "tree": 21530467,
        "grass": 13100838,
        "bed": 6001986,
        "car": 5435238,
        "chair": 4705126,
        "cat": 4228548,
        "sofa": 4142820,
        "dog": 3854036,
        "bus": 1654056,
        "train": 1669220,
        "airplane": 1310659,
        "boat": 1263898,
        "horse": 1249989,
        "bicycle": 1169902,
        "bird": 1046893,
        "sheep": 824399,
    },
    whole_images={
        "dotted": 234,
        "banded": 205,
        "striped": 194,
        "bumpy": 166,
        "smeared": 149,
        "porous": 148,
        "knitted": 148,
        "fibrous": 146,
        "pitted": 146,
        "grid": 134,
        "paisley": 124,
        "cobwebbed": 120,
        "grooved": 120,
        "street-s": 2241,
        "skyscraper-s": 351,
        "highway-s": 325,
        "park-s": 94,
    },
)
"""Of the published Broden (spec 1.4, 1.6, 1.8, 1.10, 9.1, 9.2)."""


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


def count_label_pixels(
    dataset: ConceptDataset, *, workers: int | None = None, progress: bool = False
) -> np.ndarray:
    """Marked pixels per label number, summed over images, categories and planes.

    Args:
      dataset: N images with their labels.
      workers: decoding threads.
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
    counted = map_in_order(count, range(len(dataset)), workers=workers)
    for counts in tqdm(
        counted, "labels", len(dataset), unit="image", disable=not progress, leave=False
    ):
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
    numbers: dict[str, list[int]] = {}
    for concept in dataset.catalog:
        numbers.setdefault(concept.name, []).append(concept.number)
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
        *(
            CountCheck(f"label number of {name}", number, numbers.get(name, [0])[0])
            for name, number in expected.numbers.items()
        ),
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
    found: dict[str, int] = {}
    for concept in dataset.catalog:
        found[concept.name] = found.get(concept.name, 0) + int(pixels[concept.number])
    size = dataset.segmentation_size
    area = size[0] * size[1]
    same_size = size == expected.plane_size
    scale = 1.0 if same_size else area / (expected.plane_size[0] * expected.plane_size[1])
    checks = []
    for counts, tolerance in (
        (expected.exact_pixels, 0.0),
        (expected.pixels, expected.pixel_tolerance),
    ):
        relative = tolerance if same_size else expected.other_size_tolerance
        for name, count in counts.items():
            scaled = round(count * scale)
            check = CountCheck(
                f"pixels of {name}", scaled, found.get(name, 0), int(scaled * relative)
            )
            checks.append(check)
    for name, images in expected.whole_images.items():
        checks.append(CountCheck(f"pixels of {name}", images * area, found.get(name, 0)))
    return checks


def describe_differences(checks: Sequence[CountCheck]) -> str:
    """Those that do not agree, in one line; empty if all do."""
    return "; ".join(str(check) for check in checks if not check.agrees)


def check_resolution(resolution: int) -> None:
    """Refuse a resolution that was not published.

    Raises:
      Net2VecError: it was not.
    """
    if resolution not in RESOLUTIONS:
        raise Net2VecError(
            f"Broden was published at {', '.join(map(str, RESOLUTIONS))} pixels, not {resolution}"
        )
