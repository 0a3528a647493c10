"""Concept embeddings by segmentation: all heads as one optax problem (reference spec, section 5).

Weights are [H heads, K filters]; each head has its own optimizer state and takes part in the steps
for which it still has a batch (`schedule`), so that training together equals training alone.
The model and its loss are in `segmentation_model`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.schedule import Schedule, make_schedule
from net2vec_jax.probes.score_maps import Form
from net2vec_jax.probes.segmentation_model import (
    ClassWeights,
    Geometry,
    Loss,
    ProbeData,
    class_weights_of,
    loss_and_gradient,
    place_data,
)


class UpdateRule(NamedTuple):
    """What a compiled step depends on; a run of more epochs or another order compiles nothing."""

    loss: Loss
    learning_rate: float
    momentum: float

    def make_optimizer(self) -> optax.GradientTransformation:
        """The optimizer of one head."""
        return optax.sgd(self.learning_rate, momentum=self.momentum)


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    """How segmentation embeddings are trained; the defaults are the preset `paper`.

    Attributes:
      epochs: passes over each concept's train images (spec 5.1).
      batch_size: images per optimisation step of one head (DESIGN section 3).
      learning_rate: of SGD (spec 5.1).
      momentum: of SGD, dampening 0 (spec 5.6).
      loss: "linear" as the reference (spec Q-8), or "bce", its logarithmic counterpart.
      shuffle: draw a new order of each concept's images every epoch; the reference keeps the
        order of the index (spec 5.7).
      legacy_single_image_scale: divide the gradient of a batch of one image by Y instead of 1, as
        the reference does by accident (spec Q-9, B-5).
      chunk_size: pairs computed at a time; only speed and memory depend on it.
      form: how activations are read, see `score_maps`; by default what suits the backend.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-4
    momentum: float = 0.9
    loss: Loss = "linear"
    shuffle: bool = False
    legacy_single_image_scale: bool = False
    chunk_size: int = 64
    form: Form | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or self.chunk_size < 1:
            raise Net2VecError(
                f"epochs {self.epochs} must be at least 0, batch size {self.batch_size} and chunk "
                f"size {self.chunk_size} at least 1"
            )
        if self.loss not in ("linear", "bce"):
            raise Net2VecError(f"loss {self.loss!r} is neither 'linear' nor 'bce'")

    def update_rule(self) -> UpdateRule:
        """What one step depends on."""
        return UpdateRule(self.loss, self.learning_rate, self.momentum)


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Trained heads.

    Attributes:
      weights: float32 [H, K], the embeddings; 0 outside a head's filter mask.
      loss: float32 [epochs, H], mean over a head's train images of the loss, while its weights
        change (spec 5.7).
      alpha: float64 [H], α of the head's concept (0 for whole-image concepts).
    """

    weights: np.ndarray
    loss: np.ndarray
    alpha: np.ndarray


@partial(
    jax.jit,
    static_argnames=("geometry", "update"),
    donate_argnames=("weights", "state"),
)
def _train_epoch(
    weights: Float[Array, "H K"],
    state: optax.OptState,
    schedule: Schedule,
    filter_mask: Float[Array, "H K"],
    data: ProbeData,
    class_weights: ClassWeights,
    *,
    geometry: Geometry,
    update: UpdateRule,
) -> tuple[Float[Array, "H K"], optax.OptState, Float[Array, " H"]]:
    """One epoch of every head; also the sum of each head's losses over its images."""
    optimizer = update.make_optimizer()

    def step(carry: tuple, number: Array) -> tuple[tuple, None]:
        weights, state, total = carry

        def chunk(index: Array, sums: tuple) -> tuple:
            gradient, total = sums
            head, scale = schedule.head[index], schedule.scale[index]
            value, gradient = loss_and_gradient(
                weights, gradient, head, schedule.pair[index], scale, data, class_weights,
                geometry=geometry, loss=update.loss,
            )  # fmt: skip
            return gradient, total.at[head].add(jnp.where(scale > 0, value, 0))

        gradient, total = jax.lax.fori_loop(
            schedule.first_chunk[number],
            schedule.first_chunk[number + 1],
            chunk,
            (jnp.zeros_like(weights), total),
        )
        updates, new_state = jax.vmap(optimizer.update)(gradient * filter_mask, state, weights)
        active = number < schedule.batches

        def keep_inactive(new: Array, old: Array) -> Array:
            return jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        new_weights = optax.apply_updates(weights, updates)
        carry = jax.tree.map(keep_inactive, (new_weights, new_state), (weights, state))
        return (*carry, total), None

    steps = jnp.arange(len(schedule.first_chunk) - 1)
    start = (weights, state, jnp.zeros(len(weights), weights.dtype))
    (weights, state, total), _ = jax.lax.scan(step, start, steps)
    return weights, state, total


