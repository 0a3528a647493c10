"""Which side of a layer's activations counts as a filter's response: what is high, low, or either.

The top 0.5 % of a filter's activations say nothing of its negative side, which layers without a
rectifier have: linear bottlenecks, blocks of transformers, ConvNeXt's stages. K channels A_k make K
filters of the positive or of the negative responses, −A_k, or F = 2K of both: A_0 … A_{K-1}, then
−A_0 … −A_{K-1}. Embeddings, thresholds and tables are over the F filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Shaped

from net2vec_jax.core.errors import Net2VecError

Responses = Literal["positive", "negative", "both"]


def apply_responses(
    activations: Float[np.ndarray, "... K"], responses: Responses
) -> Float[np.ndarray, "... F"]:
    """The filters' responses, made of a layer's activations.

    Args:
      activations: of K channels; any number of other axes.
      responses: "positive", "negative" or "both".

    Returns:
      Of F filters: the array itself, its negative, or one behind the other.

    Raises:
      Net2VecError: there are no such responses.

    Examples:
      >>> apply_responses(np.array([1.0, -2.0]), "both")
      array([ 1., -2., -1.,  2.])
    """
    if check_responses(responses) == "positive":
        return activations
    if responses == "negative":
        return -activations
    return np.concatenate([activations, -activations], axis=-1)


def check_responses(responses: str) -> Responses:
    """The responses, if there are such.

    Raises:
      Net2VecError: there are not.
    """
    for known in get_args(Responses):
        if responses == known:
            return known
    raise Net2VecError(f"responses {responses!r} are none of {', '.join(get_args(Responses))}")


def find_responses(origin: Mapping[str, Any]) -> Responses:
    """What `note_responses` noted; positive, if nothing."""
    return check_responses(origin.get("responses", "positive"))


def note_responses(origin: Mapping[str, Any], responses: Responses) -> dict[str, Any]:
    """What made a layer's activations, and which responses are taken of them."""
    return {**origin} if responses == "positive" else {**origin, "responses": responses}


def count_filters(channels: int, responses: Responses) -> int:
    """F, filters of a layer of K channels."""
    return 2 * channels if responses == "both" else channels


def split_filters(
    filters: Int[np.ndarray, " n"], count: int, responses: Responses
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The channel that each of n filters is of, and its sign, 1 or -1.

    Args:
      filters: their places among F; what is below 0, and so no filter, stays as it is.
      count: F.
      responses: of the filters.

    Examples:
      >>> channel, sign = split_filters(np.array([1, 4]), 6, "both")
      >>> channel.tolist(), sign.tolist()
      ([1, 1], [1, -1])
    """
    channels = count // 2 if responses == "both" else count
    is_negative = (filters >= channels) | (responses == "negative")
    return np.where(filters >= channels, filters - channels, filters), np.where(is_negative, -1, 1)


def name_filters(count: int, responses: Responses) -> Shaped[np.ndarray, " F"]:
    """What tables call F filters: their numbers, or with a sign where there are negative ones.

    Examples:
      >>> name_filters(3, "positive").tolist(), name_filters(4, "both").tolist()
      ([0, 1, 2], ['+0', '+1', '-0', '-1'])
    """
    numbers = np.arange(count)
    if responses == "positive":
        return numbers
    channels, signs = split_filters(numbers, count, responses)
    return np.array(
        [f"{'+' if sign > 0 else '-'}{k}" for k, sign in zip(channels, signs, strict=True)]
    )


def show_filter(name: object) -> str:
    """A filter's name as figures and pages write it, with a true minus."""
    return str(name).replace("-", "−")


def fold_directions(
    directions: Float[np.ndarray, "... F"], responses: Responses
) -> Float[np.ndarray, "... K"]:
    """Directions of filters as such of channels: ⟨fold(w), A⟩ = ⟨w, responses of A⟩.

    Examples:
      >>> fold_directions(np.array([[1.0, 0.0, 0.5, 2.0]]), "both")
      array([[ 0.5, -2. ]])
    """
    if responses == "both":
        positive, negative = np.split(directions, 2, axis=-1)
        return positive - negative
    return apply_responses(directions, responses)


def count_signed(activations: Float[np.ndarray, "n h w K"], quantile: float = 0.005) -> int:
    """Channels whose lowest activations are at least half as far below 0 as the highest above.

    Those of a rectifier are none, and those of GELU and SiLU hardly any.

    Args:
      activations: of some images.
      quantile: part of the activations that counts as the highest, and the lowest.

    Examples:
      >>> count_signed(np.array([[-2.0, 0.0], [2.0, 3.0]]).reshape(2, 1, 1, 2))
      1
    """
    flat = activations.reshape(-1, activations.shape[-1])
    low, high = np.quantile(flat, [quantile, 1 - quantile], axis=0)
    return int(((low < 0) & (-low >= high / 2)).sum())
