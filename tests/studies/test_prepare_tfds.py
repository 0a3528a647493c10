"""The script that writes datasets in TFDS's format, and its refusals."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.open import open_dataset
from net2vec_jax.data.tfds.broden import TfdsBrodenDataset
from net2vec_jax.studies import prepare_tfds

NO_TENSORFLOW = importlib.util.find_spec("tensorflow") is None


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    image, plane = np.zeros((4, 4, 3), np.uint8), np.ones((1, 2, 2), np.int32)
    examples = [
        LabelledImage(f"{split}.jpg", split, image, ImageLabels({"object": plane}, {}))
        for split in ("train", "val")
    ]
    write_broden(tmp_path / "source", examples, {1: "dog"})
    return tmp_path / "source"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    run_script(prepare_tfds.main, arguments=arguments)


def test_what_it_prints_opens_the_dataset(
    directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    data_dir = str(tmp_path / "tfds")
    run(monkeypatch, "--dataset", str(directory), "--data-dir", data_dir, "--name", "mine")
    printed = capsys.readouterr().out
    assert "2 images with 1 concepts are in" in printed
    words = printed.split()
    variable, value = next(word for word in words if word.startswith("TFDS_")).split("=")
    monkeypatch.setenv(variable, value)
    name = words[words.index("--dataset") + 1]
    assert name == "tfds:broden/mine"
    dataset = open_dataset(name, scenes_directory=tmp_path / "scenes")
    assert dataset.image_names == BrodenDataset(directory).image_names


def test_scenes_and_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    run(monkeypatch, "--dataset", "scenes", "--images", "3", "--seed", "1")
    dataset = open_dataset("tfds:scenes/images_3_seed_1", scenes_directory=tmp_path / "scenes")
    assert isinstance(dataset, TfdsBrodenDataset)
    assert len(dataset) == 3
    assert dataset.image(0).shape == (224, 224, 3)
    with pytest.raises(Net2VecError, match=r"unknown config of scenes .*'images_4'"):
        open_dataset("tfds:scenes/images_4", scenes_directory=tmp_path / "scenes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere/at_all"], "there is no dataset 'nowhere/at_all': give a Broden"),
        (["--dataset", "scenes", "--images", "0"], "number of scenes is 0"),
        pytest.param(
            ["--dataset", "dtd"],
            "tfds build dtd --file_format=array_record",
            marks=pytest.mark.skipif(not NO_TENSORFLOW, reason="TensorFlow would download it"),
        ),
    ],
)
def test_one_message_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
