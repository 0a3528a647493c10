"""Parse COCO's annotation files, of instances or panoptic, into what marks each image.

The whole file is checked when it is read. Annotations that are bad are listed, each with its
reason; whether the others are used all the same is for the caller to say. So are images whose file
is missing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from net2vec_jax.core.errors import Net2VecError, join_messages, list_names
from net2vec_jax.data.coco.files import FileIndex, check_file_name, check_text, find_image
from net2vec_jax.data.coco.json_files import read_lists
from net2vec_jax.data.coco.regions import MOST_PIXELS, Segmentation, check_segmentation
from net2vec_jax.data.concepts import Concept, ConceptCatalog, normalize_name
from net2vec_jax.data.groups import GROUP_COLUMN
from net2vec_jax.data.images.files import (
    IMAGE_FORMATS,
    check_regular_file,
    find_file,
    open_image_file,
    read_shapes,
)
from net2vec_jax.data.tables import LARGEST_NUMBER

CATEGORY = "object"
"""What COCO's categories are, things and stuff."""


@dataclasses.dataclass(frozen=True)
class CocoPart:
    """An annotation file and where its images lie.

    Attributes:
      annotations: a JSON file.
      images: the folder of the images.
      panoptic: the folder of the PNG files of panoptic annotations; by default the one beside the
        JSON file that has its name.
    """

    annotations: Path
    images: Path
    panoptic: Path | None = None

    @property
    def panoptic_folder(self) -> Path:
        """Where the PNG files of panoptic annotations lie."""
        return self.panoptic or self.annotations.with_suffix("")


@dataclasses.dataclass
class CocoImage:
    """One image of an annotation file.

    Attributes:
      name: its file_name, in Unicode's composed form.
      path: its file.
      shape: (H, W) as the annotation file says; where that says nothing, as stored in the file.
      is_shape_given: whether the annotation file says it.
      file_id: what tells its file from all others, by whatever path; None of one that is missing.
      fault: why it cannot be used, or None; its shape means nothing then.
      url: its coco_url, "" if it has none.
      split: what the annotation file calls its split, "" if nothing.
      group: what the annotation file has as its `group`, of any type, None if nothing.
      video: its video_id, likewise.
      regions: per annotation (category id, what is marked).
      panoptic: the path of its PNG and its segments, id → category id, None of those that are left
        out; None of instances.
    """

    name: str
    path: Path
    shape: tuple[int, int] = (0, 0)
    is_shape_given: bool = True
    file_id: tuple[int, int] | None = None
    fault: str | None = None
    url: str = ""
    split: str = ""
    group: Any = None
    video: Any = None
    regions: list[tuple[int, Segmentation]] = dataclasses.field(default_factory=list)
    panoptic: tuple[Path, dict[int, int | None]] | None = None


@dataclasses.dataclass(frozen=True)
class CocoAnnotations:
    """An annotation file.

    Attributes:
      path: of the file.
      categories: id → name.
      images: its images, in its order.
      faults: annotation, or a polygon or segment that is bad alone → why.
      without_area: how many polygons or run lengths mark nothing, since they enclose no area.
    """

    path: Path
    categories: Mapping[int, str]
    images: tuple[CocoImage, ...]
    faults: Mapping[str, str]
    without_area: int


def read_coco(part: CocoPart) -> CocoAnnotations:
    """Read an annotation file and look for its images.

    Raises:
      Net2VecError: the file is missing or not of COCO's form; a category or image has no id or
        name, or shares it with another one; a folder is missing; or all annotations are bad.
    """
    path = part.annotations
    lists = read_lists(path)
    try:
        categories = _read_categories(lists.categories)
        images = _read_images(lists.images, part)
        reader = _Reader(categories, images, part)
        for place, annotation in enumerate(lists.annotations):
            reader.read(annotation, place)
        folder = part.panoptic_folder
        if any(image.panoptic for image in images.values()) and not folder.is_dir():
            raise Net2VecError(
                f"the folder of its panoptic masks, {folder}, is missing or no folder; write where "
                "it is, coco:ANNOTATIONS.json:IMAGES:PANOPTIC"
            )
        if not reader.used:
            faults = [f"{which}: {reason}" for which, reason in reader.faults.items()]
            raise Net2VecError(
                f"none of its {len(lists.annotations)} annotations can be used: "
                f"{join_messages(faults)}"
            )
        if -math.inf < reader.largest <= 1:
            raise Net2VecError(
                "no coordinate is larger than 1, as if they were fractions of the image; COCO's "
                "are in pixels: multiply them by width and height"
            )
    except Net2VecError as error:
        raise Net2VecError(f"{path}: {error}") from error
    missing = [image for image in images.values() if image.fault and not image.path.is_file()]
    if missing:
        index = FileIndex(part.images)
        for image in missing:
            image.fault = f"{image.fault}{index.suggest(image.name)}"
    return CocoAnnotations(
        path, categories, tuple(images.values()), reader.faults, reader.without_area
    )


