"""Embeddings against their rivals under one decision rule, each concept tested on its val images.

Rivals are the best single filter, a location prior and an embedding that was trained on exchanged
masks (`probes.segmentation.rivals`). T concepts of a layer have embeddings, R rivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from net2vec_jax.probes.heads import ALL_FILTERS, arrange_repetitions, find_entries
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.runs.files import read_rivals
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import compare_set_ious
from net2vec_jax.stats.metrics import NO_FILTER, set_iou
from net2vec_jax.stats.overlap import Overlap

RATE = 0.05
"""False discovery rate."""
FAMILIES = ("masks", "whole images")
"""Of concepts' tests: by what their labels mark."""


def read_val_overlaps(run: FinishedRun) -> tuple[Overlap, np.ndarray, np.ndarray]:
    """Overlaps of the embeddings over all filters on the concepts' val images.

    Returns:
      (pixels, int32 [seeds, P]; the concept's place in `run.concepts`, ascending, int [P]; the
      image, int32 [P]).
    """
    heads, overlaps = run.trained.heads, run.overlaps
    rows = arrange_repetitions(heads, heads.filters == ALL_FILTERS)
    val = np.flatnonzero(overlaps.is_val)
    entries, concept = find_entries(rows, overlaps.head[val])
    return overlaps.select(val[entries]), concept, overlaps.image[val[entries[0]]]


def compare_rivals(
    run: FinishedRun,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    samples: int = 2000,
) -> pd.DataFrame:
    """Test every concept's embedding against every rival, by a paired bootstrap.

    Args:
      run: of the segmentation probe.
      groups: film, patient or scene of each image, int32 [N], whose images are redrawn together.
      seed: of the bootstrap.
      samples: of the bootstrap.

    Returns:
      A row per rival and concept: concept, category, family, train_images, train_coverage, rival,
      filter and sign of a single filter, rival_val_iou, val_iou; and of val_iou less rival_val_iou:
      difference, difference_low, difference_high, p_value, q_value (over the rival's tests of a
      family) and differs (1 where the false discovery rate of 5 % lets it be said).
    """
    rivals = read_rivals(run.path)
    embedding, concept, image = read_val_overlaps(run)
    whole = find_whole_images(run.concepts, run.categories)
    place = [run.table.names.index(name) for name in run.concepts]
    shared = pd.DataFrame(
        {
            "concept": run.concepts,
            "category": run.categories,
            "family": [FAMILIES[name in whole] for name in run.concepts],
            "train_images": run.train_images,
            "train_coverage": run.table.train_coverage[place],
        }
    )
    tables = []
    for name in rivals.names:
        overlap = rivals.overlap(name, np.flatnonzero(rivals.is_val))
        test = compare_set_ious(
            embedding, overlap, concept, len(run),
            cluster=None if groups is None else groups[image],
            key=jax.random.key(seed), samples=samples,
        )  # fmt: skip
        found = control_false_discoveries(
            test.p_value, rate=RATE, family=shared["family"].to_numpy(str)
        )
        tables.append(
            shared.assign(
                rival=name,
                **_describe_filters(rivals, name, len(run)),
                rival_val_iou=set_iou(overlap, concept, len(run)),
                val_iou=run.scores.full,
                difference=test.difference,
                difference_low=test.low,
                difference_high=test.high,
                p_value=test.p_value,
                q_value=found.q_value,
                differs=found.rejected.astype(int),
            )
        )
    return pd.concat(tables, ignore_index=True)


def _describe_filters(rivals: Rivals, name: str, count: int) -> dict[str, pd.Series]:
    """Number and sign of the single filters; missing for other rivals."""
    lacks = rivals.filter == NO_FILTER if name == "single_same_rule" else np.ones(count, bool)
    columns = {"filter": rivals.filter, "sign": rivals.sign.astype(int)}
    return {key: pd.Series(value, dtype="Int64").mask(lacks) for key, value in columns.items()}


def summarise_rivals(tests: pd.DataFrame) -> dict[str, dict[str, dict[str, Any]]]:
    """By rival and family: mean set IoUs, and of how many concepts the embedding differs.

    Args:
      tests: from `compare_rivals`.
    """
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for rival, of_rival in tests.groupby("rival", sort=False):
        summary[str(rival)] = {
            str(family): {
                "rival_mean": rows["rival_val_iou"].mean(),
                "embedding_mean": rows["val_iou"].mean(),
                **count_different(rows),
            }
            for family, rows in of_rival.groupby("family", sort=False)
        }
    return summary


def count_differences(test: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many embeddings of each family are tested, significantly better, and worse.

    Args:
      test: a row per concept, with family, p_value, differs and difference.
    """
    return {family: count_different(test.query("family == @family")) for family in FAMILIES}


def count_different(test: pd.DataFrame) -> dict[str, int]:
    """How many embeddings are tested, significantly better, and worse.

    Args:
      test: a row per concept, with p_value, differs and difference.
    """
    p_value, differs, difference = (
        test[column].to_numpy(np.float64) for column in ("p_value", "differs", "difference")
    )
    found = difference[differs == 1]
    return {
        "concepts": int(np.isfinite(p_value).sum()),
        "better": int((found > 0).sum()),
        "worse": int((found < 0).sum()),
    }


def average_terciles(table: pd.DataFrame, by: str, scores: Sequence[str]) -> pd.DataFrame:
    """Mean scores of the lowest, middle and highest third of the concepts.

    Args:
      table: a row per concept.
      by: the column that concepts are ranked by; ties stay in their order.
      scores: columns to average.

    Returns:
      A row per third: stratum (`by`), least, greatest, concepts, and the scores.

    Examples:
      >>> table = pd.DataFrame({"train_images": [9, 1, 2], "val_iou": [0.5, 0.1, 0.3]})
      >>> average_terciles(table, "train_images", ["val_iou"])["val_iou"].tolist()
      [0.1, 0.3, 0.5]
    """
    order = table[by].to_numpy().argsort(kind="stable")
    thirds = [table.iloc[part] for part in np.array_split(order, 3) if len(part)]
    return pd.DataFrame(
        [
            {"stratum": by, "least": rows[by].min(), "greatest": rows[by].max()}
            | {"concepts": len(rows)}
            | {name: rows[name].mean() for name in scores}
            for rows in thirds
        ]
    )
