"""Directions of concepts in a layer's responses.

A probe's weights are a filter, no direction: they weigh responses so that the concept's score comes
out and others' cancel, and may be large where a response only removes what a neighbour adds. What
the responses do when the concept is there is the *pattern*, the covariance of the responses with
the score (Haufe et al. 2014, eq. 6). Where responses are uncorrelated, both are the same.

n images, P places, K channels; scores and masks lie on the layer's grid.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.interpolation import interpolation_matrix

DirectionKind = Literal["pattern", "difference", "weights"]
KINDS: tuple[DirectionKind, ...] = get_args(DirectionKind)


def covary(
    responses: Float[np.ndarray, "n P K"], score: Float[np.ndarray, "n P"]
) -> Float[np.ndarray, " K"]:
    """Covariance of each channel with a score over all places, float64.

    Of an embedding's score this is its pattern but for a factor; of a mask, the mean inside less
    the mean outside but for a factor.

    Examples:
      >>> score = np.array([[0.0, 1.0, 0.0, 1.0]])
      >>> responses = np.stack([score, 3 - 2 * score], axis=-1)
      >>> covary(responses, score)
      array([ 0.25, -0.5 ])
    """
    centred = score - score.mean(dtype=np.float64)
    return np.einsum("np,npk->k", centred, responses, dtype=np.float64) / score.size


def scale_direction(
    direction: Float[np.ndarray, " K"], responses: Float[np.ndarray, "n P K"], concept: str
) -> tuple[Float[np.ndarray, " K"], float]:
    """The direction at length 1, and the standard deviation of the responses along it.

    Raises:
      Net2VecError: the direction is 0 or not finite; the message names the concept.
    """
    length = float(np.linalg.norm(direction))
    if not (0 < length < np.inf):
        raise Net2VecError(
            f"the direction of {concept} is 0 or not finite, as its embedding's score is the same "
            "everywhere; choose other --concepts"
        )
    unit = direction / length
    return unit, float((responses @ unit).std())


def reduce_masks(
    masks: Bool[np.ndarray, "n Y X"], grid: tuple[int, int]
) -> Float[np.ndarray, "n P"]:
    """Part of each place of a grid (h, w) that a mask holds, in [0, 1].

    A pixel counts for the places that align-corners upsampling makes it of.

    Examples:
      >>> masks = np.zeros((1, 4, 4), bool)
      >>> masks[0, :2] = True
      >>> reduce_masks(masks, (2, 2)).round(2)
      array([[0.83, 0.83, 0.17, 0.17]])
    """
    rows, columns = (
        matrix / matrix.sum(0) for matrix in map(interpolation_matrix, grid, masks.shape[1:])
    )
    reduced = np.einsum("yh,nyx,xw->nhw", rows, masks.astype(np.float32), columns, optimize=True)
    return reduced.reshape(len(masks), -1).astype(np.float64)


def draw_directions(key: Array, count: int, channels: int) -> Float[np.ndarray, "count channels"]:
    """Directions of length 1, all equally probable."""
    drawn = np.asarray(jax.random.normal(key, (count, channels)), np.float64)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
