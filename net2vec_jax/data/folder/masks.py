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
from net2vec_jax.data.images.resized import StoredMask, pack_colours

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
        self._number_of = np.full(2**16, -1, np.int32)
        self._number_of[list(table.values)] = list(table.values.values())
        self._void_is_unlabelled = table.values[NO_LABEL_VALUE] == 0
        self._void_remark = _describe_void(table.catalog)

    def look_up(self, mask: StoredMask, path: Path) -> ReadMask:
        """What the mask that was read from `path` marks.

        Raises:
          Net2VecError: it holds a value or colour that the table lacks.
        """
        remarks = (_TURNED,) if mask.has_orientation else ()
        if mask.pixels.ndim == 3:
            return ReadMask(self._look_up_colours(mask.pixels, path), remarks)
        if mask.palette is not None and self._contradicts(mask.palette, mask.pixels):
            colours = mask.palette[np.minimum(mask.pixels, len(mask.palette) - 1)]
            numbers = self._look_up_colours(colours, path, palette=True)
            return ReadMask(numbers, (_BY_COLOUR, *remarks))
        numbers = self._number_of[mask.pixels]
        if (numbers < 0).any():
            unknown = np.unique(mask.pixels[numbers < 0]).tolist()
            advice = "list it there, or save the mask with 0 where nothing is marked"
            raise self._unknown(path, "number", "values", [str(value) for value in unknown], advice)
        hints: tuple[str, ...] = ()
        if mask.palette is not None and self._differs(mask.palette, mask.pixels):
            remarks = (_BY_INDEX, *remarks)
        if self._void_is_unlabelled and (mask.pixels == NO_LABEL_VALUE).any():
            if numbers.any():
                hints = (_VOID_BESIDE,)
            else:
                remarks = (self._void_remark, *remarks)
        return ReadMask(numbers, remarks, hints)

    def _differs(self, palette: np.ndarray, pixels: np.ndarray) -> bool:
        """Whether marked indices have other colours than their concepts; plain greys do not."""
        used = np.unique(pixels)
        used = used[(used < len(palette)) & (self._number_of[used] > 0)]
        if (palette[used] == used[:, None]).all():
            return False
        numbers, codes = self._number_of[used].tolist(), pack_colours(palette[used]).tolist()
        coloured = set(self._colours.values())
        return any(
            number in coloured and self._colours.get(code) != number
            for number, code in zip(numbers, codes, strict=True)
        )

    def _contradicts(self, palette: np.ndarray, pixels: np.ndarray) -> bool:
        """Whether a palette has the colours of the table at other indices than its numbers."""
        meant = {  # index → what its colour means, if that is a concept
            index: self._colours[code]
            for index, code in enumerate(pack_colours(palette).tolist())
            if self._colours.get(code)
        }
        used = set(np.unique(pixels).tolist())
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
        values, places = np.unique(pack_colours(pixels), return_inverse=True)
        unknown = [value for value in values.tolist() if value not in self._colours]
        if unknown:
            shown = [f"#{value.to_bytes(3, 'little').hex()}" for value in unknown]
            if palette:
                raise Net2VecError(
                    f"{path} has a palette whose colours are those of {self._path}, but at other "
                    f"indices, and some that are not there ({list_names(shown, most=_FEW)}): save "
                    "the mask as RGB and list all its colours (those that are no concept in rows "
                    "of number 0), or remove the column color if the indices count"
                )
            advice = "colours that are no concept get rows of number 0"
            raise self._unknown(path, "color", "colours", shown, advice)
        numbers = np.array([self._colours[value] for value in values.tolist()], np.int32)
        return numbers[places].reshape(pixels.shape[:2])

    def _unknown(
        self, path: Path, kind: str, kinds: str, shown: list[str], advice: str
    ) -> Net2VecError:
        if len(shown) <= _FEW:
            return Net2VecError(
                f"{path}: {kind} {list_names(shown)} is not in {self._path}; {advice}"
            )
        return Net2VecError(
            f"{path}: {len(shown)} {kinds} are not in {self._path} "
            f"({list_names(shown, most=_FEW)}); a mask with soft edges (smoothed when it was drawn "
            "or resized, or once a JPEG) must be saved again without smoothing; if the others are "
            "meant, list them there"
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
