"""Photographs and masks of any size, brought to one: images [S, S], masks [S // 2, S // 2].

Broden's own builder did the same (reference spec 1.1, 1.11): the aspect ratio is not kept, images
are reduced without aliasing, of masks the nearest pixel is taken. Also its split, by a hash of the
name (spec 1.7).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.data.dataset import TRAIN, VAL
from net2vec_jax.data.images.encoded import resize_mask
from net2vec_jax.data.images.files import (
    IMAGE_FORMATS,
    ORIENTATION,
    PLANE_FORMATS,
    TURNED_BY_A_QUARTER,
    convert_to_rgb,
    decode_photograph,
    drop_opaque_alpha,
    open_image_file,
    read_orientation,
    read_png_bit_depth,
    read_shapes,
)

DEFAULT_RESOLUTION = 224
"""What most networks were trained on, in pixels."""
LARGEST_RESOLUTION = 4096
TRAIN_FRACTION = 0.7
_SPLIT_WORD = (
    r"(?:(?P<train>train(?:ing)?)|val|valid|validation|test|testing|dev|eval|evaluation"
    r"|hold[-_ ]?out)[-_ ]?\d*"
)
_AFFIX = r"(?:images?|imgs?|photos?|pictures?|frames?|data|dataset|sets?|splits?)"
_SPLIT_FOLDER = re.compile(
    rf"(?:{_AFFIX}[-_ ])?{_SPLIT_WORD}(?:[-_ ]{_AFFIX}|(?-i:[AB]))?", re.IGNORECASE
)
"""Names of folders that are splits: train2017, train_images, images_train, trainA."""
_SPLIT_PREFIX = re.compile(_SPLIT_WORD, re.IGNORECASE)
_SEVERAL_PICTURES = ("GIF", "TIFF", "WEBP", "PNG", "AVIF")
"""Formats of several equal pictures; MPO and HEIF say which one is the photograph."""


def split_resolution(text: str) -> tuple[str, int]:
    """From "NAME@384" the name and the resolution, from "NAME" the default one.

    Raises:
      Net2VecError: the resolution is out of range.
    """
    name, at, digits = text.rpartition("@")
    if not at or not re.fullmatch("[0-9]+", digits):
        return text, DEFAULT_RESOLUTION
    return name, check_resolution(int(digits))


def check_resolution(resolution: int) -> int:
    """The resolution itself.

    Raises:
      Net2VecError: it is out of range.
    """
    if not 2 <= resolution <= LARGEST_RESOLUTION:
        raise Net2VecError(
            f"the resolution must be 2 to {LARGEST_RESOLUTION} pixels, not {resolution}"
        )
    return resolution


def place_by_hash(name: str) -> float:
    """A name's place in [0, 1): the first 8 bytes of its MD5, big-endian, over 2^64 (spec 1.7).

    Images are ordered by it, and those up to 0.7 are for training.
    """
    digest = hashlib.md5(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_hash(name: str) -> str:
    """The split of an image, "train" or "val", from its name alone (spec 1.7)."""
    return TRAIN if place_by_hash(name) <= TRAIN_FRACTION else VAL


def split_by_folders(
    names: Collection[str],
    *,
    otherwise: str,
    sources: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> tuple[dict[str, str] | None, str | None]:
    """The split that the folders of images say, such as train/ and val/, and what to tell of it.

    A hash of the names would tear such folders apart. They are followed where every image lies in
    one of them and there are both kinds; test images count as val.

    Args:
      names: of the images, with "/" between folders.
      otherwise: what to do for another split, the end of the notice.
      sources: what may say it → image → words that may be those of splits; the first that says
        anything counts. By default the folders.

    Returns:
      image → "train" or "val", or None where nothing says so of all; and a notice, or None where no
      folder or image is named like a split.
    """
    sources = sources or {"folders": {name: folders_of(name) for name in names}}
    for what, words in sources.items():
        found = {name: _split_words(words[name]) for name in names}
        splits, notice = _follow(found, what, otherwise)
        if notice is not None:
            return splits, notice
    return None, _remark_on_file_names(names, otherwise)


def folders_of(path: str) -> list[str]:
    """The folders of a path, each with "/" behind it."""
    return [f"{part}/" for part in path.split("/")[:-1]]


def _split_words(words: Sequence[str]) -> dict[str, str]:
    """The words that name a split, and which."""
    matches = ((word, _SPLIT_FOLDER.fullmatch(word.removesuffix("/"))) for word in words)
    return {word: TRAIN if match["train"] else VAL for word, match in matches if match}


def _follow(
    found: Mapping[str, Mapping[str, str]], what: str, otherwise: str
) -> tuple[dict[str, str] | None, str | None]:
    """See `split_by_folders`; `found` has for each image the words that name a split."""
    named = {word.lower(): split for some in found.values() for word, split in some.items()}
    told = {name: {*some.values()} for name, some in found.items()}
    kinds = set(named.values())
    if kinds == {TRAIN, VAL} and all(len(some) == 1 for some in told.values()):
        shown = ", ".join(f"{word} is {split}" for word, split in sorted(named.items()))
        splits = {name: some.pop() for name, some in told.items()}
        return splits, f"the split is that of the {what}: {shown}; {otherwise}"
    if kinds == {TRAIN, VAL}:
        unclear = [name for name, some in told.items() if len(some) != 1]
        reason = f"but they do not say it of {list_names(unclear, most=3)}"
    elif kinds and all(told.values()):
        reason = "but none is of the other split"
    else:
        return None, None
    return None, (
        f"{what} are named like splits ({', '.join(sorted(named))}), {reason}; the split is by a "
        f"hash of the names; {otherwise}"
    )


def _remark_on_file_names(names: Collection[str], otherwise: str) -> str | None:
    """A notice if the files of all images are named like splits, as train_0.jpg and val_0.jpg."""
    found: dict[str, str] = {}
    for name in names:
        parts = re.split(r"[-_. ]+", name.rpartition("/")[2])
        matches = ((part.lower(), _SPLIT_PREFIX.fullmatch(part)) for part in parts)
        words = {word: TRAIN if match["train"] else VAL for word, match in matches if match}
        if len({*words.values()}) != 1:
            return None
        found |= words
    if {*found.values()} != {TRAIN, VAL}:
        return None
    return (
        f"names of images look like splits ({', '.join(sorted(found))}), but only folders are "
        f"followed; the split is by a hash of the names; {otherwise}"
    )


def read_resized_image(
    path: Path,
    resolution: int,
    *,
    shape: tuple[int, int] | None = None,
    source: str = "",
    prefer_stored: bool = False,
) -> np.ndarray:
    """Decode a photograph and resize it (bilinear, antialiased) to a square.

    It is turned upright as its EXIF orientation says, if that goes with the shape of its labels;
    if not, it is taken as stored. Of a JPEG much larger than needed a reduced version, of at least
    twice the resolution, is decoded.

    Args:
      path: the file.
      resolution: S.
      shape: (H, W) of its labels, which the image must have too, or another size of the same
        aspect ratio.
      source: what gives that shape, for the message.
      prefer_stored: take the pixels as stored if both ways go with the labels.

    Returns:
      uint8 [S, S, 3], RGB.

    Raises:
      Net2VecError: the file is missing, damaged, of a kind that cannot be shown in RGB (see
        `convert_to_rgb`), or does not go with its labels.
    """
    with open_image_file(path, IMAGE_FORMATS) as image:
        upright, stored = read_shapes(image)
        fits = [shape is None or same_aspect(one, shape) for one in (upright, stored)]
        if not any(fits):
            raise Net2VecError(
                f"{path}: the image is {upright[0]}×{upright[1]} pixels, but {source} is "
                f"{shape[0]}×{shape[1]}, of another aspect ratio{_explain_misfit(image, shape)}"
            )
        image.draft(image.mode, (2 * resolution, 2 * resolution))
        shown = decode_photograph(image, upright=fits[0] and not (prefer_stored and fits[1]))
        resized = convert_to_rgb(shown, path).resize(
            (resolution, resolution), Image.Resampling.BILINEAR
        )
        return np.asarray(resized)


def _explain_misfit(image: Image.Image, shape: tuple[int, int]) -> str:
    """Why an image may not go with labels of (H, W), the end of a message."""
    if not same_aspect((image.width, image.height), shape):
        return ""
    if image.info.get("original_orientation") is not None:  # which pillow-heif gives
        return "; HEIC photographs are taken upright, as EXIF says: turn its labels upright too"
    image.load()
    late = Image.Exif()
    late.load(image.info.get("exif", b""))
    if late.get(ORIENTATION) in TURNED_BY_A_QUARTER:
        return "; EXIF data behind its pixels is not followed: save it upright, without that tag"
    return "; height and width look swapped there"


def remark_on_photograph(
    path: Path,
    shape: tuple[int, int] | None,
    *,
    otherwise: str | None,
    prefer_stored: bool = False,
) -> tuple[str, ...]:
    """What `read_resized_image` assumes of a photograph.

    That is, which way it is turned if EXIF turns or mirrors it and its labels do not say that it
    is upright; and which picture is meant if the file has several.

    Args:
      path: the file.
      shape: (H, W) of its labels; None if nothing says it.
      otherwise: what to do if it is turned otherwise, the end of that remark; None if it does not
        matter, since no label has a place in the photograph.
      prefer_stored: as `read_resized_image` has it.

    Returns:
      Remarks as `gather_remarks` takes them; none of a photograph that cannot be read.
    """
    try:
        with open_image_file(path, IMAGE_FORMATS) as image:
            has_several = image.format in _SEVERAL_PICTURES and image.is_animated
            remarks = [_FIRST_PICTURE] if has_several else []
            if otherwise is not None and read_orientation(image) != 1:
                fits = [shape is None or same_aspect(one, shape) for one in read_shapes(image)]
                remarks += _remark_on_orientation(*fits, prefer_stored, otherwise)
    except Net2VecError:
        return ()  # reading the photograph says why
    return tuple(remarks)


_FIRST_PICTURE = (
    "photographs hold several pictures, as animations do ({count}: {images}); the first is taken: "
    "save another one alone where it is meant"
)


def _remark_on_orientation(
    upright: bool, stored: bool, prefer_stored: bool, otherwise: str
) -> list[str]:
    """Of a photograph with an orientation that fits its labels upright, as stored, or both."""
    if not stored:
        return []
    fit = "both upright and as stored" if upright else "only as stored"
    taken = "as stored" if prefer_stored or not upright else "upright"
    return [
        f"photographs with an EXIF orientation fit their labels {fit} ({{count}}: {{images}}); "
        f"their pixels are taken {taken}: {otherwise}"
    ]


def read_mask_shape(path: Path) -> tuple[int, int]:
    """(H, W) of a mask, from the head of its file.

    Raises:
      Net2VecError: the file is missing or no PNG.
    """
    with open_image_file(path, PLANE_FORMATS) as image:
        return image.height, image.width


class StoredMask(NamedTuple):
    """A mask as its file has it, at the size asked for."""

    pixels: np.ndarray
    """int32 [Y, X] indices or values, or uint8 [Y, X, 3] colours."""
    palette: np.ndarray | None
    """uint8 [n, 3], the colours of the indices; None without a palette."""
    has_orientation: bool
    """Whether EXIF turns or mirrors it, which is not applied: pixels are taken as stored."""


def read_resized_mask(path: Path, size: tuple[int, int]) -> StoredMask:
    """Decode a mask and take the nearest pixel for each of [Y, X].

    Args:
      path: a PNG file: with a palette, whose indices are taken; grey of 1 to 16 bits; or RGB of 8.
        An alpha channel that is opaque is dropped.
      size: (Y, X).

    Raises:
      Net2VecError: the file is missing, damaged, of another kind, or has transparent pixels.
    """
    with open_image_file(path, PLANE_FORMATS) as opened:
        has_orientation = read_orientation(opened) != 1
        depth = read_png_bit_depth(path)
        image = drop_opaque_alpha(opened, path) if opened.mode in ("RGBA", "LA") else opened
        if image.mode not in ("1", "L", "P", "RGB", "I;16") or (image.mode == "RGB" and depth != 8):
            raise Net2VecError(
                f"{path}: a mask must be a PNG with a palette, grey, or RGB of 8 bits, not "
                f"{image.mode} of {depth} bits"
            )
        pixels = resize_mask(np.asarray(image), size)
        if image.mode == "RGB":
            return StoredMask(pixels, None, has_orientation)
        palette = None
        if image.mode == "P":
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if image.mode == "L" and depth < 8:  # which Pillow stretches to 0 … 255
            pixels = pixels // (255 // (2**depth - 1))
        return StoredMask(pixels.astype(np.int32), palette, has_orientation)


def same_aspect(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether sizes are equal up to scale, and to a pixel of the smaller one by rounding."""
    (h, w), (y, x) = one, other
    return abs(h * x - w * y) <= max(h, w, y, x)
