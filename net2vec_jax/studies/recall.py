"""How many of a concept's images come first, by embedding or by best filter (behaviour 8.8)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from net2vec_jax.analysis.images.image_ranking import (
    RecallComparison,
    Reduction,
    compare_recall,
    score_images,
)
from net2vec_jax.core.result_files import write_table
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.predictions import (
    best_filters,
    check_seed,
    require_segmentation,
)
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.stats.metrics import NO_FILTER


def rank_images(
    run: FinishedRun,
    sources: RunSources,
    *,
    reduction: Reduction = "max",
    raw: bool = False,
    seed: int = 0,
) -> tuple[np.ndarray, RecallComparison | None]:
    """Maxima of all filters on all images, [N, K], and the recall that they and embeddings have.

    No comparison if no concept can be ranked, see `find_unranked`. For a concept without a best
    filter all images tie.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      reduction: of the concepts' score maps.
      raw: rank by Σ w_k A_k, not by Σ w_k 1[A_k > T_k]. Embeddings over standardised activations
        rank by Σ w_k A_k / σ_k in either case, which is their score up to a constant.
      seed: repetition of the embeddings.

    Raises:
      Net2VecError: the run has no such repetition, or a source is not where it was.
    """
    require_segmentation(run)
    weights = run.directions[check_seed(run, seed)]
    thresholds = None if raw or run.scale is not None else read_thresholds(run.path)
    activations, masks = sources.activations, sources.masks
    largest = np.empty((activations.shape[0], weights.shape[1]), np.float32)
    by_embedding = np.empty((activations.shape[0], len(weights)), np.float32)
    start = 0
    for batch in activations.batches():
        rows = slice(start, start + len(batch))
        largest[rows] = batch.max(axis=(1, 2))
        by_embedding[rows] = score_images(
            batch, weights, reduction=reduction, thresholds=thresholds
        )
        start = rows.stop
    positive = np.zeros((len(masks.is_val), len(run)), bool)
    positive[masks.pair_image, masks.pair_concept] = True
    val = np.flatnonzero(masks.is_val)
    unranked = find_unranked(run, sources)
    kept = [place for place, concept in enumerate(run.concepts) if concept not in unranked]
    if not kept:
        return largest, None
    chosen = np.ix_(val, np.array(kept))
    best = best_filters(run)
    by_filter = np.where(best == NO_FILTER, 0, largest[:, best])
    return largest, compare_recall(by_embedding[chosen], by_filter[chosen], positive[chosen])


def find_unranked(run: FinishedRun, sources: RunSources) -> dict[str, str]:
    """Why concepts have no part in the recall, by name.

    Embeddings of scenes and textures only ever saw images of them (behaviour 8); of a concept on
    every val image or on none, nothing can be ranked.
    """
    _, shown = sources.masks.count_images()
    val = int(sources.masks.is_val.sum())
    extremes = {val: "on every val image", 0: "on no val image"}
    return {
        concept: extremes[count]
        for concept, count in zip(run.concepts, shown.tolist(), strict=True)
        if count in extremes
    } | find_whole_images(run.concepts, run.categories)


def write_recall(comparison: RecallComparison, out: Path) -> None:
    """Write the recall figure and recall.csv."""
    from net2vec_jax.plots.paper_style import save_figure
    from net2vec_jax.plots.ranking import plot_recall

    names = ("embedding", "single", "chance", "difference", "error")
    columns = [getattr(comparison, name) for name in names]
    rows = [[place + 1, *values] for place, values in enumerate(zip(*columns, strict=True))]
    header = ["images", "embedding_recall", "filter_recall", "chance", "difference", "error"]
    write_table(out / "recall.csv", header, rows)
    save_figure(plot_recall(comparison), out / "recall")
