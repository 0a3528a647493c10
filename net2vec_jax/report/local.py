"""What the page says of `experiments.local_embeddings`: retrieval, confusions, sub-concepts."""

from __future__ import annotations

import numpy as np
from PIL import Image

from net2vec_jax.analysis.geometry.local_embeddings import (
    CONCEPTS,
    FOLDER,
    HEADER,
    describe_concept,
)
from net2vec_jax.report.page.content import LocalEmbeddings
from net2vec_jax.report.page.encoding import encode_image
from net2vec_jax.runs.files import reading
from net2vec_jax.runs.finished import FinishedRun

SIDE = 1600
"""Longest side of a figure, pixels."""


def gather_local(run: FinishedRun, *, pictures: bool) -> LocalEmbeddings | None:
    """What the run's directory has of its local embeddings; None if there are none.

    Args:
      run: finished.
      pictures: show the figures that have images of the dataset, too.

    Raises:
      Net2VecError: a file is damaged.
    """
    if not run.has(f"{FOLDER}/{CONCEPTS}.csv"):
        return None
    figures = {}
    with reading(run.path / FOLDER):
        rows = [describe_concept(row) for row in run.read_table(f"{FOLDER}/{CONCEPTS}.csv")]
        for name in ("confusions", *(("sub_concepts", "outliers") if pictures else ())):
            path = run.path / FOLDER / "figures" / f"{name}.png"
            if path.exists():
                drawn = np.asarray(Image.open(path).convert("RGB"))
                figures[name.replace("_", "-")] = encode_image(drawn, SIDE)
    return LocalEmbeddings(HEADER, rows, figures)
