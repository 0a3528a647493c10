"""Scripts of studies say in --help what they do, and run their study."""

from __future__ import annotations

import importlib
import runpy
import sys

import pytest


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("how_many_filters", "--layers"),
        ("single_vs_embedding", "--layers"),
        ("filter_overlap", "--rankings"),
        ("concept_embeddings", "--query"),
        ("compare_networks", "--word-vectors"),
        ("report", "--filters-shown"),
    ],
)
def test_help(
    name: str, flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"experiments.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"experiments.{name}", run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    described = importlib.import_module(f"net2vec_jax.studies.{name}").__doc__ or ""
    assert flag in printed and described.split(maxsplit=1)[0] in printed
