"""Result files that appear complete or not at all: written beside their place, then renamed."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import writing_error
from net2vec_jax.core.locks import replacing

SUMMARY = "summary.json"
"""What a study comes to, in its folder."""


def make_folder(path: Path) -> Path:
    """Make the folder of results if need be: before computing, so that nothing computed is lost.

    Returns:
      The path.

    Raises:
      Net2VecError: it is a file, or nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # whether it may be written, and not only be there
            pass
    except OSError as error:
        raise writing_error(path, error) from error
    return path


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV table: one header line, UTF-8, floats with as many digits as their type holds.

    Args:
      path: of the file; its folder is made.
      header: names of the columns.
      rows: of the table.

    Returns:
      The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table that `write_table` wrote, by the names of its columns.

    Raises:
      OSError: it is missing or cannot be read; UnicodeDecodeError and csv.Error, if it is damaged.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_json(path: Path, content: Any) -> Path:
    """Write JSON values, indented; the file's folder is made.

    Returns:
      The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def make_safe(name: str) -> str:
    """A name from data as part of a file name, whatever is in it: at most 40 letters, no path."""
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in name[:40])


def _cell(value: Any) -> Any:
    if isinstance(value, np.floating):
        return np.format_float_positional(value, unique=True, trim="-")
    return value