class _Reader:
    """Adds annotations to images, and lists those that are bad.

    Attributes:
      faults: annotation, or part of one → why it is bad.
      used: how many annotations can be used, at least in part.
      without_area: how many polygons or run lengths mark nothing.
      largest: the largest coordinate, as long as none is known that is larger than 1.
    """

    def __init__(
        self, categories: Mapping[int, str], images: Mapping[Any, CocoImage], part: CocoPart
    ) -> None:
        self._categories = categories
        self._images = images
        self._panoptic_folder = part.panoptic_folder
        self._name = self._number = ""
        self.faults: dict[str, str] = {}
        self.used = 0
        self.without_area = 0
        self.largest = -math.inf

    def read(self, annotation: Any, place: int) -> None:
        """Add an annotation to its image, or its faults to those of the file."""
        id = annotation.get("id") if isinstance(annotation, dict) else None
        number = f"number {place}"
        self._name = f"annotation {number if id is None else f'{id!r:.60}'}"
        self._number = "" if id is None else f" ({number})"
        try:
            if not isinstance(annotation, dict):
                raise Net2VecError(f"it is {annotation!r:.60}, not a JSON object")
            image = self._find_image(annotation)
            add = self._add_panoptic if "segments_info" in annotation else self._add_region
            add(image, annotation)
            self.used += 1
        except Net2VecError as error:
            self._add_fault(str(error))

    def _add_fault(self, reason: str, part: str = "") -> None:
        """List the annotation, or a part of it, under a name that no other has."""
        is_taken = self._name + part in self.faults
        self.faults[self._name + part + (self._number if is_taken else "")] = reason

    def _add_region(self, image: CocoImage, annotation: dict) -> None:
        category = self._find_category(annotation)
        if image.fault is not None:
            return  # its size may not be known, and nothing of it is used
        if image.panoptic is not None:
            raise Net2VecError(f"{image.name} has a panoptic annotation already")
        where = f"(image {image.name!r:.200})"
        try:
            found = check_segmentation(annotation.get("segmentation"), image.shape)
        except Net2VecError as error:
            raise Net2VecError(f"{error} {where}") from error
        for place, reason in found.faults.items():
            self._add_fault(f"{reason} {where}", f", polygon {place}")
        self.without_area += found.without_area
        if self.largest <= 1 and min(image.shape) > 2:
            self.largest = max(self.largest, *map(max, found.polygons), -math.inf)
        image.regions.append((category, found))

    def _add_panoptic(self, image: CocoImage, annotation: dict) -> None:
        name = check_text(annotation.get("file_name"), "its file_name")
        check_file_name(name, "its mask")
        if image.panoptic is not None or image.regions:
            raise Net2VecError(f"{image.name} has another annotation already")
        path = find_file(self._panoptic_folder, name)
        image.panoptic = (path, self._read_segments(annotation["segments_info"]))
        if image.fault is None:
            try:
                check_regular_file(path, f"the mask of {image.name}")
            except Net2VecError as error:
                image.fault = str(error)

    def _read_segments(self, entries: Any) -> dict[int, int | None]:
        """Segment id → category id; None of those whose category is bad."""
        if not isinstance(entries, list):
            raise Net2VecError(f"its segments_info is {entries!r:.60}, not a list")
        segments: dict[int, int | None] = {}
        for place, segment in enumerate(entries):
            try:
                if not isinstance(segment, dict):
                    raise Net2VecError(f"it is {segment!r:.60}, not a JSON object")
                id = _whole(segment.get("id"), "its id")
                if not 0 < id < 1 << 24:
                    raise Net2VecError(f"its id is {id}; ids go from 1 to {(1 << 24) - 1}")
                if id in segments:
                    raise Net2VecError(f"segment {id} occurs twice")
                segments[id] = None
                segments[id] = self._find_category(segment)
            except Net2VecError as error:
                self._add_fault(str(error), f", segment number {place}")
        return segments

    def _find_image(self, annotation: dict) -> CocoImage:
        id = annotation.get("image_id")
        if isinstance(id, int | float | str) and id in self._images:
            return self._images[id]
        other = str(id) if type(id) is int else None
        if isinstance(id, str) and id.isdecimal() and len(id) < 20:
            other = int(id)
        hint = f", though {other!r} is one" if other in self._images else ""
        raise Net2VecError(f"image_id {id!r:.60} is none of the images{hint}")

    def _find_category(self, entry: dict) -> int:
        id = entry.get("category_id")
        if isinstance(id, int | float) and not isinstance(id, bool) and id in self._categories:
            return int(id)
        shown = "null" if id is None else f"{id!r:.60}"
        raise Net2VecError(f"category_id {shown} is none of the categories")


