"""A user's own images: a folder with images/, masks/ and concepts.csv, as a `ConceptDataset`.

  concepts.csv        number,name,category and, where masks are RGB, color (#rrggbb)
  images/**/*.jpg     photographs of any size
  masks/**/*.png      the mask of images/a/b.jpg is masks/a/b.png; masks_*/ hold further layers
  image_labels.csv    optional: image,concepts: what holds for a whole image
  splits.csv          optional: image,split; otherwise 70 % train, by a hash of the name

Everything is resized to one square resolution S: images uint8 [S, S, 3], masks [S // 2, S // 2].
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from net2vec_jax.data.dataset import VAL, ImageLabels
from net2vec_jax.data.folder_tables import read_concept_table, read_image_labels, read_splits
from net2vec_jax.data.image_files import check_regular_file
from net2vec_jax.data.resized_files import (
    DEFAULT_RESOLUTION,
    check_resolution,
    place_by_hash,
    read_mask_shape,
    read_resized_image,
    read_resized_mask,
    same_aspect,
    split_by_hash,
)
from net2vec_jax.errors import Net2VecError

CONCEPTS_FILE = "concepts.csv"
IMAGE_LABELS_FILE = "image_labels.csv"
SPLITS_FILE = "splits.csv"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NO_LABEL_INDEX = 255
"""Unlabelled in indexed and grey masks, as in PASCAL VOC, unless a concept has this number."""
_MOST_LISTED = 10


class FolderDataset:
    """A folder of images with masks, as a `ConceptDataset`.

    Images are in the order of a hash of their names, as Broden's are (spec 1.7). An image with
    neither mask nor row in image_labels.csv is left out. A mask may hold concepts of any category.

    Attributes: those of `ConceptDataset`, and
      directory: where it lies.
      image_size: (S, S).
      unlabelled_images: names of the images that are left out.
    """

    def __init__(self, directory: str | Path, *, resolution: int = DEFAULT_RESOLUTION) -> None:
        """Read the tables of `directory` and list its files; they are decoded when asked for.

        Args:
          directory: holds concepts.csv and images/.
          resolution: S, what images are resized to.

        Raises:
          Net2VecError: a missing or malformed table, a mask without image, two images that would
            share a mask, an image without split; the message names the file.
        """
        self.directory = Path(directory)
        self.name = self.directory.resolve().name
        check_resolution(resolution)
        self.image_size = (resolution, resolution)
        self.segmentation_size = (resolution // 2, resolution // 2)
        concepts = read_concept_table(self.directory / CONCEPTS_FILE)
        self.catalog, self.categories = concepts.catalog, concepts.categories
        self._colours = concepts.colours
        self._tables = [self.directory / CONCEPTS_FILE]

        found = _find_images(self.directory / "images")
        self._masks = _find_masks(self.directory, found)
        listed: dict[str, tuple[int, ...]] = {}
        if self._has_table(IMAGE_LABELS_FILE):
            listed = read_image_labels(self._tables[-1], self.catalog, found.values())
        labelled = [image for image in found.values() if image in self._masks or image in listed]
        if not labelled:
            raise Net2VecError(
                f"{self.directory}: no image has a mask (masks/a/b.png for images/a/b.jpg) or a "
                f"row in {IMAGE_LABELS_FILE}"
            )
        self.unlabelled_images = tuple(sorted({*found.values()} - {*labelled}))
        self.image_names = tuple(sorted(labelled, key=lambda name: (place_by_hash(name), name)))
        self._whole_image = {image: self._by_category(numbers) for image, numbers in listed.items()}
        splits = {image: split_by_hash(image) for image in labelled}
        if self._has_table(SPLITS_FILE):
            splits = read_splits(self._tables[-1], found.values())
            _refuse(
                f"{self._tables[-1]} has no row for",
                (image for image in self.image_names if image not in splits),
                "list every labelled image, or remove the file for a split by a hash of the names",
            )
        self.is_val = np.array([splits[image] == VAL for image in self.image_names])
        self._category_of = np.full(2**16, -1, np.int16)
        for concept in self.catalog:
            self._category_of[concept.number] = self.categories.index(concept.primary_category)
        self.fingerprint = self._fingerprint(resolution)

    def __len__(self) -> int:
        """The number of images N."""
        return len(self.image_names)

    def image(self, index: int) -> np.ndarray:
        """uint8 [S, S, 3], RGB, upright, of the image at `index`; see `read_resized_image`.

        Raises:
          Net2VecError: the file is missing, damaged, or of another aspect ratio than its mask.
        """
        name = self.image_names[index]
        masks = self._masks.get(name, ())
        shape = read_mask_shape(masks[0]) if masks else None
        source = f"its mask {masks[0]}" if masks else ""
        path = self.directory / "images" / name
        return read_resized_image(path, self.image_size[0], shape=shape, source=source)

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`.

        Raises:
          Net2VecError: a mask is missing, damaged or of the wrong type, masks have other aspect
            ratios, or one holds a number or colour that concepts.csv lacks.
        """
        name = self.image_names[index]
        layers: list[np.ndarray] = []
        masks = self._masks.get(name, ())
        shapes = [read_mask_shape(path) for path in masks] if len(masks) > 1 else []
        for path, shape in zip(masks[1:], shapes[1:], strict=False):
            if not same_aspect(shape, shapes[0]):
                raise Net2VecError(
                    f"{path} is {shape[0]}×{shape[1]} pixels, but {masks[0]} is "
                    f"{shapes[0][0]}×{shapes[0][1]}, of another aspect ratio"
                )
        for path in masks:
            layer = self._read_mask(path)
            for other in layers:  # a pixel has a concept once, however many layers say so
                layer = np.where(layer == other, 0, layer)
            layers.append(layer)
        planes = {}
        for place, category in enumerate(self.categories):
            chosen = [np.where(self._category_of[layer] == place, layer, 0) for layer in layers]
            chosen = [plane for plane in chosen if plane.any()]
            if chosen:
                planes[category] = np.stack(chosen)
        return ImageLabels(planes, self._whole_image.get(name, {}))

    def source_files(self) -> Iterator[Path]:
        """The tables, images and masks that all else is read from."""
        yield from self._tables
        for name in self.image_names:
            yield self.directory / "images" / name
            yield from self._masks.get(name, ())

    def _read_mask(self, path: Path) -> np.ndarray:
        """int32 [S // 2, S // 2] of concept numbers."""
        pixels = read_resized_mask(path, self.segmentation_size)
        table = self.directory / CONCEPTS_FILE
        if pixels.ndim == 3:
            if not self._colours:
                raise Net2VecError(
                    f"{path} is an RGB mask, but {table} has no color: give each concept its "
                    "#rrggbb there, or save the mask with a palette"
                )
            codes = pixels.astype(np.int32) @ np.array([1, 256, 65536], np.int32)
            values, places = np.unique(codes, return_inverse=True)
            numbers = [self._colours.get(value, -1) for value in values.tolist()]
            if -1 in numbers:
                value = int(values[numbers.index(-1)])
                red, green, blue = value % 256, value // 256 % 256, value // 65536
                raise Net2VecError(
                    f"{path}: color #{red:02x}{green:02x}{blue:02x} is not in {table}; colours "
                    "that are no concept get rows of number 0"
                )
            return np.array(numbers, np.int32)[places].reshape(codes.shape)
        if NO_LABEL_INDEX not in self.catalog.by_number:
            pixels = np.where(pixels == NO_LABEL_INDEX, 0, pixels)
        unknown = (pixels != 0) & (self._category_of[pixels] < 0)
        if unknown.any():
            raise Net2VecError(f"{path}: number {pixels[unknown][0]} is not in {table}")
        return pixels

    def _by_category(self, numbers: Iterable[int]) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for number in numbers:
            category = self.catalog.by_number[number].primary_category
            found[category] = (*found.get(category, ()), number)
        return found

    def _has_table(self, name: str) -> bool:
        """Whether an optional table is there, which then is the last of `_tables`."""
        there = (self.directory / name).exists()
        if there:
            self._tables.append(self.directory / name)
        return there

    def _fingerprint(self, resolution: int) -> str:
        """Digest of the tables, the resolution, and every file's name and size."""
        digest = hashlib.sha256(repr(("folder", resolution)).encode())
        for path in self.source_files():
            size = check_regular_file(path).st_size
            name = path.relative_to(self.directory).as_posix()
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
            if path in self._tables:
                digest.update(path.read_bytes())
        return digest.hexdigest()


