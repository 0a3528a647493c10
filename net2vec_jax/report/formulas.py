"""What the page says of `experiments.formulas`: what filters and embeddings mark."""

from __future__ import annotations

from net2vec_jax.analysis.filters.formula_search import FOLDER, TABLE
from net2vec_jax.report.page.content import MarkedFormula
from net2vec_jax.runs.files import reading
from net2vec_jax.runs.finished import FinishedRun


def gather_formulas(run: FinishedRun) -> dict[tuple[str, int], MarkedFormula]:
    """Formulas by "filter" or "embedding" and its place; none if they were not searched.

    Raises:
      Net2VecError: the table is damaged.
    """
    name = f"{FOLDER}/{TABLE}.csv"
    if not run.has(name):
        return {}
    names = {"filter": [str(k) for k in run.filter_names], "embedding": list(run.concepts)}
    with reading(run.path / name):
        return {
            (row["kind"], names[row["kind"]].index(row["name"])): MarkedFormula(
                row["formula"],
                float(row["val_iou"]),
                row["concept"],
                float(row["concept_val_iou"]),
            )
            for row in run.read_table(name)
        }
