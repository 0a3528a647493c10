"""What a figure's font lacks is shown in another font or as code points, and nothing else changes.

Warnings are errors here, that of a missing glyph too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from font_writer import write_font
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties

from net2vec_jax.plots import fonts
from net2vec_jax.plots.fonts import (
    count_letters,
    fit_fonts,
    has_postscript_fonts,
    shorten,
    shorten_wide,
)
from net2vec_jax.plots.paper_style import paper_style, save_figure, write_figure

CAR, THING = "汽车", "物体"


@pytest.fixture
def cjk(tmp_path: Path) -> FontEntry:
    return write_font(tmp_path / "cjk.ttf", CAR + THING)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FontEntry]]:
    """What counts as installed: none, until the test puts some there."""
    faces: list[FontEntry] = []
    monkeypatch.setattr(fonts, "_list_installed", lambda: fonts._choose_faces(faces))
    monkeypatch.setattr(fonts, "_TOLD", set())
    return faces


def draw(*names: str) -> Figure:
    """Names in a title, at ticks, in a legend and beside a point."""
    with paper_style():
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            axes.plot([0, place], label=name)
            axes.annotate(name, (0.5, place))
        axes.plot([0, -1.5])  # numbers with a minus at the y axis
        axes.set_title(" ".join(names), fontweight="bold")
        axes.set_xticks(range(len(names)), names)
        axes.legend()
    return figure


def read_texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    return [axes.get_title(), *ticks, *legend, *(text.get_text() for text in axes.texts)]


def render(figure: Figure, kind: str = "png") -> bytes:
    with paper_style(), io.BytesIO() as file:
        figure.savefig(file, format=kind)
        return file.getvalue()


def test_nothing_changes_where_all_characters_are_there(
    cjk: FontEntry, installed: list[FontEntry]
) -> None:
    installed.append(cjk)
    names = ("dog", "Küche", "$5 note_^{", "tv/monitor", "σ ≥ −1", "two\nlines", "العربية")
    fitted, plain = draw(*names), draw(*names)
    with paper_style():
        fit_fonts(fitted)
    assert render(fitted) == render(plain)


def test_what_no_font_has_is_written_as_code_points(installed: list[FontEntry]) -> None:
    figure = draw(CAR, "red", f"a {THING}", "tab\there", "\ud800")
    fit_fonts(figure)
    for kind in ("png", "pdf"):
        assert render(figure, kind)
    names = ["\\u6c7d\\u8f66", "red", "a \\u7269\\u4f53", "tab\\there", "\\ud800"]
    assert read_texts(figure) == [" ".join(names), *names * 3]


def test_another_font_is_taken_for_what_it_has_alone(
    cjk: FontEntry, installed: list[FontEntry]
) -> None:
    installed.append(cjk)
    figure = draw(f"red {CAR}", "ก")
    fit_fonts(figure)
    assert read_texts(figure)[1:3] == [f"red {CAR}", "\\u0e01"]
    for kind in ("png", "pdf"):
        assert render(figure, kind)
    families = [label.get_fontfamily() for label in figure.axes[0].get_xticklabels()]
    assert families[0][0] == families[1][0] == "sans-serif"
    assert [len(names) for names in families] == [2, 1]


def test_letters_are_those_of_the_other_font(installed: list[FontEntry]) -> None:
    """In a font without Cyrillic they look as DejaVu's own, in each weight that a text has."""
    (dejavu,) = (
        entry
        for entry in font_manager.fontManager.ttflist
        if Path(entry.fname).name == "DejaVuSans.ttf" and "mpl-data" in entry.fname
    )
    installed.append(dejavu)
    own = FontProperties(fname=dejavu.fname)
    for weight in ("normal", "bold"):
        shown, expected = Figure(), Figure()
        shown.text(0.5, 0.5, "Жук", fontfamily="cmr10", fontweight=weight)
        fit_fonts(shown)
        expected.text(0.5, 0.5, "Жук", fontproperties=own)
        assert render(shown) == render(expected)


