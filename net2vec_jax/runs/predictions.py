"""Read what a finished segmentation run predicts on chosen images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.standardized import (
    SpatialActivations,
    collect_standardized_activations,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.stats.metrics import choose_best_filters, iou, set_iou


def require_segmentation(run: FinishedRun) -> None:
    """Refuse a run that predicts no masks.

    Raises:
      Net2VecError: the run is not of the segmentation probe.
    """
    if run.kind != "segmentation":
        raise Net2VecError(
            f"{run.path} is a run of the classification probe, which marks no pixels; give a run "
            "of experiments.segmentation"
        )


def check_place(place: int, count: int, what: str, run: FinishedRun) -> int:
    """The place of a concept or a filter, if the run has it.

    Raises:
      Net2VecError: it has not; `what` says of what.
    """
    if not 0 <= place < count:
        raise Net2VecError(f"{run.path} has {count} {what}, counted from 0; there is none {place}")
    return int(place)


def find_filters(run: FinishedRun, names: Sequence[str | int]) -> list[int]:
    """Places of the filters of these names, see `FinishedRun.filter_names`.

    Raises:
      Net2VecError: the run has no such filter.
    """
    known = {str(name): place for place, name in enumerate(run.filter_names)}
    for name in names:
        if str(name) not in known:
            first, *_, last = known
            raise Net2VecError(
                f"{run.path} has {run.filters} filters, {first} … {last}; there is none {name}"
            )
    return [known[str(name)] for name in names]


def check_seed(run: FinishedRun, seed: int) -> int:
    """The number of a repetition of the embeddings, if the run has it.

    Raises:
      Net2VecError: it has not.
    """
    if not 0 <= seed < run.seeds:
        raise Net2VecError(f"{run.path} has {run.seeds} repetitions, counted from 0; not {seed}")
    return seed


def best_filters(run: FinishedRun) -> np.ndarray:
    """Best single filter of each concept, int64 [C], see `choose_best_filters`."""
    return choose_best_filters(run.single_ious)[0]


def single_scores(run: FinishedRun) -> np.ndarray:
    """Val set IoU of each concept's best single filter, float64 [C]; 0 where it has none."""
    return choose_best_filters(run.single_ious)[2].astype(np.float64)


def embedding_scores(run: FinishedRun, seed: int) -> np.ndarray:
    """Val set IoU of the embeddings of one repetition, float64 [C]."""
    place, overlaps = run.full_overlaps(seed)
    val = overlaps.is_val
    return set_iou(overlaps.select(val), place[val], len(run))


def collect_maxima(sources: RunSources) -> np.ndarray:
    """Largest activation of every filter on every image, float32 [N, K]; one pass over all."""
    return np.concatenate([batch.max(axis=(1, 2)) for batch in sources.activations.batches()])


def read_binary(
    run: FinishedRun, sources: RunSources, image: np.ndarray
) -> tuple[BinaryActivations, np.ndarray]:
    """Binary activations of the images, each once, and where each image is among them.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      image: indices, int [n], at least one.

    Returns:
      (those of the m different images, int64 [n] in 0 … m-1).
    """
    unique, index = np.unique(image, return_inverse=True)
    return sources.activations.binary(read_thresholds(run.path), unique), index


def read_weighed(
    run: FinishedRun, sources: RunSources, image: np.ndarray
) -> tuple[SpatialActivations, np.ndarray]:
    """What the run's embeddings weigh: standardised or binary activations, see `read_binary`."""
    if run.scale is None:
        return read_binary(run, sources, image)
    unique, index = np.unique(image, return_inverse=True)
    batches = sources.activations.batches(unique)
    return collect_standardized_activations(batches, run.scale), index


def find_truth(sources: RunSources, concept: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Ground truth of (concept, image) pairs, bool [n, Y, X]."""
    masks, images = sources.masks, len(sources.masks.is_val)
    known = masks.pair_concept.astype(np.int64) * images + masks.pair_image
    return masks.unpack(np.searchsorted(known, concept * images + image))


def individual_iou(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each of n masks bool [n, Y, X] with its ground truth, float64 [n]."""
    return iou((prediction & truth).sum(axis=(1, 2)), (prediction | truth).sum(axis=(1, 2)))
