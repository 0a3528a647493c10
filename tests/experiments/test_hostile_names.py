"""Names from data are neither formulas nor markup, whatever is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from font_writer import write_font
from rich.console import Console

from net2vec_jax.core.console import open_console
from net2vec_jax.inversion.feature_inversion import InvertedImages
from net2vec_jax.plots import fonts
from net2vec_jax.plots.contact_sheet import ConceptExamples, plot_contact_sheet
from net2vec_jax.plots.paper_style import save_figure
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.studies import (
    compare_networks,
    concept_embeddings,
    filter_overlap,
    inspect_data,
    invert_features,
    quickstart,
)

pytestmark = pytest.mark.usefixtures("figures_drawn")

FORMULA, CLOSED, OPEN = r"$\wheel$", "[/black-c]", "[red]:cat:"
CATEGORY = r"$\kind$ [/b]"
CONCEPTS = {"sky": FORMULA, "blue-c": CLOSED, "grass": OPEN}


@pytest.fixture
def run(finished_study: Path, tmp_path: Path, rename_run: Callable[..., Path]) -> Path:
    original = finished_study / "block4" / "segmentation"
    return rename_run(original, tmp_path / "run", concepts=CONCEPTS, categories={"color": CATEGORY})


def test_concept_embeddings(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = concept_embeddings.EmbeddingFlags(run=run, out=tmp_path / "out")
    concept_embeddings.main(flags)
    assert CATEGORY in capsys.readouterr().out
    concept_embeddings.main(
        concept_embeddings.EmbeddingFlags(run=run, neighbours=(FORMULA, CLOSED, OPEN), count=200)
    )
    printed = capsys.readouterr().out
    assert all(name in printed for name in CONCEPTS.values())


def test_compare_networks(
    run: Path, finished_study: Path, tmp_path: Path, rename_run: Callable[..., Path],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    other = rename_run(
        finished_study / "block10" / "segmentation", tmp_path / "other", concepts=CONCEPTS,
        categories={"color": CATEGORY},
    )  # fmt: skip
    chosen = tuple(CONCEPTS.values())
    compare_networks.main(
        compare_networks.CompareFlags((run, other), permutations=9, concepts=chosen,
                                      out=tmp_path / "out")
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert all(name in printed for name in chosen)


def test_filter_overlap(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    filter_overlap.main(
        filter_overlap.OverlapFlags(runs=(run,), filters=(5,), permutations=5, out=tmp_path / "out")
    )
    assert FinishedRun(run).layer in capsys.readouterr().out


def test_tables_and_figures_of_the_other_scripts(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    inverted = InvertedImages(
        np.zeros((1, 4, 4, 3), np.uint8), np.ones(1, np.float32), np.ones((1, 1), np.float32)
    )
    names = list(CONCEPTS.values())
    counts = pd.DataFrame(
        {"number": 1, "name": names, "category": CATEGORY, "train_images": 2, "val_images": 1,
         "coverage": 0.5}
    )  # fmt: skip
    finished = FinishedRun(run)
    open_console(least_width=200).print(
        invert_features.tabulate_errors([CLOSED], {OPEN: inverted}),
        quickstart.tabulate_gains(finished, len(finished)),
        inspect_data.tabulate_category(CATEGORY, counts, 3),
    )
    printed = capsys.readouterr().out
    assert all(printed.count(name) >= 2 for name in names)
    (tmp_path / "out").mkdir()
    single = quickstart.read_measure(finished, "single_same_rule_val_iou")
    figures = quickstart.draw_figures(finished, single, tmp_path / "out" / "scatter", FORMULA)
    image = np.zeros((4, 4, 3), np.uint8)
    sheet = plot_contact_sheet(
        [ConceptExamples(FORMULA, CATEGORY, FORMULA, [image], [image[..., 0] > 0], [FORMULA])]
    )
    figures += save_figure(sheet, tmp_path / "out" / "sheet")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in figures}


@pytest.mark.parametrize("has_font", [True, False])
def test_names_that_the_usual_font_lacks(
    has_font: bool,
    finished_study: Path,
    tmp_path: Path,
    rename_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """No box, hence no warning of one, also where names are measured before the figure is saved."""
    installed = [write_font(tmp_path / "cjk.ttf", "汽车物体")] if has_font else []
    monkeypatch.setattr(fonts, "_list_installed", lambda: installed)
    monkeypatch.setattr(fonts, "_TOLD", set())
    run = rename_run(
        finished_study / "block4" / "segmentation", tmp_path / "run",
        concepts={"sky": "汽车", "grass": "物体"}, categories={"color": "物"},
    )  # fmt: skip
    concept_embeddings.main(concept_embeddings.EmbeddingFlags(run=run, out=tmp_path / "out"))
    told = [line for line in capsys.readouterr().err.splitlines() if "no installed font" in line]
    assert len(told) == (not has_font)
    assert all("Noto Sans CJK" in line for line in told)


def test_a_console_that_reads_markup_would_not_do(capsys: pytest.CaptureFixture) -> None:
    Console().print("[red]a")
    open_console().print("[red]a")
    assert capsys.readouterr().out == "a\n[red]a\n"