def train_segmentation(
    heads: Heads,
    activations: BinaryActivations,
    masks: ConceptMasks,
    config: SegmentationConfig = SegmentationConfig(),
    *,
    key: Array | None = None,
    on_epoch: Callable[[int, Array], None] | None = None,
) -> SegmentationResult:
    """Train all heads at once on the train images of their concepts.

    A head's result does not depend on which other heads are trained beside it.

    Args:
      heads: what to train.
      activations: binary activations of all N images.
      masks: masks of the concepts.
      config: hyperparameters.
      key: PRNG key of the order of images; needed only with `config.shuffle`.
      on_epoch: called after each epoch with its number from 1 and the weights [H, K], which the
        next epoch overwrites: copy what you keep.

    Returns:
      Weights after the last epoch, losses and α.

    Raises:
      Net2VecError: a head's concept has no train image, or sizes disagree.
    """
    if heads.initial_weights.shape[1] != activations.filters:
        raise Net2VecError(
            f"heads over {heads.initial_weights.shape[1]} filters, but activations of "
            f"{activations.filters}"
        )
    if config.shuffle and key is None:
        raise Net2VecError("a PRNG key is needed to shuffle")
    if not len(heads):
        raise Net2VecError("there is no head to train: no concept has train and val images")
    data, geometry = place_data(activations, masks, config.form)
    train_pairs = np.flatnonzero(~masks.pair_is_val)
    images, _ = masks.count_images()
    first = np.cumsum(images) - images
    class_weights, alpha = class_weights_of(masks, heads)
    pairs_per_step = int(np.minimum(images[heads.concept], config.batch_size).sum())
    build = partial(
        make_schedule,
        images[heads.concept],
        batch_size=config.batch_size,
        chunk_size=min(config.chunk_size, -(-max(pairs_per_step, 1) // 8) * 8),
        single_image_divisor=masks.segmentation_size[0] if config.legacy_single_image_scale else 1,
    )
    # On the device once: only shuffling changes it.
    schedule = jax.device_put(build(first[heads.concept], train_pairs))
    update = config.update_rule()
    optimizer = update.make_optimizer()
    mask = jnp.asarray(heads.filter_mask, jnp.float32)
    weights = jnp.asarray(heads.initial_weights, jnp.float32) * mask
    state = jax.vmap(optimizer.init)(weights)
    losses = []
    for epoch in range(config.epochs):
        if config.shuffle:
            order = _shuffle_train_pairs(jax.random.fold_in(key, epoch), masks)
            schedule = build(first[heads.concept], order)
        weights, state, total = _train_epoch(
            weights, state, schedule, mask, data, class_weights,
            geometry=geometry, update=update,
        )  # fmt: skip
        losses.append(total)
        if on_epoch is not None:
            on_epoch(epoch + 1, weights)
    loss = np.array(losses).reshape(config.epochs, len(heads)) / images[heads.concept]
    return SegmentationResult(np.asarray(weights), loss.astype(np.float32), alpha)


def _shuffle_train_pairs(key: Array, masks: ConceptMasks) -> np.ndarray:
    """The train pairs, concept by concept, each concept's in a random order of its own."""
    train = ~masks.pair_is_val
    pairs = np.flatnonzero(train)
    concept, image = masks.pair_concept[train], masks.pair_image[train]
    numbers = np.array([concept.number for concept in masks.catalog], np.uint32)

    @jax.vmap
    def draw(number: Array, image: Array) -> Array:
        return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, number), image))

    order = np.lexsort([np.asarray(draw(numbers[concept], image.astype(np.uint32))), concept])
    return pairs[order]
