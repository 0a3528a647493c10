"""CSV tables that are broken, hostile or written otherwise (table in docs/data.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import refuse, rows_of, unchanged, write_earlier_results, write_three_images

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset

SIZES = "12,10,6,5"
LINE = f"x/1.jpg,train,{SIZES},x/1_object.png,7"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three sound images beside earlier results; the tests damage line 3 of index.csv."""
    write_three_images(tmp_path / "broden")
    write_earlier_results(tmp_path)
    return tmp_path / "broden"


def swap(table: str, old: str, new: str) -> Callable[[Path], None]:
    """Damage by another text."""

    def damage(directory: Path) -> None:
        text = (directory / table).read_text()
        assert old in text, "the damage must change something"
        (directory / table).write_text(text.replace(old, new))

    return damage


def put(row: str) -> Callable[[Path], None]:
    """Another row in the place of line 3 of index.csv."""
    return swap("index.csv", LINE, row)


def encode(table: str, encoding: str, old: str = "", new: str = "") -> Callable[[Path], None]:
    """Damage by another encoding."""

    def damage(directory: Path) -> None:
        text = (directory / table).read_text().replace(old, new)
        (directory / table).write_bytes(text.encode(encoding))

    return damage


def make_folder(directory: Path) -> None:
    (directory / "index.csv").unlink()
    (directory / "index.csv").mkdir()


def blank_coverage(directory: Path) -> None:
    lines = (directory / "c_object.csv").read_text().splitlines()
    lines[1] = lines[1].rpartition(",")[0] + ",nan"
    (directory / "c_object.csv").write_text("\n".join(lines) + "\n")


REFUSED: dict[str, Callable[[Path], object]] = {
    "index.csv missing": lambda directory: (directory / "index.csv").unlink(),
    "folder named index.csv": make_folder,
    "index.csv of zero bytes": lambda directory: (directory / "index.csv").write_bytes(b""),
    "index.csv without rows": lambda directory: (directory / "index.csv").write_text(
        "image,split,ih,iw,sh,sw,object,scene\n"
    ),
    "fields separated by semicolons": lambda directory: (directory / "index.csv").write_text(
        (directory / "index.csv").read_text().replace(",", ";")
    ),
    "CSV in Latin-1": encode("label.csv", "latin-1", "cat,", "cät,"),
    "CSV in UTF-16": encode("index.csv", "utf-16"),
    "quote that is never closed": swap("label.csv", "cat,", '"cat,'),
    "field of a megabyte": put("x" * 1_000_000 + f".jpg,train,{SIZES},x/1_object.png,7"),
    "column missing": swap("index.csv", "split", "part"),
    "column twice": swap("index.csv", "object,scene", "object,object"),
    "column of the index that is no category": lambda directory: (
        directory / "index.csv"
    ).write_text(
        "\n".join(
            line + (",notes" if place == 0 else ",seen")
            for place, line in enumerate((directory / "index.csv").read_text().splitlines())
        )
        + "\n"
    ),
    "column named like a path": swap("index.csv", "object,scene", "../../object,scene"),
    "row with too many fields": put(LINE + ",8"),
    "row twice": put(f"x/0.jpg,train,{SIZES},x/0_object.png,7"),
    "split of another name": put(f"x/1.jpg,test,{SIZES},x/1_object.png,7"),
    "negative size": put("x/1.jpg,train,12,-10,6,5,x/1_object.png,7"),
    "size of zero": put("x/1.jpg,train,12,10,0,5,x/1_object.png,7"),
    "huge size": put("x/1.jpg,train,12,10,900000,900000,x/1_object.png,7"),
    "size of a hundred digits": put(f"x/1.jpg,train,{'9' * 100},10,6,5,x/1_object.png,7"),
    "size that is no whole number": put("x/1.jpg,train,12,1e1,6,5,x/1_object.png,7"),
    "images of different sizes": put("x/1.jpg,train,14,10,6,5,x/1_object.png,7"),
    "image path that leads out": put(f"../../secret.jpg,train,{SIZES},x/1_object.png,7"),
    "plane path that leads out": put(f"x/1.jpg,train,{SIZES},x/../../../secret.png,7"),
    "absolute path": put(f"/etc/passwd,train,{SIZES},x/1_object.png,7"),
    "path with backslashes": put(f"x\\1.jpg,train,{SIZES},x/1_object.png,7"),
    "column without a name, as pandas writes its index": lambda directory: (
        directory / "index.csv"
    ).write_text(
        "\n".join(
            ("" if place == 0 else f"{place - 1}") + "," + line
            for place, line in enumerate((directory / "index.csv").read_text().splitlines())
        )
        + "\n"
    ),
    "path of Windows": put(f"C:/1.jpg,train,{SIZES},x/1_object.png,7"),
    "path of ten thousand characters": put(f"{'x' * 10_000},train,{SIZES},x/1_object.png,7"),
    "label number that label.csv lacks, in the index": put(
        f"x/1.jpg,train,{SIZES},x/1_object.png,8"
    ),
    "whole-image number that pandas wrote": put(f"x/1.jpg,train,{SIZES},x/1_object.png,7.0"),
    "size that pandas wrote": put("x/1.jpg,train,12.0,10.0,6.0,5.0,x/1_object.png,7"),
    "label number that pandas wrote": swap("label.csv", "\n2,cat", "\n2.0,cat"),
    "number of a coverage table that pandas wrote": lambda directory: (
        directory / "c_object.csv"
    ).write_text("code,number,name,frequency,coverage\n1,1.0,dog,3,0.5\n"),
    "number with a space before it": put(f"x/1.jpg,train,{SIZES},x/1_object.png, 7"),
    "whole-image number with a fraction": put(f"x/1.jpg,train,{SIZES},x/1_object.png,7.5"),
    "nan in a category's cell": put(f"x/1.jpg,train,{SIZES},x/1_object.png,nan"),
    "None in the place of an image": put(f"None,train,{SIZES},x/1_object.png,7"),
    "nan as a label's category": swap("label.csv", "2,cat,object(3)", "2,cat,nan"),
    "label without a name": swap("label.csv", "\n2,cat", "\n2,"),
    "label number 0 with the name of a concept": swap("label.csv", "\n2,cat", "\n0,cat"),
    "whole-image number of another category": put(f"x/1.jpg,train,{SIZES},x/1_object.png,1"),
    "label number twice": swap("label.csv", "\n2,cat", "\n1,cat"),
    "label number beyond 65535": swap("label.csv", "\n2,cat", "\n70000,cat"),
    "negative label number": swap("label.csv", "\n2,cat", "\n-2,cat"),
    "category cell of another form": swap("label.csv", "2,cat,object(3)", "2,cat,object(3"),
    "count of five thousand digits": swap(
        "label.csv", "2,cat,object(3)", f"2,cat,object({'9' * 5000})"
    ),
    "category cell of a hundred thousand spaces": swap(
        "label.csv", "2,cat,object(3)", f"2,cat,{' ' * 100_000}("
    ),
    "coverage that is no number": blank_coverage,
}


