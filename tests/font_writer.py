"""Small fonts that have the characters a test wants, and no others."""

from __future__ import annotations

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import FontEntry


def write_font(
    path: Path, characters: str, *, postscript: bool = False, blank: bool = False
) -> FontEntry:
    """A font whose every character is the same square.

    Args:
      path: of the file; the family is called as it is.
      characters: that it has.
      postscript: with outlines of that kind (CFF), not TrueType's.
      blank: without outlines, as the fonts of coloured pictures are.
    """
    names = {ord(character): f"glyph{number}" for number, character in enumerate(characters)}
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=not postscript)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    pen = T2CharStringPen(1000, None) if postscript else TTGlyphPen(None)
    if not blank:
        pen.moveTo((100, 0))
        for corner in ((100, 700), (900, 700), (900, 0)):
            pen.lineTo(corner)
        pen.closePath()
    if postscript:
        outline = pen.getCharString()
        builder.setupCFF(path.stem, {}, dict.fromkeys(glyphs, outline), {})
    else:
        builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return FontEntry(fname=str(path), name=path.stem, weight=400)
