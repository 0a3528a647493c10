"""Contact sheets show each mask where it is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from font_writer import write_font

from net2vec_jax.plots import fonts
from net2vec_jax.plots.contact_sheet import ConceptExamples, plot_contact_sheet


def make_examples(count: int, images: int, category: str = "part") -> list[ConceptExamples]:
    image, mask = np.zeros((8, 8, 3), np.uint8), np.eye(4, dtype=bool)
    return [
        ConceptExamples(
            f"concept {number}", category, "3 images", [image] * images, [mask] * images,
            [f"train, {place}%" for place in range(images)],
        )
        for number in range(count)
    ]  # fmt: skip


def test_every_concept_has_its_name_and_its_images() -> None:
    figure = plot_contact_sheet(make_examples(5, 3))
    names = [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"]
    assert names == [f"concept {number}" for number in range(5)]
    assert len(figure.axes) == 15
    assert [axes.texts[0].get_text() for axes in figure.axes[:3]] == [
        "train, 0%", "train, 1%", "train, 2%",
    ]  # fmt: skip


def test_nothing_overlaps_or_leaves_the_sheet() -> None:
    for count, images in ((1, 1), (3, 1), (4, 6)):
        figure = plot_contact_sheet(make_examples(count, images))
        boxes = [axes.get_position() for axes in figure.axes]
        assert all(0 <= b.x0 < b.x1 <= 1 and 0 <= b.y0 < b.y1 <= 1 for b in boxes)
        for place, one in enumerate(boxes):
            assert not any(one.overlaps(other) for other in boxes[:place])


def test_long_names_are_shortened_and_other_categories_drawn() -> None:
    (long,) = make_examples(1, 2, "finding")
    long = ConceptExamples("x" * 200, *(getattr(long, n) for n in (
        "category", "note", "images", "masks", "captions")))  # fmt: skip
    figure = plot_contact_sheet([long])
    name = figure.texts[0].get_text()
    assert name.endswith("…") and len(name) < 50


@pytest.mark.parametrize("has_font", [True, False])
def test_wide_names_and_notes_do_not_meet(
    has_font: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "汽车物体自行" * 6
    installed = [write_font(tmp_path / "cjk.ttf", name[:6])] if has_font else []
    monkeypatch.setattr(fonts, "_list_installed", lambda: installed)
    (concept,) = make_examples(1, 4)
    figure = plot_contact_sheet([dataclasses.replace(concept, name=name)])
    fonts.fit_fonts(figure)
    figure.draw_without_rendering()
    shown, note = figure.texts
    assert shown.get_text().startswith("汽车" if has_font else "\\u6c7d\\u8f66")
    assert shown.get_window_extent().x1 < note.get_window_extent().x0
    assert shown.get_window_extent().width > 0.4 * figure.bbox.width
