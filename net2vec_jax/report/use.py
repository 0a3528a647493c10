"""What the page says of `experiments.does_it_matter`: which concepts the network uses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from net2vec_jax.analysis.use.results import FOLDER, ConceptUse
from net2vec_jax.report.page.content import Cell, RemovedConcept, UsedConcepts, UsedPair
from net2vec_jax.report.page.encoding import encode_image
from net2vec_jax.runs.finished import FinishedRun

LEVELS = 4
"""Strengths of a cell's colour."""
IMAGE_SIDE = 96
"""Longest side of an example image, pixels."""


def gather_use(
    run: FinishedRun, read_image: Callable[[int], np.ndarray] | None
) -> UsedConcepts | None:
    """What the run's directory has of the use of its concepts; None if it was not measured.

    Args:
      run: finished.
      read_image: gives an image of the dataset, uint8 [H, W, 3]; None where there are none.

    Raises:
      Net2VecError: a table is damaged.
    """
    if not run.has(FOLDER):
        return None
    use = ConceptUse.load(run.path / FOLDER)
    values, used = use.matrix("derivative"), use.matrix("used") > 0
    reach = max(float(np.abs(values).max()), 1e-9)
    levels = np.sign(values) * np.ceil(LEVELS * np.abs(values) / reach)
    rows = [
        (concept, [Cell(_write(v), int(level), bool(is_used)) for v, level, is_used in zip(
            values[place], levels[place], used[place], strict=True)])
        for place, concept in enumerate(use.concepts)
    ]  # fmt: skip
    pairs = []
    for row in use.strongest.to_dict("records"):
        same = (use.examples["concept"] == row["concept"]) & (use.examples["class"] == row["class"])
        images = use.examples[same]["image"].tolist() if read_image else []
        pairs.append(
            UsedPair(
                row["concept"],
                row["class"],
                f"{_write(row['derivative'])} "
                f"[{_write(row['derivative_low'])}, {_write(row['derivative_high'])}]",
                f"{row['positive']:.0%}",
                f"{row['random_positive_low']:.0%} to {row['random_positive_high']:.0%}",
                [encode_image(read_image(image), IMAGE_SIDE) for image in images]
                if read_image
                else [],
            )
        )
    removed = [
        RemovedConcept(
            row["concept"],
            row["class"],
            f"{_write(row['change'])} [{_write(row['change_low'])}, {_write(row['change_high'])}]",
            _write(row["random_change"]),
            f"{row['top1_before']:.0%} → {row['top1']:.0%}",
            f"{row['random_top1']:.0%}",
            bool(row["difference_high"] < 0 or row["difference_low"] > 0),
        )
        for row in use.of_main_class("remove").to_dict("records")
    ]
    return UsedConcepts(use.direction, use.summary, use.classes, rows, pairs, removed)


def _write(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
