"""One epoch of the segmentation probe on all devices: gradients, updates, who takes part.

Weights are [D devices, n heads, K filters] outside, [n, K] on a device; heads with many batches
come first, so that those that still have one are the first of a device. Nothing is communicated.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, Float

from net2vec_jax.core.devices import DIVIDED
from net2vec_jax.probes.head_shards import DATA_SPEC
from net2vec_jax.probes.segmentation.model import (
    ClassWeights,
    Geometry,
    Loss,
    ProbeData,
    loss_and_gradient,
)
from net2vec_jax.probes.segmentation.schedule import Schedule


class UpdateRule(NamedTuple):
    """What a compiled step depends on; a run of more epochs or another order compiles nothing."""

    loss: Loss
    learning_rate: float
    momentum: float

    def make_optimizer(self) -> optax.GradientTransformation:
        """The optimizer of one head."""
        return optax.sgd(self.learning_rate, momentum=self.momentum)


class TrainingState(NamedTuple):
    """What training changes; the first axis of every leaf is a device's heads, n."""

    weights: Float[Array, "n K"]
    optimizer: optax.OptState


class _Carry(NamedTuple):
    """What an epoch goes through: the gradients of a step, and losses summed over images."""

    state: TrainingState
    gradient: Float[Array, "n K"]
    loss: Float[Array, " n"]


@partial(
    jax.jit, static_argnames=("mesh", "geometry", "update", "block"), donate_argnames=("state",)
)
def train_epoch(
    state: TrainingState,
    schedule: Schedule,
    filter_mask: Float[Array, "D n K"],
    data: ProbeData,
    class_weights: ClassWeights,
    *,
    mesh: Mesh,
    geometry: Geometry,
    update: UpdateRule,
    block: int,
) -> tuple[TrainingState, Float[Array, "D n"]]:
    """One epoch of every head, and its loss summed over the images; devices come first."""

    def on_device(
        state: TrainingState, schedule: Schedule, mask: Array, data: ProbeData, share: ClassWeights
    ) -> tuple[TrainingState, Array]:
        state, schedule, mask, share = jax.tree.map(lambda x: x[0], (state, schedule, mask, share))
        pairs = jax.tree.map(lambda x: x[0], data[1:])
        results = _train_heads(
            state, schedule, mask, ProbeData(data.activations, *pairs), share,
            geometry=geometry, update=update, block=block,
        )  # fmt: skip
        return jax.tree.map(lambda x: x[None], results)

    divided = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(DIVIDED, DIVIDED, DIVIDED, DATA_SPEC, DIVIDED),
        out_specs=DIVIDED,
        check_vma=False,
    )
    return divided(state, schedule, filter_mask, data, class_weights)


def _train_heads(
    state: TrainingState,
    schedule: Schedule,
    filter_mask: Float[Array, "n K"],
    data: ProbeData,
    class_weights: ClassWeights,
    *,
    geometry: Geometry,
    update: UpdateRule,
    block: int,
) -> tuple[TrainingState, Float[Array, " n"]]:
    """One epoch of one device's heads, and its loss; those with many batches come first.

    A step adds up the gradients of its chunks, then updates the heads that took part, in blocks.
    """
    optimizer = update.make_optimizer()

    def add_chunk(index: Array, carry: _Carry) -> _Carry:
        state, gradient, loss = carry
        head, scale = schedule.head[index], schedule.scale[index]
        value, gradient = loss_and_gradient(
            state.weights, gradient, head, schedule.pair[index], scale, data, class_weights,
            geometry=geometry, loss=update.loss,
        )  # fmt: skip
        return _Carry(state, gradient, loss.at[head].add(jnp.where(scale > 0, value, 0)))

    def step(number: Array, carry: _Carry) -> _Carry:
        first, last = schedule.first_chunk[number], schedule.first_chunk[number + 1]
        carry = jax.lax.fori_loop(first, last, add_chunk, carry)
        blocks = (jnp.sum(number < schedule.batches) + block - 1) // block

        def update_block(place: Array, carry: _Carry) -> _Carry:
            def take(leaf: Array | np.ndarray) -> Array:
                return jax.lax.dynamic_slice_in_dim(leaf, place * block, block)

            def put(whole: Array, part: Array) -> Array:
                return jax.lax.dynamic_update_slice_in_dim(whole, part, place * block, 0)

            old = jax.tree.map(take, carry.state)
            gradient = take(carry.gradient) * take(filter_mask)
            updates, new = jax.vmap(optimizer.update)(gradient, old.optimizer, old.weights)
            active = number < take(schedule.batches)

            def keep_inactive(new: Array, old: Array) -> Array:
                return jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

            weights = cast(Array, optax.apply_updates(old.weights, updates))
            updated = TrainingState(weights, new)
            return carry._replace(
                state=jax.tree.map(put, carry.state, jax.tree.map(keep_inactive, updated, old)),
                gradient=put(carry.gradient, jnp.zeros_like(gradient)),
            )

        return jax.lax.fori_loop(0, blocks, update_block, carry)

    start = _Carry(state, jnp.zeros_like(state.weights), jnp.zeros(len(state.weights)))
    state, _, loss = jax.lax.fori_loop(0, len(schedule.first_chunk) - 1, step, start)
    return state, loss


@partial(jax.jit, static_argnames=("update", "sharding"))
def initial_state(
    weights: Float[Array, "D n K"], *, update: UpdateRule, sharding: Sharding
) -> TrainingState:
    """The state before the first step, laid on the devices as `sharding` says."""
    optimizer = jax.vmap(jax.vmap(update.make_optimizer().init))(weights)
    return jax.lax.with_sharding_constraint(TrainingState(weights, optimizer), sharding)
