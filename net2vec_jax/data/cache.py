"""Decoded images and masks, kept on disk so that a dataset is decoded once (see `cache_entries`).

Images are uint8 [N, H, W, 3], masks the arrays of `ConceptMasks`; both are memory-mapped, so that
opening them takes no time and processes share the memory. What is read equals what decoding gives.
"""

from __future__ import annotations

import functools
import json
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.cache_entries import open_entry, write_array
from net2vec_jax.data.dataset import ConceptDataset, DatasetView, map_in_order
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks, collect_concept_masks

_PAIR_ARRAYS = {
    "pair_concept": np.int32,
    "pair_image": np.int32,
    "packed": np.uint8,
    "pixels": np.int32,
    "whole_image": np.bool_,
}
_NOTICES = "notices.json"


class PackedImages(DatasetView):
    """A dataset whose images are decoded already; the rest is the dataset's own."""

    def __init__(self, dataset: ConceptDataset, images: np.ndarray) -> None:
        """Take the images of `dataset` from the array `images`, uint8 [N, H, W, 3]."""
        super().__init__(dataset)
        self._images = images

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, not to be written to."""
        return self._images[index]


def load_packed_images(dataset: ConceptDataset, *, progress: bool = False) -> ConceptDataset:
    """The dataset with decoded images, from disk; decoded and kept there the first time.

    Args:
      dataset: N images of one size.
      progress: show a progress bar while decoding.

    Returns:
      A `PackedImages`; or the dataset itself where decoded images cannot be kept (no folder may be
      written to, or the disk has too little space), which is reported.

    Raises:
      Net2VecError: an image is missing, damaged or of another size.
    """

    def read(folder: Path) -> np.ndarray:
        images = _map_array(folder / "images.npy", np.uint8)
        if images.ndim != 4 or len(images) != len(dataset) or images.shape[3] != 3:
            raise ValueError("other images than the dataset's")
        return images

    def write(folder: Path) -> None:
        shape = dataset.image(0).shape
        images = _decode_images(dataset, shape, progress)
        write_array(folder / "images.npy", (len(dataset), *shape), np.uint8, images)

    images = open_entry(dataset, "images", read, write)
    return dataset if images is None else PackedImages(dataset, images)


def load_concept_masks(
    dataset: ConceptDataset, *, category_choice: CategoryChoice = "union", progress: bool = False
) -> ConceptMasks:
    """What `collect_concept_masks` gives, from disk; collected and kept there the first time.

    Args:
      dataset: N images with their labels.
      category_choice: see `collect_concept_masks`.
      progress: show a progress bar while decoding.

    Raises:
      Net2VecError: a label file is missing, damaged or holds unknown numbers.
    """

    @functools.cache
    def collect() -> ConceptMasks:
        return collect_concept_masks(dataset, category_choice=category_choice, progress=progress)

    def read(folder: Path) -> ConceptMasks:
        arrays = {n: _map_array(folder / f"{n}.npy", t) for n, t in _PAIR_ARRAYS.items()}
        _check_pairs(arrays, dataset)
        return ConceptMasks(
            catalog=dataset.catalog,
            is_val=np.asarray(dataset.is_val),
            segmentation_size=dataset.segmentation_size,
            category_choice=category_choice,
            notices=_read_notices(folder / _NOTICES),
            image_groups=getattr(dataset, "image_groups", None),
            **arrays,
        )

    def write(folder: Path) -> None:
        for name, dtype in _PAIR_ARRAYS.items():
            array = getattr(collect(), name)
            write_array(folder / f"{name}.npy", array.shape, dtype, iter([array]))
        (folder / _NOTICES).write_text(json.dumps(collect().notices), encoding="utf-8")

    found = open_entry(dataset, f"masks-{category_choice}", read, write)
    return collect() if found is None else found


def _decode_images(
    dataset: ConceptDataset, shape: tuple[int, ...], progress: bool
) -> Iterator[np.ndarray]:
    decoded = map_in_order(dataset.image, range(len(dataset)))
    bar = track(decoded, "images" if progress else None, unit="image", total=len(dataset))
    for name, image in zip(dataset.image_names, bar, strict=True):
        if image.shape != shape:
            raise Net2VecError(
                f"image {name} has shape {image.shape}, the first one {shape}; all images must be "
                "of one size: resize them"
            )
        yield image


def _map_array(path: Path, dtype: type) -> np.ndarray:
    """The array of a .npy file, read when it is used.

    Raises:
      OSError: the file is missing.
      ValueError: it is damaged, or of another type.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if array.dtype != dtype:
        raise ValueError(f"{path} holds {array.dtype}")
    return np.asarray(array)


def _read_notices(path: Path) -> tuple[str, ...]:
    """Lines that were written beside masks.

    Raises:
      OSError: the file is missing.
      ValueError: it is damaged.
    """
    notices = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(notices, list) or not all(isinstance(line, str) for line in notices):
        raise ValueError(f"{path} holds no list of lines")
    return tuple(notices)


def _check_pairs(arrays: dict[str, np.ndarray], dataset: ConceptDataset) -> None:
    """Refuse arrays that do not belong together or to the dataset.

    Raises:
      ValueError: they do not.
    """
    height, width = dataset.segmentation_size
    pairs = len(arrays["pair_concept"])
    shapes = {name: (pairs,) for name in arrays} | {"packed": (pairs, -(-height // 8), width)}
    if any(array.shape != shapes[name] for name, array in arrays.items()):
        raise ValueError("arrays of different lengths")
    for name, end in (("pair_concept", len(dataset.catalog)), ("pair_image", len(dataset))):
        if pairs and not 0 <= arrays[name].min() <= arrays[name].max() < end:
            raise ValueError(f"{name} is out of range")
