"""How filters respond to the images of a concept, without any training (reference behaviour 8.10).

a is the greatest activation of a filter over the positions of an image. Per concept and filter,
over the concept's images: the probability of a > 0, and the mean and deviation of the a > 0. The
original did its vector arithmetic on the rows of probabilities (behaviour 8.7). In layers without
rectification nearly every a is above 0, and probabilities tell little.
N images, h w activation grid, K filters, C concepts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationStatistics:
    """Statistics of the filters on each concept's images.

    Attributes:
      images: of each concept, int64 [C].
      probability: of a > 0, float64 [C, K] in [0, 1]; NaN for a concept without images.
      mean: of the a > 0, float64 [C, K]; NaN where no a is above 0.
      deviation: population standard deviation of the a > 0, float64 [C, K]; NaN where no a is
        above 0.
      alpha: 1 - mean fraction of positive activations over all positions of the train images,
        float64 [K]; NaN without train images.
    """

    images: np.ndarray
    probability: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    alpha: np.ndarray


def measure_activations(
    batches: Iterable[Float[np.ndarray, "n *grid K"]],
    has_concept: Bool[np.ndarray, "N C"],
    is_train: Bool[np.ndarray, " N"],
) -> ActivationStatistics:
    """Go once through the activations of all images.

    Examples:
      >>> activations = np.array([[[[2.0, 0.0]]], [[[4.0, -1.0]]]])  # two images, two filters
      >>> both = np.ones((2, 1), bool)
      >>> found = measure_activations([activations], both, np.ones(2, bool))
      >>> found.probability.tolist(), found.alpha.tolist()
      ([[1.0, 0.0]], [0.0, 1.0])

    Args:
      batches: activations of consecutive images, [n, h, w, K] or [n, K].
      has_concept: the concepts of each image, False throughout for images that do not count, such
        as those of another split.
      is_train: images over which `alpha` is taken.

    Raises:
      Net2VecError: the batches have not one image per row of `has_concept`, or there is no batch.
    """
    images = has_concept.sum(axis=0)
    active = total = squares = np.zeros((len(images), 1))
    positive = np.zeros(1)
    start, origin = 0, None
    for batch in batches:
        activations = batch.reshape(len(batch), -1, batch.shape[-1])
        greatest = activations.max(axis=1).astype(np.float64)  # [n, K]
        if origin is None:
            # Sums of squares are taken around a typical value, so that little is lost to rounding.
            origin = greatest.mean(axis=0)
        rows = slice(start, start + len(batch))
        start = rows.stop
        if start > len(has_concept):
            break
        member = has_concept[rows].astype(np.float64).T  # [C, n]
        is_active = greatest > 0
        excess = np.where(is_active, greatest - origin, 0)
        active = active + member @ is_active
        total = total + member @ excess
        squares = squares + member @ excess**2
        positive = positive + (activations[is_train[rows]] > 0).mean(axis=1).sum(axis=0)
    if origin is None or start != len(has_concept):
        raise Net2VecError(
            f"there are activations of {'more' if start > len(has_concept) else start} images, but "
            f"labels of {len(has_concept)}"
        )
    known = np.where(active > 0, active, np.nan)
    mean = total / known
    train = is_train.sum()
    return ActivationStatistics(
        images.astype(np.int64),
        active / np.where(images > 0, images, np.nan)[:, None],
        origin + mean,
        np.sqrt(np.maximum(squares / known - mean**2, 0)),
        1 - positive / train if train else np.full(len(positive), np.nan),
    )
