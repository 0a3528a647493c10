"""Images with the same features in a layer, from files and from a finished run's dataset."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import invert_features
from net2vec_jax.studies.invert_features import InversionFlags, crop_centre


def test_features_of_a_file_are_inverted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((90, 60))
    photo.save(tmp_path / "a photo.png")
    flags = InversionFlags(
        network="efficientnet_lite0",
        layer=("stem", "_blocks.1"),
        images=(tmp_path / "a photo.png",),
        steps=30,
        size=32,
        out=tmp_path / "out",
    )
    invert_features.main(flags)
    rows = read_table(flags.out / "errors.csv")
    assert [row["layer"] for row in rows] == ["stem", "block1"]
    assert all(float(row["relative_error"]) < 0.5 for row in rows)
    assert np.asarray(Image.open(flags.out / rows[0]["file"])).shape == (32, 32, 3)
    assert (flags.out / "inverted_features.pdf").is_file()
    assert "Relative error" in capsys.readouterr().out


def test_images_of_a_run_are_inverted(finished_study: Path, tmp_path: Path) -> None:
    run = finished_study / "block4" / "segmentation"
    invert_features.main(InversionFlags(run=run, steps=3, size=32, out=tmp_path))
    rows = read_table(tmp_path / "errors.csv")
    assert len(rows) == 3 and {row["layer"] for row in rows} == {"block4"}
    dataset = RunSources(FinishedRun(run)).dataset
    assert all(dataset.is_val[dataset.image_names.index(row["image"])] for row in rows)


def test_sources_of_a_run_may_have_moved(finished_study: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", run)
    record = json.loads((run / "run.json").read_text())
    for name in ("dataset", "network"):
        record["sources"][name] = {"name": str(tmp_path / f"gone_{name}"), "from_here": None}
    (run / "run.json").write_text(json.dumps(record))
    flags = InversionFlags(run=run, steps=2, size=32, layer=("stem",), out=tmp_path / "out")
    with pytest.raises(Net2VecError, match="gone_network"):
        invert_features.main(flags)
    flags = dataclasses.replace(flags, network="efficientnet_lite0")
    with pytest.raises(Net2VecError, match="gone_dataset"):
        invert_features.main(flags)
    assert not flags.out.exists()
    data = str(finished_study.parents[1] / "data")
    invert_features.main(dataclasses.replace(flags, dataset=data))
    assert len(read_table(flags.out / "errors.csv")) == 3
    with pytest.raises(Net2VecError, match="unknown weights of efficientnet_lite0"):
        invert_features.main(dataclasses.replace(flags, dataset=data, weights="absent"))


def test_layers_of_any_name_have_a_file_each() -> None:
    assert invert_features.name_layers(["block1", "conv1"]) == {
        "block1": "block1", "conv1": "conv1"
    }  # fmt: skip
    names = invert_features.name_layers(["a/b", "a_b", "../x" * 20, "A_b"])
    assert len({name.lower() for name in names.values()}) == 4
    assert not any("/" in name for name in names.values())


def test_a_folder_that_cannot_be_written_is_refused_first(
    finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    run = finished_study / "block4" / "segmentation"
    monkeypatch.setattr(invert_features, "invert_layers", None)
    with pytest.raises(Net2VecError, match="out cannot be written"):
        invert_features.main(InversionFlags(run=run, out=tmp_path / "out"))


def test_the_centre_of_the_resized_image_is_taken() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 200
    centre = crop_centre(Image.fromarray(image), 20)
    assert centre.shape == (20, 20, 3)
    assert (centre[:, 2:-2] == 200).all()


def test_bad_input_of_inversion_is_refused(finished_study: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = InversionFlags(
        network="efficientnet_lite0", layer=("stem",), images=(broken,), size=32,
        out=tmp_path / "out",
    )  # fmt: skip
    shutil.copy(next((finished_study.parents[1] / "data" / "images").glob("**/*.*")), tmp_path)
    image = next(path for path in tmp_path.iterdir() if path.is_file() and path != broken)
    for changes, complaint in (
        ({}, "broken.png cannot be decoded"),
        ({"images": (tmp_path / "absent.png",)}, "absent.png is missing"),
        ({"images": ()}, "--images is missing; give --run"),
        ({"network": None}, "--network is missing"),
        ({"network": "efficientnet"}, "unknown network 'efficientnet'"),
        ({"size": 1}, "--size 1 is too small for efficientnet_lite0"),
        ({"layer": ("block99",), "images": (image,)}, "unknown layer 'block99'"),
        ({"dataset": "scenes"}, "--dataset goes with --run only"),
    ):
        with pytest.raises(Net2VecError, match=complaint):
            invert_features.main(dataclasses.replace(good, **changes))
    assert not (tmp_path / "out").exists()
