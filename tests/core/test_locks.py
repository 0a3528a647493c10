"""One process works while the others wait."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest

from net2vec_jax.core import locks
from net2vec_jax.core.locks import only_one_process, replacing


def test_the_second_waits_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, order = tmp_path / "data", []
    said: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(locks, "say", said.put)
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with only_one_process(target, "prepared"):
            entered.set()
            leave.wait(10)
            order.append("first")

    first = threading.Thread(target=work)
    first.start()
    assert entered.wait(10)

    def work_later() -> None:
        with only_one_process(target, "prepared"):
            order.append("second")

    second = threading.Thread(target=work_later)
    second.start()
    assert said.get(timeout=10) == "data is being prepared elsewhere; waiting for it"
    assert second.is_alive()
    assert order == []
    leave.set()
    first.join()
    second.join()
    assert order == ["first", "second"]


def test_the_lock_goes_with_what_it_was_for(tmp_path: Path) -> None:
    with only_one_process(tmp_path / "data", "prepared"):
        assert (tmp_path / "data.lock").exists()
    assert (tmp_path / "data.lock").exists()  # nothing was made: others may be waiting for it
    with only_one_process(tmp_path / "data", "prepared"):
        (tmp_path / "data").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_error_inside_frees_the_lock(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            pytest.raises(RuntimeError, match="inside"),
            only_one_process(tmp_path / "data", "prepared"),
        ):
            raise RuntimeError("inside")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    with replacing(path) as partial:
        partial.write_text("before")
    with pytest.raises(RuntimeError, match="inside"), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="early"), replacing(path):
        raise RuntimeError("early")
    assert [found.name for found in tmp_path.iterdir()] == ["file.csv"]
    assert path.read_text() == "before"
