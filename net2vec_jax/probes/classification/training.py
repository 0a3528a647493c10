"""Concept embeddings by classification: all heads as one optax problem (reference behaviour 6).

A group is a concept in one repetition (seed); all its heads, one per filter subset, see the same
images, so that the images' activations are read once for all of them. Groups are divided over all
devices. A device's are sorted by their number of batches: those that still have one are the first,
and a step goes through them in chunks of fixed size. Training together equals training alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, Sharding
from jaxtyping import Array, Float, Int, UInt32

from net2vec_jax.core.console import track
from net2vec_jax.core.devices import (
    COPIED,
    DIVIDED,
    Division,
    divide_evenly,
    make_mesh,
    place_copies,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.classification.groups import HeadGroups
from net2vec_jax.probes.classification.model import score, weight_gradient
from net2vec_jax.probes.classification.sampling import WORDS, Sampler
from net2vec_jax.probes.heads import Heads, check_rates, refuse_divergence

Optimizer = Literal["sgd", "adam"]


@dataclasses.dataclass(frozen=True)
class ClassificationConfig:
    """How classification embeddings are trained; the defaults are the published settings.

    Attributes:
      epochs: passes over each concept's balanced train images (behaviour 6.1).
      batch_size: images per optimisation step of one group.
      learning_rate: of the first epochs.
      epochs_per_decay: the learning rate is multiplied by 0.1 whenever so many epochs have passed;
        None keeps it.
      optimizer: "sgd" with momentum, or "adam".
      momentum: of SGD.
      chunk_size: groups computed at a time; only speed and memory depend on it.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    epochs_per_decay: int | None = 15
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    chunk_size: int = 8

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or self.chunk_size < 1:
            raise Net2VecError(
                f"epochs {self.epochs} must be at least 0, batch size {self.batch_size} and chunk "
                f"size {self.chunk_size} at least 1"
            )
        check_rates(self.learning_rate, self.momentum)
        if self.epochs_per_decay is not None and self.epochs_per_decay < 1:
            raise Net2VecError(f"epochs per decay {self.epochs_per_decay} must be at least 1")
        if self.optimizer not in ("sgd", "adam"):
            raise Net2VecError(f"optimizer {self.optimizer!r} is neither 'sgd' nor 'adam'")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, from 0."""
        if self.epochs_per_decay is None:
            return self.learning_rate
        return self.learning_rate * 0.1 ** (epoch // self.epochs_per_decay)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationResult:
    """Trained heads.

    Attributes:
      weights: float32 [H, K], the embeddings; 0 outside a head's filter mask.
      bias: float32 [H].
      loss: float32 [epochs, H], mean over an epoch's images while the weights change.
      accuracy: float32 [epochs, H], of the same images, in [0, 1].
    """

    weights: np.ndarray
    bias: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray


class _Rule(NamedTuple):
    """What a compiled step depends on."""

    optimizer: Optimizer
    momentum: float
    batch_size: int
    chunk_size: int

    def make_optimizer(self) -> optax.GradientTransformation:
        """The direction of a step; the learning rate is applied to it afterwards."""
        if self.optimizer == "sgd":
            return optax.trace(self.momentum)
        return optax.scale_by_adam()


class _State(NamedTuple):
    """What training changes; the last axes of every leaf are groups, heads and, maybe, filters.

    Losses and right answers are summed over an epoch.
    """

    weights: Float[Array, "*G R K"]
    bias: Float[Array, "*G R"]
    optimizer: optax.OptState
    loss: Float[Array, "*G R"]
    correct: Float[Array, "*G R"]

    @classmethod
    def begin(cls, weights: Array, bias: Array, rule: _Rule) -> _State:
        """Before the first epoch; leaves lie on the devices of `weights`, which come first."""
        optimizer = _make_initialiser(rule, weights.sharding)((weights, bias))
        return cls(weights, bias, optimizer, bias, bias)


@cache
def _make_initialiser(
    rule: _Rule, sharding: Sharding
) -> Callable[[tuple[Array, Array]], optax.OptState]:
    """One function for every training of a rule: a new one would be compiled anew."""
    init = jax.vmap(jax.vmap(jax.vmap(rule.make_optimizer().init)))
    return jax.jit(init, out_shardings=sharding)


@partial(jax.jit, static_argnames=("mesh", "rule"))
def _train_epoch(
    state: _State,
    filter_mask: Float[Array, "D n R K"],
    group: Int[Array, "D n"],
    words: UInt32[Array, "D n 6"],
    count: Int[Array, "D n"],
    pooled: Float[Array, "P N K"],
    sampler: Sampler,
    rate: Float[Array, ""],
    *,
    mesh: Mesh,
    rule: _Rule,
) -> _State:
    """One epoch of every device's groups; devices come first."""

    def on_device(
        divided: tuple[_State, Array, Array, Array, Array], *copied: Array | Sampler
    ) -> _State:
        trained = _train_groups(*jax.tree.map(lambda x: x[0], divided), *copied, rule=rule)
        return jax.tree.map(lambda x: x[None], trained)

    every_device = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(DIVIDED, COPIED, COPIED, COPIED),
        out_specs=DIVIDED,
        check_vma=False,
    )
    return every_device((state, filter_mask, group, words, count), pooled, sampler, rate)


