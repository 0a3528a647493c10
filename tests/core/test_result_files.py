"""Files of results: complete or not at all, and named safely."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder, make_safe, write_json, write_table


@hypothesis.given(st.text())
def test_safe_names_are_no_paths(name: str) -> None:
    safe = make_safe(name)
    assert len(safe) <= 40
    assert not set(safe) & set('/\\\0:*?"<>| \n')


def test_what_fails_leaves_the_file_before(tmp_path: Path) -> None:
    path = write_json(tmp_path / "deep" / "numbers.json", {"a": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["numbers.json"]


def test_folders_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_folder(tmp_path / "new" / "folder").is_dir()
    assert make_folder(tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Net2VecError, match=f"{path} cannot be written"):
            make_folder(path)

    def refuse(dir: Path) -> None:  # root may write everywhere, so that permissions do not do
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(Net2VecError, match="cannot be written: Permission denied"):
        make_folder(tmp_path / "new")


def test_floats_keep_the_digits_of_their_type(tmp_path: Path) -> None:
    rows = [["a,b", np.float32(0.1), np.float64(0.1) + 0.2], ["é", np.float32(1), 2]]
    path = write_table(tmp_path / "table.csv", ["name", "x", "y"], rows)
    assert path.read_text(encoding="utf-8") == ('name,x,y\n"a,b",0.1,0.30000000000000004\né,1,2\n')
