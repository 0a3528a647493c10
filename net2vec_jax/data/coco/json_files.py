"""Read a JSON file that should be of COCO's form, or say what it is instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from net2vec_jax.core.errors import Net2VecError, join_messages
from net2vec_jax.data.images.files import check_regular_file

# Files of other tools, by keys that they have: in a JSON object, and in the elements of a list.
_OBJECTS = {
    ("shapes",): "a LabelMe file",
    ("_via_img_metadata",): "a VIA project",
    ("items", "categories"): "a Datumaro file",
    ("objects", "size"): "a Supervisely file",
    ("objects", "imgHeight"): "a Cityscapes file of polygons",
    ("features", "type"): "a GeoJSON file",
    ("frames",): "a Scalabel file",
}
_ELEMENTS = {
    ("image_id", "score"): "a list of detection results",
    ("image_id", "category_id"): "a list of annotations or detection results alone",
    ("data", "annotations"): "a file of Label Studio's own form",
    ("data", "completions"): "a file of Label Studio's own form",
    ("image", "annotations"): "a CreateML file",
    ("name", "labels"): "a BDD100K or Scalabel file",
    ("filename", "regions"): "a VIA file",
    ("data_row",): "a Labelbox file",
}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\3\4": "zip"}


class CocoLists(NamedTuple):
    """The lists of an annotation file; annotations may be anything, the others are objects."""

    images: list[dict]
    annotations: list[Any]
    categories: list[dict]


def read_lists(path: Path) -> CocoLists:
    """Read an annotation file's images, annotations and categories, none of them empty.

    Raises:
      Net2VecError: the file is missing, no JSON, or not of COCO's form.
    """
    content = _read_json(path)
    other = _name_other_format(content)
    if other is not None or not isinstance(content, dict):
        raise Net2VecError(
            f"{path} is {other or f'a JSON {type(content).__name__}'}, not COCO's annotation file "
            "(images, annotations, categories); export or convert the labels to COCO"
        )
    for key in CocoLists._fields:
        if key not in content:
            raise Net2VecError(
                f"{path}: there is no {key!r} where COCO's annotation files have one; detections "
                "or captions alone, or images without annotations, will not do"
            )
        if not isinstance(content[key], list):
            raise Net2VecError(f"{path}: {key!r} must be a list, not {type(content[key]).__name__}")
        if not content[key]:
            raise Net2VecError(f"{path}: its list of {key} is empty")
    faults = [
        f"{key} number {place} is {entry!r:.60}, not a JSON object"
        for key in ("images", "categories")
        for place, entry in enumerate(content[key])
        if not isinstance(entry, dict)
    ]
    if faults:
        raise Net2VecError(f"{path}: {join_messages(faults)}")
    return CocoLists(*(content[key] for key in CocoLists._fields))


def _read_json(path: Path) -> Any:
    check_regular_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror}") from error
    for begin, kind in _COMPRESSED.items():
        if content.startswith(begin):
            raise Net2VecError(f"{path} is {kind}-compressed; unpack it and give the JSON file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Net2VecError(
            f"{path} is not a JSON file in UTF-8: {error}; save it as UTF-8"
        ) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        end = text.rstrip()
        if end.startswith("<"):
            hint = "; it looks like XML: convert it to COCO"
        elif not end.endswith(("}", "]")) or getattr(error, "pos", 0) >= len(end):
            hint = "; it looks cut off: copy or download it again"
        else:
            hint = ""
        raise Net2VecError(f"{path} is not a JSON file: {error}{hint}") from error


def _name_other_format(content: Any) -> str | None:
    """What a file is that is not COCO's, if its keys say so."""
    if isinstance(content, dict) and {"images", "annotations"} & content.keys():
        return None
    if isinstance(content, dict):
        for keys, name in _OBJECTS.items():
            if content.keys() >= set(keys):
                return name
        content = list(content.values())[:1]  # VIA has an object of images
    first = content[0] if isinstance(content, list) and content else None
    for keys, name in _ELEMENTS.items():
        if isinstance(first, dict) and first.keys() >= set(keys):
            return name
    return None