def test_the_fewest_fonts_that_do_are_taken(
    tmp_path: Path, cjk: FontEntry, installed: list[FontEntry]
) -> None:
    half = write_font(tmp_path / "a.ttf", CAR[0])
    mono = write_font(tmp_path / "a mono.ttf", CAR + THING)
    figure = Figure()
    text = figure.text(0, 0, CAR + THING)
    installed += [half, mono, cjk]
    fit_fonts(figure)
    assert [Path(name.split("(")[-1]).name for name in text.get_fontfamily()[1:]] == ["cjk.ttf)"]


def test_fonts_that_show_nothing_are_passed_over(
    tmp_path: Path, installed: list[FontEntry]
) -> None:
    boxes = write_font(tmp_path / "Last Resort.ttf", CAR)
    pictures = write_font(tmp_path / "pictures.ttf", CAR, blank=True)
    removed = FontEntry(fname=str(tmp_path / "removed.ttf"), name="removed", weight=400)
    installed += [boxes, pictures, removed]
    figure = draw(CAR)
    fit_fonts(figure)
    assert read_texts(figure)[1] == "\\u6c7d\\u8f66"


def test_postscript_outlines_are_seen_in_a_pdf(
    tmp_path: Path, cjk: FontEntry, installed: list[FontEntry]
) -> None:
    """Embedded as TrueType's (type 42) they are not."""
    postscript = write_font(tmp_path / "cff.otf", CAR, postscript=True)
    for face, kind, other in (
        (postscript, b"/Type3", b"/Type42"),
        (cjk, b"/CIDFontType2", b"/Type3"),
    ):
        installed[:] = [face]
        figure = draw(CAR)
        _, pdf = save_figure(figure, tmp_path / face.name)
        assert has_postscript_fonts(figure) == (face is postscript)
        assert kind in pdf.read_bytes() and other not in pdf.read_bytes()


def test_width_counts_wide_characters_and_code_points(
    cjk: FontEntry, installed: list[FontEntry]
) -> None:
    assert count_letters("Küche −1") == 8
    assert count_letters(f"a{CAR}") == 15
    installed.append(cjk)
    assert count_letters(f"a{CAR}") == 5
    assert count_letters("😀 ك") == 4  # matplotlib's own font has them


def test_shortened_to_the_letters_that_have_room(
    cjk: FontEntry, installed: list[FontEntry]
) -> None:
    assert shorten("concept", 7) == "concept"
    assert shorten("concepts", 7) == "concep…"
    assert shorten("a/0001.jpg", 8, at_start=True) == "…001.jpg"
    assert shorten(CAR + THING, 15) == f"{CAR}…"
    installed.append(cjk)
    assert shorten(CAR + THING, 7) == f"{CAR}物…"
    assert shorten("", 0) == "" and shorten("abc", 0) == "…"


def test_only_what_is_wide_is_shortened_without_measure(installed: list[FontEntry]) -> None:
    assert shorten_wide("x" * 60, 14) == "x" * 60
    assert shorten_wide(CAR + THING, 15) == f"{CAR}…"


def test_the_console_is_told_once_of_each_font_that_is_wanting(
    tmp_path: Path, installed: list[FontEntry], capsys: pytest.CaptureFixture
) -> None:
    def save(*names: str) -> list[str]:
        figure = Figure(figsize=(1, 1))
        for name in names:
            figure.text(0, 0, name)
        write_figure(figure, tmp_path / "figure.png")
        return capsys.readouterr().err.splitlines()

    chinese, thai = save(CAR, "ก")
    assert "\\u6c7d" in chinese and "汽" in chinese and "Noto Sans CJK" in chinese
    assert "ก" in thai and "install a font for Thai, such as Noto Sans Thai" in thai
    (tab,) = save(f"{CAR}\t{THING}")
    assert "\\t" in tab and "install a font" not in tab  # none has a tab
    assert save(THING, "\t") == []
    fonts._TOLD.clear()
    installed.append(write_font(tmp_path / "cjk.ttf", CAR))
    assert save(CAR, "red") == []


def test_a_font_installed_after_matplotlib_made_its_list_is_found(
    tmp_path: Path, cjk: FontEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    paths = [str(tmp_path / "broken.ttf"), cjk.fname]
    manager = font_manager.fontManager
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    fonts._list_installed.cache_clear()
    try:
        assert cjk.name in {face.name for face in fonts._list_installed()}
    finally:
        fonts._list_installed.cache_clear()