def merge_categories(
    files: list[CocoAnnotations], names: list[str]
) -> tuple[ConceptCatalog, dict[int, int], list[str]]:
    """The concepts of one or two annotation files: all categories of both.

    A concept's number is the category's id, if all ids lie in 1 … 65535; otherwise its place in the
    order of the ids, from 1.

    Args:
      files: one or two.
      names: what notices call them.

    Returns:
      The concepts; category id → concept number; and notices.

    Raises:
      Net2VecError: an id or a name means something else in the other file.
    """
    notices = []
    categories = {id: name for file in files for id, name in file.categories.items()}
    if len(files) == 2:
        _check_same(files, names)
        for file, name, other in zip(files[::-1], names[::-1], names, strict=True):
            lacking = [id for id in categories if id not in file.categories]
            missing = [f"{categories[id]!r} ({id})" for id in lacking]
            if missing:
                notices.append(
                    f"{name} lacks categories that {other} has: {list_names(missing)}; the dataset "
                    "has those of both"
                )
    ids = sorted(categories)
    numbers = {id: id for id in ids}
    if ids[0] < 1 or ids[-1] > LARGEST_NUMBER:
        numbers = {id: place for place, id in enumerate(ids, start=1)}
        changed = [f"{categories[id]!r} {id} → {numbers[id]}" for id in ids if numbers[id] != id]
        notices.append(
            f"ids of categories lie outside 1 … {LARGEST_NUMBER}, so that concepts are numbered in "
            f"the order of the ids: {list_names(changed)}"
        )
    concepts = [Concept(numbers[id], categories[id], {CATEGORY: 0}, CATEGORY) for id in ids]
    return ConceptCatalog.of(concepts), numbers, notices


def _check_same(files: list[CocoAnnotations], names: list[str]) -> None:
    """Refuse categories that two files name or number differently."""
    one, other = (file.categories for file in files)
    messages = [
        f"category {id} is {name!r} in {names[0]}, {other[id]!r} in {names[1]}"
        for id, name in one.items()
        if other.get(id, name) != name
    ]
    for name in dict.fromkeys(one.values()):
        here, there = ({id for id in some if some[id] == name} for some in (one, other))
        if not (here <= there or here >= there):
            ids = [list_names(map(str, sorted(some))) for some in (here, there)]
            messages.append(f"{name!r} has id {ids[0]} in {names[0]}, {ids[1]} in {names[1]}")
    if messages:
        raise Net2VecError(
            f"{files[0].path} and {files[1].path} have other categories: {join_messages(messages)}"
            "\ngive both the same ids and names"
        )