def _find_images(folder: Path) -> dict[str, str]:
    """Stem, relative to `folder` → name with suffix, of all images below it."""
    if not folder.is_dir():
        raise Net2VecError(
            f"{folder} is missing: a folder of images holds {CONCEPTS_FILE}, images/, masks/"
        )
    found: dict[str, str] = {}
    for name in _list_files(folder, IMAGE_SUFFIXES):
        stem = name.rpartition(".")[0]
        if stem in found:
            raise Net2VecError(
                f"{folder}: {found[stem]} and {name} would have the same mask; rename one"
            )
        found[stem] = name
    if not found:
        raise Net2VecError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _find_masks(directory: Path, images: dict[str, str]) -> dict[str, tuple[Path, ...]]:
    """Image → its masks: of masks/ and then of every masks_*/, in the order of their names."""
    masks: dict[str, tuple[Path, ...]] = {}
    layers = [directory / "masks", *sorted(directory.glob("masks_*"))]
    for layer in (layer for layer in layers if layer.is_dir()):
        files = _list_files(layer, IMAGE_SUFFIXES)
        _refuse(
            f"{layer}: a mask must be a PNG file, not",
            (name for name in files if not name.lower().endswith(".png")),
            "other formats may change the numbers",
        )
        names = {name.rpartition(".")[0]: name for name in files}
        _refuse(
            f"{layer}: images/ holds no image for",
            (name for stem, name in names.items() if stem not in images),
            "a mask has the name of its image, but for the suffix; remove or rename it",
        )
        for stem, name in names.items():
            masks[images[stem]] = (*masks.get(images[stem], ()), layer / name)
    return masks


def _list_files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files below `folder` with one of the suffixes, hidden ones aside, relative and sorted."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            (Path(parent) / name).relative_to(folder).as_posix()
            for name in files
            if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
    return sorted(found)


def _refuse(what: str, names: Iterable[str], advice: str) -> None:
    """Refuse if there are any names; the first are shown."""
    names = list(names)
    if names:
        more = len(names) - _MOST_LISTED
        shown = ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
        raise Net2VecError(f"{what} {shown}; {advice}")
