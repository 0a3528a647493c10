"""--skip-bad-images: a run stops with the list of bad images, or goes on without them."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.runs import layer as layer_run
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.segmentation import SegmentationRun
from net2vec_jax.runs.segmentation_flags import SegmentationFlags
from net2vec_jax.studies import inspect_data, segmentation
from net2vec_jax.studies.inspect_data import InspectionFlags

BAD = ("x/2.jpg", "x/9.jpg")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Twelve images, of which two cannot be decoded."""
    rng = np.random.default_rng(0)
    plane = np.zeros((1, 16, 16), np.int32)
    plane[0, :8] = 1
    examples = [
        LabelledImage(
            f"x/{index}.jpg",
            "train" if index < 8 else "val",
            rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),
            ImageLabels({"object": plane}, {}),
        )
        for index in range(12)
    ]
    write_broden(tmp_path / "broden", examples, {1: "top"})
    for name in BAD:
        (tmp_path / "broden/images" / name).write_bytes(b"no image")
    return tmp_path / "broden"


def call_script(monkeypatch: pytest.MonkeyPatch, directory: Path, *flags: str) -> None:
    arguments = ["--dataset", str(directory), "--network", "efficientnet_lite0"]
    arguments += ["--layer", "block1", "--epochs", "2", "--bootstrap-samples", "20", *flags]
    monkeypatch.setattr(sys, "argv", ["segmentation", *arguments])
    run_script(segmentation.main)


def test_a_run_stops_with_all_bad_images_or_goes_on_without_them(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        call_script(monkeypatch, directory, "--out", str(out))
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "2 of 12 images cannot be read" in message
    assert all(f"{name} cannot be decoded" in message for name in BAD)
    assert "--skip-bad-images" in message
    # The same directory may be used: no stage was finished in it.
    call_script(monkeypatch, directory, "--out", str(out), "--skip-bad-images")
    skipped = json.loads((out / "run.json").read_text())["skipped_images"]
    assert set(skipped) == set(BAD)
    assert all("cannot be decoded" in reason for reason in skipped.values())
    concepts = (out / "concepts.csv").read_text().splitlines()
    assert concepts[1].startswith("1,top,object,7,3,")
    (directory / "images/x/3.jpg").unlink()
    scores = (out / "segmentation.csv").read_bytes()
    # Now that there are results, a run on other images is refused and leaves them.
    with pytest.raises(SystemExit):
        call_script(monkeypatch, directory, "--out", str(out), "--skip-bad-images")
    assert "belongs to another run (dataset:" in capsys.readouterr().err
    assert (out / "segmentation.csv").read_bytes() == scores


def test_mended_images_are_no_longer_listed_as_skipped(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--out", str(tmp_path / "out"), "--skip-bad-images"]
    monkeypatch.setattr(SegmentationRun, "finish", lambda self: None)
    monkeypatch.setattr(layer_run, "collect_missing_layers", lambda runs: None)
    call_script(monkeypatch, directory, *flags)
    run_file = tmp_path / "out" / "run.json"
    assert set(json.loads(run_file.read_text())["skipped_images"]) == set(BAD)
    for name in BAD:
        good = (directory / "images/x/0.jpg").read_bytes()
        (directory / "images" / name).write_bytes(good)
    call_script(monkeypatch, directory, *flags)
    assert json.loads(run_file.read_text())["skipped_images"] == {}


def test_inspection_lists_or_leaves_out_bad_images(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in BAD:
        (directory / "images" / name.replace(".jpg", "_object.png")).write_bytes(b"no image")
    flags = InspectionFlags(dataset=str(directory), out=tmp_path / "out")
    with pytest.raises(Net2VecError, match="2 of 12 images cannot be read"):
        inspect_data.main(flags)
    inspect_data.main(dataclasses.replace(flags, skip_bad_images=True))
    printed = capsys.readouterr()
    assert all(f"  {name}: " in printed.err for name in BAD)
    assert "7 train and 3 val images" in printed.out


def test_an_array_of_activations_has_no_images_to_skip(tmp_path: Path) -> None:
    flags = SegmentationFlags(
        dataset="scenes", out=tmp_path, activation_array=tmp_path / "a.npy", skip_bad_images=True
    )
    with pytest.raises(Net2VecError, match="--skip-bad-images has no effect"):
        flags.check()


def test_only_the_dataset_of_a_run_without_results_may_change(tmp_path: Path) -> None:
    before = {"dataset": "a", "seed": 0}
    RunDirectory(tmp_path, before)
    run = RunDirectory(tmp_path, before | {"dataset": "b"})
    with pytest.raises(Net2VecError, match="seed: 0 there, 1 now"):
        RunDirectory(tmp_path, before | {"seed": 1})
    with run.stage("labels"):  # of which nothing is kept
        pass
    run = RunDirectory(tmp_path, before | {"dataset": "b"})
    with run.stage("thresholds"):
        pass
    with pytest.raises(Net2VecError, match="dataset: 'b' there, 'c' now"):
        RunDirectory(tmp_path, before | {"dataset": "c"})
