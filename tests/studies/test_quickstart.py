"""The quickstart ends with the reports that it has written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.studies import quickstart


def test_the_last_line_names_the_report(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    quickstart.main(quickstart.QuickstartFlags(out=out, images=40, epochs=1, layers=("block1",)))
    last = capsys.readouterr().out.splitlines()[-1]
    named = re.fullmatch(r"open in a browser: (\S+)", last)
    assert named is not None
    assert Path(named[1]) == out / "block1" / "report.html"
    page = Path(named[1]).read_text(encoding="utf-8")
    assert "efficientnet_lite0" in page and "There are no pictures" not in page
    # A WebP file begins with "RIFF" and its length: most of the pictures used are there.
    assert page.count('"UklGR') > 10


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(Net2VecError, match="out cannot be written"):
        quickstart.main(quickstart.QuickstartFlags(out=tmp_path / "out"))
