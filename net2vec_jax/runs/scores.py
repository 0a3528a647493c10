"""Scores by concept and number of filters, from the table of either probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a layer's C concepts with F numbers of filters, ascending, and with all.

    Attributes:
      concepts: names.
      categories: primary category of each.
      sizes: int64 [F].
      by_size: float64 [C, F].
      full: float64 [C].
    """

    concepts: list[str]
    categories: list[str]
    sizes: np.ndarray
    by_size: np.ndarray
    full: np.ndarray


def collect_scores(rows: Sequence[Mapping[str, str]], column: str) -> Scores:
    """Scores from the rows of segmentation.csv or classification.csv.

    Args:
      rows: of the table, by the names of its columns.
      column: which scores, "val_iou" or "val_accuracy".
    """
    values = {(row["concept"], row["filters"]): float(row[column]) for row in rows}
    full = {row["concept"]: row["category"] for row in rows if row["filters"] == "all"}
    sizes = sorted({int(row["filters"]) for row in rows if row["filters"] != "all"})
    by_size = [[values[name, str(size)] for size in sizes] for name in full]
    return Scores(
        concepts=list(full),
        categories=list(full.values()),
        sizes=np.array(sizes, np.int64),
        by_size=np.array(by_size, np.float64).reshape(len(full), len(sizes)),
        full=np.array([values[name, "all"] for name in full]),
    )
