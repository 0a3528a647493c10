"""Finished runs that the tests of scripts on finished runs share."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import filelock
import pytest

from experiments.script import open_scenes
from experiments.study import StudyFlags, run_study


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both probes on two layers of EfficientNet-Lite0, 80 scenes, 2 seeds, hardly trained.

    Returns:
      The folder with block4/ and block10/, each with the run directories segmentation/ and
      classification/ (embeddings of 1, 5 and all filters). Tests only read it.
    """
    temporary = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        temporary = temporary.parent  # that of all workers: one makes the runs, the others wait
    root = temporary / "finished_study"
    with filelock.FileLock(temporary / "finished_study.lock"):
        if not (root / "finished").exists():
            _make_study(root)
            (root / "finished").touch()
    return root / "out" / "efficientnet_lite0"


@pytest.fixture
def rename_run() -> Callable[..., Path]:
    """A function that copies a finished run and calls its concepts and categories otherwise."""
    return _rename_run


def _rename_run(
    run: Path, target: Path, *, concepts: Mapping[str, str], categories: Mapping[str, str] = {}
) -> Path:
    shutil.copytree(run, target)
    for table in target.glob("*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, header = list(reader), reader.fieldnames
        for row in rows:
            for column in ("concept", "name"):
                if column in row:
                    row[column] = concepts.get(row[column], row[column])
            if "category" in row:
                row["category"] = categories.get(row["category"], row["category"])
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)
    record = json.loads((target / "run.json").read_text(encoding="utf-8"))
    record["identity"]["layer"] = r"$\layer$/[/b]"
    (target / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return target


def _make_study(root: Path) -> None:
    open_scenes(root / "data", images=80)
    run_study(
        StudyFlags(
            dataset=str(root / "data"),
            layers=("efficientnet_lite0/block4", "efficientnet_lite0/block10"),
            out=root / "out",
            filters=(1, 5),
            seeds=2,
            subset_seeds=1,
            segmentation_epochs=2,
            segmentation_batch_size=8,
            classification_epochs=2,
            bootstrap_samples=50,
        )
    )
