"""Characters that a figure's font lacks: a font that has them, or else their code points.

matplotlib's own font has neither Chinese nor Thai nor most emoji, and draws boxes in their place.
A text with such characters gets a second font, if one is installed that has them; what no font has
is written as "\\u6c7d", which tells names apart. Other texts are not touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import unicodedata
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from net2vec_jax.core.console import announce

_EAST_ASIAN = (
    "BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA",
)  # fmt: skip
"""Beginnings of the Unicode names of what fonts for Chinese, Japanese and Korean have."""
_FIRST_EMOJI = 0x1F000
_PLACEHOLDERS = ("lastresort", "notdef", "blank")
"""In the names of fonts that have every character, as a box or as nothing."""
_LAST_CHOICE = ("mono", "serif")
"""In the names of fonts that are taken only where no other one has as many of the characters."""
_ADDED: dict[str, FontEntry] = {}
"""Families that texts were given here."""
_TOLD: set[str] = set()
"""Fonts that the console was told to be wanting."""


def fit_fonts(figure: Figure) -> None:
    """Make all texts of a figure readable, those of ticks and legends included, see `fit_text`."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _fit_ticks(axis)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            fit_text(text)


def fit_text(text: Text) -> None:
    """Give a text the fonts that it needs, and write what no installed font has as code points.

    The console is told once of each font that is wanting.

    Args:
      text: is changed only if its font lacks a character.
    """
    properties = text.get_fontproperties()
    found, escapes = _resolve(text.get_text(), properties)
    if found:
        families = [_add_family(face, properties) for face in found]
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if escapes:
        _announce(map(chr, escapes))
        text.set_text(text.get_text().translate(escapes))


def has_postscript_fonts(figure: Figure) -> bool:
    """Whether `fit_fonts` gave a figure a font of PostScript outlines (CFF), as Noto Sans CJK's.

    With pdf.fonttype 42 matplotlib embeds these as TrueType outlines, and nothing is seen of them.
    """
    texts = (text for text in figure.findobj(Text) if isinstance(text, Text))
    families = {family for text in texts for family in text.get_fontfamily()}
    return any(_is_postscript(_ADDED[family]) for family in families & _ADDED.keys())


