"""Sheets show every picture with its numbers, and nothing overlaps or leaves them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from font_writer import write_font
from matplotlib.figure import Figure

from net2vec_jax.analysis.images.image_ranking import compare_recall
from net2vec_jax.plots import fonts
from net2vec_jax.plots.overlays import draw_mask
from net2vec_jax.plots.picture_sheets import (
    ConceptRow,
    FilterRow,
    plot_concept_sheet,
    plot_filter_sheet,
)
from net2vec_jax.plots.pictures import ConceptPicture
from net2vec_jax.plots.ranking import plot_recall

RNG = np.random.default_rng(0)


def make_row(percentile: float, name: str = "a/0001.jpg") -> ConceptRow:
    masks = RNG.random((3, 6, 6)) < 0.5
    image = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    score = RNG.random((6, 6)).astype(np.float32)
    return ConceptRow(name, image, ConceptPicture(0, percentile, 0.414, 0.123, *masks, score))


def make_filter_row(images: int, category: str = "object") -> FilterRow:
    image, mask = np.zeros((8, 8, 3), np.uint8), np.eye(4, dtype=bool)
    truths = [mask] * images if category else ()
    captions = [f"IoU 0.{n}0" for n in range(images)]
    return FilterRow("dog", "why", category, [image] * images, [mask] * images, truths, captions)


def read_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def assert_nothing_overlaps(figure: Figure) -> None:
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts if text.get_text()]
    whole = figure.bbox
    for place, one in enumerate(boxes):
        assert whole.x0 <= one.x0 < one.x1 <= whole.x1 + 1
        assert whole.y0 <= one.y0 < one.y1 <= whole.y1 + 1
        assert not any(one.overlaps(other) for other in boxes[:place])


def test_a_concept_has_a_row_per_image_and_its_ious() -> None:
    rows = [make_row(p) for p in (100, 93, 52, 11, 0)]
    figure = plot_concept_sheet("dog", "object", 57, rows, note="set IoU 0.30")
    texts = read_texts(figure)
    assert texts[:2] == ["dog", "set IoU 0.30"]
    assert "best filter 57" in texts
    names = ["highest IoU", "93rd percentile", "52nd percentile", "11th percentile", "lowest IoU"]
    assert [text for text in texts if text in names] == names
    assert texts.count("IoU 0.41") == texts.count("IoU 0.12") == 5
    assert len(figure.axes) == 5 * 5 + 1
    shown = figure.axes[1].get_images()[0].get_array()
    np.testing.assert_array_equal(shown, draw_mask(rows[0].image, rows[0].picture.truth, "#0072B2"))


def test_a_concept_without_a_filter_has_no_iou_of_it() -> None:
    figure = plot_concept_sheet("dog", "object", None, [make_row(50)])
    texts = read_texts(figure)
    assert "no single filter" in texts and "IoU 0.41" in texts and "IoU 0.12" not in texts
    assert_nothing_overlaps(figure)


def test_masks_may_be_drawn_as_the_original_did() -> None:
    row = make_row(100)
    figure = plot_concept_sheet("dog", "object", 5, [row], style="dark", colors="jet")
    shown = figure.axes[2].get_images()[0].get_array()
    darkest = np.round(row.image * 0.2).astype(np.uint8)
    inside = np.kron(row.picture.embedding_mask, np.ones((2, 2), bool))
    np.testing.assert_array_equal(shown, np.where(inside[..., None], row.image, darkest))


def test_long_names_and_signs_of_mathematics_fit() -> None:
    rows = [make_row(50, "some/very/long/folder/and_a_name_0001.jpg")]
    figure = plot_concept_sheet("x$^2$ " * 50, "object", 1, rows, note="a note of usual length")
    assert_nothing_overlaps(figure)
    texts = read_texts(figure)
    assert texts[0].endswith("…")
    assert any(text.startswith("…") and text.endswith("0001.jpg") for text in texts)


@pytest.mark.parametrize("has_font", [True, False])
def test_wide_names_fit(has_font: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [write_font(tmp_path / "cjk.ttf", "汽车")] if has_font else []
    monkeypatch.setattr(fonts, "_list_installed", lambda: installed)
    rows = [make_row(50, "汽车/汽车汽车汽车/0001.jpg")]
    concept = plot_concept_sheet("汽车" * 40, "object", 1, rows, note="set IoU 0.30")
    served = dataclasses.replace(make_filter_row(3), name="汽车" * 9)
    for figure in (concept, plot_filter_sheet(3, [served])):
        fonts.fit_fonts(figure)
        assert_nothing_overlaps(figure)


@pytest.mark.parametrize("count", [1, 5])
def test_nothing_overlaps_or_leaves_the_sheet(count: int) -> None:
    rows = [make_row(100 - n) for n in range(count)]
    assert_nothing_overlaps(plot_concept_sheet("dog", "object", 1279, rows, note="set IoU 0.25"))
    rows = [make_filter_row(count, ""), make_filter_row(1), make_filter_row(count, "finding")]
    assert_nothing_overlaps(plot_filter_sheet(3, rows, note="network/layer"))


def test_a_score_of_one_half_everywhere_is_drawn() -> None:
    row = make_row(50)
    flat = dataclasses.replace(row.picture, score=np.full_like(row.picture.score, 0.5))
    row = dataclasses.replace(row, picture=flat)
    plot_concept_sheet("dog", "object", 0, [row]).draw_without_rendering()


def test_recall_is_drawn_as_compared() -> None:
    positive = RNG.random((20, 3)) < 0.5
    comparison = compare_recall(positive + 0.0, RNG.random((20, 3)), positive)
    recall, more = plot_recall(comparison).axes
    np.testing.assert_array_equal(recall.lines[0].get_ydata(), comparison.embedding)
    np.testing.assert_array_equal(recall.lines[1].get_ydata(), comparison.single)
    np.testing.assert_array_equal(more.lines[0].get_ydata(), comparison.difference)
    assert recall.get_title() == "3 concepts"
