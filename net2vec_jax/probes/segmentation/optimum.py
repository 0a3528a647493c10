"""Embeddings at the optimum of their loss: logistic regression with L2, all concepts at once.

A head's loss is the mean over its n train images of the cross-entropy per pixel, on the activation
grid (see `grid_targets`), and a penalty that one image in n shares:
  f(w, b) = 1/n Σ_images 1/(Y·X) Σ_p [mass_p·softplus(z_p) − t_p·z_p] + l2/(2n) (‖w‖² + b²),
z = w·x + b. It is linear in the target, so that Σ t·x is taken once, before training. f is strongly
convex: it has one minimum, and f − min f ≤ ‖∇f‖² · n/(2·l2) says how far away it can be. L-BFGS
(Nocedal and Wright, 2006, algorithm 7.5) with a step length of its own for every head goes on until
that bound is small against what the loss has decreased.

Images are read once per step, see `image_blocks`: two matrix products [p, K] · [K, b] for an image
and b heads that train on it. Devices do not talk to each other. D devices, n heads on each.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.core.console import open_bar
from net2vec_jax.core.devices import COPIED, DIVIDED, place_copies
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.grid_targets import mass_of_positions
from net2vec_jax.probes.segmentation.image_blocks import Blocks, DividedEntries, Entries
from net2vec_jax.probes.segmentation.model import geometry_of
from net2vec_jax.probes.segmentation.score_maps import (
    DenseActivations,
    RealActivations,
    arrange_activations,
    read_values,
)

STEPS_PER_CALL = 16
SHORTEST_STEP = 1e-4
"""A head whose loss does not fall with so short a step is as low as float32 can tell."""


@dataclasses.dataclass(frozen=True)
class OptimumConfig:
    """How embeddings are brought to their optimum.

    Attributes:
      l2: penalties to choose from, in units of one image's loss per squared weight.
      loss_share: a head is done when it has certainly had this share of the possible decrease.
      selection_share: the same while penalties are compared.
      most_steps: evaluations of the loss after which a head is left as it is.
      memory: steps that L-BFGS remembers.
      selection_images: train images, at most, on which penalties are compared; a quarter of them
        judge.
    """

    l2: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    loss_share: float = 0.99
    selection_share: float = 0.95
    most_steps: int = 1000
    memory: int = 10
    selection_images: int = 256

    def __post_init__(self) -> None:
        shares = 0 < self.loss_share < 1 and 0 < self.selection_share < 1
        if not self.l2 or min(self.l2) <= 0 or not np.isfinite(self.l2).all() or not shares:
            raise Net2VecError(
                f"penalties {self.l2} must be positive and shares in (0, 1), not {self.loss_share} "
                f"and {self.selection_share}"
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class OptimumResult:
    """Heads at their optimum.

    Attributes:
      weights: float32 [H, K], the embeddings; 0 outside a head's filter mask.
      bias: float32 [H].
      loss: float32 [H], cross-entropy per pixel without the penalty.
      loss_share: float32 [H], at least so much of the possible decrease of f, from w = 0, was had.
      l2: float32 [H], the penalty.
      steps: int32 [H], evaluations of the loss until the head was done.
    """

    weights: np.ndarray
    bias: np.ndarray
    loss: np.ndarray
    loss_share: np.ndarray
    l2: np.ndarray
    steps: np.ndarray


class _Shared(NamedTuple):
    """What does not change: read by every step of a device's heads."""

    activations: DenseActivations | RealActivations
    mass: Float[Array | np.ndarray, " p"]  # divided by Y·X
    marked: Float[Array, "n K1"]  # Σ t·(x, 1) / (Y·X·images)
    share: Float[Array, " n"]  # 1 / images
    l2: Float[Array, " n"]
    mask: Float[Array, "n K1"]


_SHARED_SPEC = _Shared(COPIED, COPIED, DIVIDED, DIVIDED, DIVIDED, DIVIDED)  # type: ignore[arg-type]


class _State(NamedTuple):
    """Where the heads are, and which point they try next."""

    weights: Float[Array, "n K1"]
    value: Float[Array, " n"]
    gradient: Float[Array, "n K1"]
    direction: Float[Array, "n K1"]
    length: Float[Array, " n"]
    memory: optax.OptState
    start: Float[Array, " n"]  # the loss at w = 0
    steps: Int[Array, " n"]