def _train_groups(
    state: _State,
    filter_mask: Float[Array, "G R K"],
    group: Int[Array, " G"],
    words: UInt32[Array, "G 6"],
    count: Int[Array, " G"],
    pooled: Float[Array, "P N K"],
    sampler: Sampler,
    rate: Float[Array, ""],
    *,
    rule: _Rule,
) -> _State:
    """One epoch of one device's groups; their numbers of batches descend."""
    optimizer = rule.make_optimizer()
    place = jnp.arange(rule.batch_size)
    zeros = jnp.zeros_like(state.bias)
    state = state._replace(loss=zeros, correct=zeros)

    def train_chunk(step: Array, number: Array, state: _State) -> _State:
        first = number * rule.chunk_size

        def take(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, first, rule.chunk_size)

        old = jax.tree.map(take, state)
        mask, groups, drawn, images = map(take, (filter_mask, group, words, count))
        places = jnp.broadcast_to(
            step * rule.batch_size + place[None], (rule.chunk_size, len(place))
        )
        shape = (*places.shape, WORDS)
        image, shows = sampler.draw(
            jnp.broadcast_to(groups[:, None], places.shape),
            jnp.broadcast_to(drawn[:, None], shape),
            places,
        )
        valid = (places < images[:, None]).astype(jnp.float32)[:, :, None]
        target = shows.astype(jnp.float32)[:, :, None]
        values = pooled[:, image]
        logits = score(old.weights, old.bias, values)
        share = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
        error = (jax.nn.sigmoid(logits) - target) * share
        gradient = (weight_gradient(old.weights, error, values) * mask, error.sum(1))
        update = jax.vmap(jax.vmap(optimizer.update))
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it for its count of steps
            direction, optimizer_state = update(gradient, old.optimizer, (old.weights, old.bias))
        weights, bias = jax.tree.map(
            lambda old, step: old - rate * step, (old.weights, old.bias), direction
        )
        loss = jax.nn.softplus(logits) - target * logits
        correct = jnp.where(target > 0, logits > 0, logits < 0)
        new = _State(
            weights,
            bias,
            optimizer_state,
            old.loss + (loss * valid).sum(1),
            old.correct + (correct.astype(jnp.float32) * valid).sum(1),
        )
        active = step * rule.batch_size < images

        def put(whole: Array, old: Array, new: Array) -> Array:
            kept = jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
            return jax.lax.dynamic_update_slice_in_dim(whole, kept, first, 0)

        return jax.tree.map(put, state, old, new)

    def train_step(step: Array, state: _State) -> _State:
        active = jnp.sum(step * rule.batch_size < count)
        chunks = (active + rule.chunk_size - 1) // rule.chunk_size
        return jax.lax.fori_loop(0, chunks, partial(train_chunk, step), state)

    steps = (count.max() + rule.batch_size - 1) // rule.batch_size
    return jax.lax.fori_loop(0, steps, train_step, state)


