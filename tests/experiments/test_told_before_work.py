"""What stops a run, or is left out of it, is said before activations are computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.runs import activations as layer_activations
from net2vec_jax.runs import layer as layer_run
from net2vec_jax.studies import classification, inspect_data, segmentation
from net2vec_jax.studies.inspect_data import InspectionFlags

PROBES = {"segmentation": segmentation.main, "classification": classification.main}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Ten images, four of them val; a second concept of the same name is on three train images."""
    root = tmp_path / "mine"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,split"]
    for place in range(10):
        pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"images/{place}.jpg")
        mask = np.zeros((40, 40), np.uint8)
        mask[:20, : 10 + place] = 7
        mask[30:, 30:] = 9 if place < 3 else 255
        Image.fromarray(mask).save(root / f"masks/{place}.png")
        rows.append(f"{place}.jpg,{'val' if place > 5 else 'train'}")
    (root / "splits.csv").write_text("\n".join(rows) + "\n")
    (root / "concepts.csv").write_text(
        "number,name,category\n7,crane,object\n9,crane,object\n11,heron,object\n"
    )
    return root


def call(monkeypatch: pytest.MonkeyPatch, probe: str, dataset: Path, out: Path, *flags: str) -> int:
    """The exit status of a probe's script."""
    arguments = ["--dataset", f"{dataset}@32", "--network", "efficientnet_lite0"]
    arguments += ["--layer", "block1", "--epochs", "2", "--out", str(out), *flags]
    if probe == "segmentation":
        arguments.append("--no-untrained")
    try:
        run_script(PROBES[probe], arguments=arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def forbid(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, refuse)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    ("split", "there"), [("train", "10 train and no val"), ("val", "no train")]
)
def test_a_missing_split_is_said_before_the_network_is_opened(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    probe: str,
    split: str,
    there: str,
) -> None:
    rows = (f"{place}.jpg,{split}\n" for place in range(10))
    (directory / "splits.csv").write_text("image,split\n" + "".join(rows))
    forbid(monkeypatch, layer_run, "open_network")
    assert call(monkeypatch, probe, directory, tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert there in printed
    assert "splits.csv" in printed


@pytest.mark.parametrize("cache", ["--cache-data", "--no-cache-data"])
def test_a_bad_photograph_is_said_before_activations(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    cache: str,
) -> None:
    (directory / "images/8.jpg").write_bytes((directory / "images/8.jpg").read_bytes()[:300])
    (directory / "images/2.jpg").write_bytes(b"")
    forbid(monkeypatch, layer_activations, "compute_activations")
    assert call(monkeypatch, "segmentation", directory, tmp_path / "out", cache) == 2
    printed = capsys.readouterr().err
    assert "2 of 10 images cannot be read" in printed
    with pytest.raises(Net2VecError, match="2 of 10 images cannot be read"):
        inspect_data.main(
            InspectionFlags(
                dataset=str(directory), out=tmp_path / "look", cache_data=cache == "--cache-data"
            )
        )


@pytest.mark.parametrize("probe", PROBES)
def test_concepts_left_out_are_said_and_told_apart(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    probe: str,
) -> None:
    mask = np.full((40, 40), 255, np.uint8)
    Image.fromarray(mask).save(directory / "masks/5.png")
    out = tmp_path / "out"
    extra = ("--minimum-images", "1") if probe == "classification" else ()
    collect = layer_run.collect_missing_layers

    def collect_later(runs: object) -> None:
        assert "left out: 2 of 3 concepts from" in capsys.readouterr().err
        collect(runs)

    if probe == "classification":  # which needs images without the concept, too
        (directory / "masks/9.png").write_bytes((directory / "masks/5.png").read_bytes())
    monkeypatch.setattr(layer_run, "collect_missing_layers", collect_later)
    assert call(monkeypatch, probe, directory, out, *extra) == 0
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert set(record["skipped"]) == {"crane (9)", "heron"}
    notice, beside = record["notices"]
    assert "255 beside concepts" in beside  # heron is on no image
    assert ("(2: 5.jpg, 9.jpg)" if probe == "classification" else "(1: 5.jpg)") in notice
    assert "hold 255 and mark no concept" in notice
    names = [row.split(",")[1] for row in (out / "concepts.csv").read_text().splitlines()[1:]]
    assert names == ["crane (7)", "crane (9)", "heron"]
    rows = (out / f"{probe}.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["crane (7)"]
    # A finished run says it again.
    monkeypatch.setattr(layer_run, "collect_missing_layers", lambda runs: None)
    capsys.readouterr()
    assert call(monkeypatch, probe, directory, out, *extra) == 0
    assert "crane (9): " in capsys.readouterr().err


def test_no_concept_on_any_image_is_refused_with_the_reason(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for path in (directory / "masks").iterdir():
        Image.fromarray(np.repeat(np.uint8([255, 0]), 20)[:, None] * np.ones(40, np.uint8)).save(
            path
        )
    (directory / "concepts.csv").write_text("number,name,category\n1,lesion,object\n")
    assert call(monkeypatch, "segmentation", directory, tmp_path / "out") == 2
    assert "255,lesion,object" in capsys.readouterr().err