def count_letters(text: str) -> int:
    """How many letters of the usual width a text in one line is as wide as.

    Chinese characters and others of their width are two; a character that no font has is its code
    point, whose digits are wider than letters: seven for "\\u6c7d".
    """
    if text.isascii():
        return len(text)
    _, escapes = _resolve(text, FontProperties())
    return sum(
        len(escapes[ord(character)]) * 7 // 6
        if ord(character) in escapes
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def shorten(text: str, letters: int, *, at_start: bool = False) -> str:
    """The text with an ellipsis for what goes beyond so many letters, see `count_letters`.

    Args:
      text: in one line.
      letters: that have room.
      at_start: leave out its beginning, not its end.
    """
    if count_letters(text) <= letters:
        return text
    kept = text
    while kept and count_letters(kept) >= letters:
        kept = kept[1:] if at_start else kept[:-1]
    return f"…{kept}" if at_start else f"{kept}…"


def shorten_wide(text: str, letters: int = 40) -> str:
    """The text, shortened to so many letters if it is wider than its number of characters.

    Where names stand side by side without being measured: those of usual letters stay whole.
    """
    return shorten(text, max(letters, len(text)))


def _fit_ticks(axis: Axis) -> None:
    """Write the names on an axis with code points: ticks write theirs anew whenever it is drawn."""
    labels = axis.get_majorticklabels()
    names = "".join(label.get_text() for label in labels)
    _, escapes = _resolve(names, labels[0].get_fontproperties()) if names else ([], {})
    if escapes:
        write = axis.get_major_formatter()
        axis.set_major_formatter(
            FuncFormatter(lambda value, place: write(value, place).translate(escapes))
        )


def _resolve(text: str, properties: FontProperties) -> tuple[list[FontEntry], dict[int, str]]:
    """Fonts that have what a text's own one lacks, and what to write for characters of none."""
    missing = _find_missing(text, properties)
    lost = dict.fromkeys(missing)
    chosen = []
    while lost:
        visible = [c for c in lost if unicodedata.category(c)[0] != "C"]
        drawn = [
            (face, [c for c in visible if _draws(*_locate(face), c)]) for face in _list_installed()
        ]
        face, characters = max(drawn, key=lambda pair: len(pair[1]), default=(None, []))
        if face is None or not characters:
            break
        chosen.append(face)
        lost = {c: None for c in lost if c not in characters}
    return chosen, {ord(character): _escape(character) for character in lost}


def _find_missing(text: str, properties: FontProperties) -> list[str]:
    """Characters of a text that its own fonts lack, each once."""
    if text.isascii() and text.isprintable():
        return []
    own: list[str] = []
    for family in properties.get_family():
        one = properties.copy()
        one.set_family(family)
        with contextlib.suppress(ValueError):  # matplotlib passes over families that are not there
            own.append(font_manager.findfont(one, fallback_to_default=False))
    known = _read_own(tuple(own or [font_manager.findfont(properties)]))
    return [c for c in dict.fromkeys(text) if ord(c) not in known and c != "\n"]


@functools.cache
def _read_own(paths: tuple[str, ...]) -> frozenset[int]:
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


@functools.cache
def _list_installed() -> list[FontEntry]:
    """A face of every installed family, those too that are newer than matplotlib's list."""
    manager = font_manager.fontManager
    for path in set(font_manager.findSystemFonts()) - {entry.fname for entry in manager.ttflist}:
        with contextlib.suppress(Exception):  # as matplotlib does: fonts fail in many ways
            manager.addfont(path)
    return _choose_faces(manager.ttflist)


def _choose_faces(fonts: Iterable[FontEntry]) -> list[FontEntry]:
    """The upright face of regular weight of every family, those of most use first."""

    def judge_face(face: FontEntry) -> tuple:
        weight = font_manager.weight_dict.get(str(face.weight)) or int(face.weight)
        return face.style != "normal", abs(weight - 400), face.stretch != "normal", face.fname

    faces: dict[str, FontEntry] = {}
    for face in sorted(fonts, key=judge_face):
        name = face.name.lower().replace(" ", "")
        if not any(word in name for word in _PLACEHOLDERS):
            faces.setdefault(face.name, face)
    return sorted(
        faces.values(),
        key=lambda face: (any(w in face.name.lower() for w in _LAST_CHOICE), face.name),
    )


@functools.cache
def _draws(path: str, index: int, character: str) -> bool:
    """Whether a font has an outline of a character; fonts in colour have pictures instead."""
    try:
        if ord(character) not in _read_characters(path, index):
            return False
        font = _open(path, index)
        font.load_char(ord(character))
    except (OSError, RuntimeError):  # removed or damaged since matplotlib made its list
        return False
    return unicodedata.category(character) == "Zs" or len(font.get_path()[0]) > 0


@functools.cache
def _read_characters(path: str, index: int) -> frozenset[int]:
    return frozenset(_open(path, index).get_charmap())


def _open(path: str, index: int) -> FT2Font:
    return FT2Font(path, face_index=index) if index else FT2Font(path)


def _locate(face: FontEntry) -> tuple[str, int]:
    """Path and number of a face in its file, which is new in matplotlib 3.11."""
    return face.fname, getattr(face, "index", 0)


def _is_postscript(face: FontEntry) -> bool:
    """Whether a font's outlines are PostScript's, whose table of maxima has version 0.5."""
    maxima = _open(*_locate(face)).get_sfnt_table("maxp")
    return maxima is not None and maxima["version"][0] == 0


def _add_family(face: FontEntry, properties: FontProperties) -> str:
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
    _ADDED[name] = face
    return name


def _announce(characters: Iterable[str]) -> None:
    """Name a font that is wanting, with the first character that it is wanted for."""
    for character in characters:
        font = _name_font(character)
        if font not in _TOLD:
            _TOLD.add(font)
            shown = f"{character} " if character.isprintable() else ""
            remedy = f": install a font for {font}, and run again" if font else ""
            announce(
                [f"figures show {_escape(character)} and the like for characters such as {shown}"
                 f"that no installed font has{remedy}"]
            )  # fmt: skip


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
    return f"{script}, such as Noto Sans {script}" if name else ""
