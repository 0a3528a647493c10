"""The table of hostile input in docs/data.md is long enough, and every row has its test."""

from __future__ import annotations

import ast
from pathlib import Path

from hostile import NO_MESSAGE, read_rows

TESTS = Path(__file__).resolve().parents[1]


def test_every_row_names_a_test_that_exists() -> None:
    functions: dict[str, set[str]] = {}
    for row in read_rows():
        file, _, function = row.test.partition("::")
        if file not in functions:
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            functions[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in functions[file], f"{row.case}: {row.test}"


def test_rows_are_many_complete_and_told_apart() -> None:
    rows = read_rows()
    assert len(rows) >= 25
    assert len({row.case for row in rows}) == len(rows)
    assert all(cell for row in rows for cell in row)
    assert sum(row.message != NO_MESSAGE for row in rows) >= 25
