"""Heads: what is trained. One head is a concept in one repetition, over all or some filters.

Both probes train one table of heads: all rows at once, as one optimisation problem over weights
[heads, K]. Filter sweeps and repetitions are only more rows. What a row is stands in its columns;
nothing depends on the order of the rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from net2vec_jax.core.errors import Net2VecError, list_names

ALL_FILTERS = 0
"""In `Heads.filters`: a head over all filters of the layer."""


def check_rates(learning_rate: float, momentum: float) -> None:
    """Refuse a learning rate or a momentum of SGD that cannot train.

    Raises:
      Net2VecError: the rate is not a finite number above 0, or the momentum not in [0, 1).
    """
    if not 0 < learning_rate < math.inf:
        raise Net2VecError(f"learning rate {learning_rate} must be a finite number above 0")
    if not 0 <= momentum < 1:
        raise Net2VecError(f"momentum {momentum} must be at least 0 and below 1")


def refuse_divergence(
    names: Sequence[str],
    loss: Float[np.ndarray, "epochs H"],
    weights: Float[np.ndarray, "H K"],
    learning_rate: float,
) -> None:
    """Refuse a training whose losses or weights are not finite.

    Args:
      names: of the heads' concepts, H.
      loss: of every epoch.
      weights: after the last one.
      learning_rate: that the training began with.

    Raises:
      Net2VecError: names the concepts, the epoch and what to do.
    """
    finite = np.vstack([np.isfinite(loss), np.isfinite(weights).all(axis=1)])  # [epochs + 1, H]
    if finite.all():
        return
    epoch = min(int(finite.all(axis=1).argmin()) + 1, max(len(loss), 1))
    diverged = dict.fromkeys(np.asarray(names)[~finite.all(axis=0)].tolist())
    raise Net2VecError(
        f"training diverged: loss or weights of {list_names(diverged)} are not finite, first in "
        f"epoch {epoch}; choose a --learning-rate (learning_rate) below {learning_rate:g}"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    """H heads over the K filters of a layer; a pytree of numpy arrays.

    Attributes:
      concept: int32 [H], position of the head's concept in the masks' catalog.
      filter_mask: bool [H, K], the filters that the head may use.
      initial_weights: float32 [H, K]; entries outside the mask stay 0 in the trained weights.
      initial_bias: float32 [H]; the segmentation probe has no bias, there it is 0.
      seed: int32 [H], number of the repetition, from 0.
      filters: int32 [H], how many filters the head was restricted to, or `ALL_FILTERS`.
    """

    concept: np.ndarray
    filter_mask: np.ndarray
    initial_weights: np.ndarray
    initial_bias: np.ndarray
    seed: np.ndarray
    filters: np.ndarray

    @classmethod
    def of(
        cls,
        concept: Int[np.ndarray, " H"],
        initial_weights: Float[np.ndarray, "H K"],
        *,
        filter_mask: Bool[np.ndarray, "H K"] | None = None,
        initial_bias: Float[np.ndarray, " H"] | None = None,
        seed: Int[np.ndarray, " H"] | None = None,
        filters: Int[np.ndarray, " H"] | None = None,
    ) -> Heads:
        """Heads from the columns that are given; the others are those of full heads of seed 0.

        Raises:
          Net2VecError: columns are of different lengths.

        Examples:
          >>> len(Heads.of(np.array([0, 1]), np.zeros((2, 8), np.float32)))
          2
        """
        rows = np.shape(concept)[0]
        columns = {
            "filter_mask": (filter_mask, np.ones(np.shape(initial_weights), bool)),
            "initial_bias": (initial_bias, np.zeros(rows, np.float32)),
            "seed": (seed, np.zeros(rows, np.int32)),
            "filters": (filters, np.full(rows, ALL_FILTERS, np.int32)),
        }
        given = {
            name: default if value is None else np.asarray(value)
            for name, (value, default) in columns.items()
        }
        heads = cls(
            concept=np.asarray(concept, np.int32),
            initial_weights=np.asarray(initial_weights, np.float32),
            **given,
        )
        shapes = {field.name: np.shape(getattr(heads, field.name)) for field in _FIELDS}
        is_matrix = ("filter_mask", "initial_weights")
        wide = (rows, *np.shape(initial_weights)[1:])
        wrong = [n for n, s in shapes.items() if s != (wide if n in is_matrix else (rows,))]
        if wrong or len(wide) != 2:
            raise Net2VecError(f"{rows} heads over K filters, but columns of shapes {shapes}")
        return heads

    def __len__(self) -> int:
        return len(self.concept)

    def select(self, heads: np.ndarray | slice) -> Heads:
        """These heads only."""
        return jax.tree.map(lambda column: column[heads], self)


_FIELDS = dataclasses.fields(Heads)


def join_heads(parts: Sequence[Heads]) -> Heads:
    """The heads of all parts, one after the other."""
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def fill_up(numbers: Int[np.ndarray, " H"]) -> UInt32[np.ndarray, " more"]:
    """Numbers of heads and zeros behind them: one of few lengths, for few compiled programs."""
    return np.pad(np.asarray(numbers, np.uint32), (0, -len(numbers) % 64))


def draw_initial_weights(keys: Array, filters: int) -> Float[Array, "H K"]:
    """Uniform in ±1/√K (reference behaviour 5.2), each head from a key of its own.

    Args:
      keys: PRNG keys [H].
      filters: K.
    """
    bound = 1 / math.sqrt(filters)
    return jax.vmap(lambda key: jax.random.uniform(key, (filters,), jnp.float32, -bound, bound))(
        keys
    )


def fold_heads(
    key: Array, numbers: UInt32[Array | np.ndarray, " H"], seeds: UInt32[Array | np.ndarray, " H"]
) -> Array:
    """A PRNG key for every head, from its concept's label number and its repetition alone.

    So a head's initial weights do not depend on which others are trained beside it.

    Args:
      key: of the run's seed.
      numbers: label numbers of the heads' concepts.
      seeds: their repetitions; the first one uses `key` as it is.
    """

    def fold(number: Array, seed: Array) -> Array:
        repetition = jnp.where(seed == 0, key, jax.random.fold_in(key, seed))
        return jax.random.fold_in(repetition, number)

    return jax.vmap(fold)(jnp.asarray(numbers), jnp.asarray(seeds))


def draw_entries(
    key: Array,
    numbers: Int[np.ndarray, " C"],
    concept: Int[np.ndarray, " Q"],
    image: Int[np.ndarray, " Q"],
) -> UInt32[np.ndarray, " Q"]:
    """Random bits for every (concept, image) entry, from label number and image alone.

    So what is drawn for a concept does not depend on which others there are.

    Args:
      key: PRNG key.
      numbers: label numbers of C concepts.
      concept: place of each entry's concept.
      image: index of its image, or number of its film.
    """

    @jax.vmap
    def draw(number: Array, image: Array) -> Array:
        return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, number), image))

    drawn = draw(jnp.asarray(numbers[concept], jnp.uint32), jnp.asarray(image, jnp.uint32))
    return np.asarray(drawn)


def make_subset_heads(
    full: Heads, weights: Float[np.ndarray, "H K"], sizes: Sequence[int]
) -> Heads:
    """Heads that use only the filters of largest |weight| in the full embedding (behaviour 5.9).

    They start from the full heads' initial weights and bias and are retrained (behaviours 5.9,
    6.6: fresh weights, not the learned ones).

    Args:
      full: heads over all filters.
      weights: their trained weights.
      sizes: numbers of filters, each in 1 … K.

    Returns:
      For each size, one after the other, the heads of all concepts and repetitions.

    Raises:
      Net2VecError: a size out of range.
    """
    return join_heads(
        [
            dataclasses.replace(
                full,
                filter_mask=top_filters(weights, size),
                filters=np.full(len(full), size, np.int32),
            )
            for size in sizes
        ]
    )


def top_filters(weights: Float[np.ndarray, "H K"], size: int) -> Bool[np.ndarray, "H K"]:
    """The `size` filters of largest |weight| of every head; ties to the higher index.

    Raises:
      Net2VecError: `size` is not in 1 … K.
    """
    filters = weights.shape[1]
    if not 1 <= size <= filters:
        raise Net2VecError(f"{size} filters were asked for; the layer has 1 to {filters}")
    ranked = np.argsort(np.abs(weights), axis=1, kind="stable")[:, filters - size :]
    mask = np.zeros(weights.shape, bool)
    np.put_along_axis(mask, ranked, True, axis=1)
    return mask


def arrange_repetitions(heads: Heads, chosen: Bool[np.ndarray, " H"]) -> Int[np.ndarray, "S G"]:
    """Rows of the chosen heads by repetition: a column is a concept with a number of filters.

    Args:
      heads: H heads.
      chosen: which; the same concepts and numbers of filters in every repetition.

    Returns:
      Rows of the heads, S repetitions ascending, G columns by number of filters, then concept.

    Raises:
      Net2VecError: the repetitions are not of the same concepts and numbers of filters.
    """
    rows = np.flatnonzero(chosen)
    seeds = len(np.unique(heads.seed[rows]))
    order = np.lexsort([heads.concept[rows], heads.filters[rows], heads.seed[rows]])
    try:
        arranged = rows[order].reshape(max(seeds, 1), -1)
    except ValueError:
        arranged = rows[:0].reshape(1, 0)
    columns = np.stack([heads.concept[arranged], heads.filters[arranged]])
    if arranged.size != len(rows) or (columns != columns[:, :1]).any():
        raise Net2VecError("the repetitions of the heads are not of the same concepts and filters")
    return arranged


def find_entries(
    rows: Int[np.ndarray, "S G"], head: Int[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, "S P"], Int[np.ndarray, " P"]]:
    """Where the entries of heads are in a table sorted by head.

    Args:
      rows: of the heads, see `arrange_repetitions`; those of a column have equally many entries.
      head: of each entry, ascending.

    Returns:
      (positions of the entries, column after column; the column of each).
    """
    count = np.bincount(head, minlength=int(rows.max(initial=0)) + 1)
    first = np.cumsum(count) - count
    entries = count[rows[0]]
    column = np.repeat(np.arange(rows.shape[1]), entries)
    within = np.arange(len(column)) - np.repeat(np.cumsum(entries) - entries, entries)
    return first[rows][:, column] + within, column
