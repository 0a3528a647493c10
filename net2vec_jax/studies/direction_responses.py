"""Directions of a run's concepts in its layer, and how real images respond to them.

A concept has two directions: its embedding, and its best single filter. T concepts, K filters,
h × w places, N images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_undirected, find_unfiltered
from net2vec_jax.runs.predictions import best_filters
from net2vec_jax.runs.sources import RunSources

DIRECTIONS = ("embedding", "filter")


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptDirections:
    """Unit vectors of T concepts."""

    places: list[int]  # of the concepts among the run's C
    filters: np.ndarray  # int64 [T], each concept's best single filter
    unit: np.ndarray  # float32 [2, T, K]: embeddings, filters


@dataclasses.dataclass(frozen=True, eq=False)
class RealResponses:
    """How the dataset's N images respond to the directions of T concepts.

    A concept's typical image is that of its val images (train images, where there are none) whose
    highest response to the embedding is the median.
    """

    highest: np.ndarray  # float32 [2, T, N], each image's highest response over places
    mean: np.ndarray  # float32 [2, T, N], and its mean
    typical: np.ndarray  # int64 [T], a concept's typical image


def find_directions(run: FinishedRun, places: Sequence[int]) -> ConceptDirections:
    """Embeddings and best filters, as unit vectors.

    An embedding is the mean of its repetitions' unit vectors, as weights of activations (see
    `FinishedRun.directions`). The best filter is that of the
    highest set IoU on train; of a run of the classification probe, that of the largest |weight| of
    the embedding, with its sign.

    Raises:
      Net2VecError: a concept lacks a direction, see `find_without_direction`; or there is none.
    """
    places = list(places)
    lacking = find_without_direction(run)
    wrong = [run.concepts[place] for place in places if run.concepts[place] in lacking]
    if wrong or not places:
        names = wrong or list(lacking)
        reasons = ", ".join(dict.fromkeys(lacking[name] for name in names))
        raise Net2VecError(
            f"{list_names(names)} of {run.path}: {reasons}, so there is nothing to maximise; "
            "choose other --concepts"
        )
    embedding = average_seeds(run.directions[:, places]).vectors
    rows = np.arange(len(places))
    single = np.zeros_like(embedding)
    if run.kind == "segmentation":
        filters = best_filters(run)[places]
        single[rows, filters] = 1
    else:
        filters = np.abs(embedding).argmax(axis=1)
        single[rows, filters] = np.sign(embedding[rows, filters])
    return ConceptDirections(places, filters, np.stack([embedding, single]).astype(np.float32))


def find_without_direction(run: FinishedRun) -> dict[str, str]:
    """Why concepts lack one of their two directions, by name."""
    undirected = find_undirected(run.concepts, average_seeds(run.directions))
    return undirected | (find_unfiltered(run) if run.kind == "segmentation" else {})


def measure_responses(
    activations: np.ndarray, directions: Float[np.ndarray, "D K"]
) -> tuple[np.ndarray, np.ndarray]:
    """Highest response over places, and mean response, of every image to every direction.

    Args:
      activations: [n, h, w, K] or [n, K].
      directions: D of them.

    Returns:
      Two arrays float32 [D, n].
    """
    flat = activations.reshape(len(activations), -1, activations.shape[-1])
    responses = np.einsum("npk,dk->dnp", flat, directions, optimize=True)
    return responses.max(axis=2), responses.mean(axis=2)


def measure_real_images(sources: RunSources, directions: ConceptDirections) -> RealResponses:
    """Responses of the run's dataset, from its stored activations.

    Raises:
      Net2VecError: activations or dataset are not where they were.
    """
    masks = sources.masks
    flat = directions.unit.reshape(-1, directions.unit.shape[-1])
    parts = [measure_responses(batch, flat) for batch in sources.activations.batches()]
    highest, mean = (
        np.concatenate(arrays, axis=1).reshape(*directions.unit.shape[:2], -1)
        for arrays in zip(*parts, strict=True)
    )
    typical = [
        _choose_typical(masks, place, highest[0, row])
        for row, place in enumerate(directions.places)
    ]
    return RealResponses(highest, mean, np.array(typical, np.int64))


def _choose_typical(masks: ConceptMasks, place: int, response: np.ndarray) -> int:
    shown = masks.pair_concept == place
    val = shown & masks.pair_is_val
    images = masks.pair_image[val if val.any() else shown]
    return int(images[np.argsort(response[images], kind="stable")[len(images) // 2]])
