"""COCO's segmentations, polygons or run lengths: check them, and decode them to masks.

Masks are handed to pycocotools only after a check, since it trusts what it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra
from net2vec_jax.data.images.resized import nearest_pixels

MOST_PIXELS = (1 << 31) - 1
"""Of an image's size; pycocotools counts pixels in 32 bits."""
_MOST_GROUPS = 9
"""Of five bits each, of one run length; a valid one has at most six."""
_NO_AREA = 1e-6
"""In square pixels: what rounding makes of points on one line."""


class Segmentation(NamedTuple):
    """What one annotation marks.

    Attributes:
      polygons: those that mark something, each [x1, y1, x2, y2, …].
      run_lengths: as pycocotools compresses them, or None.
      faults: place among the polygons, from 1 → why that polygon is bad.
      without_area: how many polygons or run lengths enclose no area, and so mark nothing.
    """

    polygons: list[list[int | float]]
    run_lengths: dict | None
    faults: dict[int, str]
    without_area: int


def check_segmentation(segmentation: Any, shape: tuple[int, int]) -> Segmentation:
    """Check what JSON holds as the segmentation of an annotation.

    Args:
      segmentation: polygons or run lengths.
      shape: (H, W) of the image.

    Raises:
      Net2VecError: none of it can be used; the message says why.
    """
    if segmentation and isinstance(segmentation, dict):
        run_lengths, marks = _check_run_lengths(segmentation, shape)
        return Segmentation([], run_lengths if marks else None, {}, int(not marks))
    is_list = isinstance(segmentation, list)
    if not segmentation or (is_list and all(polygon == [] for polygon in segmentation)):
        raise Net2VecError("there is no segmentation; a box alone will not do")
    if not is_list:
        raise Net2VecError(
            f"its segmentation is {segmentation!r:.60}, neither polygons nor run lengths"
        )
    polygons, faults, without_area = [], {}, 0
    for place, polygon in enumerate(segmentation, start=1):
        try:
            if _check_polygon(polygon, shape):
                polygons.append(polygon)
            else:
                without_area += 1
        except Net2VecError as error:
            faults[place] = str(error)
    if len(faults) == len(segmentation):
        raise Net2VecError(faults[1])
    return Segmentation(polygons, None, faults, without_area)


