"""Masks and heat maps on chosen images of a finished segmentation run, for sheets and reports.

Images are chosen at percentiles of the individual IoU that the run stored; only their activations
are read. Predictions are made as the probes make them, so pixels counted in these masks are the
run's counts. Everything is of one repetition of the embeddings, by default the first (seed 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from experiments.finished_run import FinishedRun
from experiments.run_sources import RunSources
from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.analysis.example_selection import (
    Choice,
    choose_at_percentiles,
    choose_highest,
)
from net2vec_jax.errors import Net2VecError
from net2vec_jax.metrics import choose_best_filters, iou
from net2vec_jax.probes.predictions import predict_embeddings, predict_filters

PERCENTILES = (95.0, 75.0, 50.0, 25.0, 5.0)
IMAGES_PER_READ = 128
Split = Literal["val", "train", "all"]


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptPicture:
    """A concept on one image: ground truth, and what the run predicts.

    Attributes:
      image: index in the dataset.
      percentile: of the embedding's individual IoU among the concept's images of the split,
        0 (lowest) … 100 (highest).
      embedding_iou: individual IoU of the embedding on this image, in [0, 1].
      filter_iou: that of a single filter, by default the concept's best, chosen on train.
      truth: bool [Y, X].
      embedding_mask: bool [Y, X], z > 0.
      filter_mask: bool [Y, X], upsample(1[A_k > T_k]) > 0.5.
      score: float32 [Y, X], σ(z) in [0, 1]; 0.5 where no filter is active.
    """

    image: int
    percentile: float
    embedding_iou: float
    filter_iou: float
    truth: np.ndarray
    embedding_mask: np.ndarray
    filter_mask: np.ndarray
    score: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FilterPicture:
    """A filter on one image.

    Attributes:
      image: index in the dataset.
      maximum: the filter's largest activation on the image.
      mask: bool [Y, X], upsample(1[A_k > T_k]) > 0.5.
    """

    image: int
    maximum: float
    mask: np.ndarray


def best_filters(run: FinishedRun) -> np.ndarray:
    """Best single filter of each concept, chosen on train by set IoU, int64 [C]."""
    return choose_best_filters(run.single_ious)[0]


def collect_concept_pictures(
    run: FinishedRun,
    sources: RunSources,
    places: Sequence[int],
    *,
    percentiles: Sequence[float] = PERCENTILES,
    highest: int | None = None,
    split: Split = "val",
    seed: int = 0,
    filters: Sequence[int] | None = None,
) -> dict[int, list[ConceptPicture]]:
    """Pictures of concepts at percentiles of their individual IoU.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      places: of the concepts among the run's C.
      percentiles: in [0, 100]; distinct images are taken, as many as there are.
      highest: take so many images of highest IoU instead.
      split: of the images.
      seed: repetition of the embeddings.
      filters: the single filter that is shown for each of the places; by default their best ones.

    Returns:
      By place, the pictures of a concept, that of the highest IoU first.

    Raises:
      Net2VecError: the run is not of the segmentation probe, has no such repetition or concept, or
        a source is not where it was.
    """
    check_segmentation(run)
    if not 0 <= seed < run.seeds:
        raise Net2VecError(f"{run.path} has {run.seeds} repetitions, counted from 0; not {seed}")
    places = [_check_place(place, len(run), "concepts", run) for place in places]
    counts = run.read_arrays("segmentation_images.npz")
    chosen = [
        _choose_images(counts, seed * len(run) + place, percentiles, highest, split)
        for place in places
    ]
    shown = best_filters(run)[places] if filters is None else np.asarray(filters, np.int64)
    counted = [len(images) for images, *_ in chosen]
    concept, filter_ = (np.repeat(np.array(v, np.int64), counted) for v in (places, shown))
    image = np.concatenate([np.zeros(0, np.int64), *(images for images, *_ in chosen)])
    percentile = np.concatenate([np.zeros(0), *(choice.percentile for _, choice, _ in chosen)])
    embedding_iou = np.concatenate([np.zeros(0), *(ious for *_, ious in chosen)])
    pictures: dict[int, list[ConceptPicture]] = {place: [] for place in places}
    if not len(image):
        return pictures
    binary, index = _read_binary(run, sources, image)
    size = sources.masks.segmentation_size
    truth = _find_truth(sources, concept, image)
    embedding = predict_embeddings(run.weights[seed], concept, index, binary, size)
    single = predict_filters(filter_, index, binary, size)
    filter_iou = iou((single & truth).sum(axis=(1, 2)), (single | truth).sum(axis=(1, 2)))
    for entry, place in enumerate(concept.tolist()):
        pictures[place].append(
            ConceptPicture(
                int(image[entry]),
                float(percentile[entry]),
                float(embedding_iou[entry]),
                float(filter_iou[entry]),
                truth[entry],
                embedding.mask[entry],
                single[entry],
                embedding.probability[entry],
            )
        )
    return pictures


def collect_filter_pictures(
    run: FinishedRun,
    sources: RunSources,
    filters: Sequence[int],
    *,
    count: int = 4,
    maxima: np.ndarray | None = None,
) -> dict[int, list[FilterPicture]]:
    """Pictures of filters, over the range of images on which each fires.

    A filter fires on an image if its largest activation is above its threshold.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      filters: their numbers.
      count: images of each, in even steps of rank from the strongest on; fewer if it fires on
        fewer.
      maxima: largest activations of all images, [N, K], if they are known; otherwise all
        activations are read once.

    Returns:
      By filter, its pictures, the strongest first; none if it never fires.

    Raises:
      Net2VecError: the run is not of the segmentation probe, has no such filter, or a source is not
        where it was.
    """
    check_segmentation(run)
    filters = [_check_place(filter_, run.filters, "filters", run) for filter_ in filters]
    if maxima is None:
        maxima = collect_maxima(sources)
    thresholds = read_thresholds(run)
    steps = [100 * (1 - step / count) for step in range(count)]
    pictures: dict[int, list[FilterPicture]] = {filter_: [] for filter_ in filters}
    numbers, images = [], []
    for filter_ in pictures:
        firing = np.flatnonzero(maxima[:, filter_] > thresholds[filter_])
        chosen = choose_at_percentiles(maxima[firing, filter_], steps).place
        numbers.append(np.full(len(chosen), filter_))
        images.append(firing[chosen])
    number = np.concatenate([np.zeros(0, np.int64), *numbers])
    image = np.concatenate([np.zeros(0, np.int64), *images])
    if len(image):
        binary, index = _read_binary(run, sources, image)
        masks = predict_filters(number, index, binary, sources.masks.segmentation_size)
        for filter_, shown, mask in zip(number.tolist(), image.tolist(), masks, strict=True):
            maximum = float(maxima[shown, filter_])
            pictures[filter_].append(FilterPicture(shown, maximum, mask))
    return pictures


def collect_maxima(sources: RunSources) -> np.ndarray:
    """Largest activation of every filter on every image, float32 [N, K]; one pass over all."""
    return np.concatenate([batch.max(axis=(1, 2)) for batch in sources.activations.batches()])


def read_thresholds(run: FinishedRun) -> np.ndarray:
    """T_k of every filter, float32 [K]."""
    return np.array([row["threshold"] for row in run.read_table("thresholds.csv")], np.float32)


def check_segmentation(run: FinishedRun) -> None:
    """Refuse a run that predicts no masks.

    Raises:
      Net2VecError: the run is not of the segmentation probe.
    """
    if run.probe != "segmentation":
        raise Net2VecError(
            f"{run.path} is a run of the classification probe, which marks no pixels; give a run "
            "of experiments.segmentation"
        )


def _check_place(place: int, count: int, what: str, run: FinishedRun) -> int:
    if not 0 <= place < count:
        raise Net2VecError(f"{run.path} has {count} {what}, counted from 0; there is none {place}")
    return int(place)


def _choose_images(
    counts: Mapping[str, np.ndarray],
    head: int,
    percentiles: Sequence[float],
    highest: int | None,
    split: Split,
) -> tuple[np.ndarray, Choice, np.ndarray]:
    """Images of a head's concept, which of its images they are, and their individual IoU.

    Heads are ascending, those over all filters first, seed by seed (`SegmentationRun`).
    """
    rows = slice(*np.searchsorted(counts["head"], [head, head + 1]))
    kept = np.ones(rows.stop - rows.start, bool)
    if split != "all":
        kept = counts["is_val"][rows] == (split == "val")
    images = counts["image"][rows][kept]
    ious = iou(counts["intersection"][rows][kept], counts["union"][rows][kept])
    if highest is None:
        choice = choose_at_percentiles(ious, percentiles)
    else:
        choice = choose_highest(ious, highest)
    return images[choice.place], choice, ious[choice.place]


def _read_binary(
    run: FinishedRun, sources: RunSources, image: np.ndarray
) -> tuple[BinaryActivations, np.ndarray]:
    """Binary activations of the images, each once, and where each image is among them."""
    unique, index = np.unique(image, return_inverse=True)
    parts = [
        unique[start : start + IMAGES_PER_READ] for start in range(0, len(unique), IMAGES_PER_READ)
    ]
    batches = (sources.activations.read(part) for part in parts)
    return collect_binary_activations(batches, read_thresholds(run)), index


def _find_truth(sources: RunSources, concept: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Ground truth of (concept, image) pairs, bool [n, Y, X]."""
    masks, images = sources.masks, len(sources.masks.is_val)
    known = masks.pair_concept.astype(np.int64) * images + masks.pair_image
    return masks.unpack(np.searchsorted(known, concept * images + image))