def test_every_case_is_documented() -> None:
    assert set(rows_of(__file__, "test_tables_that_are_refused")) == set(REFUSED)
    assert set(rows_of(__file__, "test_tables_that_are_read")) == set(READ)


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_are_refused(directory: Path, case: str) -> None:
    REFUSED[case](directory)
    row = rows_of(__file__, "test_tables_that_are_refused")[case]
    start = time.perf_counter()
    refuse(row, directory.parent, lambda: BrodenDataset(directory))
    # Milliseconds; the bound is for a machine that does much else. One case took minutes before.
    assert time.perf_counter() - start < 5


def test_tables_that_may_not_be_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, permissions are no obstacle: the refusal of the system is simulated."""
    row = rows_of(__file__, "test_tables_that_may_not_be_read")["table without permission to read"]
    original = Path.open

    def refuse_label(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == "label.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    def open_dataset() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse_label)
            BrodenDataset(directory)

    refuse(row, directory.parent, open_dataset)
    assert len(BrodenDataset(directory)) == 3


def add_columns(directory: Path) -> None:
    lines = (directory / "label.csv").read_text().splitlines()
    lines = [lines[0] + ",remark", *(line + ',"so, so"' for line in lines[1:])]
    (directory / "label.csv").write_text("\n".join(lines) + "\n")


def quote_all(directory: Path) -> None:
    for table in ("index.csv", "label.csv"):
        lines = (directory / table).read_text().splitlines()
        quoted = ['"' + line.replace(",", '","') + '"' for line in lines]
        (directory / table).write_text("\n".join(quoted) + "\n")


def end_lines(ending: bytes, start: bytes = b"") -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        for path in directory.glob("*.csv"):
            path.write_bytes(start + path.read_bytes().replace(b"\n", ending))

    return change


def drop_optional(directory: Path) -> None:
    for path in (directory / "category.csv", *directory.glob("c_*.csv")):
        path.unlink()


READ: dict[str, Callable[[Path], object]] = {
    "CSV with byte order mark": end_lines(b"\n", b"\xef\xbb\xbf"),
    "CSV with CRLF": end_lines(b"\r\n"),
    "CSV with CR only": end_lines(b"\r"),
    "CSV with empty lines": end_lines(b"\n\n"),
    "CSV with all fields in quotes": quote_all,
    "unknown columns in label.csv": add_columns,
    "category.csv and c_*.csv missing": drop_optional,
}


@pytest.mark.parametrize("case", READ)
def test_tables_that_are_read(directory: Path, case: str) -> None:
    before = BrodenDataset(directory)
    READ[case](directory)
    with unchanged(directory.parent):
        after = BrodenDataset(directory)
    names = [(c.number, c.name, dict(c.categories)) for c in before.catalog]
    assert [(c.number, c.name, dict(c.categories)) for c in after.catalog] == names
    assert after.image_names == before.image_names
    for index in range(3):
        np.testing.assert_array_equal(
            after.labels(index).planes["object"], before.labels(index).planes["object"]
        )
        assert after.labels(index).whole_image == before.labels(index).whole_image


@pytest.mark.parametrize("filler", ["NaN", "none", "<NA>", "NULL", "#N/A", " nan "])
def test_every_filler_of_an_empty_cell_is_named(directory: Path, filler: str) -> None:
    put(f"x/1.jpg,train,{SIZES},x/1_object.png;{filler},7")(directory)
    with pytest.raises(
        Net2VecError, match=f"line 3, column object: '{filler}' stands for an empty"
    ):
        BrodenDataset(directory, allow_missing=True)


@pytest.mark.parametrize(
    ("name", "is_background"),
    [("", True), ("Background", True), ("un-labelled", True), ("no_label", True), ("road", False)],
)
def test_number_0_is_passed_over_if_its_name_is_no_concept(
    directory: Path, name: str, is_background: bool
) -> None:
    swap("label.csv", "\n2,cat", f"\n0,{name},,0,0,\n2,cat")(directory)
    if is_background:
        assert [concept.number for concept in BrodenDataset(directory).catalog] == [1, 2, 3, 7]
    else:
        with pytest.raises(Net2VecError, match=r"line 3: label number 0 .*'road'"):
            BrodenDataset(directory)


def test_counts_are_optional(directory: Path) -> None:
    label_csv = directory / "label.csv"
    label_csv.write_text(label_csv.read_text().replace("object(3)", "object", 2))
    catalog = BrodenDataset(directory).catalog
    assert [dict(concept.categories) for concept in catalog] == [
        {"object": 0},
        {"object": 0},
        {"object": 3},
        {"scene": 3},
    ]
    swap("label.csv", "1,dog,object", "1,dog,scene ( 2 ); object")(directory)
    assert dict(BrodenDataset(directory).catalog.by_number[1].categories) == {
        "scene": 2,
        "object": 0,
    }


@pytest.mark.parametrize("cell", ["object)", "(3)", "()", "object(3)x", "object()", " ", "a(b)(3)"])
def test_category_cells_of_another_form(directory: Path, cell: str) -> None:
    swap("label.csv", "2,cat,object(3)", f"2,cat,{cell}")(directory)
    with pytest.raises(Net2VecError, match=r"label\.csv line 3: category .* name or name\(count\)"):
        BrodenDataset(directory)


def test_labels_of_one_name_are_told_apart(directory: Path) -> None:
    swap("label.csv", "1,dog,", "1,cat,")(directory)
    names = [concept.name for concept in BrodenDataset(directory).catalog]
    assert names == ["cat (1)", "cat (2)", "cow", "street-s"]


def test_labels_that_are_left_out(directory: Path) -> None:
    assert BrodenDataset(directory).notices == ()
    label_csv = directory / "label.csv"
    label_csv.write_text(label_csv.read_text().replace("object(3)", "objects(3)", 2))
    dataset = BrodenDataset(directory)
    assert [concept.name for concept in dataset.catalog] == ["cow", "street-s"]
    row = rows_of(__file__, "test_labels_that_are_left_out")[
        "labels of categories that index.csv lacks"
    ]
    assert dataset.notices == (row.message,)
    swap("label.csv", "1,dog,objects(3)", "1,dog,")(directory)
    swap("label.csv", "2,cat,objects(3)", "2,cat,")(directory)
    (notice,) = BrodenDataset(directory).notices
    assert "2 labels" in notice and "have no category" in notice and "dog, cat" in notice
