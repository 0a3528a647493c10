"""Builders of small problems, shared by all tests.

Everything is drawn from an explicit seed and small enough to be checked by brute force.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.data.masks import ConceptMasks


def make_catalog(count: int) -> ConceptCatalog:
    """Objects with the numbers 1 … count."""
    return ConceptCatalog(
        tuple(Concept(n, f"concept {n}", {"object": 1}, "object") for n in range(1, count + 1))
    )


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """bool [P, Y, X] to the form that `ConceptMasks` documents, bit by bit."""
    pairs, height, width = masks.shape
    packed = np.zeros((pairs, -(-height // 8), width), np.uint8)
    for y in range(height):
        packed[:, y // 8] |= masks[:, y].astype(np.uint8) << (y % 8)
    return packed


def make_masks(
    is_val: Sequence[bool], marked: dict[tuple[int, int], np.ndarray], concepts: int
) -> ConceptMasks:
    """Masks from {(concept position, image): bool [Y, X]}."""
    pairs = sorted(marked)
    masks = np.stack([marked[pair] for pair in pairs])
    return ConceptMasks(
        catalog=make_catalog(concepts),
        is_val=np.array(is_val, bool),
        pair_concept=np.array([concept for concept, _ in pairs], np.int32),
        pair_image=np.array([image for _, image in pairs], np.int32),
        packed=pack_masks(masks),
        pixels=masks.sum(axis=(1, 2)).astype(np.int32),
        whole_image=np.zeros(len(pairs), bool),
        segmentation_size=masks.shape[1:],
        category_choice="union",
    )


def pack_activations(bits: np.ndarray) -> BinaryActivations:
    """bool [N, h, w, K] to binary activations, bit by bit."""
    images, height, width, filters = bits.shape
    packed = np.zeros((images, height * width, -(-filters // 8)), np.uint8)
    for k in range(filters):
        packed[:, :, k // 8] |= bits[..., k].reshape(images, -1).astype(np.uint8) << (k % 8)
    return BinaryActivations(packed, (height, width), filters)


def make_random_problem(
    seed: int,
    *,
    images: int = 14,
    concepts: int = 3,
    filters: int = 11,
    grid: tuple[int, int] = (4, 3),
    segmentation_size: tuple[int, int] = (13, 10),
    density: float = 0.15,
) -> tuple[BinaryActivations, ConceptMasks]:
    """Random binary activations and masks; every concept has train and val images.

    Concepts have different numbers of images, image 0 has no active filter, and the masks are
    coarse blocks, so that a filter can predict them.
    """
    rng = np.random.default_rng(seed)
    bits = rng.random((images, *grid, filters)) < density
    bits[0] = False
    is_val = rng.random(images) < 0.35
    is_val[:2], is_val[-2:] = False, True
    height, width = segmentation_size
    marked = {}
    for concept in range(concepts):
        present = rng.random(images) < rng.uniform(0.3, 0.9)
        present[[0, -1]] = True
        for image in np.flatnonzero(present):
            coarse = rng.random(grid) < 0.3
            rows = np.arange(height) * grid[0] // height
            columns = np.arange(width) * grid[1] // width
            marked[concept, int(image)] = coarse[np.ix_(rows, columns)]
    return pack_activations(bits), make_masks(is_val, marked, concepts)


def upsample_by_loop(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Align-corners bilinear upsampling [..., h, w] → [..., Y, X], float64, pixel by pixel.

    Output i of m samples the input of n at i·(n − 1) / (m − 1).
    """
    height, width = maps.shape[-2:]
    out = np.zeros((*maps.shape[:-2], *size))
    for y in range(size[0]):
        for x in range(size[1]):
            v = y * (height - 1) / (size[0] - 1) if size[0] > 1 else 0.0
            u = x * (width - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dv, du = v - top, u - left
            upper = (1 - du) * maps[..., top, left] + du * maps[..., top, right]
            lower = (1 - du) * maps[..., bottom, left] + du * maps[..., bottom, right]
            out[..., y, x] = (1 - dv) * upper + dv * lower
    return out


class ListDataset:
    """A `ConceptDataset` of labels in memory; its images are grey."""

    def __init__(
        self,
        catalog: ConceptCatalog,
        categories: Sequence[str],
        labels: Sequence[ImageLabels],
        segmentation_size: tuple[int, int],
        is_val: Sequence[bool] | None = None,
    ) -> None:
        self.name = "list"
        self.catalog = catalog
        self.categories = tuple(categories)
        self.image_names = tuple(f"{index}.jpg" for index in range(len(labels)))
        self.is_val = np.array(is_val if is_val is not None else [False] * len(labels), bool)
        self.segmentation_size = segmentation_size
        self.fingerprint = "0"
        self._labels = list(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def image(self, index: int) -> np.ndarray:
        height, width = self.segmentation_size
        return np.full((2 * height, 2 * width, 3), index, np.uint8)

    def labels(self, index: int) -> ImageLabels:
        return self._labels[index]
