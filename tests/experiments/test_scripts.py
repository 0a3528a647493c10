"""Scripts say in --help what they do and which flags they have."""

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
        ("quickstart", "--images"),
        ("inspect_data", "--skip-bad-annotations"),
        ("prepare_broden", "--accept-differences"),
        ("prepare_tfds", "--data-dir"),
        ("port_weights", "--weights"),
        ("segmentation", "--quantile-method"),
        ("classification", "--minimum-images"),
        ("pictures", "--repetition"),
        ("maximise_activation", "--objective"),
        ("does_it_matter", "--class-names"),
        ("local_embeddings", "--neighbours"),
        ("formulas", "--length"),
        ("invert_features", "--preset"),
        ("cost_model", "--epochs"),
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
    package = "experiments.benchmark" if name == "cost_model" else "net2vec_jax.studies"
    described = importlib.import_module(f"{package}.{name}").__doc__ or ""
    assert flag in printed and described.split(maxsplit=1)[0] in printed
