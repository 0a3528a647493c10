"""Damaged Broden directories: each is refused with a message that names the culprit.

The cases of the table in docs/data.md are in test_hostile_images.py and test_hostile_tables.py.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import unchanged, write_earlier_results, write_three_images
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.masks import collect_concept_masks


@pytest.fixture(autouse=True)
def earlier_results(tmp_path: Path) -> Iterator[None]:
    """Results beside the dataset, which no refusal may touch."""
    write_earlier_results(tmp_path / "earlier")
    with unchanged(tmp_path / "earlier"):
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three sound images: lines 2, 3 and 4 of index.csv."""
    write_three_images(tmp_path / "broden")
    return tmp_path / "broden"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, "the edit must change something"
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("table", ["index.csv", "label.csv"])
def test_missing_table(directory: Path, table: str) -> None:
    (directory / table).unlink()
    with pytest.raises(Net2VecError, match=rf"{re.escape(str(directory / table))} is missing"):
        BrodenDataset(directory)


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(Net2VecError, match=r"nowhere/index\.csv is missing"):
        BrodenDataset(tmp_path / "nowhere")


def test_optional_tables_may_be_missing(directory: Path) -> None:
    for table in ("category.csv", "c_object.csv", "c_scene.csv"):
        (directory / table).unlink()
    assert len(BrodenDataset(directory)) == 3


@pytest.mark.parametrize(
    ("table", "column"),
    [
        *(("index.csv", column) for column in ("image", "split", "ih", "iw", "sh", "sw")),
        *(("label.csv", column) for column in ("number", "name", "category")),
        *(("c_object.csv", column) for column in ("number", "coverage")),
    ],
)
def test_missing_column(directory: Path, table: str, column: str) -> None:
    lines = (directory / table).read_text().split("\n")
    lines[0] = ",".join("renamed" if name == column else name for name in lines[0].split(","))
    (directory / table).write_text("\n".join(lines))
    with pytest.raises(Net2VecError, match=rf"{table}: column {column} is missing"):
        BrodenDataset(directory)


ROW = "x/1.jpg,train,12,10,6,5,x/1_object.png,7"


@pytest.mark.parametrize(
    ("new_row", "message"),
    [
        ("x/1.jpg,train,12,10,6,5,x/1_object.png", "line 3.*fields"),
        ("x/1.jpg,train,12,10,6,5,x/1_object.png,7,8", "line 3.*fields"),
        ("x/1.jpg,,12,10,6,5,x/1_object.png,7", "line 3.*''.*train or val"),
        ("x/1.jpg,Train,12,10,6,5,x/1_object.png,7", "line 3.*'Train'"),
        ("x/1.jpg,train,twelve,10,6,5,x/1_object.png,7", "line 3, column ih.*'twelve'"),
        ("x/1.jpg,train,12,1_0,6,5,x/1_object.png,7", "line 3, column iw.*'1_0'"),
        ("x/1.jpg,train,12,10,-6,5,x/1_object.png,7", "line 3, column sh.*'-6'"),
        ("x/1.jpg,train,12,10,6,5.0,x/1_object.png,7", r"line 3, column sw.*'5\.0'"),
        ("x/1.jpg,train,12,10,6,0,x/1_object.png,7", "line 3.*positive"),
        ("x/1.jpg,train,12,10,6,4,x/1_object.png,7", r"line 3.*\(12, 10, 6, 4\).*line 2"),
        ("../1.jpg,train,12,10,6,5,x/1_object.png,7", r"line 3.*'\.\./1\.jpg'.*below images"),
        ("x/../../1.jpg,train,12,10,6,5,x/1_object.png,7", r"line 3.*below images"),
        ("x/1.jpg,train,12,10,6,5,../secret.png,7", r"line 3.*'\.\./secret\.png'.*below images"),
        ("x/1.jpg,train,12,10,6,5,/etc/passwd,7", "line 3.*'/etc/passwd'.*below images"),
        (",train,12,10,6,5,x/1_object.png,7", "line 3.*''.*below images"),
        ("x/1.jpg,train,12,10,6,5,x/1_object.png;9,7", r"line 3.*number 9 is not in label\.csv"),
        ("x/9.jpg,train,12,10,6,5,x/1_object.png,7", r"x/9\.jpg is missing.*line 3"),
        ("x/1.jpg,train,12,10,6,5,x/9_object.png,7", r"x/9_object\.png is missing.*line 3"),
        ("x,train,12,10,6,5,x/1_object.png,7", "x"),
    ],
)
def test_malformed_row_of_the_index(directory: Path, new_row: str, message: str) -> None:
    edit(directory / "index.csv", ROW, new_row)
    with pytest.raises(Net2VecError, match=message):
        BrodenDataset(directory).image(1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2,cat,object(3)", "two,cat,object(3)", "line 3.*'two'"),
        ("2,cat,object(3)", "2,cat,object(", r"line 3.*'object\('.*name\(count\)"),
        ("2,cat,object(3)", "2,cat,object(many)", r"line 3.*'object\(many\)'"),
        ("2,cat,", "2,", "line 3.*fields"),
    ],
)
def test_malformed_row_of_the_labels(directory: Path, old: str, new: str, message: str) -> None:
    edit(directory / "label.csv", old, new)
    with pytest.raises(Net2VecError, match=rf"label\.csv {message}"):
        BrodenDataset(directory)


