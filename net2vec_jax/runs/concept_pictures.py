"""Masks and heat maps on chosen images of a finished segmentation run, for sheets and reports.

Images are chosen at percentiles of the individual IoU that the run stored; only their activations
are read. Predictions are made as the probes make them, so pixels counted in these masks are the
run's counts. Everything is of one repetition of the embeddings, by default the first (seed 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from net2vec_jax.analysis.images.example_selection import (
    PERCENTILES,
    Choice,
    choose_at_percentiles,
    choose_highest,
)
from net2vec_jax.data.dataset import Split
from net2vec_jax.plots.pictures import ConceptPicture, FilterPicture
from net2vec_jax.probes.segmentation.prediction import predict_embeddings, predict_filters
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import (
    best_filters,
    check_place,
    check_seed,
    check_segmentation,
    collect_maxima,
    find_truth,
    individual_iou,
    read_binary,
    read_thresholds,
)
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.stats.metrics import NO_FILTER, iou


@dataclasses.dataclass(frozen=True, eq=False)
class ServedPicture(FilterPicture):
    """A filter on an image of a concept.

    Attributes:
      iou: individual IoU of the filter with the concept, in [0, 1].
      truth: bool [Y, X], the concept.
    """

    iou: float
    truth: np.ndarray


def collect_concept_pictures(
    run: FinishedRun,
    sources: RunSources,
    places: Sequence[int],
    *,
    percentiles: Sequence[float] = PERCENTILES,
    highest: int | None = None,
    split: Split = "val",
    seed: int = 0,
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

    Returns:
      By place, the pictures of a concept, that of the highest IoU first.

    Raises:
      Net2VecError: the run is not of the segmentation probe, has no such repetition or concept, or
        a source is not where it was.
    """
    check_segmentation(run)
    check_seed(run, seed)
    places = [check_place(place, len(run), "concepts", run) for place in places]
    of_place, overlaps = run.full_overlaps(seed)
    chosen = [
        _choose_images(overlaps.select_entries(of_place == place), percentiles, highest, split)
        for place in places
    ]
    concept = np.repeat(np.array(places, np.int64), [len(images) for images, *_ in chosen])
    image = np.concatenate([np.zeros(0, np.int64), *(images for images, *_ in chosen)])
    percentile = np.concatenate([np.zeros(0), *(choice.percentile for _, choice, _ in chosen)])
    embedding_iou = np.concatenate([np.zeros(0), *(ious for *_, ious in chosen)])
    pictures: dict[int, list[ConceptPicture]] = {place: [] for place in places}
    if not len(image):
        return pictures
    binary, index = read_binary(run, sources, image)
    size = sources.masks.segmentation_size
    truth = find_truth(sources, concept, image)
    embedding = predict_embeddings(run.weights[seed], concept, index, binary, size)
    best = best_filters(run)[concept]
    single = predict_filters(np.maximum(best, 0), index, binary, size)
    single = single & (best != NO_FILTER)[:, None, None]
    filter_iou = individual_iou(single, truth)
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
    filters = [check_place(filter_, run.filters, "filters", run) for filter_ in filters]
    if maxima is None:
        maxima = collect_maxima(sources)
    thresholds = read_thresholds(run)
    groups = [
        (filter_, np.flatnonzero(maxima[:, filter_] > thresholds[filter_])) for filter_ in filters
    ]
    shown = _choose_by_maximum(groups, maxima, count)
    masks = _mark_filters(run, sources, *shown)
    pictures: dict[int, list[FilterPicture]] = {filter_: [] for filter_ in filters}
    for filter_, image, mask in zip(*(values.tolist() for values in shown), masks, strict=True):
        pictures[filter_].append(FilterPicture(image, float(maxima[image, filter_]), mask))
    return pictures


def collect_served_pictures(
    run: FinishedRun,
    sources: RunSources,
    served: Sequence[tuple[int, int]],
    maxima: np.ndarray,
    *,
    count: int = 4,
    split: Split = "val",
) -> dict[tuple[int, int], list[ServedPicture]]:
    """Pictures of filters on images of concepts, over the range of the filter's maximum on these.

    Args:
      run: of the segmentation probe.
      sources: of the run.
      served: filters and places of concepts among the run's C.
      maxima: largest activations of all images, [N, K].
      count: images of each, in even steps of rank from the strongest on.
      split: of the images.

    Returns:
      By filter and place, the pictures, that of the largest activation first.

    Raises:
      Net2VecError: the run is not of the segmentation probe, or a source is not where it was.
    """
    check_segmentation(run)
    masks = sources.masks
    in_split = (
        np.ones(len(masks.is_val), bool) if split == "all" else masks.is_val == (split == "val")
    )
    first = np.searchsorted(masks.pair_concept, np.arange(len(run) + 1))
    pictures: dict[tuple[int, int], list[ServedPicture]] = {pair: [] for pair in served}
    groups, concepts = [], []
    for filter_, place in pictures:
        images = masks.pair_image[first[place] : first[place + 1]]
        groups.append((filter_, images[in_split[images]]))
        concepts.append(np.full(min(count, len(groups[-1][1])), place))
    shown = _choose_by_maximum(groups, maxima, count)
    concept = np.concatenate([np.zeros(0, np.int64), *concepts])
    marked = _mark_filters(run, sources, *shown)
    truth = find_truth(sources, concept, shown[1])
    ious = individual_iou(marked, truth)
    for entry, (filter_, image) in enumerate(
        zip(*(values.tolist() for values in shown), strict=True)
    ):
        pictures[filter_, int(concept[entry])].append(
            ServedPicture(
                image,
                float(maxima[image, filter_]),
                marked[entry],
                float(ious[entry]),
                truth[entry],
            )
        )
    return pictures


def _choose_images(
    overlaps: ImageOverlaps,
    percentiles: Sequence[float],
    highest: int | None,
    split: Split,
) -> tuple[np.ndarray, Choice, np.ndarray]:
    """Images of a head's concept, which of its images they are, and their individual IoU."""
    if split != "all":
        overlaps = overlaps.select_entries(overlaps.is_val == (split == "val"))
    images = overlaps.image
    ious = iou(overlaps.intersection, overlaps.union)
    if highest is None:
        choice = choose_at_percentiles(ious, percentiles)
    else:
        choice = choose_highest(ious, highest)
    return images[choice.place], choice, ious[choice.place]


def _choose_by_maximum(
    groups: Sequence[tuple[int, np.ndarray]], maxima: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each filter's images some over the range of its maximum: (filters, images), int64 [n]."""
    steps = [100 * (1 - step / count) for step in range(count)]
    filters, images = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for filter_, candidates in groups:
        chosen = choose_at_percentiles(maxima[candidates, filter_], steps).place
        filters.append(np.full(len(chosen), filter_))
        images.append(candidates[chosen])
    return np.concatenate(filters), np.concatenate(images)


def _mark_filters(
    run: FinishedRun, sources: RunSources, filter_: np.ndarray, image: np.ndarray
) -> np.ndarray:
    """Where filters fire on images, bool [n, Y, X]."""
    size = sources.masks.segmentation_size
    if not len(image):
        return np.zeros((0, *size), bool)
    binary, index = read_binary(run, sources, image)
    return predict_filters(filter_, index, binary, size)