def train_classification_heads(
    heads: Heads,
    pooled: Float[np.ndarray, "P N K"],
    groups: HeadGroups,
    words: Callable[[int], UInt32[Array, "G 6"]],
    config: ClassificationConfig = ClassificationConfig(),
    *,
    progress: str = "",
) -> ClassificationResult:
    """Train all heads at once, on all devices.

    A head's result does not depend on which others are trained beside it, nor on the number of
    devices. On several hosts, all call this with the same arguments and get the same result.

    Args:
      heads: what to train.
      pooled: pooled activations of all N images, see `collect_pooled_activations`.
      groups: which heads see the same images, and which images, see `group_heads`.
      words: random words of each group from the number of the epoch, from 0.
      config: hyperparameters.
      progress: name of a progress bar; none is shown by default.

    Returns:
      Weights and bias after the last epoch; losses and accuracies of the epochs.

    Raises:
      Net2VecError: there is no head, a group has no image, sizes disagree, or training diverged.
    """
    count = np.asarray(groups.count, np.int64)
    filters = np.shape(pooled)[2]
    if not len(heads):
        raise Net2VecError("there is no head to train: no concept has enough images")
    if heads.initial_weights.shape[1] != filters:
        raise Net2VecError(
            f"heads over {heads.initial_weights.shape[1]} filters, but activations of {filters}"
        )
    if count.min() < 1:
        raise Net2VecError(f"a group has no train images: {count.tolist()[:10]}")
    rule = _Rule(config.optimizer, config.momentum, config.batch_size, config.chunk_size)
    division = _divide_groups(-(-count // config.batch_size), rule.chunk_size, make_mesh())

    def place(values: np.ndarray | Array, dtype: type = np.float32) -> Array:
        return division.place(np.asarray(values, dtype))

    filter_mask = groups.lay(heads.filter_mask)
    weights = place(groups.lay(heads.initial_weights) * filter_mask)
    state = _State.begin(weights, place(groups.lay(heads.initial_bias)), rule)
    placed_mask, placed_count = place(filter_mask), place(count, np.int32)
    group = place(np.arange(len(count)), np.int32)
    copies = place_copies(division.mesh, (np.asarray(pooled, np.float32), groups.sampler))
    losses, corrects = [], []
    for epoch in track(range(config.epochs), progress, unit="epoch"):
        state = _train_epoch(
            state, placed_mask, group, place(words(epoch), np.uint32), placed_count, *copies,
            jnp.float32(config.rate(epoch)), mesh=division.mesh, rule=rule,
        )  # fmt: skip
        losses.append(state.loss)
        corrects.append(state.correct)
        if progress:
            jax.block_until_ready(state.loss)  # or the bar would run ahead of the devices

    def bring(divided: Array) -> np.ndarray:
        return groups.bring(division.bring(divided))

    def mean(totals: list[Array]) -> np.ndarray:
        if not totals:
            return np.zeros((0, len(heads)), np.float32)
        images = count[:, None, None].astype(np.float32)
        return groups.bring(division.bring(jnp.stack(totals, -1)) / images).T

    result = ClassificationResult(
        weights=bring(state.weights),
        bias=bring(state.bias),
        loss=mean(losses),
        accuracy=mean(corrects),
    )
    names = np.array(groups.name)[:, None].repeat(groups.rows.shape[1], axis=1)
    trained = np.column_stack([result.weights, result.bias])
    refuse_divergence(groups.bring(names).tolist(), result.loss, trained, config.learning_rate)
    return result


def _divide_groups(batches: Int[np.ndarray, " G"], chunk_size: int, mesh: Mesh) -> Division:
    """About equally many batches for every device, groups with many first, in whole chunks."""
    parts = [
        items[np.argsort(-batches[items], kind="stable")]
        for items in divide_evenly(batches, mesh.size)
    ]
    return Division(mesh, parts, -(-max(map(len, parts)) // chunk_size) * chunk_size)
