"""What a study answers, and the one way in which all studies write and print it.

A study's function takes finished runs and returns an `Answer`; it writes and prints nothing itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.table import Table

from net2vec_jax.analysis.category_means import make_jsonable
from net2vec_jax.core.console import announce_left_out, open_console
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import SUMMARY, write_json, write_table

FIGURES = "figures"


class LeftOut(NamedTuple):
    """Things that a study leaves out."""

    kind: str  # what they are, in the plural
    reasons: Mapping[str, str]  # by name
    of: int | None = None  # how many there are in all


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What a study found.

    Attributes:
      summary: numbers, arrays and texts in dictionaries and lists, for summary.json.
      tables: name → table. NaN is written as "nan", what is missing in a nullable column
        (pandas.NA) as an empty cell, and floats of dtype object with an exponent where it is
        shorter.
      figures: name → matplotlib figure, or a function without arguments that draws it.
      arrays: name → NumPy arrays by name, for an archive.
      console: tables and texts to print, in the console's width.
      notes: lines to print below these, of whatever length.
      left_out: what was left out, and why.
    """

    summary: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    console: Sequence[Table | str] = ()
    notes: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()


def write_answer(directory: str | Path, answer: Answer, *, question: str | None = None) -> Path:
    """Write an answer's files, each complete or not at all.

    These are NAME.csv for each table, NAME.npz for each archive, summary.json, and figures/NAME.png
    and .pdf for each figure.

    Args:
      directory: where they go; it is made.
      answer: of a study.
      question: key of the summary in summary.json, where that of other studies stays; by default
        the file has this summary alone.

    Returns:
      The path of summary.json.

    Raises:
      OSError: a file cannot be written.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in answer.tables.items():
        columns = [_list_cells(table.iloc[:, place]) for place in range(table.shape[1])]
        write_table(folder / f"{name}.csv", list(table), list(zip(*columns, strict=True)))
    for name, arrays in answer.arrays.items():
        with replacing(folder / f"{name}.npz") as partial, partial.open("wb") as file:
            np.savez(file, **arrays)
    summary, path = make_jsonable(dict(answer.summary)), folder / SUMMARY
    if question is not None:
        others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        summary = others | {question: summary}
    write_json(path, summary)
    if answer.figures:
        from net2vec_jax.plots.paper_style import save_figure  # matplotlib, for those who draw

        for name, figure in answer.figures.items():
            drawn: Any = figure() if callable(figure) else figure
            save_figure(drawn, folder / FIGURES / name)
    return path


def print_answer(answer: Answer) -> None:
    """Print an answer's tables and notes, and on stderr what was left out."""
    console = open_console()
    for part in answer.console:
        console.print(part)
    for note in answer.notes:
        print(note)
    for left_out in answer.left_out:
        announce_left_out(left_out.kind, left_out.reasons, of=left_out.of)


def _list_cells(column: pd.Series) -> list[Any]:
    """Cells of a column as `write_table` takes them, of the column's own precision."""
    if isinstance(column.dtype, pd.Float32Dtype | pd.Float64Dtype | pd.Int64Dtype):
        values = column.to_numpy(column.dtype.numpy_dtype, na_value=0)
        return ["" if lacks else value for value, lacks in zip(values, column.isna(), strict=True)]
    return list(column.to_numpy())
