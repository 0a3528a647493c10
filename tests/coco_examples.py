"""What the tests of COCO's files share: small files, their masks, and ways to change them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from net2vec_jax.data.coco.annotations import CocoPart
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import collect_concept_masks

HEIGHT, WIDTH = 40, 60
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 90, "name": "sky"}]


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(top: int, left: int, bottom: int, right: int) -> list[float]:
    """Of the pixels top … bottom − 1, left … right − 1: their outer corners."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask: np.ndarray, *, compressed: bool) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if compressed:
        return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    runs = np.diff([0, *ends, mask.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": runs}


def make_annotations() -> dict[str, Any]:
    """Image 10 shows a dog before a cat and two more dogs, image 11 a crowd, image 12 nothing."""
    names = {10: "x.jpg", 11: "sub/y.jpg", 12: "z.jpg"}
    two = [polygon(30, 0, 40, 10), polygon(30, 20, 40, 30)]
    crowd = run_lengths(rectangle(0, 0, 13, 60), compressed=True)
    single = run_lengths(rectangle(20, 5, 33, 17), compressed=False)
    regions = [
        (1, 10, 3, [polygon(0, 0, 20, 40)], 0),
        (2, 10, 1, [polygon(10, 20, 30, 60)], 0),
        (3, 10, 1, two, 0),
        (4, 11, 1, crowd, 1),
        (5, 11, 1, single, 0),
    ]
    return {
        "info": {"year": 2024},
        "images": [
            {"id": id, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for id, name in names.items()
        ],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [
            {"id": id, "image_id": image, "category_id": c, "segmentation": s, "iscrowd": crowd}
            for id, image, c, s, crowd in regions
        ],
    }


EXPECTED = {
    ("x.jpg", "cat"): rectangle(0, 0, 20, 40),
    ("x.jpg", "dog"): rectangle(10, 20, 30, 60)
    | rectangle(30, 0, 40, 10)
    | rectangle(30, 20, 40, 30),
    ("sub/y.jpg", "dog"): rectangle(0, 0, 13, 60) | rectangle(20, 5, 33, 17),
}


def write(root: Path, annotations: dict[str, Any], name: str = "instances.json") -> CocoPart:
    for image in annotations["images"]:
        path = root / "images" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 199)).save(path)
    (root / name).write_text(json.dumps(annotations))
    return CocoPart(root / name, root / "images")


def make_panoptic(root: Path) -> tuple[dict[str, Any], dict]:
    """Segments of things and stuff; numbers of segments need all three bytes."""
    annotations = make_annotations()
    del annotations["annotations"]
    ids = np.zeros((HEIGHT, WIDTH), np.int64)
    ids[:10], ids[20:30, :30], ids[20:30, 40:] = 70000, 5, 260
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    folder = root / "panoptic"
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "x.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "y.png")
    segments = [
        {"id": 70000, "category_id": 90},
        {"id": 5, "category_id": 1},
        {"id": 260, "category_id": 1},
    ]
    annotations["annotations"] = [
        {"image_id": 10, "file_name": "x.png", "segments_info": segments},
        {"image_id": 11, "file_name": "y.png", "segments_info": []},
    ]
    expected = {
        ("x.jpg", "sky"): rectangle(0, 0, 10, 60),
        ("x.jpg", "dog"): rectangle(20, 0, 30, 30) | rectangle(20, 40, 30, 60),
    }
    return annotations, expected


def change(where: tuple, value: object) -> Callable[[dict], None]:
    def edit(annotations: dict) -> None:
        for key in where[:-1]:
            annotations = annotations[key]
        annotations[where[-1]] = value

    return edit


def remove(*where: object) -> Callable[[dict], None]:
    def edit(annotations: dict) -> None:
        for key in where[:-1]:
            annotations = annotations[key]
        del annotations[where[-1]]

    return edit


def make_mugs() -> dict[str, Any]:
    """Eight images of 60 × 80 pixels, each with a mug, a rectangle that covers a quarter of it."""
    mug = [[10, 10, 50, 10, 50, 40, 10, 40]]
    return {
        "images": [
            {"id": id, "file_name": f"{id}.jpg", "height": 60, "width": 80} for id in range(8)
        ],
        "annotations": [
            {"id": id, "image_id": id, "category_id": 1, "segmentation": mug} for id in range(8)
        ],
        "categories": [{"id": 1, "name": "mug"}],
    }


def write_mugs(root: Path, content: dict[str, Any] | None = None) -> CocoPart:
    """Write a.json and the photographs images/0.jpg … 7.jpg."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for id in range(8):
        Image.new("RGB", (80, 60), (30 * id, 99, 199)).save(root / f"images/{id}.jpg")
    (root / "a.json").write_text(json.dumps(make_mugs() if content is None else content))
    return CocoPart(root / "a.json", root / "images")


def show(dataset: ConceptDataset) -> dict[str, tuple[int, int, int]]:
    """Concept → how many train and val images show it, and what percentage of them it covers."""
    masks = collect_concept_masks(dataset)
    covered = masks.unpack(slice(None)).mean(axis=(1, 2))
    shown = {}
    for place, concept in enumerate(masks.catalog):
        its = masks.pair_concept == place
        val = int(masks.pair_is_val[its].sum())
        percent = round(100 * float(covered[its].mean())) if its.any() else 0
        shown[concept.name] = (int(its.sum()) - val, val, percent)
    return shown