def decode_regions(
    regions: Iterable[tuple[int, Segmentation]], shape: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """The union of each category's regions, at the nearest pixel for each of [Y, X].

    A mask of the image's own size, which may be gigabytes, is never made.

    Args:
      regions: (category id, what is marked), checked.
      shape: (H, W) of the image.
      size: (Y, X), see `resize_mask`.

    Yields:
      (category id, bool [Y, X]), ascending, of the categories that have an area.
    """
    coco_mask = import_extra("pycocotools.mask", "coco")

    height, width = shape
    encoded: dict[int, list] = {}
    for category, region in regions:
        some = [region.run_lengths] if region.run_lengths else []
        if region.polygons:
            some = _compress(region.polygons, shape)
        if some:
            encoded.setdefault(category, []).extend(some)
    rows, columns = map(nearest_pixels, shape, size)
    places = columns * height + rows[:, None]  # down the columns, as run lengths go
    for category in sorted(encoded):
        merged: Any = coco_mask.merge(encoded[category])["counts"]
        ends = np.cumsum(decode_counts(merged.decode(), height * width))
        yield category, np.searchsorted(ends, places, side="right") % 2 == 1


def decode_counts(text: str, pixels: int) -> np.ndarray:
    """Run lengths of COCO's compressed form.

    A number is written in groups of five bits, the lowest first, each as a character from "0" on,
    whose sixth bit says that more follow; from the fourth number on, it is the difference to the
    last but one.

    Args:
      text: the compressed form.
      pixels: H · W.

    Returns:
      int64 [n], of pixels that are not marked and that are, in turn, down the columns.

    Raises:
      Net2VecError: the text is no such form, or of another number of pixels.
    """
    damaged = Net2VecError("its run lengths are damaged")
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise damaged
    ends = np.flatnonzero((groups & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends + 1 - starts
    if lengths.max() > _MOST_GROUPS:
        raise damaged
    places = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 31) << (5 * places), starts)
    values -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    if np.abs(values).max() > pixels:  # also keeps the sums below from overflowing
        raise damaged
    counts = values.copy()
    counts[1::2] = np.cumsum(values[1::2])
    counts[2::2] = np.cumsum(values[2::2])
    if counts.min() < 0 or counts.sum() != pixels:
        raise damaged
    return counts


def _check_polygon(polygon: Any, shape: tuple[int, int]) -> bool:
    """Whether a polygon encloses any area.

    Raises:
      Net2VecError: it is none.
    """
    wrong = ""
    if not isinstance(polygon, list):
        wrong = f"is {polygon!r:.60}"
    elif not set(map(type, polygon)) <= {int, float}:
        odd = next(value for value in polygon if type(value) not in (int, float))
        wrong = f"holds {odd!r:.60}"
    elif len(polygon) < 6 or len(polygon) % 2:
        wrong = f"has {len(polygon)} numbers"
    if wrong:
        raise Net2VecError(
            f"a polygon {wrong}; write each as one list of numbers, [x1, y1, x2, y2, …], of three "
            "points or more"
        )
    sides = ((shape[1], polygon[::2]), (shape[0], polygon[1::2]))
    ends = ((side, value) for side, values in sides for value in (min(values), max(values)))
    outside = next((value for side, value in ends if not -side <= value <= 2 * side), None)
    if outside is None and math.isnan(sum(polygon)):  # which min and max may pass over
        outside = math.nan
    if outside is not None:
        raise Net2VecError(f"{outside!r:.60} is no coordinate in an image {shape[0]}×{shape[1]}")
    return not _lie_on_a_line(polygon)


def _lie_on_a_line(polygon: list[int | float]) -> bool:
    """Whether all points do. The signed area would not tell: it is 0 of a bow tie too."""
    x, y, *_ = polygon
    across = (polygon[2] - x) * (polygon[5] - y) - (polygon[4] - x) * (polygon[3] - y)
    if abs(across) > _NO_AREA:
        return False  # the usual case, without an array
    offsets = np.array(polygon, float).reshape(-1, 2) - (x, y)
    farthest = offsets[np.argmax((offsets**2).sum(axis=1))]
    return bool(np.abs(offsets @ (farthest[1], -farthest[0])).max() <= _NO_AREA)


def _check_run_lengths(segmentation: dict, shape: tuple[int, int]) -> tuple[dict, bool]:
    """Run lengths as pycocotools takes them, and whether they mark anything.

    Raises:
      Net2VecError: they are none.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or size != list(shape):
        hint = "; it must be [height, width]" if size == [*reversed(shape)] else ""
        raise Net2VecError(
            f"the size of its run lengths is {size!r:.80}, the image's {list(shape)}{hint}"
        )
    if isinstance(counts, str):
        if counts.startswith(("b'", 'b"')):
            raise Net2VecError(
                f"its run lengths are {counts!r:.40}, written with str(bytes); write "
                "counts.decode() instead"
            )
        marks = decode_counts(counts, math.prod(shape))[1::2].any()
        return {"size": list(shape), "counts": counts.encode()}, bool(marks)
    if not isinstance(counts, list):
        raise Net2VecError(f"its run lengths are {counts!r:.60}, neither a list nor a text")
    odd = [count for count in counts if type(count) is not int or count < 0]
    if odd:
        raise Net2VecError(f"run lengths must be whole numbers, not {odd[0]!r:.60}")
    if sum(counts) != math.prod(shape):
        raise Net2VecError(f"run lengths add up to {sum(counts)}, not {math.prod(shape)} pixels")
    return _compress({"size": size, "counts": counts}, shape), any(counts[1::2])


def _compress(segmentation: Any, shape: tuple[int, int]) -> Any:
    """Polygons or run lengths as pycocotools compresses them."""
    from pycocotools import mask as coco_mask

    return coco_mask.frPyObjects(segmentation, *shape)
