"""Full and read-only disks, killed processes, several at once (table in docs/data.md)."""

from __future__ import annotations

import builtins
import errno
import os
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import tyro
from hostile import assert_documented, refuse, rows_of, snapshot, unchanged, write_earlier_results
from PIL import Image
from published_broden import write_published_broden, zip_folder

from net2vec_jax.core import console, zip_archive
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data import open as open_module
from net2vec_jax.data.broden.archive import prepare_broden
from net2vec_jax.data.broden.counts import ExpectedCounts
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.masks import collect_concept_masks

ROOT = Path(__file__).resolve().parents[2]
Usage = namedtuple("Usage", "total used free")


def row_of(function: str, case: str):
    return rows_of(__file__, function)[case]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExpectedCounts]:
    """A sound archive, and what it counts to."""
    folder = tmp_path_factory.mktemp("published")
    expected = write_published_broden(folder / "content", images=4)
    return zip_folder(folder / "content", folder / "b.zip", top="broden1_227"), expected


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of datasets beside earlier results; the lock of an earlier attempt is there."""
    write_earlier_results(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/broden1_227.lock").touch()
    return tmp_path / "data"


def draw_examples() -> list[LabelledImage]:
    plane = np.ones((1, 4, 4), np.int32)
    image = np.zeros((8, 8, 3), np.uint8)
    labels = ImageLabels({"object": plane}, {})
    return [LabelledImage(f"x/{index}.jpg", "train", image, labels) for index in range(6)]


class FullFile:
    """A file of a disk that has room for some bytes only."""

    left = 5000

    def __init__(self, file) -> None:
        self.file = file

    def write(self, chunk: bytes) -> int:
        FullFile.left -= len(chunk)
        if FullFile.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(chunk)

    def close(self) -> None:
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_disk_full_while_unpacking(
    data: Path, published: tuple[Path, ExpectedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, expected = published

    def open_full(path, mode="r", **options):
        file = builtins.open(path, mode, **options)  # noqa: SIM115
        return FullFile(file) if "x" in mode else file

    with monkeypatch.context() as patch:
        patch.setattr(zip_archive, "open", open_full, raising=False)
        patch.setattr(FullFile, "left", 5000)
        refuse(
            row_of("test_disk_full_while_unpacking", "disk full while unpacking"),
            data.parent,
            lambda: prepare_broden(data, 227, archive=archive, expected=expected),
        )
        assert FullFile.left < 0
    assert prepare_broden(data, 227, archive=archive, expected=expected).directory.is_dir()


def test_too_little_space_is_noticed_before_unpacking(
    data: Path, published: tuple[Path, ExpectedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, expected = published
    usage = Usage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(zip_archive.shutil, "disk_usage", lambda _: usage)
    refuse(
        row_of("test_too_little_space_is_noticed_before_unpacking", "disk with too little space"),
        data.parent,
        lambda: prepare_broden(data, 227, archive=archive, expected=expected),
    )


def test_disk_full_while_writing_a_dataset(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, saved = Image.Image.save, []

    def save(image: Image.Image, path: Path, **options: object) -> None:
        saved.append(path)
        if len(saved) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(image, path, **options)

    (data / "small.lock").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save)
        refuse(
            row_of("test_disk_full_while_writing_a_dataset", "disk full while writing a dataset"),
            data.parent,
            lambda: write_broden(data / "small", draw_examples(), {1: "dog"}),
        )
    write_broden(data / "small", draw_examples(), {1: "dog"})
    assert len(BrodenDataset(data / "small")) == 6


def test_disk_full_during_a_run(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tyro, "cli", lambda *_, **__: None)
    monkeypatch.setattr(console, "use_all_devices", lambda: None)
    with unchanged(data.parent), pytest.raises(SystemExit) as stopped:
        console.run_script(fail)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.removeprefix("error: ").strip()
    assert_documented(
        row_of("test_disk_full_during_a_run", "disk full during a run"), Exception(message)
    )

    def fail_otherwise(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input"):  # not hidden: it is no fault of the user's
        console.run_script(fail_otherwise)


PREPARE = """
import sys, os, signal, time
from dataclasses import fields
from pathlib import Path
from net2vec_jax.core import zip_archive
from net2vec_jax.data.broden import archive as broden_archive
sys.path.insert(0, {tests!r})
from published_broden import write_published_broden
archive, data, content, count = sys.argv[1:]
expected = write_published_broden(Path(content), images=4)
unpack, done = zip_archive._unpack_file, []
def unpack_file(*arguments):
    done.append(unpack(*arguments))
    if len(done) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return done[-1]
