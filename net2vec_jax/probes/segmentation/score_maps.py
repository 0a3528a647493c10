"""Score maps S[p] = Σ_k w_k x_k[p] of (head, image) pairs, and the transposed operation.

Of binary activations, x_k = 1[A_k > T_k], there are two forms of the same sum. "sparse" walks over
the active entries (gather, scatter-add): on a CPU about ten times faster than unpacking. "dense"
unpacks the bits and multiplies: the better form on a GPU or TPU. Standardised activations are
multiplied as they are. c pairs at a time; p = y·w + x runs over the h·w positions of the grid.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from net2vec_jax.activations.binary import entries_per_block
from net2vec_jax.activations.standardized import SpatialActivations, StandardizedActivations

Form = Literal["sparse", "dense"]


class SparseActivations(NamedTuple):
    """Active entries, see `ActiveEntries`."""

    position: Int[Array | np.ndarray, " E"]
    filter: Int[Array | np.ndarray, " E"]
    first: Int[Array | np.ndarray, " N"]
    length: Int[Array | np.ndarray, " N"]


class DenseActivations(NamedTuple):
    """Packed bits, see `BinaryActivations`."""

    packed: UInt8[Array | np.ndarray, "N p bytes"]


class RealActivations(NamedTuple):
    """Values, see `StandardizedActivations`."""

    values: Float[Array | np.ndarray, "N p K"]


ArrangedActivations = SparseActivations | DenseActivations | RealActivations


def arrange_activations(
    activations: SpatialActivations, form: Form | None = None
) -> ArrangedActivations:
    """Activations in a form, by default the one that suits the backend; numpy arrays."""
    if isinstance(activations, StandardizedActivations):
        return RealActivations(activations.values)
    if form is None:
        form = "sparse" if jax.default_backend() == "cpu" else "dense"
    if form == "dense":
        return DenseActivations(activations.pack())
    entries = activations.active_entries
    return SparseActivations(entries.position, entries.filter, entries.first, entries.count)


def score_maps(
    weights: Float[Array, "H K"],
    head: Int[Array, " c"],
    image: Int[Array, " c"],
    activations: ArrangedActivations,
    positions: int,
) -> Float[Array, "c p"]:
    """Σ_k w[head, k] x[image, p, k] at every position of the activation grid."""
    if not isinstance(activations, SparseActivations):
        values = read_values(activations, image, weights.shape[1])
        return jnp.einsum("cpk,ck->cp", values, weights[head], precision=jax.lax.Precision.HIGHEST)
    pairs = jnp.arange(len(head))[:, None]

    def add_block(block: Array, scores: Array) -> Array:
        position, filter_ = _read_block(activations, image, block, positions)
        return scores.at[pairs, position].add(weights[head[:, None], filter_], mode="drop")

    scores = jnp.zeros((len(head), positions), weights.dtype)
    return jax.lax.fori_loop(0, _blocks(activations, image), add_block, scores)


def add_weight_gradients(
    gradient: Float[Array, "H K"],
    head: Int[Array, " c"],
    image: Int[Array, " c"],
    activations: ArrangedActivations,
    score_gradient: Float[Array, "c p"],
) -> Float[Array, "H K"]:
    """`gradient` plus each pair's Σ_p x[image, p, k] · score_gradient[p], at its head."""
    if not isinstance(activations, SparseActivations):
        values = read_values(activations, image, gradient.shape[1])
        of_pairs = jnp.einsum(
            "cpk,cp->ck", values, score_gradient, precision=jax.lax.Precision.HIGHEST
        )
        return gradient.at[head].add(of_pairs)
    pairs = jnp.arange(len(head))[:, None]

    def add_block(block: Array, gradient: Array) -> Array:
        position, filter_ = _read_block(activations, image, block, score_gradient.shape[1])
        values = score_gradient.at[pairs, position].get(mode="fill", fill_value=0)
        return gradient.at[head[:, None], filter_].add(values)

    return jax.lax.fori_loop(0, _blocks(activations, image), add_block, gradient)


def read_values(
    activations: DenseActivations | RealActivations, image: Int[Array, " c"], filters: int
) -> Float[Array, "c p K"]:
    """x[image, p, k] of c images: 0 or 1 where they are binary."""
    if isinstance(activations, RealActivations):
        return jnp.asarray(activations.values)[image]
    packed = activations.packed[image]
    bits = (packed[..., None] >> jnp.arange(8, dtype=jnp.uint8)[None, None, None, :]) & 1
    return bits.reshape(*packed.shape[:2], -1)[..., :filters].astype(jnp.float32)


def _block_size(activations: SparseActivations) -> int:
    return entries_per_block(len(activations.position), len(activations.first))


def _blocks(activations: SparseActivations, image: Array) -> Array:
    """How many blocks of entries the longest list among these images has."""
    size = _block_size(activations)
    return (jnp.max(activations.length[image]) + size - 1) // size


def _read_block(
    activations: SparseActivations, image: Array, block: Array, positions: int
) -> tuple[Array, Array]:
    """A block of each image's list; behind its end the position is `positions`, out of range."""
    size = _block_size(activations)
    first = activations.first[image] + block * size
    left = activations.length[image] - block * size

    def read(entries: Array | np.ndarray) -> Array:
        read_one = jax.vmap(lambda one: jax.lax.dynamic_slice(entries, (one,), (size,)))
        return read_one(first).astype(jnp.int32)

    inside = jnp.arange(size)[None] < left[:, None]
    return jnp.where(inside, read(activations.position), positions), read(activations.filter)
