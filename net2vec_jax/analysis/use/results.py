"""What is known of the use of a run's concepts: tables, and what they come to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from net2vec_jax.analysis.use.directions import DirectionKind
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import SUMMARY

FOLDER = "does_it_matter"
SENSITIVITY, EXAMPLES, INTERVENTIONS = "sensitivity", "examples", "interventions"
RATE = 0.05
"""False discovery rate."""
STRONGEST = 10


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptUse:
    """Tables of `experiments.does_it_matter`, with C concepts and Y classes.

    Attributes:
      direction: whose derivatives count, and whose interventions were made.
      sensitivity: a row per kind of direction, concept and class.
      examples: a row per concept, class and image on which the derivative is largest.
      interventions: a row per concept, intervention, part of the images and class; None if none
        were made.
    """

    direction: DirectionKind
    sensitivity: pd.DataFrame
    examples: pd.DataFrame
    interventions: pd.DataFrame | None = None

    @property
    def chosen(self) -> pd.DataFrame:
        """Rows of `sensitivity` along `direction`, by concept, then class."""
        kind = self.direction  # noqa: F841
        return self.sensitivity.query("direction == @kind")

    @property
    def concepts(self) -> list[str]:
        """C names, in the order of the table."""
        return list(dict.fromkeys(self.chosen["concept"]))

    @property
    def classes(self) -> list[str]:
        """Y names, likewise."""
        return list(dict.fromkeys(self.chosen["class"]))

    def matrix(self, column: str) -> np.ndarray:
        """A column of `sensitivity`, [C, Y]."""
        return self.chosen[column].to_numpy().reshape(len(self.concepts), len(self.classes))

    @property
    def strongest(self) -> pd.DataFrame:
        """The pairs of largest |derivative| among those used, at most ten."""
        used = self.chosen.query("used == 1")
        order = np.argsort(-np.abs(used["derivative"].to_numpy(float)), kind="stable")
        return used.iloc[order[:STRONGEST]]

    def main_class(self, concept: str) -> str:
        """The concept's own class, of its name; else that with the highest derivative."""
        if concept in self.classes:
            return concept
        row = self.concepts.index(concept)
        return self.classes[int(self.matrix("derivative")[row].argmax())]

    def of_main_class(self, intervention: str, part: str = "with") -> pd.DataFrame:
        """Rows of `interventions` of one kind, of every concept's main class."""
        table = self.interventions
        if table is None:
            return pd.DataFrame()
        table = table.query("intervention == @intervention and part == @part")
        main = [self.main_class(name) for name in table["concept"].tolist()]
        same = [a == b for a, b in zip(table["class"].tolist(), main, strict=True)]
        return table.iloc[np.flatnonzero(same)]

    @property
    def summary(self) -> str:
        """One or two sentences: how many pairs are used, how many concepts matter if removed."""
        used = int(self.matrix("used").sum())
        text = (
            f"{used} of {len(self.chosen)} pairs of a concept and a class are used along the "
            f"{self.direction} (false discovery rate {RATE:.0%}, against exchanged scores and "
            "random directions)"
        )
        removed = self.of_main_class("remove")
        if len(removed):
            lower = int((removed["difference_high"].to_numpy(float) < 0).sum())
            text += (
                f"; removing a concept lowers its class's logit more than removing as much along "
                f"random directions for {lower} of {len(removed)} concepts"
            )
        return text

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, as `load` expects them; a cell without a value is empty."""
        tables = {SENSITIVITY: self.sensitivity, EXAMPLES: self.examples}
        if self.interventions is not None:
            tables[INTERVENTIONS] = self.interventions
        return {name: table.convert_dtypes() for name, table in tables.items()}

    @classmethod
    def load(cls, folder: Path) -> ConceptUse:
        """The tables in a folder to which the study's answer was written.

        Raises:
          Net2VecError: a table is missing or damaged.
        """
        try:
            kind = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["direction"]
            made = (folder / f"{INTERVENTIONS}.csv").exists()
            use = cls(
                kind, _read(folder, SENSITIVITY), _read(folder, EXAMPLES),
                _read(folder, INTERVENTIONS) if made else None,
            )  # fmt: skip
            use.matrix("derivative")  # which a damaged table has not
            return use
        except (OSError, ValueError, KeyError, TypeError, NameError) as error:  # of a query
            raise Net2VecError(
                f"{folder} has damaged tables ({error!r}); run experiments.does_it_matter again"
            ) from error


def _read(folder: Path, name: str) -> pd.DataFrame:
    """A table; a concept may be called "nan" or "7"."""
    texts: Any = {"concept": str, "class": str, "members": str}
    return pd.read_csv(folder / f"{name}.csv", dtype=texts, keep_default_na=False, na_values=[""])
