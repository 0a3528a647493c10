"""What happens to the logits if a concept is taken out of a layer's responses, or put in.

Three interventions on responses A, μ their mean where the concept is absent: *remove* a direction,
A − ((A − μ)·v) v; *add* it, A + α v at every place; *silence* filters, which get a value of their
own everywhere. The rival of a removed direction v is a random one r that the very same amounts are
taken along, A − ((A − μ)·v) r: the change is as large at every place. n images, K channels, E
interventions, Y classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Interventions(NamedTuple):
    """E interventions, made one by one.

    Attributes:
      removed: part of the variation along `read` that is taken away, 0 to 1, float32 [E].
      read: direction of length 1 whose component is removed, float32 [E, K].
      added: times `written`, float32 [E].
      written: direction of length 1 that is changed, float32 [E, K].
      silenced: channels that get the value `silence`, bool [E, K].
    """

    removed: np.ndarray
    read: np.ndarray
    added: np.ndarray
    written: np.ndarray
    silenced: np.ndarray

    @classmethod
    def of(
        cls,
        written: Float[np.ndarray, "E K"],
        *,
        read: Float[np.ndarray, "E K"] | None = None,
        removed: Float[np.ndarray, " E"] | float = 0.0,
        added: Float[np.ndarray, " E"] | float = 0.0,
        silenced: Bool[np.ndarray, "E K"] | None = None,
    ) -> Interventions:
        """Interventions that do nothing but what is given; `read` is `written` by default."""
        count = len(written)
        return cls(
            np.broadcast_to(np.float32(removed), count),
            np.asarray(written if read is None else read, np.float32),
            np.broadcast_to(np.float32(added), count),
            np.asarray(written, np.float32),
            np.zeros(written.shape, bool) if silenced is None else silenced,
        )


def intervene(
    response: Float[Array, "n *places K"],
    one: Interventions,
    mean: Float[Array, " K"],
    silence: Float[Array, " K"],
) -> Float[Array, "n *places K"]:
    """The response after one intervention; `one` has no axis E.

    Examples:
      >>> out = Interventions.of(np.array([[1.0, 0.0]]), removed=1.0)
      >>> one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), out)
      >>> intervene(jnp.array([[3.0, 4.0]]), one, jnp.array([1.0, 1.0]), jnp.zeros(2)).tolist()
      [[1.0, 4.0]]
    """
    axes = (None,) * (response.ndim - 1)
    component = ((response - mean[axes]) * one.read[axes]).sum(-1, keepdims=True)
    changed = response + (one.added - one.removed * component) * one.written[axes]
    return jnp.where(one.silenced[axes], silence[axes], changed)


def measure_interventions(
    go_on: Callable[[Array], Float[Array, "n L"]],
    pool: Callable[[Array], Float[Array, "n Y"]],
    response: Float[Array, "n *places K"],
    interventions: Interventions,
    mean: Float[Array, " K"],
    silence: Float[Array, " K"],
) -> tuple[Float[Array, "E n Y"], Int[Array, "E n"]]:
    """Logits of the classes, and which of all logits is highest, after each intervention.

    Args:
      go_on: makes the last layer's response, L logits.
      pool: makes classes of the logits, see `pool_classes`.
      response: of the layer.
      interventions: E of them.
      mean: μ of every channel, at which a removed direction is left.
      silence: what silenced channels are set to.
    """

    def measure(one: Interventions) -> tuple[Array, Array]:
        logits = go_on(intervene(response, one, mean, silence))
        return pool(logits), logits.argmax(1)

    return jax.lax.map(measure, jax.tree.map(jnp.asarray, interventions))


def choose_filters(
    importance: Float[np.ndarray, " K"], counts: tuple[int, ...]
) -> Bool[np.ndarray, "F K"]:
    """The most important channels, so many each time.

    Examples:
      >>> choose_filters(np.array([0.1, 3.0, 2.0]), (1, 2)).astype(int).tolist()
      [[0, 1, 0], [0, 1, 1]]
    """
    rank = np.argsort(np.argsort(-importance, kind="stable"), kind="stable")
    return rank[None] < np.array(counts)[:, None]


def draw_filters(key: Array, draws: int, counts: tuple[int, ...], channels: int) -> np.ndarray:
    """Random channels, so many each time, bool [draws, F, K]; larger sets hold the smaller."""
    importance = np.asarray(jax.random.uniform(key, (draws, channels)))
    return np.stack([choose_filters(row, counts) for row in importance])
