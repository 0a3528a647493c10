"""What the tests of hostile input share: the table in docs/data.md, and that nothing else changed.

A row of the table is a case, what happens, the message (… stands for anything; — for none), and
the test, as file::function below tests/.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data.md"
NO_MESSAGE = "—"


class Row(NamedTuple):
    """A row of the table."""

    case: str
    outcome: str
    message: str
    test: str


def write_three_images(directory: Path, *, scene: bool = True) -> None:
    """A Broden directory of sound images of 12 × 10 pixels: lines 2, 3 and 4 of index.csv."""
    rng = np.random.default_rng(0)
    examples = []
    for index, split in enumerate(["train", "train", "val"]):
        planes = {"object": rng.integers(0, 4, (1, 6, 5)).astype(np.int32)}
        image = rng.integers(0, 256, (12, 10, 3)).astype(np.uint8)
        labels = ImageLabels(planes, {"scene": (7,)} if scene else {})
        examples.append(LabelledImage(f"x/{index}.jpg", split, image, labels))
    names = {1: "dog", 2: "cat", 3: "cow"} | ({7: "street-s"} if scene else {})
    write_broden(directory, examples, names)


def write_png_header(path: Path, width: int, height: int) -> None:
    """A PNG file that announces more pixels than it has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    _write_png(path, header, zlib.compress(bytes(1000)))


def write_png_16(path: Path, pixels: np.ndarray) -> None:
    """uint16 [H, W, 3] as a PNG file of 16 bits per channel, which Pillow cannot write."""
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    _write_png(path, header, zlib.compress(rows))


def _write_png(path: Path, header: bytes, data: bytes) -> None:
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        content += struct.pack(">I", len(body)) + kind + body + checksum
    path.write_bytes(content)


def read_rows() -> list[Row]:
    """All rows of the table."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| case |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert len(cells) == 4, line
        rows.append(Row(*cells[:2], cells[2].strip("`"), cells[3].strip("`")))
    return rows


def rows_of(file: str, function: str) -> dict[str, Row]:
    """The rows that a test function of a test file backs, by case."""
    name = f"data/{Path(file).name}::{function}"
    return {row.case: row for row in read_rows() if row.test == name}


def assert_documented(row: Row, error: BaseException) -> None:
    """The whole message is what the page says."""
    pattern = ".*".join(map(re.escape, row.message.split("…")))
    assert re.fullmatch(pattern, str(error), re.DOTALL), f"{row.message}\n{error}"


def snapshot(root: Path) -> dict[str, object]:
    """All below a folder: contents of files, targets of links, kinds of the rest."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            content: object = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        else:
            content = path.lstat().st_mode
        found[str(path.relative_to(root))] = content
    return found


@contextlib.contextmanager
def unchanged(root: Path) -> Iterator[None]:
    """Nothing below a folder may appear, change or go."""
    before = snapshot(root)
    yield
    assert snapshot(root) == before


def write_earlier_results(root: Path) -> None:
    """What a run and a cache may have left before."""
    for name in ("runs/earlier/segmentation.csv", "runs/earlier/run.json", "cache/weights/a.pth"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"contents of {name}\n".encode() * 20)


def refuse(row: Row, root: Path, call: Callable[[], object]) -> None:
    """The call is refused with the documented message, and changes nothing below `root`."""
    with unchanged(root), pytest.raises(Net2VecError) as refused:
        call()
    assert_documented(row, refused.value)
