"""What the pixels of a mask mean: concept numbers by values, by palette, or by colours.

A mask is int32 [Y, X] of concept numbers, 0 where none is marked.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.folder.tables import NO_LABEL_VALUE, ConceptTable
from net2vec_jax.data.images.resized import StoredMask, read_resized_mask

_BY_COLOUR = (
    "masks whose palette has the colours of concepts.csv at other indices than the numbers there "
    "are read by colour ({count}: {images}); if the indices count, remove the column color"
)
_BY_INDEX = (
    "masks whose palette has other colours than concepts.csv are read by index ({count}: "
    "{images}); if the colours count, save the masks as RGB"
)
_VOID_BESIDE = (
    "masks hold 255 beside concepts ({count}: {images}), and some concepts are on no image: 255 is "
    "no label unless concepts.csv names it; if it is one of these concepts, give it the number 255"
)
_TURNED = (
    "masks have an EXIF orientation, which is not applied ({count}: {images}); if they lie turned "
    "over their photographs, save them upright and without that tag"
)
_FEW = 3
"""As many unknown colours or values may have been forgotten in the table; more are soft edges."""


class ReadMask(NamedTuple):
    """What a mask marks, and what was assumed (see `ImageLabels`)."""

    numbers: np.ndarray
    """int32 [Y, X] of concept numbers."""
    remarks: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


class MaskMeaning:
    """What masks mean by the table of concepts."""

    def __init__(self, table: ConceptTable, path: Path) -> None:
        """By `table`, which was read from `path`."""
        self._path = path
        self._colours = table.colours
        self._named = {concept.number: concept for concept in table.catalog}
        self._number_of = np.full(2**16, -1, np.int32)
        self._number_of[list(table.values)] = list(table.values.values())
        self._void_is_unlabelled = table.values[NO_LABEL_VALUE] == 0
        self._void_remark = _describe_void(table.catalog)

    def read(self, path: Path, size: tuple[int, int]) -> ReadMask:
        """Decode a mask and look up what it marks.

        Args:
          path: of the mask.
          size: (Y, X), see `read_resized_mask`.

        Raises:
          Net2VecError: the file is missing, damaged or of another kind, or holds a value or colour
            that the table lacks.
        """
        mask = read_resized_mask(path, size)
        read = self._look_up(mask, path)
        if mask.has_orientation:
            read = read._replace(remarks=(*read.remarks, _TURNED))
        return read

    def _look_up(self, mask: StoredMask, path: Path) -> ReadMask:
        if mask.pixels.ndim == 3:
            return ReadMask(self._look_up_colours(mask.pixels, path))
        if mask.palette is not None and self._contradicts(mask):
            colours = mask.palette[np.minimum(mask.pixels, len(mask.palette) - 1)]
            numbers = self._look_up_colours(colours, path, palette=True)
            return ReadMask(numbers, remarks=(_BY_COLOUR,))
        numbers = self._number_of[mask.pixels]
        if (numbers < 0).any():
            raise self._unknown_values(np.unique(mask.pixels[numbers < 0]).tolist(), path)
        remarks: tuple[str, ...] = ()
        hints: tuple[str, ...] = ()
        if self._void_is_unlabelled and (mask.pixels == NO_LABEL_VALUE).any():
            if numbers.any():
                hints = (_VOID_BESIDE,)
            else:
                remarks = (self._void_remark,)
        if mask.palette is not None and self._differs(mask):
            remarks = (*remarks, _BY_INDEX)
        return ReadMask(numbers, remarks, hints)

    def _differs(self, mask: StoredMask) -> bool:
        """Whether marked indices have other colours than their concepts; plain greys do not."""
        used = np.unique(mask.pixels)
        used = used[(used < len(mask.palette)) & (self._number_of[used] > 0)]
        colours = mask.palette[used]
        if (colours == used[:, None]).all():
            return False
        coloured = set(self._colours.values())
        return any(
            number in coloured and self._colours.get(code) != number
            for number, code in zip(
                self._number_of[used].tolist(), _encode(colours).tolist(), strict=True
            )
        )

    def _contradicts(self, mask: StoredMask) -> bool:
        """Whether a palette has the colours of the table at other indices than its numbers."""
        meant = {}  # index → what its colour means, if that is a concept
        for index, code in enumerate(_encode(mask.palette).tolist()):
            if self._colours.get(code):
                meant[index] = self._colours[code]
        used = set(np.unique(mask.pixels).tolist())
        at_home = {number for index, number in meant.items() if self._number_of[index] == number}
        return any(
            self._number_of[index] != number and (index in used or number not in at_home)
            for index, number in meant.items()
        )

    def _look_up_colours(
        self, pixels: np.ndarray, path: Path, *, palette: bool = False
    ) -> np.ndarray:
        """int32 [Y, X] of concept numbers, of uint8 [Y, X, 3] colours."""
        if not self._colours:
            raise Net2VecError(
                f"{path} is an RGB mask, but {self._path} has no color: give each concept its "
                "#rrggbb there, or save the mask with a palette"
            )
        values, places = np.unique(_encode(pixels), return_inverse=True)
        unknown = [value for value in values.tolist() if value not in self._colours]
        if unknown:
            shown = [_show(value) for value in unknown]
            if palette:
                raise Net2VecError(
                    f"{path} has a palette whose colours are those of {self._path}, but at other "
                    f"indices, and some that are not there ({list_names(shown, most=_FEW)}): save "
                    "the mask as RGB and list all its colours (those that are no concept in rows "
                    "of number 0), or remove the column color if the indices count"
                )
            if len(unknown) > _FEW:
                raise _soft_edges(path, self._path, "colours", shown)
            raise Net2VecError(
                f"{path}: color {list_names(shown)} is not in {self._path}; colours that are no "
                "concept get rows of number 0"
            )
        numbers = np.array([self._colours[value] for value in values.tolist()], np.int32)
        return numbers[places].reshape(pixels.shape[:2])

    def _unknown_values(self, unknown: list[int], path: Path) -> Net2VecError:
        shown = [str(value) for value in unknown]
        if len(unknown) > _FEW:
            return _soft_edges(path, self._path, "values", shown)
        return Net2VecError(
            f"{path}: number {list_names(shown)} is not in {self._path}; list it there, or save "
            "the mask with 0 where nothing is marked"
        )


def _soft_edges(path: Path, table: Path, kind: str, shown: list[str]) -> Net2VecError:
    return Net2VecError(
        f"{path}: {len(shown)} {kind} are not in {table} ({list_names(shown, most=_FEW)}); a mask "
        "with soft edges (smoothed when it was drawn or resized, or once a JPEG) must be saved "
        "again without smoothing; if the others are meant, list them there"
    )


def _describe_void(catalog: ConceptCatalog) -> str:
    example = "NAME,CATEGORY"
    if len(catalog) == 1:
        example = f"{catalog.concepts[0].name},{catalog.concepts[0].primary_category}"
    return (
        "masks hold 255 and mark no concept ({count}: {images}): 255 is no label unless "
        f"concepts.csv names it; if it is a concept there, write 255,{example}, or, if other masks "
        "mark that concept by another number, save these with that number"
    )


def _encode(colours: np.ndarray) -> np.ndarray:
    """R + 256·G + 65536·B of uint8 [..., 3]."""
    return colours.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def _show(colour: int) -> str:
    return f"#{colour % 256:02x}{colour // 256 % 256:02x}{colour // 65536:02x}"
