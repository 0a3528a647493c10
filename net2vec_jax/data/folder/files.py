"""Find the photographs and masks of a folder dataset, and what lies there that is neither.

Names are paths below images/ or masks/, with "/" between folders and in Unicode's composed form, so
that they are the same on every system; a mask belongs to the image that has its name but for the
suffix.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.core.extras import say_install
from net2vec_jax.data.images.files import IMAGE_FORMATS, walk_files

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pnm"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
IMAGE_SUFFIXES = tuple(suffix for kind in IMAGE_FORMATS for suffix in _SUFFIXES[kind])
_HEIF_ADVICE = f"; HEIC photographs are read with the extra heic: {say_install('heic')}"
_TEXTS = {"", ".txt", ".md", ".json", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".html", ".log"}
"""Suffixes of what annotation tools leave beside images and masks."""


def find_images(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The photographs below `folder`, and what is no photograph and not beside one.

    Returns:
      name → path of the photographs, and stem → name of the others.

    Raises:
      Net2VecError: there is no photograph, or two would have the same mask.
    """
    files = _list_files(folder)
    found = {name: path for name, path in files.items() if is_photograph(name)}
    stems: dict[str, str] = {}
    for name in found:
        stem = stem_of(name)
        if stem in stems:
            raise Net2VecError(
                f"{folder}: {stems[stem]} and {name} would have the same mask; rename one"
            )
        stems[stem] = name
    if not found:
        there = f"; it holds {list_names(files, most=3)}" if files else ""
        raise Net2VecError(
            f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}){there}{_advise(files)}"
        )
    others = {stem_of(name): name for name in files if stem_of(name) not in stems}
    return found, others


def find_masks(
    directory: Path, images: Collection[str], others: Mapping[str, str]
) -> dict[str, tuple[Path, ...]]:
    """Image → its masks: of masks/ and then of every masks_*/, in the order of their names.

    Args:
      directory: of the dataset.
      images: names of the photographs.
      others: what else lies in images/, see `find_images`, for messages.

    Raises:
      Net2VecError: a mask is no PNG file, or belongs to no photograph.
    """
    masks: dict[str, tuple[Path, ...]] = {}
    stems = {stem_of(name): name for name in images}
    for layer in find_layers(directory):
        files = _list_files(layer)
        masked: dict[str, Path] = {}
        for name, path in files.items():
            if is_png(name) and masked.setdefault(stem_of(name), path) != path:
                raise Net2VecError(f"{path} and {masked[stem_of(name)]} are masks of one image")
        refuse_names(
            f"{layer}: a mask must be a PNG file, not",
            (
                name
                for name in files
                if not is_png(name)
                and (is_photograph(name) or not (is_text(name) or stem_of(name) in masked))
            ),
            "other formats may change the numbers, or are not read: save them as PNG (indexed, "
            "grey, or RGB of 8 bits)",
        )
        orphans = [stem for stem in masked if stem not in stems]
        unread = [others[stem] for stem in orphans if stem in others]
        refuse_names(
            f"{directory / 'images'}: masks in {layer.name}/ belong to",
            unread,
            f"such files are not read as images: save them as JPEG or PNG{_advise(unread)}",
        )
        refuse_names(
            f"{layer}: images/ holds no image for",
            (f"{stem}.png" for stem in orphans),
            "a mask has the name of its image, but for the suffix; "
            + (_advise_renaming(orphans, stems) or "remove or rename it"),
        )
        for stem, path in masked.items():
            masks[stems[stem]] = (*masks.get(stems[stem], ()), path)
    return masks


def find_layers(directory: Path) -> list[Path]:
    """The folders masks/ and masks_*/ that there are."""
    layers = [directory / "masks", *sorted(directory.glob("masks_*"))]
    return [layer for layer in layers if layer.is_dir()]


def is_photograph(name: str) -> bool:
    """Whether a file's suffix is that of a photograph."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_png(name: str) -> bool:
    """Whether a file's suffix is PNG's."""
    return name.lower().endswith(".png")


def is_text(name: str) -> bool:
    """Whether a file's suffix is that of a text, such as annotation tools write."""
    return os.path.splitext(name)[1].lower() in _TEXTS


def stem_of(name: str) -> str:
    """A name without its suffix: what an image and its masks share."""
    return os.path.splitext(name)[0]


def refuse_names(what: str, names: Iterable[str], advice: str) -> None:
    """Refuse if there are any names; the first are shown.

    Raises:
      Net2VecError: there are.
    """
    names = list(names)
    if names:
        raise Net2VecError(f"{what} {list_names(names)}; {advice}")


def _advise(names: Iterable[str]) -> str:
    heif = any(name.lower().endswith(_SUFFIXES["HEIF"]) for name in names)
    return _HEIF_ADVICE if heif and "HEIF" not in IMAGE_FORMATS else ""


_RENAMINGS = (
    (str.startswith, str.removeprefix, str.removesuffix, "ends"),
    (str.endswith, str.removesuffix, str.removeprefix, "beginnings"),
)


def _advise_renaming(orphans: list[str], images: Collection[str]) -> str:
    """What the names of masks have that those of their images lack, if all have the same."""
    for begins, rest, take, where in _RENAMINGS:
        extras = {rest(o, image) for o in orphans[:1] for image in images if begins(o, image)}
        for extra in sorted(extras - {""}):
            if all(take(o, extra) in images and take(o, extra) != o for o in orphans):
                return f"take {extra!r} off the {where} of their names"
    return ""


def _list_files(folder: Path) -> dict[str, Path]:
    """Name → path of the files below `folder`, sorted; see `walk_files`.

    Raises:
      Net2VecError: two names are the same but for their form in Unicode.
    """
    found: dict[str, Path] = {}
    for name, path in walk_files(folder):
        if found.setdefault(name, path) != path:
            raise Net2VecError(
                f"{folder}: two files are called {name} but for their form in Unicode (NFC and "
                "NFD); rename one"
            )
    return dict(sorted(found.items()))
