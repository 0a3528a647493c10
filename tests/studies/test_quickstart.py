"""The quickstart compares twice, under the paper's rule and one rule, and names its reports."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.table import Table

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.studies import quickstart

WHOLE_IMAGES = ("scene", "texture")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quickstart of one layer, with what it printed in `printed`."""
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    flags = quickstart.QuickstartFlags(out=folder, images=40, epochs=1, layers=("block10",))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        quickstart.main(flags)
    (folder / "printed").write_text(printed.getvalue(), encoding="utf-8")
    return folder


def cells(table: Table) -> list[list[str]]:
    """Rows of a table."""
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_the_last_line_names_the_report(out: Path) -> None:
    last = (out / "printed").read_text(encoding="utf-8").splitlines()[-1]
    named = re.fullmatch(r"open in a browser: (\S+)", last)
    assert named is not None
    assert Path(named[1]) == out / "block10" / "report.html"
    page = Path(named[1]).read_text(encoding="utf-8")
    assert "efficientnet_lite0" in page and "There are no pictures" not in page
    # A WebP file begins with "RIFF" and its length: most of the pictures used are there.
    assert page.count('"UklGR') > 10


def test_both_presets_lie_beside_each_other(out: Path) -> None:
    for folder, preset in (("", "paper"), ("converged", "converged")):
        assert FinishedRun(out / folder / "block10").origin["preset"] == preset
    for end in ("", "_paper"):
        for kind in ("png", "pdf"):
            assert (out / f"single_against_embedding{end}.{kind}").stat().st_size


def test_rows_are_means_of_the_run_s_columns(out: Path) -> None:
    run = FinishedRun(out / "converged" / "block10")
    table = pd.read_csv(run.path / "segmentation.csv")
    names = ["single_same_rule_val_iou", "prior_val_iou", "val_iou"]
    for rival in names[:2]:
        table[f"beats_{rival}"] = table["val_iou"] > table[rival]
    single = quickstart.read_measure(run, names[0])
    rows = cells(quickstart.tabulate_categories("title", [run], [single]))
    masks = table[~table["category"].isin(WHOLE_IMAGES)]
    groups = {**dict(list(masks.groupby("category"))), "all": masks}
    assert {row[1] for row in rows} == set(groups)
    for _, category, *means, beats_filter, beats_prior in rows:
        group = groups[category]
        np.testing.assert_allclose([float(x) for x in means], group[names].mean(), atol=6e-4)
        for beats, rival in zip((beats_filter, beats_prior), names[:2], strict=True):
            assert beats == f"{group[f'beats_{rival}'].sum()} of {len(group)}"


def test_gains_are_those_under_one_rule(out: Path) -> None:
    run = FinishedRun(out / "converged" / "block10")
    table = pd.read_csv(run.path / "segmentation.csv")
    table["gain"] = table["val_iou"] - table["single_same_rule_val_iou"]
    table = table[~table["category"].isin(WHOLE_IMAGES)]
    best = table.iloc[np.argsort(-np.array(table["gain"]))[:5]]
    rows = cells(quickstart.tabulate_gains(run, count=5))
    assert [float(row[-1]) for row in rows] == pytest.approx(best["gain"].tolist(), abs=6e-4)
    signs = np.where(best["single_same_rule_sign"] < 0, "−", "")
    for row, sign, number in zip(rows, signs, best["single_same_rule_filter"], strict=True):
        assert f"({sign}filter {number:.0f})" in row[3]


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(Net2VecError, match="out cannot be written"):
        quickstart.main(quickstart.QuickstartFlags(out=tmp_path / "out"))
