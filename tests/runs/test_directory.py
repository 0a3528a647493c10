"""What hosts see of a run directory that they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from net2vec_jax.runs import directory as run_directory
from net2vec_jax.runs.directory import RunDirectory


def test_all_hosts_look_for_a_file_before_the_first_one_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run", {})

    def go_on(_: str) -> None:
        (run / "table.csv").touch()  # as the first host may, when all have come

    monkeypatch.setattr(run_directory, "wait_for_hosts", go_on)
    assert not run.has("table.csv")
    assert run.has("table.csv")
