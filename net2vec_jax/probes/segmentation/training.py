"""Concept embeddings by segmentation: all heads as one optax problem (reference behaviour 5).

Weights are [H heads, K filters]; each head has its own optimizer state and takes part in the steps
for which it still has a batch (`schedule`), so that training together equals training alone. Heads
are divided over all devices (`head_shards`). An epoch is in `segmentation_steps`, the model and its
loss in `segmentation_model`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, UInt32

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.devices import make_mesh, place_parts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.head_shards import (
    HeadShards,
    divide_heads,
    resolve_chunk_size,
)
from net2vec_jax.probes.heads import (
    Heads,
    check_rates,
    draw_entries,
    draw_initial_weights,
    fill_up,
    fold_heads,
    refuse_divergence,
)
from net2vec_jax.probes.segmentation.model import (
    Loss,
    class_weights_of,
    geometry_of,
)
from net2vec_jax.probes.segmentation.schedule import Schedule, make_schedule, pad_schedule
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.probes.segmentation.steps import UpdateRule, initial_state, train_epoch


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    """How segmentation embeddings are trained; the defaults are the preset `paper`.

    Attributes:
      epochs: passes over each concept's train images (behaviour 5.1).
      batch_size: images per optimisation step of one head.
      learning_rate: of SGD (behaviour 5.1).
      momentum: of SGD, dampening 0 (behaviour 5.6).
      loss: "linear" as the reference (behaviour Q-8), or "bce", its logarithmic counterpart.
      shuffle: draw a new order of each concept's images every epoch; the reference keeps the
        order of the index (behaviour 5.7).
      legacy_single_image_scale: divide the gradient of a batch of one image by Y instead of 1, as
        the reference does by accident (behaviour Q-9, B-5).
      chunk_size: pairs computed at a time on a device; only speed and memory depend on it; by
        default what suits the backend.
      form: how activations are read, see `score_maps`; by default what suits the backend.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-4
    momentum: float = 0.9
    loss: Loss = "linear"
    shuffle: bool = False
    legacy_single_image_scale: bool = False
    chunk_size: int | None = None
    form: Form | None = None

    def __post_init__(self) -> None:
        chunk_size = 1 if self.chunk_size is None else self.chunk_size
        if self.epochs < 0 or self.batch_size < 1 or chunk_size < 1:
            raise Net2VecError(
                f"epochs {self.epochs} must be at least 0, batch size {self.batch_size} and chunk "
                f"size {self.chunk_size} at least 1"
            )
        check_rates(self.learning_rate, self.momentum)
        if self.loss not in ("linear", "bce"):
            raise Net2VecError(f"loss {self.loss!r} is neither 'linear' nor 'bce'")

    def update_rule(self) -> UpdateRule:
        """What one step depends on."""
        return UpdateRule(self.loss, self.learning_rate, self.momentum)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Trained heads.

    Attributes:
      weights: float32 [H, K], the embeddings; 0 outside a head's filter mask.
      loss: float32 [epochs, H], mean over a head's train images of the loss, while its weights
        change (behaviour 5.7).
      alpha: float64 [H], α of the head's concept (0 for whole-image concepts).
    """

    weights: np.ndarray
    loss: np.ndarray
    alpha: np.ndarray


def make_segmentation_heads(
    masks: ConceptMasks, *, filters: int, key: Array, seeds: int = 1
) -> Heads:
    """One head over all filters per repetition and concept that can be trained and reported.

    A concept without a train or without a val image gets no head (behaviour 5.3, B-27).

    Args:
      masks: the concepts and their images.
      filters: K.
      key: PRNG key of the initial weights.
      seeds: repetitions, which differ in their initial weights.
    """
    train, val = masks.count_images()
    kept = np.flatnonzero((train > 0) & (val > 0)).astype(np.int32)
    numbers = masks.catalog.numbers
    concept, seed = np.tile(kept, seeds), np.repeat(np.arange(seeds, dtype=np.int32), len(kept))
    weights = _draw_weights(key, fill_up(numbers[concept]), fill_up(seed), filters=filters)
    return Heads.of(concept, np.asarray(weights)[: len(concept)], seed=seed)


@partial(jax.jit, static_argnames=("filters",))
def _draw_weights(
    key: Array, numbers: UInt32[Array, " H"], seeds: UInt32[Array, " H"], *, filters: int
) -> Float[Array, "H K"]:
    return draw_initial_weights(fold_heads(key, numbers, seeds), filters)


def train_segmentation_heads(
    heads: Heads,
    activations: BinaryActivations,
    masks: ConceptMasks,
    config: SegmentationConfig = SegmentationConfig(),
    *,
    key: Array | None = None,
    on_epoch: Callable[[int, np.ndarray], None] | None = None,
    progress: str = "",
) -> SegmentationResult:
    """Train all heads at once on the train images of their concepts, on all devices.

    A head's result does not depend on which other heads are trained beside it, nor on the number of
    devices. On several hosts, all call this with the same arguments and get the same result.

    Args:
      heads: what to train.
      activations: binary activations of all N images.
      masks: masks of the concepts.
      config: hyperparameters.
      key: PRNG key of the order of images; needed only with `config.shuffle`.
      on_epoch: called after each epoch with its number from 1 and the weights [H, K].
      progress: name of a progress bar; none is shown by default.

    Returns:
      Weights after the last epoch, losses and α.

    Raises:
      Net2VecError: a head's concept has no train image, sizes disagree, or training diverged.
    """
    if heads.initial_weights.shape[1] != activations.filters:
        raise Net2VecError(
            f"heads over {heads.initial_weights.shape[1]} filters, but activations of "
            f"{activations.filters}"
        )
    if config.shuffle and key is None:
        raise Net2VecError("a PRNG key is needed to shuffle")
    shuffle_key = key if config.shuffle else None
    if not len(heads):
        raise Net2VecError("there is no head to train: no concept has train and val images")
    geometry = geometry_of(activations, masks)
    chunk_size = resolve_chunk_size(config.chunk_size, geometry, activations.filters)
    train = ~masks.pair_is_val
    images, _ = masks.count_images()
    if images[heads.concept].min() < 1:
        concept = masks.catalog.concepts[heads.concept[images[heads.concept].argmin()]]
        raise Net2VecError(f"concept {concept.name!r} has no train image")
    shards = divide_heads(heads, masks, train, make_mesh())
    data = shards.place_data(activations, masks, config.form)
    class_weights, alpha = class_weights_of(masks, heads)
    placed_weights = jax.tree.map(shards.place, class_weights)
    mask = shards.place(heads.filter_mask.astype(np.float32))
    initial = shards.place((heads.initial_weights * heads.filter_mask).astype(np.float32))
    state = initial_state(initial, update=config.update_rule(), sharding=initial.sharding)
    schedule = None
    losses = []
    for epoch in track(range(config.epochs), progress, unit="epoch"):
        if shuffle_key is not None:
            schedule = _place_schedule(
                shards, masks, config, chunk_size, jax.random.fold_in(shuffle_key, epoch)
            )
        elif schedule is None:
            schedule = _place_schedule(shards, masks, config, chunk_size)
        state, loss = train_epoch(
            state, schedule, mask, data, placed_weights,
            mesh=shards.mesh, geometry=geometry, update=config.update_rule(), block=shards.block,
        )  # fmt: skip
        losses.append(loss)
        if progress:
            jax.block_until_ready(loss)  # or the bar would run ahead of the devices
        if on_epoch is not None:
            on_epoch(epoch + 1, shards.bring(state.weights))
    # Fetched only now: without a callback, devices need not wait for each other between epochs.
    sums = np.array([shards.bring(loss) for loss in losses]).reshape(config.epochs, len(heads))
    loss = (sums / images[heads.concept]).astype(np.float32)
    weights = shards.bring(state.weights)
    names = [masks.catalog.concepts[place].name for place in heads.concept]
    refuse_divergence(names, loss, weights, config.learning_rate)
    return SegmentationResult(weights, loss, alpha)


def _place_schedule(
    shards: HeadShards,
    masks: ConceptMasks,
    config: SegmentationConfig,
    chunk_size: int,
    key: Array | None = None,
) -> Schedule:
    """An epoch's schedule of every device; in the order of the index, or one drawn with a key."""
    divisor = masks.segmentation_size[0] if config.legacy_single_image_scale else 1
    busiest = max(int(np.minimum(s.count, config.batch_size).sum()) for s in shards.shards)
    schedules = [
        make_schedule(
            shard.count,
            shard.first,
            np.arange(len(shard.pairs)) if key is None else _shuffle(key, masks, shard.pairs),
            batch_size=config.batch_size,
            chunk_size=min(chunk_size, -(-busiest // 8) * 8),
            single_image_divisor=divisor,
        )
        for shard in shards.shards
    ]
    chunks = max(len(each.pair) for each in schedules)
    steps = max(len(each.first_chunk) for each in schedules) - 1
    padded = [pad_schedule(s, chunks=chunks, steps=steps, heads=shards.size) for s in schedules]
    return Schedule(
        *(
            place_parts(shards.mesh, lambda place, field=field: getattr(padded[place], field))
            for field in Schedule._fields
        )
    )


def _shuffle(key: Array, masks: ConceptMasks, pairs: np.ndarray) -> np.ndarray:
    """Places in `pairs`, concept by concept, each concept's in a random order of its own."""
    concept = masks.pair_concept[pairs]
    drawn = draw_entries(key, masks.catalog.numbers, concept, masks.pair_image[pairs])
    return np.lexsort([drawn, concept])
