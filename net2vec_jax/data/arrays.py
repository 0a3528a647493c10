"""A dataset from images and masks in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from net2vec_jax.core.console import announce
from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.data.concepts import Concept, ConceptCatalog, normalize_name
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels
from net2vec_jax.data.groups import draw_val_groups, name_group, number_groups, remark_on_groups


class ArrayDataset(ConceptDataset):
    """Images and masks in memory, as a `ConceptDataset`.

    Attributes: those of `ConceptDataset`, `image_size`, (H, W), and `notices`.
    """

    name = "arrays"

    def __init__(
        self,
        images: UInt8[np.ndarray, "N H W 3"],
        planes: Int[np.ndarray, "N D Y X"],
        catalog: ConceptCatalog,
        is_val: Bool[np.ndarray, " N"],
        groups: Sequence[str] | None = None,
    ) -> None:
        """See `from_arrays`, which checks what it is given."""
        self._images, self._planes = images, planes
        self.catalog = catalog
        self.categories = tuple(dict.fromkeys(c.primary_category for c in catalog))
        self.image_names = tuple(f"image {index}" for index in range(len(images)))
        self.is_val = is_val
        self.segmentation_size: tuple[int, int] = (planes.shape[2], planes.shape[3])
        self.image_size: tuple[int, int] = (images.shape[1], images.shape[2])
        self.images_fingerprint = fingerprint_images(images)
        digest = hashlib.sha256(repr([(c.number, c.name) for c in catalog]).encode())
        digest.update(self.images_fingerprint.encode())
        self.image_groups = None if groups is None else number_groups(groups)
        self.notices: tuple[str, ...] = ()
        for array in (planes, is_val):
            digest.update(fingerprint_images(array).encode())
        if groups is not None and self.image_groups is not None:
            self.notices = remark_on_groups(self.image_names, groups, is_val, remedy="groups")
            digest.update(fingerprint_images(self.image_groups).encode())
        self.fingerprint = digest.hexdigest()

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        return self._images[index]

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`."""
        planes = self._planes[index]
        found = {}
        for category in self.categories:
            numbers = [c.number for c in self.catalog if c.primary_category == category]
            inside = np.isin(planes, numbers)
            if inside.any():
                found[category] = np.where(inside, planes, 0)
        return ImageLabels(found, {})


def fingerprint_images(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and values."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def find_images_fingerprint(dataset: Any) -> str:
    """What activations depend on: a dataset's images alone where it tells, else all of it."""
    return getattr(dataset, "images_fingerprint", dataset.fingerprint)


def from_arrays(
    images: UInt8[np.ndarray, "N H W 3"],
    masks: Int[np.ndarray, "N *D Y X"],
    concepts: Mapping[int, str],
    *,
    val: float | Bool[np.ndarray, " N"] | Sequence[bool] = 0.3,
    categories: Mapping[int, str] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    seed: int = 0,
) -> ArrayDataset:
    """A dataset from images and masks in memory.

    Args:
      images: RGB, 0 … 255, all of one size.
      masks: label numbers, 0 where there is none, [N, Y, X]; or [N, D, Y, X] where concepts
        overlap: a pixel then has up to D labels. Y, X may be other than H, W.
      concepts: name of every label number.
      val: which images are for val, bool [N]; or the share of images that are drawn for it, by
        whole groups if these are given.
      categories: category of a label number; "object" where it is not said.
      groups: name or number of the film, patient or place that each of N images is of, where
        several are of one: such images are not independent. None if all are.
      seed: of the drawing.

    Raises:
      Net2VecError: arrays are of other types or shapes, a number has no name, a group is empty, or
        a split is.

    Examples:
      >>> import net2vec_jax as n2v
      >>> images = np.zeros((4, 64, 64, 3), np.uint8)
      >>> masks = np.ones((4, 32, 32), np.int32)
      >>> dataset = n2v.from_arrays(images, masks, {1: "sky"}, val=0.25)
      >>> len(dataset), int(dataset.is_val.sum())
      (4, 1)
    """
    images, masks = np.asarray(images), np.asarray(masks)
    if not isinstance(concepts, Mapping) or not all(isinstance(n, int) for n in concepts):
        raise Net2VecError('concepts are names by label number: {1: "sky", 2: "dog"}')
    strange = [str(number) for number in categories or () if number not in concepts]
    if strange:
        raise Net2VecError(
            f"categories are by label number, and {list_names(strange)} is none of concepts"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise Net2VecError(
            f"images are {images.dtype} {images.shape}; expected uint8 [N, H, W, 3], RGB"
        )
    if not np.issubdtype(masks.dtype, np.integer) or masks.ndim not in (3, 4):
        raise Net2VecError(
            f"masks are {masks.dtype} {masks.shape}; expected label numbers, integers [N, Y, X] or "
            "[N, D, Y, X]: masks.astype(int)"
        )
    if len(masks) != len(images):
        raise Net2VecError(f"{len(images)} images, but masks of {len(masks)}")
    planes = masks if masks.ndim == 4 else masks[:, None]
    if 0 in planes.shape:
        raise Net2VecError(f"masks {masks.shape} have no pixels")
    unnamed = sorted({*np.unique(planes).tolist()} - {0, *concepts})
    if unnamed:
        raise Net2VecError(
            f"masks hold numbers without a name: {list_names(map(str, unnamed))}; name them in "
            "concepts, or set these pixels to 0"
        )
    if groups is not None:
        groups = [name_group(group, f"groups[{index}]") for index, group in enumerate(groups)]
        if len(groups) != len(images):
            raise Net2VecError(f"{len(images)} images, but groups of {len(groups)}")
    of = dict(categories or {})
    catalog = ConceptCatalog.of(
        Concept(
            number,
            normalize_name(name),
            {of.get(number, "object"): int((planes == number).any(axis=(1, 2, 3)).sum())},
            of.get(number, "object"),
        )
        for number, name in concepts.items()
    )
    units = np.arange(len(images), dtype=np.int32) if groups is None else number_groups(groups)
    dataset = ArrayDataset(
        images, planes.astype(np.int32), catalog, _split(val, units, seed), groups
    )
    announce(dataset.notices)
    return dataset


def _split(
    val: float | np.ndarray | Sequence[bool], groups: Int[np.ndarray, " N"], seed: int
) -> Bool[np.ndarray, " N"]:
    images = len(groups)
    if isinstance(val, int | float | np.floating):
        if not 0 < val < 1:
            raise Net2VecError(f"val must lie between 0 and 1, not {val}")
        order = np.random.default_rng(seed).permutation(groups.max() + 1)
        is_val = draw_val_groups(groups, order, float(val))
    else:
        is_val = np.asarray(val)
        if is_val.dtype != bool or is_val.shape != (images,):
            raise Net2VecError(
                f"val is {is_val.dtype} {is_val.shape}; expected bool [{images}], or a share"
            )
    if is_val.all() or not is_val.any():
        raise Net2VecError(
            f"{np.sum(~is_val)} train and {np.sum(is_val)} val images: probes are trained on train "
            "and scored on val images"
        )
    return is_val
