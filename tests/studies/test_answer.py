"""Every study's answer is written and printed in one way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from net2vec_jax.core.console import tabulate
from net2vec_jax.studies.answer import Answer, LeftOut, print_answer, write_answer


@pytest.fixture
def answer() -> Answer:
    table = pd.DataFrame(
        {
            "concept": ["sky", "", "a, b"],
            "iou": np.array([0.1, np.nan, 1e-8], np.float32),
            "error": np.array([0.1, 2, 1e-8]),
            "p": pd.Series([0.5, 1e-58, np.nan], dtype=object),
            "mean": pd.array(np.array([0.1, np.nan, 1], np.float32), dtype="Float32"),
            "images": [1, 2, 3],
            "filter": pd.array([7, None, 0], dtype="Int64"),
        }
    )
    return Answer(
        summary={"mean": np.float64("nan"), "count": np.arange(2)},
        tables={"scores": table, "empty": table[:0]},
        figures={"drawn": Figure(), "to_draw": Figure},
        arrays={"arrays": {"x": np.arange(3)}},
        console=[tabulate("Title", ("name", "number"), [("sky", "1")])],
        notes=["a note"],
        left_out=[LeftOut("concepts", {"sky": "no image"}, 3)],
    )


def test_cells_keep_the_precision_of_their_column(answer: Answer, tmp_path: Path) -> None:
    write_answer(tmp_path / "out", answer)
    assert (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8").splitlines() == [
        "concept,iou,error,p,mean,images,filter",
        "sky,0.1,0.1,0.5,0.1,1,7",
        ",nan,2,1e-58,,2,",
        '"a, b",0.00000001,0.00000001,nan,1,3,0',
    ]
    header = "concept,iou,error,p,mean,images,filter\n"
    assert (tmp_path / "out" / "empty.csv").read_text() == header


def test_all_files_are_written(answer: Answer, tmp_path: Path, figures_drawn: None) -> None:
    written = write_answer(tmp_path, answer)
    assert json.loads(written.read_text()) == {"mean": None, "count": [0, 1]}
    with np.load(tmp_path / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["x"], np.arange(3))
    figures = list((tmp_path / "figures").iterdir())
    assert {path.name for path in figures} == {
        "drawn.png", "drawn.pdf", "to_draw.png", "to_draw.pdf"
    }  # fmt: skip
    assert all(path.stat().st_size for path in figures)


def test_summaries_of_several_questions_share_a_file(tmp_path: Path) -> None:
    for question, value in (("first", 1), ("second", 2), ("first", 3)):
        written = write_answer(tmp_path, Answer(summary={"x": value}), question=question)
    assert json.loads(written.read_text()) == {"first": {"x": 3}, "second": {"x": 2}}


def test_answers_are_printed(answer: Answer, capsys: pytest.CaptureFixture) -> None:
    print_answer(answer)
    printed = capsys.readouterr()
    assert [word for word in ("Title", "sky", "a note") if word in printed.out].pop() == "a note"
    assert printed.err.splitlines() == ["left out: 1 of 3 concepts", "  sky: no image"]