zip_archive._unpack_file = unpack_file
prepared = broden_archive.prepare_broden(data, 227, archive=archive, expected=expected)
print(len(done))
"""


def start_preparing(archive: Path, data: Path, content: Path, *, kill_after: int = -1):
    command = [sys.executable, "-c", PREPARE.format(tests=str(ROOT / "tests"))]
    return subprocess.Popen(
        [*command, str(archive), str(data), str(content), str(kill_after)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_process_killed_while_unpacking(
    data: Path, published: tuple[Path, ExpectedCounts], tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive, expected = published
    row_of("test_process_killed_while_unpacking", "process killed while unpacking")
    earlier = snapshot(data.parent / "runs")
    process = start_preparing(archive, data, tmp_path_factory.mktemp("a"), kill_after=7)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (data / "broden1_227").exists()
    assert (data / "broden1_227.partial").exists()
    prepared = prepare_broden(data, 227, archive=archive, expected=expected)
    assert all(check.agrees for check in prepared.checks)
    assert [path.name for path in data.iterdir()] == ["broden1_227"]
    assert snapshot(data.parent / "runs") == earlier


def test_two_processes_preparing_the_same_dataset(
    data: Path, published: tuple[Path, ExpectedCounts], tmp_path_factory: pytest.TempPathFactory
) -> None:
    row_of("test_two_processes_preparing_the_same_dataset", "two processes preparing at once")
    earlier = snapshot(data.parent / "runs")
    processes = [
        start_preparing(published[0], data, tmp_path_factory.mktemp("content")) for _ in range(2)
    ]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    files = len([path for path in (data / "broden1_227").rglob("*") if path.is_file()]) - 1
    assert sorted(int(out) for out, _ in said) == [0, files]
    assert [path.name for path in data.iterdir()] == ["broden1_227"]
    assert snapshot(data.parent / "runs") == earlier


WRITE = """
import os, signal, sys
import numpy as np
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
def draw():
    labels = ImageLabels({"object": np.ones((1, 4, 4), np.int32)}, {})
    for index in range(6):
        if index == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield LabelledImage(f"x/{index}.jpg", "train", np.zeros((8, 8, 3), np.uint8), labels)
write_broden(sys.argv[1], draw(), {1: "dog"})
"""


def test_process_killed_while_writing_a_dataset(data: Path) -> None:
    row_of("test_process_killed_while_writing_a_dataset", "process killed while writing a dataset")
    earlier = snapshot(data.parent / "runs")
    command = [sys.executable, "-c", WRITE, str(data / "small")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (data / "small").exists()
    write_broden(data / "small", draw_examples(), {1: "dog"})
    assert len(BrodenDataset(data / "small")) == 6
    assert not (data / "small.partial").exists()
    assert snapshot(data.parent / "runs") == earlier


def test_two_processes_drawing_the_same_scenes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of("test_two_processes_drawing_the_same_scenes", "two processes writing one dataset")
    write_broden(data / "small", draw_examples(), {1: "dog"})
    refuse(row, data.parent, lambda: write_broden(data / "small", draw_examples(), {1: "dog"}))
    # Who comes second while the first one draws takes what was drawn.
    scenes = data / "scenes"

    def draw_late(count: int):
        write_broden(scenes, draw_examples(), {1: "dog"})
        return iter(draw_examples())

    monkeypatch.setattr(open_module, "draw_scenes", draw_late)
    assert len(open_module.open_scenes(scenes, images=6)) == 6


def test_read_only_data_directories(
    data: Path, published: tuple[Path, ExpectedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests run as root, whom permissions do not hold: the system's refusal is simulated."""
    archive, expected = published
    row = row_of("test_read_only_data_directories", "read-only data directory, to prepare in")
    original = Path.mkdir

    def mkdir(path: Path, *args: object, **kwargs: object) -> None:
        if path.name.endswith(".partial"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        original(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", mkdir)
        refuse(
            row, data.parent, lambda: prepare_broden(data, 227, archive=archive, expected=expected)
        )


def test_file_in_the_place_of_the_data_directory(
    data: Path, published: tuple[Path, ExpectedCounts]
) -> None:
    archive, expected = published
    (data / "file").write_text("a file")
    function = "test_file_in_the_place_of_the_data_directory"
    for place, case in (
        (data / "file", "file in the place of the data directory"),
        (data / "file/below", "file in the place of a folder above"),
    ):
        refuse(
            row_of(function, case),
            data.parent,
            lambda place=place: prepare_broden(place, 227, archive=archive, expected=expected),
        )


def test_reading_writes_nothing_into_the_data_directory(data: Path) -> None:
    row_of(
        "test_reading_writes_nothing_into_the_data_directory",
        "read-only data directory, to read from",
    )
    write_broden(data / "small", draw_examples(), {1: "dog"})
    for path in [data / "small", *(data / "small").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unchanged(data.parent):
        dataset = BrodenDataset(data / "small")
        assert collect_concept_masks(dataset).packed.shape == (6, 1, 4)
        assert dataset.image(3).shape == (8, 8, 3)


def test_errors_of_the_writer_leave_nothing(data: Path) -> None:
    (data / "small.lock").touch()
    with unchanged(data.parent), pytest.raises(Net2VecError, match="without a name"):
        write_broden(data / "small", draw_examples(), {2: "cat"})
