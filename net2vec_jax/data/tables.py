"""Read CSV tables of unknown origin, and cells of them; every refusal names file and line."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from net2vec_jax.core.errors import Net2VecError

LARGEST_NUMBER = 2**16 - 1
"""A plane stores R + 256·G."""
LONGEST_NAME = 1024
"""Characters of a path; systems end at 1024 to 4096 bytes."""
FILLERS = ("nan", "nat", "none", "null", "na", "n/a", "#n/a", "<na>")
"""What programs write into empty cells, in lower case."""


def read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict]]]:
    """Header and (line number, row) of a CSV file that must have the `required` columns.

    Raises:
      Net2VecError: the file is missing or no table, a column is missing or occurs twice, a row is
        of another length than the header.
    """
    if not path.is_file():
        raise Net2VecError(f"{path} is missing")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            missing = [column for column in required if column not in header]
            if missing:
                other = any(sign in "".join(header) for sign in (";", "\t", "sep="))
                hint = "; separate the fields by commas" if other else ""
                raise Net2VecError(
                    f"{path}: column {', '.join(missing)} is missing; the header has "
                    f"{header!s:.1000}{hint}"
                )
            if len(set(header)) != len(header):
                raise Net2VecError(f"{path}: a column occurs twice in the header {header!s:.1000}")
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise Net2VecError(
                        f"{path} line {reader.line_num}: the row has not as many fields as the "
                        f"header, {len(header)}"
                    )
                if any(row.values()):  # spreadsheets leave empty rows at the end
                    rows.append((reader.line_num, row))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Net2VecError(
            f"{path} is not a UTF-8 CSV table: {error}; save it as CSV in UTF-8"
        ) from error
    except OSError as error:
        raise Net2VecError(f"{path} cannot be read: {error.strerror}") from error
    return header, rows


def parse_whole_number(text: str, where: str) -> int:
    """The number that a cell holds: decimal digits, at most nine.

    Raises:
      Net2VecError: it is none; the message begins with `where` and says what to write, if the
        number has a fraction of zeros, as tables have that went through pandas ("2.0").
    """
    # int() alone would accept "1_000", " 7" and other scripts' digits.
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    value = parse_float(text)
    hint = ""
    if value is not None and value.is_integer() and 0 <= value < 1e9:
        hint = f"; write {int(value)}"
    raise Net2VecError(f"{where}: {text!r:.60} is not a whole number{hint}")


def parse_float(text: str) -> float | None:
    """The number that a text writes in any form, nan and inf among them; None if it is a word."""
    try:
        return float(text)
    except ValueError:
        return None


def refuse_filler(text: str, where: str, remedy: str) -> None:
    """Refuse what programs write into cells that are empty: "nan", "None", "<NA>"."""
    if text.strip().lower() in FILLERS:
        raise Net2VecError(f"{where}: {text!r} stands for an empty cell; {remedy}")


def check_inside(name: str, where: str) -> None:
    """Refuse a path that leads out of images/.

    Raises:
      Net2VecError: it does; the message begins with `where`.
    """
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or name[1:2] == ":"  # a Windows drive
    if not 0 < len(name) <= LONGEST_NAME or outside or "\\" in name or "\0" in name:
        hint = "; write / between folders" if "\\" in name else ""
        raise Net2VecError(f"{where}: {name!r:.200} is not a path below images/{hint}")
