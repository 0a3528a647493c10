"""Which images to look at: at percentiles of a score, not only the best (reference behaviour 8.8).

Images of a concept are ranked by their individual IoU, all images by a filter's largest activation
or by a concept's score map Σ_k w_k A_k. N images, h·w positions, K filters, C concepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from net2vec_jax.core.errors import Net2VecError

PERCENTILES = (95.0, 75.0, 50.0, 25.0, 5.0)
"""Where images of a concept are shown: from what works to what does not."""


class Choice(NamedTuple):
    """Chosen places, that of the highest score first.

    Attributes:
      place: int64 [m], distinct places in the scores.
      percentile: float64 [m], rank of each among all, 0 (lowest) … 100 (highest); 100 if it is the
        only one.
    """

    place: Int[np.ndarray, " m"]
    percentile: Float[np.ndarray, " m"]


def choose_at_percentiles(
    scores: Float[np.ndarray, " n"], percentiles: Sequence[float] = PERCENTILES
) -> Choice:
    """Choose the places whose ranks are nearest to percentiles, each place once.

    Of equal scores the first place has the highest rank. Where the nearest rank is taken already,
    the next one is; so there are fewer places than percentiles only if there are fewer scores.

    Args:
      scores: of n places.
      percentiles: in [0, 100], in any order; 100 is the highest score.

    Examples:
      >>> choose_at_percentiles(np.array([0.1, 0.9, 0.5]), [100, 0]).place.tolist()
      [1, 0]

    Raises:
      Net2VecError: a percentile is out of range.
    """
    wrong = [percentile for percentile in percentiles if not 0 <= percentile <= 100]
    if wrong:
        raise Net2VecError(f"percentiles lie between 0 and 100, not {wrong[0]:g}")
    count = len(scores)
    free = np.ones(count, bool)
    for percentile in sorted(percentiles, reverse=True)[:count]:
        distance = np.abs(np.arange(count) - (100 - percentile) / 100 * (count - 1))
        free[np.where(free, distance, np.inf).argmin()] = False
    return _at_ranks(scores, np.flatnonzero(~free))


def choose_highest(scores: Float[np.ndarray, " n"], count: int) -> Choice:
    """Choose the places of the `count` highest scores; of equal ones, the first places."""
    return _at_ranks(scores, np.arange(min(count, len(scores))))


def _at_ranks(scores: np.ndarray, rank: np.ndarray) -> Choice:
    """The places of these ranks; rank 0 is the highest score."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return Choice(order[rank], 100 * (1 - rank / max(len(scores) - 1, 1)))


def choose_across(
    scores: Float[np.ndarray, " C"], categories: Sequence[str], count: int
) -> Int[np.ndarray, " m"]:
    """Choose concepts of all categories: of each as many, in even steps of score from the best on.

    Args:
      scores: of the concepts.
      categories: of the concepts.
      count: how many concepts are chosen; a category that has fewer than its share leaves the rest
        to the others.

    Returns:
      Places of the concepts: category by category, the best of each first.
    """
    places = {name: np.flatnonzero(np.array(categories) == name) for name in categories}
    share = dict.fromkeys(places, 0)
    left = min(count, len(categories))
    while left:
        for name in places:
            if left and share[name] < len(places[name]):
                share[name] += 1
                left -= 1
    chosen = [np.zeros(0, np.int64)]
    for name, size in share.items():
        within = places[name]
        steps = [100 * (1 - step / size) for step in range(size)]
        chosen.append(within[choose_at_percentiles(np.asarray(scores)[within], steps).place])
    return np.concatenate(chosen)


def choose_concepts_of_filter(
    filter_: int,
    is_best: Bool[np.ndarray, " C"],
    ious: Float[np.ndarray, " C"],
    weights: Float[np.ndarray, "C K"],
    count: int,
) -> list[int]:
    """Which concepts a filter serves.

    Args:
      filter_: number of the filter.
      is_best: whether it is the best filter of each concept (`filter_overlap.find_best_filters`).
      ious: IoU of each concept with the filter.
      weights: embeddings; compared between concepts after division by their length.
      count: concepts of each kind at most.

    Returns:
      Places of concepts whose best filter it is, of highest IoU first; then those of other concepts
      in whose embeddings it has the largest positive weights, the largest first.
    """
    served = np.flatnonzero(is_best)
    served = served[np.argsort(-ious[served], kind="stable")][:count].tolist()
    length = np.linalg.norm(weights, axis=1)
    weight = np.divide(weights[:, filter_], length, out=np.zeros_like(length), where=length > 0)
    ordered = np.argsort(-weight, kind="stable").tolist()
    weighed = [place for place in ordered if weight[place] > 0 and place not in served]
    return served + weighed[:count]
