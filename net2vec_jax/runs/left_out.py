"""Why concepts are left out of what is made of a finished run, as reasons by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from net2vec_jax.analysis.geometry.concept_embeddings import UnitEmbeddings
from net2vec_jax.core.console import announce_left_out
from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import best_filters
from net2vec_jax.stats.metrics import NO_FILTER


def announce_untrained(run: FinishedRun) -> None:
    """Say on the console which concepts the run itself left out."""
    announce_left_out(
        f"concepts by the run {run.path}", run.skipped, of=len(run) + len(run.skipped)
    )


def find_whole_images(concepts: Sequence[str], categories: Sequence[str]) -> dict[str, str]:
    """Concepts of categories whose masks are whole images (behaviour 8)."""
    return {
        concept: f"{category}s, whose masks are whole images"
        for concept, category in zip(concepts, categories, strict=True)
        if category in WHOLE_IMAGE_CATEGORIES
    }


def find_undirected(
    concepts: Sequence[str], unit: UnitEmbeddings, *, reason: str = "the embedding is 0"
) -> dict[str, str]:
    """Concepts whose embedding has no direction.

    Args:
      concepts: names of the C concepts.
      unit: their embeddings, [C, K].
      reason: why there is none.
    """
    return {
        concept: reason
        for concept, is_valid in zip(concepts, unit.is_valid.tolist(), strict=True)
        if not is_valid
    }


def find_unfiltered(run: FinishedRun) -> dict[str, str]:
    """Concepts of a segmentation run that have no best single filter."""
    return {
        run.concepts[place]: "no filter alone overlaps it on train images"
        for place in np.flatnonzero(best_filters(run) == NO_FILTER)
    }