def test_malformed_coverage(directory: Path) -> None:
    path = directory / "c_object.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].rsplit(",", 1)[0] + ",much"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Net2VecError, match=r"c_object\.csv line 3.*much"):
        BrodenDataset(directory)


def test_unknown_category_suggests_the_nearest(directory: Path) -> None:
    with pytest.raises(Net2VecError, match="unknown category 'objects'; did you mean 'object'"):
        BrodenDataset(directory, categories=["objects"])


def test_no_data_in_the_chosen_categories(directory: Path) -> None:
    path = directory / "index.csv"
    path.write_text(path.read_text().replace(",7\n", ",\n"))
    with pytest.raises(Net2VecError, match=r"index\.csv: no image has data.*scene"):
        BrodenDataset(directory, categories=["scene"])


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x/1.jpg", BrodenDataset.image),
        ("x/1_object.png", lambda dataset, index: dataset.labels(index).planes["object"]),
    ],
)
def test_truncated_file_is_refused_or_reads_right(
    directory: Path, name: str, read: Callable[[BrodenDataset, int], np.ndarray]
) -> None:
    path = directory / "images" / name
    whole = path.read_bytes()
    pixels = read(BrodenDataset(directory), 1)
    refused = 0
    for length in [*range(0, min(150, len(whole))), *range(150, len(whole), 7)]:
        path.write_bytes(whole[:length])
        dataset = BrodenDataset(directory)
        try:
            np.testing.assert_array_equal(read(dataset, 1), pixels)
        except Net2VecError as error:
            assert f"{path} cannot be decoded" in str(error)
            refused += 1
            continue
        # Only checksums and end markers may be missing.
        assert length > len(whole) - 24
    assert refused


def test_file_removed_after_opening(directory: Path) -> None:
    dataset = BrodenDataset(directory)
    (directory / "images/x/1_object.png").unlink()
    with pytest.raises(Net2VecError, match=r"x/1_object\.png is missing"):
        dataset.labels(1)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "I;16"])
def test_plane_that_is_not_rgb(directory: Path, mode: str) -> None:
    path = directory / "images/x/1_object.png"
    Image.new(mode, (5, 6)).save(path)
    with pytest.raises(Net2VecError, match=r"x/1_object\.png.*8-bit RGB"):
        BrodenDataset(directory).labels(1)


def test_number_in_a_plane_that_the_label_table_lacks(directory: Path) -> None:
    path = directory / "images/x/1_object.png"
    pixels = np.array(Image.open(path))
    pixels[3, 2] = (4, 1, 0)
    Image.fromarray(pixels).save(path)
    dataset = BrodenDataset(directory)
    with pytest.raises(Net2VecError, match=r"x/1_object\.png: label number 260 is not in.*label"):
        dataset.labels(1)
    with pytest.raises(Net2VecError, match=r"x/1_object\.png: label number 260"):
        collect_concept_masks(dataset)
