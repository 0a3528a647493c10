"""Characters that a figure's font lacks: a font that has them, or else their code points.

matplotlib's own font has neither Chinese nor Thai nor most emoji, and draws boxes in their place.
Such a text gets a second font here, if one is installed that has the characters; what none has is
written as "\\u6c7d", which tells names apart. Texts whose characters are all there are not touched.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import unicodedata
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from tqdm import tqdm

from net2vec_jax.core.errors import list_names

_EAST_ASIAN = (
    "BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA",
)  # fmt: skip
"""Beginnings of the Unicode names of what fonts for Chinese, Japanese and Korean have."""
_FIRST_EMOJI = 0x1F000
_PLACEHOLDERS = ("lastresort", "notdef", "blank")
"""In the names of fonts that have every character, as a box or as nothing."""
_LAST_CHOICE = ("mono", "serif")
"""In the names of fonts that are taken only where no other one has as many of the characters."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitted:
    """What `fit_text` did to the texts of a figure.

    Attributes:
      fonts: that were added.
      unwritable: characters that no font has, in the order of the texts.
    """

    fonts: set[FontEntry] = dataclasses.field(default_factory=set)
    unwritable: dict[str, None] = dataclasses.field(default_factory=dict)


_FITTED: weakref.WeakKeyDictionary[Figure, _Fitted] = weakref.WeakKeyDictionary()
_TOLD: set[tuple[Path, str]] = set()
"""Folders of figures, and fonts that the console was told to be wanting there."""


def fit_fonts(figure: Figure, fonts: Sequence[FontEntry] | None = None) -> None:
    """Make all texts of a figure readable, those of ticks and legends included, see `fit_text`.

    Args:
      figure: with all its texts.
      fonts: what to choose from; by default all that are installed.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _fit_ticks(axis, fonts)
    for text in figure.findobj(Text):
        fit_text(text, fonts)


def fit_text(text: Text, fonts: Sequence[FontEntry] | None = None) -> None:
    """Give a text of a figure the fonts that it needs, and write what no font has as code points.

    Args:
      text: is changed only if its font lacks a character.
      fonts: what to choose from; by default all that are installed.
    """
    properties = text.get_fontproperties()
    found, escapes = _resolve(text.get_text(), properties, fonts)
    if not (found or escapes):
        return
    fitted = _FITTED.setdefault(text.get_figure(root=True), _Fitted())
    if found:
        families = [_register(face, properties) for face in found]
        text.set_fontfamily([*text.get_fontfamily(), *families])
        fitted.fonts.update(found)
    if escapes:
        text.set_text(text.get_text().translate(escapes))
        fitted.unwritable.update(dict.fromkeys(map(chr, escapes)))


def has_postscript_fonts(figure: Figure) -> bool:
    """Whether a fitted figure was given a font of PostScript outlines (CFF), as Noto Sans CJK's.

    With pdf.fonttype 42 matplotlib embeds these as TrueType outlines, and nothing is seen of them.
    """
    return any(map(_is_postscript, _FITTED.get(figure, _Fitted()).fonts))


def announce_unwritable(figure: Figure, folder: Path) -> None:
    """Say on the console which characters of a fitted figure no font has, and what font to install.

    Args:
      figure: that was saved.
      folder: where; what is wanting is said once for all figures there.
    """
    wanting: dict[str, list[str]] = {}
    for character in _FITTED.get(figure, _Fitted()).unwritable:
        wanting.setdefault(_name_font(character), []).append(character)
    new = {font: shown for font, shown in wanting.items() if (folder, font) not in _TOLD}
    _TOLD.update((folder, font) for font in new)
    parts = [
        list_names(c if c.isprintable() else _escape(c) for c in characters)
        + (f" (install a font for {font}, and run again)" if font else "")
        for font, characters in new.items()
    ]
    if parts:
        first = next(iter(new.values()))[0]
        tqdm.write(
            f"note: characters that no installed font has stand in the figures in {folder} as "
            f"their code points (such as {_escape(first)}): {'; '.join(parts)}",
            file=sys.stderr,
        )


def count_letters(text: str, fonts: Sequence[FontEntry] | None = None) -> int:
    """How many letters of the usual width a text is as wide as.

    Chinese characters and others of their width are two; a character that no font has is its code
    point, whose digits are wider than letters: seven for "\\u6c7d".

    Args:
      text: in one line.
      fonts: what a character is looked for in, besides the default font; by default all that are
        installed.
    """
    if text.isascii():
        return len(text)
    properties = FontProperties()
    missing = set(_find_missing(text, properties))
    _, escapes = _resolve(text, properties, fonts)
    return sum(
        len(escapes[ord(character)]) * 7 // 6
        if ord(character) in escapes
        else 1 + (character in missing and unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def shorten(
    text: str, letters: int, *, at_start: bool = False, fonts: Sequence[FontEntry] | None = None
) -> str:
    """The text with an ellipsis for what goes beyond so many letters, see `count_letters`.

    Args:
      text: in one line.
      letters: that have room.
      at_start: leave out its beginning, not its end.
      fonts: see `count_letters`.
    """
    if count_letters(text, fonts) <= letters:
        return text
    kept = text
    while kept and count_letters(kept, fonts) >= letters:
        kept = kept[1:] if at_start else kept[:-1]
    return f"…{kept}" if at_start else f"{kept}…"


def shorten_wide(text: str, letters: int = 40) -> str:
    """The text, shortened to so many letters if it is wider than its number of characters.

    Where names stand side by side without being measured: those of usual letters stay whole.
    """
    return shorten(text, max(letters, len(text)))


def _fit_ticks(axis: Axis, fonts: Sequence[FontEntry] | None) -> None:
    """Write the names on an axis with code points: ticks write theirs anew whenever it is drawn."""
    labels = axis.get_majorticklabels()
    if labels:
        names = "".join(label.get_text() for label in labels)
        _, escapes = _resolve(names, labels[0].get_fontproperties(), fonts)
        if escapes:
            write = axis.get_major_formatter()
            axis.set_major_formatter(
                FuncFormatter(lambda value, place: write(value, place).translate(escapes))
            )


def _resolve(
    text: str, properties: FontProperties, fonts: Sequence[FontEntry] | None
) -> tuple[list[FontEntry], dict[int, str]]:
    """Fonts that have what a text's own one lacks, and what to write for characters of none."""
    missing = _find_missing(text, properties)
    if not missing:
        return [], {}
    faces = _list_installed() if fonts is None else _list_faces(fonts)
    chosen = []
    left = [c for c in missing if unicodedata.category(c)[0] != "C"]  # these are shown by no font
    while left:
        best = max(faces, key=lambda face: sum(_draws(face, c) for c in left), default=None)
        if best is None or not any(_draws(best, c) for c in left):
            break
        chosen.append(best)
        left = [c for c in left if not _draws(best, c)]
    escapes = {ord(c): _escape(c) for c in missing if not any(_draws(face, c) for face in chosen)}
    return chosen, escapes