def _read_categories(entries: list[dict]) -> dict[int, str]:
    """Id → name, in Unicode's composed form and without white space around it."""
    found: dict[int, str] = {}

    def read(place: int, category: dict) -> None:
        id, name = category.get("id"), category.get("name")
        if isinstance(id, str):
            raise Net2VecError(
                f"the id of category {name!r:.60} is the text {id!r:.60}; write it as a number, "
                "and category_id too"
            )
        id = _whole(id, f"the id of category number {place}, {name!r:.60},")
        name = normalize_name(check_text(name, f"the name of category {id}").strip())
        if id in found:
            raise Net2VecError(f"categories {found[id]!r} and {name!r} have the same id, {id}")
        found[id] = name

    _read_all(entries, read)
    return found


def _read_images(entries: list[dict], part: CocoPart) -> dict[Any, CocoImage]:
    """Id → image, with the faults of those that cannot be used."""
    if not part.images.is_dir():
        raise Net2VecError(f"the folder of its images, {part.images}, is missing or no folder")
    found: dict[Any, CocoImage] = {}
    named: dict[str, Any] = {}

    def read(place: int, entry: dict) -> None:
        id = entry.get("id")
        if not isinstance(id, int | float | str):
            raise Net2VecError(f"the id of image number {place} is {id!r:.60}; give it a number")
        image = _read_image(entry, part)
        if id in found:
            raise Net2VecError(
                f"images {found[id].name!r} and {image.name!r} have the same id, {id!r:.60}"
            )
        found[id] = image
        plain = str(PurePosixPath(image.name))
        other = named.setdefault(plain, id)
        if other != id:
            raise Net2VecError(
                f"images {other!r:.60} and {id!r:.60} have the same file_name, {plain!r}"
            )

    _read_all(entries, read)
    return found


def _read_all(entries: list[dict], read: Callable[[int, dict], None]) -> None:
    """Read every entry, given its place too; all that is wrong becomes one message."""
    faults = []
    for place, entry in enumerate(entries):
        try:
            read(place, entry)
        except Net2VecError as error:
            faults.append(str(error))
    if faults:
        raise Net2VecError(join_messages(faults))


def _read_image(entry: dict, part: CocoPart) -> CocoImage:
    """An image; if it cannot be used, with its fault.

    Raises:
      Net2VecError: it has no name.
    """
    which = f"image {entry['id']!r:.60}"
    name, url = entry.get("file_name"), None
    if name is None and entry.get("coco_url"):  # LVIS
        url = check_text(entry["coco_url"], f"the coco_url of {which}")
        name = url.rpartition("/")[2]
    if name is None:
        raise Net2VecError(
            f"the file_name of {which} is missing; write the name of its file, relative to the "
            "folder of the images"
        )
    image = CocoImage(normalize_name(check_text(name, f"the file_name of {which}")), part.images)
    image.url, image.split = (
        entry[key] if isinstance(entry.get(key), str) else "" for key in ("coco_url", "split")
    )
    image.group, image.video = entry.get(GROUP_COLUMN), entry.get("video_id")
    try:
        try:
            check_file_name(name, which)
            image.path = find_image(part.images, name, url)
            sides = (entry.get("height"), entry.get("width"))
            image.is_shape_given = None not in sides
            if image.is_shape_given:
                image.shape = _check_shape(sides, name)
        except Net2VecError as error:
            raise Net2VecError(f"{part.annotations}: {error}") from error
        found = check_regular_file(image.path)
        image.file_id = (found.st_dev, found.st_ino)
        if not image.is_shape_given:
            with open_image_file(image.path, IMAGE_FORMATS) as file:
                image.shape = read_shapes(file)[1]
    except Net2VecError as error:
        image.fault = str(error)
    return image


def _check_shape(sides: tuple[Any, Any], name: str) -> tuple[int, int]:
    height = _whole(sides[0], f"the height of {name}")
    width = _whole(sides[1], f"the width of {name}")
    problem = f"{name} cannot be an image of {height}×{width} pixels"
    if min(height, width) < 1:
        raise Net2VecError(
            f"{problem}; write its size, or leave height and width out, which are then read from "
            "its file"
        )
    if height * width > MOST_PIXELS:
        raise Net2VecError(
            f"{problem}: sizes go up to {MOST_PIXELS / 1e6:.0f} million pixels; annotate a reduced "
            "copy"
        )
    return height, width


def _whole(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise Net2VecError(f"{what} is {value!r:.80}, not a whole number")
    return value
