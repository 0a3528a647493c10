"""Parse COCO's annotation files, of instances or panoptic, into what marks each image.

The whole file is checked when it is read: every refusal names the file and the annotation, and
lists the first of several. Masks are handed to pycocotools only after a check, since it trusts what
it is given.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.data.broden_tables import LARGEST_NUMBER, check_inside
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.errors import Net2VecError

CATEGORY = "object"
"""What COCO's categories are, things and stuff."""
LARGEST_PIXELS = 1 << 27
"""Of an image; what is larger could not be decoded either."""
_MOST_LISTED = 10


@dataclasses.dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file.

    Attributes:
      name: its file_name.
      shape: (H, W) as the file says.
      regions: per annotation (concept number, segmentation, its id): polygons or a run-length
        encoding.
      panoptic: the file_name of its PNG and its segments, id → concept number; None of instances.
    """

    name: str
    shape: tuple[int, int]
    regions: tuple[tuple[int, Any, Any], ...] = ()
    panoptic: tuple[str, Mapping[int, int]] | None = None


@dataclasses.dataclass(frozen=True)
class CocoAnnotations:
    """An annotation file.

    Attributes:
      path: of the file.
      catalog: its categories as concepts.
      images: its images, in its order.
      is_panoptic: whether masks are PNG files of segment ids.
    """

    path: Path
    catalog: ConceptCatalog
    images: tuple[CocoImage, ...]
    is_panoptic: bool


def read_coco(path: Path) -> CocoAnnotations:
    """Read an annotation file.

    A concept's number is the category's id, if all ids lie in 1 … 65535; otherwise its place in the
    order of the ids, from 1.

    Raises:
      Net2VecError: the file is missing or not of COCO's form, names an unknown category or image,
        or has a segmentation that is none.
    """
    content = _read_json(path)
    try:
        catalog, numbers = _read_categories(content["categories"])
        images = {image["id"]: _read_image(image) for image in content["images"]}
        annotations = content["annotations"]
        is_panoptic = bool(annotations) and "segments_info" in annotations[0]
    except KeyError as error:
        raise Net2VecError(
            f"{path}: there is no {error} where COCO's annotation files have one; detections "
            "alone, or images without annotations, will not do"
        ) from error
    except (TypeError, AttributeError, IndexError) as error:
        raise Net2VecError(f"{path} is no annotation file of COCO's form: {error}") from error
    except Net2VecError as error:
        raise Net2VecError(f"{path}: {error}") from error
    if not images or not annotations:
        raise Net2VecError(f"{path} has no images, or no annotations")
    names = [image.name for image in images.values()]
    if len(images) < len(content["images"]) or len(set(names)) < len(names):
        raise Net2VecError(f"{path}: two images have the same id or file_name")
    add = _add_panoptic if is_panoptic else _add_region
    faults = []
    for place, annotation in enumerate(annotations):
        try:
            add(annotation, images, numbers)
        except Net2VecError as error:
            faults.append(f"annotation {_identify(annotation, place)}: {error}")
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            faults.append(
                f"annotation {_identify(annotation, place)} is malformed: "
                f"{type(error).__name__} {error}"
            )
    if faults:
        more = len(faults) - _MOST_LISTED
        lines = faults[:_MOST_LISTED] + ([f"and {more} more"] if more > 0 else [])
        raise Net2VecError(f"{path}: " + "\n  ".join(lines))
    return CocoAnnotations(path, catalog, tuple(images.values()), is_panoptic)


def decode_regions(image: CocoImage) -> Iterator[tuple[int, np.ndarray]]:
    """The union of each concept's regions, crowds among them: (number, bool [H, W]), ascending.

    Raises:
      Net2VecError: pycocotools cannot decode a region.
    """
    from pycocotools import mask as coco_mask

    height, width = image.shape
    encoded: dict[int, list] = {}
    for number, segmentation, identity in image.regions:
        try:
            if isinstance(segmentation, list):
                regions = coco_mask.frPyObjects(segmentation, height, width)
            else:
                counts = segmentation["counts"]
                if isinstance(counts, str):
                    counts = _decode_counts(counts, height * width)
                whole = {"size": [height, width], "counts": counts}
                regions = [coco_mask.frPyObjects(whole, height, width)]
        except Net2VecError as error:
            raise Net2VecError(f"annotation {identity} of {image.name}: {error}") from error
        encoded.setdefault(number, []).extend(regions)
    for number in sorted(encoded):
        # Not by pycocotools' decode, which numpy 2 warns of.
        counts = _decode_counts(coco_mask.merge(encoded[number])["counts"].decode(), height * width)
        marked = np.arange(len(counts)) % 2 == 1
        yield number, np.repeat(marked, counts).reshape(width, height).T


def _read_json(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Net2VecError(f"{path} is not a JSON file: {error}") from error


def _read_categories(categories: list[dict]) -> tuple[ConceptCatalog, dict[int, int]]:
    """The concepts, and category id → concept number."""
    ids = [_whole(category["id"], "a category's id") for category in categories]
    if len(set(ids)) < len(ids) or not ids:
        raise Net2VecError("two categories have the same id, or there is none")
    fits = min(ids) >= 1 and max(ids) <= LARGEST_NUMBER
    numbers = {id: id if fits else place for place, id in enumerate(sorted(ids), start=1)}
    concepts = []
    for category in categories:
        name = category["name"]
        if not isinstance(name, str) or not name:
            raise Net2VecError(f"category {category['id']} has no name")
        concepts.append(Concept(numbers[category["id"]], name, {CATEGORY: 0}, CATEGORY))
    return ConceptCatalog.of(concepts), numbers


def _read_image(image: dict) -> CocoImage:
    name = image["file_name"]
    if not isinstance(name, str):
        raise Net2VecError(f"the file_name of image {image['id']} is no text")
    check_inside(name, f"image {image['id']}")
    shape = tuple(_whole(image[side], f"the {side} of {name}") for side in ("height", "width"))
    if min(shape) < 1 or math.prod(shape) > LARGEST_PIXELS:
        raise Net2VecError(f"{name} cannot be an image of {shape[0]}×{shape[1]} pixels")
    return CocoImage(name, shape)


def _add_region(annotation: dict, images: dict[Any, CocoImage], numbers: Mapping[int, int]) -> None:
    image, number = _find(annotation, images), _number_of(annotation, numbers)
    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise Net2VecError("there is no segmentation; a box alone will not do")
    if isinstance(segmentation, list):
        for polygon in segmentation:
            _check_polygon(polygon, image.shape)
    else:
        _check_run_lengths(segmentation, image.shape)
    region = (number, segmentation, annotation.get("id"))
    images[annotation["image_id"]] = dataclasses.replace(image, regions=(*image.regions, region))


def _add_panoptic(
    annotation: dict, images: dict[Any, CocoImage], numbers: Mapping[int, int]
) -> None:
    image, name = _find(annotation, images), annotation["file_name"]
    if image.panoptic is not None:
        raise Net2VecError(f"{image.name} has another annotation already")
    check_inside(name, "file_name")
    segments = {}
    for segment in annotation["segments_info"]:
        id = _whole(segment["id"], "a segment's id")
        if id in segments:
            raise Net2VecError(f"segment {id} occurs twice")
        segments[id] = _number_of(segment, numbers)
    images[annotation["image_id"]] = dataclasses.replace(image, panoptic=(name, segments))


def _find(annotation: dict, images: Mapping[Any, CocoImage]) -> CocoImage:
    if annotation["image_id"] not in images:
        raise Net2VecError(f"image_id {annotation['image_id']} is none of the images")
    return images[annotation["image_id"]]


def _number_of(annotation: dict, numbers: Mapping[int, int]) -> int:
    if annotation["category_id"] not in numbers:
        raise Net2VecError(f"category_id {annotation['category_id']} is none of the categories")
    return numbers[annotation["category_id"]]


def _check_polygon(polygon: Any, shape: tuple[int, int]) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise Net2VecError("a polygon needs x, y of at least three points")
    for place, value in enumerate(polygon):
        side = shape[1 - place % 2]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not -side <= value <= 2 * side:
            raise Net2VecError(f"{value!r:.80} is no coordinate in an image {shape[0]}×{shape[1]}")


def _check_run_lengths(segmentation: Any, shape: tuple[int, int]) -> None:
    counts = segmentation["counts"]
    if tuple(segmentation["size"]) != shape:
        raise Net2VecError(f"its size is {segmentation['size']!r:.80}, the image's {list(shape)}")
    if isinstance(counts, str):
        return
    if not all(type(count) is int and count >= 0 for count in counts):
        raise Net2VecError("run lengths must be whole numbers")
    if sum(counts) != math.prod(shape):
        raise Net2VecError(f"run lengths add up to {sum(counts)}, not {math.prod(shape)} pixels")


def _decode_counts(text: str, pixels: int) -> list[int]:
    """Run lengths of COCO's compressed form.

    A number is written in groups of five bits, the lowest first, each as a character from "0" on,
    whose sixth bit says that more follow; from the fourth number on, it is the difference to the
    last but one.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 40:
            raise Net2VecError("its run lengths are damaged")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            if group & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    if shift or any(count < 0 for count in counts) or sum(counts) != pixels:
        raise Net2VecError("its run lengths are damaged")
    return counts


def _whole(value: Any, what: str) -> int:
    if type(value) is not int:
        raise Net2VecError(f"{what} is {value!r:.80}, not a whole number")
    return value


def _identify(annotation: Any, place: int) -> str:
    id = annotation.get("id") if isinstance(annotation, dict) else None
    return f"{id}" if id is not None else f"number {place}"
