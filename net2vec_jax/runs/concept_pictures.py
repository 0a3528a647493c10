"""Masks and heat maps on chosen images of a finished segmentation run, for sheets and reports.

Images are chosen at percentiles of the individual IoU that the run stored; only their activations
are read. Predictions are made as the probes make them, so pixels counted in these masks are the
run's counts. All functions raise Net2VecError where the run is not of the segmentation probe, lacks
what is asked for, or a source is not where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from net2vec_jax.analysis.images.example_selection import (
    PERCENTILES,
    choose_at_percentiles,
    choose_highest,
)
from net2vec_jax.data.dataset import Split
from net2vec_jax.plots.pictures import ConceptPicture, FilterPicture
from net2vec_jax.probes.segmentation.prediction import predict_embeddings, predict_filters
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import (
    best_filters,
    check_place,
    check_seed,
    collect_maxima,
    find_truth,
    individual_iou,
    read_binary,
    read_weighed,
    require_segmentation,
)
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.stats.metrics import NO_FILTER, iou


@dataclasses.dataclass(frozen=True, eq=False)
class ServedPicture(FilterPicture):
    """A filter on an image of a concept."""

    iou: float  # individual IoU of the filter with the concept, in [0, 1]
    truth: np.ndarray  # bool [Y, X], the concept


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
    """
    require_segmentation(run)
    check_seed(run, seed)
    places = [check_place(place, len(run), "concepts", run) for place in places]
    of_place, overlaps = run.full_overlaps(seed)
    pictures: dict[int, list[ConceptPicture]] = {place: [] for place in places}
    chosen = [
        (place, *row)
        for place in places
        for row in _choose_images(
            overlaps.select_entries(of_place == place), percentiles, highest, split
        )
    ]
    if not chosen:
        return pictures
    concept, image = np.array([row[:2] for row in chosen], np.int64).T
    binary, index = read_binary(run, sources, image)
    size = sources.masks.segmentation_size
    truth = find_truth(sources, concept, image)
    weighed = binary if run.scale is None else read_weighed(run, sources, image)[0]
    embedding = predict_embeddings(
        run.weights[seed], concept, index, weighed, size, run.levels[seed]
    )
    best = best_filters(run)[concept]
    single = predict_filters(np.maximum(best, 0), index, binary, size)
    single = single & (best != NO_FILTER)[:, None, None]
    filter_iou = individual_iou(single, truth).tolist()
    drawn = zip(filter_iou, truth, embedding.mask, single, embedding.probability, strict=True)
    for (place, at, percentile, score), shown in zip(chosen, drawn, strict=True):
        pictures[place].append(ConceptPicture(at, percentile, score, *shown))
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
    """
    require_segmentation(run)
    filters = [check_place(filter_, run.filters, "filters", run) for filter_ in filters]
    if maxima is None:
        maxima = collect_maxima(sources)
    fires = maxima > read_thresholds(run.path)
    groups = [(filter_, np.flatnonzero(fires[:, filter_])) for filter_ in filters]
    shown, masks = _mark_filters(run, sources, groups, maxima, count)
    pictures: dict[int, list[FilterPicture]] = {filter_: [] for filter_ in filters}
    for (group, image), mask in zip(shown.tolist(), masks, strict=True):
        filter_ = filters[group]
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
    """
    require_segmentation(run)
    masks = sources.masks
    in_split = (split == "all") | (masks.is_val == (split == "val"))
    first = np.searchsorted(masks.pair_concept, np.arange(len(run) + 1))
    pictures: dict[tuple[int, int], list[ServedPicture]] = {pair: [] for pair in served}
    pairs = list(pictures)
    groups = []
    for filter_, place in pairs:
        images = masks.pair_image[first[place] : first[place + 1]]
        groups.append((filter_, images[in_split[images]]))
    shown, marked = _mark_filters(run, sources, groups, maxima, count)
    concept = np.array([place for _, place in pairs], np.int64)[shown[:, 0]]
    truth = find_truth(sources, concept, shown[:, 1])
    ious = individual_iou(marked, truth).tolist()
    drawn = zip(marked, ious, truth, strict=True)
    for (group, image), each in zip(shown.tolist(), drawn, strict=True):
        largest = float(maxima[image, pairs[group][0]])
        pictures[pairs[group]].append(ServedPicture(image, largest, *each))
    return pictures


def _choose_images(
    overlaps: ImageOverlaps,
    percentiles: Sequence[float],
    highest: int | None,
    split: Split,
) -> Iterator[tuple[int, float, float]]:
    """Images of a head's concept, their percentiles among its images, and their individual IoU."""
    if split != "all":
        overlaps = overlaps.select_entries(overlaps.is_val == (split == "val"))
    images, ious = overlaps.image, iou(overlaps.intersection, overlaps.union)
    if highest is None:
        choice = choose_at_percentiles(ious, percentiles)
    else:
        choice = choose_highest(ious, highest)
    yield from zip(
        images[choice.place].tolist(), map(float, choice.percentile),
        map(float, ious[choice.place]), strict=True,
    )  # fmt: skip


def _mark_filters(
    run: FinishedRun,
    sources: RunSources,
    groups: Sequence[tuple[int, np.ndarray]],
    maxima: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each filter's images some over the range of its maximum, and where it fires on them.

    Returns:
      (number of the group and image, int64 [n, 2]; masks, bool [n, Y, X]).
    """
    steps = [100 * (1 - step / count) for step in range(count)]
    shown = [
        (group, image)
        for group, (filter_, images) in enumerate(groups)
        for image in images[choose_at_percentiles(maxima[images, filter_], steps).place].tolist()
    ]
    group, image = np.array(shown, np.int64).reshape(-1, 2).T
    size = sources.masks.segmentation_size
    if not shown:
        return np.zeros((0, 2), np.int64), np.zeros((0, *size), bool)
    binary, index = read_binary(run, sources, image)
    filters = np.array([filter_ for filter_, _ in groups], np.int64)
    return np.stack([group, image], axis=1), predict_filters(filters[group], index, binary, size)