def _find_missing(text: str, properties: FontProperties) -> list[str]:
    """Characters of a text that its own fonts lack, each once."""
    if text.isascii() and text.isprintable():
        return []
    own: list[str] = []
    for family in properties.get_family():
        one = properties.copy()
        one.set_family(family)
        try:
            own.append(font_manager.findfont(one, fallback_to_default=False))
        except ValueError:  # matplotlib passes over families that are not there
            continue
    known = _read_own(tuple(own or [font_manager.findfont(properties)]))
    return [c for c in dict.fromkeys(text) if ord(c) not in known and c != "\n"]


@functools.cache
def _read_own(paths: tuple[str, ...]) -> frozenset[int]:
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


@functools.cache
def _list_installed() -> list[FontEntry]:
    """A face of every installed family, those too that are newer than matplotlib's list."""
    manager = font_manager.fontManager
    listed = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed:
            try:
                manager.addfont(path)
            except Exception:  # as matplotlib does when it makes its list: fonts fail in many ways
                continue
    return _list_faces(manager.ttflist)


def _list_faces(fonts: Iterable[FontEntry]) -> list[FontEntry]:
    """The upright face of regular weight of every family, those of most use first."""
    weights = font_manager.weight_dict

    def judge_face(face: FontEntry) -> tuple:
        weight = weights.get(face.weight, face.weight)
        return face.style != "normal", abs(int(weight) - 400), face.stretch != "normal", face.fname

    def judge_family(face: FontEntry) -> tuple:
        return any(word in face.name.lower() for word in _LAST_CHOICE), face.name

    faces: dict[str, FontEntry] = {}
    for face in sorted(fonts, key=judge_face):
        name = face.name.lower().replace(" ", "")
        if not any(word in name for word in _PLACEHOLDERS):
            faces.setdefault(face.name, face)
    return sorted(faces.values(), key=judge_family)


@functools.cache
def _read_face(face: FontEntry) -> frozenset[int]:
    try:
        return frozenset(_open(face).get_charmap())
    except (OSError, RuntimeError):  # removed or damaged since matplotlib made its list
        return frozenset()


@functools.cache
def _draws(face: FontEntry, character: str) -> bool:
    """Whether a font has an outline of a character; colour fonts have pictures instead."""
    if ord(character) not in _read_face(face):
        return False
    font = _open(face)
    try:
        font.load_char(ord(character))
    except RuntimeError:
        return False
    return unicodedata.category(character) == "Zs" or len(font.get_path()[0]) > 0


def _open(face: FontEntry) -> FT2Font:
    index = getattr(face, "index", 0)  # of a face in a collection; new in matplotlib 3.11
    return FT2Font(face.fname, face_index=index) if index else FT2Font(face.fname)


def _is_postscript(face: FontEntry) -> bool:
    """Whether a font's outlines are PostScript's (CFF)."""
    with open(face.fname, "rb") as file:
        kind = file.read(4)
        if kind == b"ttcf":  # a collection: its header says where each font begins
            file.seek(12 + 4 * getattr(face, "index", 0))
            file.seek(int.from_bytes(file.read(4), "big"))
            kind = file.read(4)
    return kind == b"OTTO"


def _register(face: FontEntry, properties: FontProperties) -> str:
    """Name of a family that is this face, whatever weight and style a text has.

    Under its own name matplotlib would complain of a weight that the family does not have.
    """
    name = f"{face.name} ({face.fname})"
    entry = dataclasses.replace(
        face, name=name, style=properties.get_style(), variant=properties.get_variant(),
        weight=properties.get_weight(), stretch=properties.get_stretch(),
    )  # fmt: skip
    if entry not in font_manager.fontManager.ttflist:
        font_manager.fontManager.ttflist.append(entry)
    return name


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _name_font(character: str) -> str:
    """What has a character: a font by its script, as Noto's are called; "" if no font can."""
    name = unicodedata.name(character, "")
    if name.startswith(_EAST_ASIAN):
        return "Chinese, Japanese and Korean, such as Noto Sans CJK"
    if ord(character) >= _FIRST_EMOJI and unicodedata.category(character)[0] == "S":
        return "emoji, in black and white, such as Noto Emoji"
    script = name.split(" ")[0].title()
    return f"{script}, such as Noto Sans {script}" if name[:1] else ""