def train_to_optimum(
    heads: Heads,
    activations: SpatialActivations,
    masks: ConceptMasks,
    entries: Entries,
    l2: Float[np.ndarray, " H"],
    config: OptimumConfig = OptimumConfig(),
    *,
    progress: str = "",
) -> OptimumResult:
    """Bring all heads to the minimum of their loss, on all devices.

    A head's result does not depend on which other heads are trained beside it, nor on the number of
    devices. All start at w = 0.

    Args:
      heads: what to train; only their filter masks are read.
      activations: of all N images.
      masks: masks of the concepts.
      entries: what each head is trained on, see `image_blocks.train_entries`; every head has
        at least one.
      l2: penalty of each head.
      config: when to stop.
      progress: name of a progress bar; none is shown by default.

    Raises:
      Net2VecError: there is no head, one has no image, or sizes disagree.
    """
    problem = _Problem(heads, activations, masks, entries, np.asarray(l2, np.float32), config)
    state = problem.start()
    bar = open_bar(progress or None, total=len(heads), unit="head")
    with bar:
        for _ in range(-(-config.most_steps // STEPS_PER_CALL)):
            state, open_heads = problem.advance(state)
            bar.n = len(heads) - open_heads
            bar.refresh()
            if not open_heads:
                break
    return problem.result(state)


def measure_loss(
    weights: Float[np.ndarray, "H K"],
    bias: Float[np.ndarray, " H"],
    heads: Heads,
    activations: SpatialActivations,
    masks: ConceptMasks,
    entries: Entries,
) -> Float[np.ndarray, " H"]:
    """Cross-entropy per pixel of trained heads on other entries, without the penalty.

    Args:
      weights: of H heads.
      bias: of the heads.
      heads: their filter masks.
      activations: of all N images.
      masks: masks of the concepts.
      entries: what the loss is measured on; every head has at least one.

    Returns:
      float32, nonnegative but for rounding.

    Raises:
      Net2VecError: there is no head, one has no image, or sizes disagree.
    """
    problem = _Problem(heads, activations, masks, entries, np.ones(len(heads), np.float32))
    both = np.concatenate([weights, bias[:, None]], axis=1).astype(np.float32)
    return problem.measure(both)


class _Problem:
    """Heads and what they train on, laid on the devices."""

    def __init__(
        self,
        heads: Heads,
        activations: SpatialActivations,
        masks: ConceptMasks,
        entries: Entries,
        l2: np.ndarray,
        config: OptimumConfig = OptimumConfig(),
    ) -> None:
        if heads.initial_weights.shape[1] != activations.filters:
            raise Net2VecError(
                f"heads over {heads.initial_weights.shape[1]} filters, but activations of "
                f"{activations.filters}"
            )
        geometry = geometry_of(activations, masks)
        pixels = math.prod(geometry.segmentation_size)
        self._config, self._l2 = config, l2
        self._divided = DividedEntries(
            entries,
            len(heads),
            bytes_per_image=4 * geometry.positions * activations.filters,
        )
        place, mesh = self._divided.place, self._divided.mesh
        on_grid = self._divided.place_targets(masks, geometry.grid)
        mask = np.pad(heads.filter_mask, ((0, 0), (0, 1)), constant_values=True)
        arranged = arrange_activations(activations, "dense")
        shared = _Shared(
            place_copies(mesh, cast(DenseActivations | RealActivations, arranged)),
            place_copies(
                mesh, mass_of_positions(geometry.grid, geometry.segmentation_size) / pixels
            ),
            place(np.zeros(mask.shape)),
            place(1 / self._divided.images),
            place(l2),
            place(mask),
        )
        marked = _sum_targets(
            self._divided.blocks, on_grid, shared, mesh=mesh, size=self._divided.size
        )
        self._mesh = mesh
        self._shared = shared._replace(
            marked=marked * shared.share[..., None] * shared.mask / pixels
        )

    def start(self) -> _State:
        return _start(
            self._divided.blocks, self._shared, mesh=self._mesh, memory=self._config.memory
        )

    def advance(self, state: _State) -> tuple[_State, int]:
        """Some steps of all heads, and how many are not done."""
        config = self._config
        state, done = _advance(
            state, self._divided.blocks, self._shared,
            mesh=self._mesh, memory=config.memory, loss_share=config.loss_share,
        )  # fmt: skip
        return state, len(self._l2) - int(self._divided.bring(done).sum())

    def measure(self, weights: np.ndarray) -> np.ndarray:
        """Loss of these weights and biases [H, K + 1], without the penalty."""
        shared = self._shared._replace(l2=jnp.zeros_like(self._shared.l2))
        values, _ = _evaluate_divided(
            self._divided.place(weights), self._divided.blocks, shared, mesh=self._mesh
        )
        return self._divided.bring(values)

    def result(self, state: _State) -> OptimumResult:
        both = self._divided.bring(state.weights)
        gap = self._divided.bring(_bound_gap(state, self._shared))
        decrease = np.maximum(self._divided.bring(state.start - state.value), 0)
        share = np.where(gap == 0, 1, decrease / np.maximum(decrease + gap, 1e-30))
        return OptimumResult(
            both[:, :-1], both[:, -1], self.measure(both), share.astype(np.float32), self._l2,
            self._divided.bring(state.steps),
        )  # fmt: skip


def _evaluate(
    weights: Float[Array, "n K1"], blocks: Blocks, shared: _Shared
) -> tuple[Float[Array, " n"], Float[Array, "n K1"]]:
    """f of one device's heads, and its gradient."""
    heads, filters = weights.shape[0], weights.shape[1] - 1
    padded = jnp.concatenate([weights, jnp.zeros((1, filters + 1))])

    def add_chunk(sums: tuple[Array, Array], chunk: Blocks) -> tuple[tuple[Array, Array], None]:
        x = read_values(shared.activations, jnp.asarray(chunk.image), filters)
        chosen = padded[chunk.head]
        z = jnp.einsum("cpk,cbk->cpb", x, chosen[..., :-1], precision="highest")
        z = z + chosen[:, None, :, -1]
        # softplus and σ from one exponential.
        small = jnp.exp(-jnp.abs(z))
        softplus = jnp.maximum(z, 0) + jnp.log1p(small)
        weighted = jnp.where(z > 0, 1, small) / (1 + small) * shared.mass[None, :, None]
        slope = jnp.einsum("cpb,cpk->cbk", weighted, x, precision="highest")
        slope = jnp.concatenate([slope, jnp.sum(weighted, axis=1)[..., None]], axis=-1)
        value = jnp.einsum("cpb,p->cb", softplus, shared.mass, precision="highest")
        return (sums[0].at[chunk.head].add(value), sums[1].at[chunk.head].add(slope)), None

    zeros = (jnp.zeros(heads + 1), jnp.zeros_like(padded))
    (value, gradient), _ = jax.lax.scan(add_chunk, zeros, blocks)
    penalty = (shared.l2 * shared.share)[:, None] * weights
    value = value[:-1] * shared.share - jnp.sum(shared.marked * weights, axis=1)
    gradient = gradient[:-1] * shared.share[:, None] - shared.marked
    return (
        value + 0.5 * jnp.sum(penalty * weights, axis=1),
        (gradient + penalty) * shared.mask,
    )


def _bound_gap(state: _State, shared: _Shared) -> Float[Array, "*D n"]:
    """How far f is above its minimum, at most: f is (l2 / images)-strongly convex."""
    return jnp.sum(state.gradient**2, axis=-1) / (2 * shared.l2 * shared.share)


def _is_done(state: _State, shared: _Shared, loss_share: float) -> Bool[Array, " n"]:
    decrease, gap = state.start - state.value, _bound_gap(state, shared)
    return (gap <= (1 / loss_share - 1) * decrease) | (gap == 0) | (state.length < SHORTEST_STEP)


@partial(jax.jit, static_argnames=("mesh", "memory"))
def _start(blocks: Blocks, shared: _Shared, *, mesh: Mesh, memory: int) -> _State:
    def on_device(blocks: Blocks, shared: _Shared) -> _State:
        blocks, shared = _take_part(blocks, shared)
        weights = jnp.zeros_like(shared.marked)
        value, gradient = _evaluate(weights, blocks, shared)
        optimizer = optax.scale_by_lbfgs(memory_size=memory)
        direction, remembered = jax.vmap(optimizer.update)(
            gradient, jax.vmap(optimizer.init)(weights), weights
        )
        length = jnp.ones(len(weights))
        state = _State(
            weights,
            value,
            gradient,
            -cast(Array, direction),
            length,
            remembered,
            value,
            jnp.ones(len(weights), jnp.int32),
        )
        return jax.tree.map(lambda x: x[None], state)

    return _divide(on_device, mesh, (DIVIDED, _SHARED_SPEC))(blocks, shared)


@partial(jax.jit, static_argnames=("mesh", "memory", "loss_share"), donate_argnames=("state",))
def _advance(
    state: _State,
    blocks: Blocks,
    shared: _Shared,
    *,
    mesh: Mesh,
    memory: int,
    loss_share: float,
) -> tuple[_State, Bool[Array, "D n"]]:
    """`STEPS_PER_CALL` steps, or fewer where all heads of a device are done.

    In a step every head tries a point: one that lowers the loss enough (Armijo's condition) is
    where it goes on from; otherwise it tries a shorter step.
    """
    optimizer = optax.scale_by_lbfgs(memory_size=memory)

    def step(number_and_state: tuple[Array, _State], blocks: Blocks, shared: _Shared) -> tuple:
        number, state = number_and_state
        tried = state.weights + state.length[:, None] * state.direction
        value, gradient = _evaluate(tried, blocks, shared)
        slope = jnp.sum(state.gradient * state.direction, axis=1)
        rounding = 1e-6 * jnp.abs(state.value)
        enough = value <= state.value + 1e-4 * state.length * slope + rounding
        moves = ~_is_done(state, shared, loss_share)
        accepted = enough & moves

        def choose(new: Array, old: Array) -> Array:
            return jnp.where(accepted.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        weights = choose(tried, state.weights)
        gradient = choose(gradient, state.gradient)
        step_back, remembered = jax.vmap(optimizer.update)(gradient, state.memory, weights)
        direction = choose(-cast(Array, step_back), state.direction)
        length = jnp.where(accepted, 1, jnp.where(moves, 0.4 * state.length, state.length))
        steps = state.steps + moves.astype(jnp.int32)
        new = _State(
            weights, choose(value, state.value), gradient, direction, length,
            jax.tree.map(choose, remembered, state.memory), state.start, steps,
        )  # fmt: skip
        return number + 1, new

    def on_device(
        state: _State, blocks: Blocks, shared: _Shared
    ) -> tuple[_State, Bool[Array, "1 n"]]:
        blocks, shared = _take_part(blocks, shared)
        state = jax.tree.map(lambda x: x[0], state)

        def goes_on(number_and_state: tuple[Array, _State]) -> Array:
            number, state = number_and_state
            return (number < STEPS_PER_CALL) & ~jnp.all(_is_done(state, shared, loss_share))

        _, state = jax.lax.while_loop(
            goes_on, partial(step, blocks=blocks, shared=shared), (jnp.int32(0), state)
        )
        done = _is_done(state, shared, loss_share)
        return jax.tree.map(lambda x: x[None], (state, done))

    return _divide(on_device, mesh, (DIVIDED, DIVIDED, _SHARED_SPEC))(state, blocks, shared)


@partial(jax.jit, static_argnames=("mesh",))
def _evaluate_divided(
    weights: Float[Array, "D n K1"], blocks: Blocks, shared: _Shared, *, mesh: Mesh
) -> tuple[Float[Array, "D n"], Float[Array, "D n K1"]]:
    def on_device(weights: Array, blocks: Blocks, shared: _Shared) -> tuple[Array, Array]:
        blocks, shared = _take_part(blocks, shared)
        return jax.tree.map(lambda x: x[None], _evaluate(weights[0], blocks, shared))

    return _divide(on_device, mesh, (DIVIDED, DIVIDED, _SHARED_SPEC))(weights, blocks, shared)


@partial(jax.jit, static_argnames=("mesh", "size"))
def _sum_targets(
    blocks: Blocks, on_grid: Float[Array, "D m p"], shared: _Shared, *, mesh: Mesh, size: int
) -> Float[Array, "D n K1"]:
    """Σ t·(x, 1) of every head over its images."""

    def on_device(blocks: Blocks, on_grid: Array, shared: _Shared) -> Array:
        blocks, shared = _take_part(blocks, shared)
        filters = shared.marked.shape[1] - 1

        def add_chunk(sums: Array, chunk: Blocks) -> tuple[Array, None]:
            x = read_values(shared.activations, jnp.asarray(chunk.image), filters)
            target = on_grid[0][chunk.target]
            marked = jnp.einsum("cbp,cpk->cbk", target, x, precision="highest")
            marked = jnp.concatenate([marked, jnp.sum(target, axis=2)[..., None]], axis=-1)
            return sums.at[chunk.head].add(marked), None

        sums, _ = jax.lax.scan(add_chunk, jnp.zeros((size + 1, filters + 1)), blocks)
        return sums[None, :-1]

    return _divide(on_device, mesh, (DIVIDED, DIVIDED, _SHARED_SPEC))(blocks, on_grid, shared)


def _take_part(blocks: Blocks, shared: _Shared) -> tuple[Blocks, _Shared]:
    """A device's own part, without the axis of devices."""
    own = jax.tree.map(lambda x: x[0], shared[2:])
    return jax.tree.map(lambda x: x[0], blocks), _Shared(shared.activations, shared.mass, *own)


def _divide(on_device, mesh, in_specs):
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=in_specs, out_specs=DIVIDED, check_vma=False
    )
