"""Datasets in TFDS's format are found by name; what cannot be opened says why, and how it can."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.tfds.builders import prepare_broden
from net2vec_jax.data.tfds.open import (
    TfdsName,
    find_data_dir,
    find_prepared,
    open_tfds,
    parse_tfds_name,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dtd", TfdsName("dtd", None, None, None)),
        ("dtd@227", TfdsName("dtd", None, None, 227)),
        ("cityscapes/extra:1.0.0", TfdsName("cityscapes", "extra", "1.0.0", None)),
        ("broden/camvid-1.b", TfdsName("broden", "camvid-1.b", None, None)),
        ("dtd:3.0.1@64", TfdsName("dtd", None, "3.0.1", 64)),
        ("dtd@64#file_name", TfdsName("dtd", None, None, 64, "file_name")),
    ],
)
def test_names_are_in_tfds_notation(text: str, name: TfdsName) -> None:
    assert parse_tfds_name(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "is no TFDS dataset")
            for text in ("", "../x", "a/b/c", "a:1", "a/..", "a@b", "a@", "a#", "a#b@64")
        ),
        *((f"dtd@{size}", "resolution must be 2 to 4096 pixels") for size in (0, 1, 5000)),
        ("dtd@9999999", "is no TFDS dataset"),
    ],
)
def test_malformed_names(text: str, message: str) -> None:
    with pytest.raises(Net2VecError, match=message):
        open_tfds(text)


def test_unknown_dataset_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(Net2VecError, match=r"unknown TFDS dataset 'oxford_pet'; did you mean 'oxf"):
        open_tfds("oxford_pet", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["oxford_iiit_pet", "scene_parse150", "dtd", "cityscapes"])
def test_what_needs_tensorflow_says_how_to_prepare_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(Net2VecError) as caught:
        open_tfds(name, data_dir=tmp_path)
    message = str(caught.value)
    assert f"{name} is not prepared in {tmp_path}" in message
    assert "needs TensorFlow" in message
    assert f"tfds build {name} --file_format=array_record --data_dir=DIR" in message


@pytest.mark.parametrize(("name", "source"), [("broden", "DIRECTORY"), ("scenes", "scenes")])
def test_what_needs_no_tensorflow_says_how_to_prepare_it(
    tmp_path: Path, name: str, source: str
) -> None:
    with pytest.raises(Net2VecError, match=f"prepare_tfds --dataset {source}"):
        open_tfds(name, data_dir=tmp_path)


def test_the_variable_of_tfds_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert find_data_dir() == tmp_path
    assert find_data_dir("/somewhere") == Path("/somewhere")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert find_data_dir() == Path.home() / "tensorflow_datasets"


def make_version(root: Path, *parts: str) -> Path:
    directory = root.joinpath(*parts)
    directory.mkdir(parents=True)
    (directory / "dataset_info.json").write_text("{}")
    return directory


def test_newest_version_of_the_only_config(tmp_path: Path) -> None:
    make_version(tmp_path, "broden", "a", "9.0.0")
    newest = make_version(tmp_path, "broden", "a", "10.0.0")
    make_version(tmp_path, "broden", "a", "incomplete.X_11.0.0")
    assert find_prepared(parse_tfds_name("broden"), tmp_path) == newest
    assert find_prepared(parse_tfds_name("broden:9.0.0"), tmp_path).name == "9.0.0"
    with pytest.raises(Net2VecError, match=r"not prepared in version 8\.0\.0 .* 10\.0\.0, 9\.0\.0"):
        find_prepared(parse_tfds_name("broden:8.0.0"), tmp_path)


def test_configs_are_told_apart(tmp_path: Path) -> None:
    one = make_version(tmp_path, "broden", "one", "1.0.0")
    two = make_version(tmp_path, "broden", "two", "1.0.0")
    assert find_prepared(parse_tfds_name("broden/one"), tmp_path) == one
    assert find_prepared(parse_tfds_name("broden"), tmp_path, default_config="two") == two
    with pytest.raises(
        Net2VecError, match=r"several configs; choose one of broden/one, broden/two"
    ):
        find_prepared(parse_tfds_name("broden"), tmp_path)
    with pytest.raises(Net2VecError, match=r"unknown config of broden .*'on'; did you mean 'one'"):
        find_prepared(parse_tfds_name("broden/on"), tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    image, plane = np.zeros((4, 4, 3), np.uint8), np.ones((1, 2, 2), np.int32)
    example = LabelledImage("a.jpg", "train", image, ImageLabels({"object": plane}, {}))
    write_broden(tmp_path / "source", [example], {1: "dog"})
    return prepare_broden(tmp_path / "source", tmp_path / "tfds").directory


def test_broden_has_no_other_resolution_nor_groups(directory: Path) -> None:
    with pytest.raises(Net2VecError, match=r"'broden@224': .* leave @RESOLUTION out"):
        open_tfds("broden@224", data_dir=directory.parents[2])
    with pytest.raises(Net2VecError, match=r"'broden#name': .* leave #name out"):
        open_tfds("broden#name", data_dir=directory.parents[2])


def test_tfrecord_files_say_how_to_convert_them(directory: Path) -> None:
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    for file in directory.glob("*array_record*"):
        file.rename(directory / file.name.replace("array_record", "tfrecord"))
    with pytest.raises(Net2VecError) as caught:
        open_tfds("broden", data_dir=directory.parents[2])
    message = str(caught.value)
    assert f"{directory} is stored as tfrecord" in message
    assert f"tfds convert_format --dataset_version_dir={directory}" in message
    assert "--out_file_format=array_record" in message


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", None])
def test_damaged_description_of_a_dataset(directory: Path, name: str, text: str | None) -> None:
    if text is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(text)
    with pytest.raises(
        Net2VecError, match=r"1\.0\.0 holds no dataset|is not prepared|stored as an"
    ):
        open_tfds("broden", data_dir=directory.parents[2])


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_code_that_a_dataset_names_is_not_loaded(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    path = directory / "features.json"
    image = '"pythonClassName": "tensorflow_datasets.core.features.image_feature.Image"'
    text = path.read_text()
    assert image in text
    path.write_text(text.replace(image, f'"{key}": "hostile_module.Image"', 1))
    with pytest.raises(
        Net2VecError, match=r"features\.json asks for code .* hostile_module\.Image"
    ):
        open_tfds("broden", data_dir=directory.parents[2])


def test_code_named_in_a_description_within_a_description(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    inner = json.dumps({"x": {"type": "hostile_module.Image", "content": {}}})
    outer = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "jsonFeature": {"json": inner},
    }
    (directory / "features.json").write_text(json.dumps(outer))
    with pytest.raises(Net2VecError, match=r"asks for code .* hostile_module\.Image"):
        open_tfds("broden", data_dir=directory.parents[2])


def test_reading_imports_no_tensorflow(directory: Path) -> None:
    program = f"""
import sys
from net2vec_jax.data.tfds.open import open_tfds
assert "tensorflow_datasets" not in sys.modules, "imported before it is used"
dataset = open_tfds("broden", data_dir={str(directory.parents[2])!r})
dataset.image(0), dataset.labels(0)
print([name for name in ("tensorflow", "torch", "pandas") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
