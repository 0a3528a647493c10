"""A user's own images: a folder with images/, masks/ and concepts.csv, as a `ConceptDataset`.

  concepts.csv        number,name,category and, where masks are RGB, color (#rrggbb)
  images/**/*.jpg     photographs of any size
  masks/**/*.png      the mask of images/a/b.jpg is masks/a/b.png; masks_*/ hold further layers
  image_labels.csv    optional: image,concepts: what holds for a whole image
  splits.csv          optional: image,split or image,group or image,split,group; without a split
                      70 % are train, by a hash of the names of groups or images

Everything is resized to one square resolution S: images uint8 [S, S, 3], masks [S // 2, S // 2].
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from net2vec_jax.core.errors import Net2VecError, join_messages, list_names
from net2vec_jax.data.concepts import normalize_name
from net2vec_jax.data.dataset import VAL, ConceptDataset, ImageLabels
from net2vec_jax.data.folder.files import (
    find_images,
    find_layers,
    find_masks,
    is_text,
    refuse_names,
)
from net2vec_jax.data.folder.masks import MaskMeaning
from net2vec_jax.data.folder.tables import read_concept_table, read_image_labels, read_splits
from net2vec_jax.data.groups import GROUP_COLUMN, number_groups, remark_on_groups, split_by_groups
from net2vec_jax.data.images.files import check_regular_file
from net2vec_jax.data.images.resized import (
    DEFAULT_RESOLUTION,
    check_resolution,
    read_mask_shape,
    read_resized_image,
    read_resized_mask,
    remark_on_photograph,
    same_aspect,
)
from net2vec_jax.data.splits import place_by_hash, split_by_folders, split_by_hash

CONCEPTS_FILE = "concepts.csv"
IMAGE_LABELS_FILE = "image_labels.csv"
SPLITS_FILE = "splits.csv"
_TABLE_SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".zip", ".tar", ".gz", ".7z", ".rar"),
)
"""Of files that may be meant as tables or masks."""
_ABOUT = ("readme", "license", "licence", "changelog", "citation", "requirements", "about")
_OTHER_ORIENTATION = (
    "where masks lie otherwise (inspect_data shows it), save the photographs upright and without "
    "that tag"
)
_OTHER_SPLIT = f"for another one write {SPLITS_FILE} (image,split)"
_GROUPS = f"a column {GROUP_COLUMN} of {SPLITS_FILE} (image,{GROUP_COLUMN})"


def is_image_folder(directory: Path) -> bool:
    """Whether a directory is meant as a folder of images and masks, and not as a Broden directory.

    That may be so though its concepts.csv is missing.
    """
    if (directory / "index.csv").exists():
        return False
    if (directory / CONCEPTS_FILE).is_file():
        return True
    parts = (directory / "images", directory / "masks")
    return any(part.is_dir() for part in parts) and not (directory / "label.csv").exists()


def _find_concepts(directory: Path) -> Path:
    """The path of concepts.csv.

    Raises:
      Net2VecError: it is missing; names like it are said.
    """
    path = directory / CONCEPTS_FILE
    if path.is_file():
        return path
    stems = ("concept", "class", "label", "categor", "dataset_meta", "color")
    like = sorted(f.name for f in directory.glob("*") if f.name.lower().startswith(stems))
    there = f" (there is {list_names(like, most=3)})" if like else ""
    if any(directory.glob("*.json")) or any(directory.glob("annotations/*.json")):
        there += " (COCO's annotations are given as coco:FILE.json:IMAGES)"
    raise Net2VecError(
        f"{path} is missing{there}: write it, with a header and a line for each concept, such as\n"
        "  number,name,category\n  1,cup,object"
    )


def _list_unread(directory: Path) -> list[str]:
    """Folders, with "/" behind them, and tables that are none of those that are read."""
    known = {"images", CONCEPTS_FILE, IMAGE_LABELS_FILE, SPLITS_FILE}
    known |= {layer.name for layer in find_layers(directory)}
    names = []
    for path in sorted(path for path in directory.glob("[!.]*") if path.name not in known):
        if path.is_dir():
            names.append(f"{path.name}/")
        elif path.suffix.lower() in _TABLE_SUFFIXES and not path.name.lower().startswith(_ABOUT):
            names.append(path.name)
    return names


def _name_other_folders(directory: Path, unread: list[str]) -> str:
    """What masks may lie in by another name, for a message."""
    other = [directory / name for name in unread if name.endswith("/")]
    if (directory / "masks").is_dir() or not other:
        return ""
    masks = [path.name for path in other if any(path.rglob("*.[pP][nN][gG]"))]
    if masks:
        return f"; there is no folder masks/, but {list_names(masks, most=3)}/: rename it"
    names = list_names((path.name for path in other), most=3)
    return f"; {names}/ holds no PNG file, and boxes and outlines in texts are not read"


def _describe_unread(directory: Path, others: Iterable[str], unread: list[str]) -> list[str]:
    """Notices of what lies in images/ and beside it and is not read."""
    notices = []
    pictures = [name for name in others if not is_text(name)]
    if pictures:
        notices.append(
            f"{directory / 'images'}: files that are not read as images are left out "
            f"({len(pictures)}: {list_names(pictures, most=3)}); save them as JPEG or PNG to use "
            "them"
        )
    if unread:
        notices.append(
            f"{directory}: {list_names(unread)} are not read; layers of masks are folders masks/ "
            f"and masks_NAME/, the split is {SPLITS_FILE}, labels are {IMAGE_LABELS_FILE}"
        )
    return notices


class FolderDataset(ConceptDataset):
    """A folder of images with masks, as a `ConceptDataset`.

    Images are in the order of a hash of their names, as Broden's are (behaviour 1.7). An image with
    neither mask nor row in image_labels.csv is left out. A mask may hold concepts of any category.

    Attributes: those of `ConceptDataset`, and
      directory: where it lies.
      image_size: (S, S).
      unlabelled_images: names of the images that are left out.
      notices: what was assumed of files that can be read in two ways, and how to say otherwise.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        resolution: int = DEFAULT_RESOLUTION,
        allow_missing: bool = False,
    ) -> None:
        """Read the tables of `directory` and list its files; they are decoded when asked for.

        Args:
          directory: holds concepts.csv and images/.
          resolution: S, what images are resized to.
          allow_missing: open it though images or masks are links to nothing; they are refused when
            they are read.

        Raises:
          Net2VecError: files that are links to nothing, all of them listed; a missing or malformed
            table, a mask without image, two images that would share a mask, an image without split;
            the message names the file.
        """
        self.directory = Path(directory)
        self.name = self.directory.resolve().name
        check_resolution(resolution)
        self.image_size = (resolution, resolution)
        self.segmentation_size = (resolution // 2, resolution // 2)
        self._tables = [_find_concepts(self.directory)]
        concepts = read_concept_table(self._tables[0])
        self.catalog, self.categories = concepts.catalog, concepts.categories
        self._meaning = MaskMeaning(concepts, self._tables[0])
        folder = self.directory / "images"
        if not folder.is_dir():
            raise Net2VecError(
                f"{folder} is missing: a folder of images holds {CONCEPTS_FILE}, images/, masks/"
            )
        self._images, others = find_images(folder)
        self._masks = find_masks(self.directory, self._images, others)
        if concepts.values[0] and len(find_layers(self.directory)) > 1:
            raise Net2VecError(
                f"{self._tables[0]}: number 0 is a concept, but with several layers of masks 0 "
                "must mean that a layer marks nothing; give the concept another number, in the "
                "masks too"
            )
        listed: dict[str, tuple[int, ...]] = {}
        if self._has_table(IMAGE_LABELS_FILE):
            listed = read_image_labels(self._tables[-1], concepts, self._images)
        self._whole_image = {image: self._by_category(numbers) for image, numbers in listed.items()}
        labelled = self._images.keys() & (self._masks.keys() | listed.keys())
        unread = _list_unread(self.directory)
        if not labelled:
            raise Net2VecError(
                f"{self.directory}: no image has a mask (masks/a/b.png for images/a/b.jpg) or a "
                f"row in {IMAGE_LABELS_FILE}{_name_other_folders(self.directory, unread)}"
            )
        self.unlabelled_images = tuple(sorted(self._images.keys() - labelled))
        self.image_names = tuple(sorted(labelled, key=lambda name: (place_by_hash(name), name)))
        splits, groups, split_notice = self._read_splits()
        self.is_val = np.array([splits[image] == VAL for image in self.image_names])
        self.image_groups = None if groups is None else number_groups(groups)
        self.notices = (
            *concepts.notices,
            *_describe_unread(self.directory, others.values(), unread),
            *split_notice,
            *remark_on_groups(self.image_names, groups, self.is_val, remedy=_GROUPS),
        )
        self._category_of = np.full(2**16, -1, np.int16)
        for concept in self.catalog:
            self._category_of[concept.number] = self.categories.index(concept.primary_category)
        self.fingerprint = self._fingerprint(resolution, allow_missing)

    def image(self, index: int) -> np.ndarray:
        """uint8 [S, S, 3], RGB, upright, of the image at `index`; see `read_resized_image`.

        Raises:
          Net2VecError: the file is missing, damaged, or of another aspect ratio than its mask.
        """
        name = self.image_names[index]
        masks = self._masks.get(name, ())
        shape = read_mask_shape(masks[0]) if masks else None
        source = f"its mask {masks[0]}" if masks else ""
        path, side = self._images[name], self.image_size[0]
        return read_resized_image(path, side, shape=shape, source=source)

    def labels(self, index: int) -> ImageLabels:
        """The concepts marked on the image at `index`.

        Raises:
          Net2VecError: a mask is missing, damaged or of the wrong type, masks have other aspect
            ratios, or one holds a number or colour that concepts.csv lacks.
        """
        name = self.image_names[index]
        paths = self._masks.get(name, ())
        masks = [read_resized_mask(path, self.segmentation_size) for path in paths]
        for path, mask in zip(paths, masks, strict=True):
            if not same_aspect(mask.shape, masks[0].shape):
                raise Net2VecError(
                    f"{path} is {mask.shape[0]}×{mask.shape[1]} pixels, but {paths[0]} is "
                    f"{masks[0].shape[0]}×{masks[0].shape[1]}, of another aspect ratio"
                )
        remarks = remark_on_photograph(
            self._images[name],
            masks[0].shape if masks else None,
            otherwise=_OTHER_ORIENTATION if masks else None,
        )
        hints: tuple[str, ...] = ()
        layers: list[np.ndarray] = []
        for path, mask in zip(paths, masks, strict=True):
            read = self._meaning.look_up(mask, path)
            remarks += read.remarks
            hints += read.hints
            layer = read.numbers
            for other in layers:  # a pixel has a concept once, however many layers say so
                layer = np.where(layer == other, 0, layer)
            layers.append(layer)
        planes = {}
        for place, category in enumerate(self.categories):
            chosen = [np.where(self._category_of[layer] == place, layer, 0) for layer in layers]
            chosen = [plane for plane in chosen if plane.any()]
            if chosen:
                planes[category] = np.stack(chosen)
        said = (tuple(dict.fromkeys(lines)) for lines in (remarks, hints))
        return ImageLabels(planes, self._whole_image.get(name, {}), *said)

    def source_files(self) -> Iterator[Path]:
        """The tables, images and masks that all else is read from."""
        yield from self._tables
        for name in self.image_names:
            yield self._images[name]
            yield from self._masks.get(name, ())

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

    def _read_splits(self) -> tuple[dict[str, str], list[str] | None, list[str]]:
        """Image → split, the images' groups, and a notice if folders have anything to say of it."""
        self._is_split_by_folders = False
        splits = groups = None
        if self._has_table(SPLITS_FILE):
            splits, groups = read_splits(self._tables[-1], self._images)
            listed = groups or splits or ()
            refuse_names(
                f"{self._tables[-1]} has no row for",
                (image for image in self.image_names if image not in listed),
                "list every labelled image, or remove the file for a split by a hash of the names",
            )
        ordered = [groups[image] for image in self.image_names] if groups else None
        if splits is not None:
            return splits, ordered, []
        by_folders, notice = split_by_folders(self.image_names, otherwise=_OTHER_SPLIT)
        self._is_split_by_folders = by_folders is not None
        drawn = split_by_groups(ordered) if ordered else map(split_by_hash, self.image_names)
        splits = by_folders or dict(zip(self.image_names, drawn, strict=True))
        return splits, ordered, [notice] if notice else []

    def _fingerprint(self, resolution: int, allow_missing: bool) -> str:
        """Digest of the tables, the resolution, and every file's name and size."""
        digest = hashlib.sha256(repr(("folder", resolution)).encode())
        missing: list[str] = []
        for path in self.source_files():
            try:
                size = check_regular_file(path).st_size
            except Net2VecError as error:
                size = -1
                missing.append(str(error))
            name = normalize_name(path.relative_to(self.directory).as_posix())
            digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
            if path in self._tables:
                digest.update(path.read_bytes())
        if missing and not allow_missing:
            raise Net2VecError(
                f"{join_messages(missing)}\nbring them back, or pass --skip-bad-images to go on "
                "without these images"
            )
        if self._is_split_by_folders:
            digest.update(b"split by folders")
        if self.image_groups is not None:  # the table alone meant less before it could name groups
            digest.update(b"with groups")
        return digest.hexdigest()
