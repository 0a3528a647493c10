"""Activation maximisation: images that excite a direction of a layer's filters, from noise.

Maximises ⟨w, A(x)⟩ over images x, for T directions w at once. Pixels are 255 · sigmoid(Σ θ_l), with
θ_l arrays of ever coarser resolution, enlarged to the image's: they stay displayable, and
large shapes are found as easily as fine texture. Every step sees the image moved and zoomed a
little, by random numbers of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.inversion.descent import Descent, descend
from net2vec_jax.inversion.objectives import (
    Regularisers,
    ResponsePooling,
    direction_response,
    symmetric_logarithm,
)
from net2vec_jax.inversion.response_shape import find_response_shape
from net2vec_jax.networks.layers.nonlinearities import leaking_gradients
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import IMAGENET, Preprocessing

REFERENCE_SIZE = 224
"""Pixels along a side at which the regularisers weigh what they say; see `Maximisation`."""
LEAKING_SHARE = 1 / 3
"""Of the steps, in which gradients leak past rectifiers."""
Levels = tuple[Array, ...]

DESCENT = Descent("adam", learning_rate=0.05, steps=128, decay=0.2, decay_every=96)
REGULARISERS = Regularisers(alpha_weight=1e-7, variation_weight=3e-5)
"""The original's weight of the α-norm, 1e-5, would leave hardly any contrast beside a logarithm."""


@dataclass(frozen=True)
class Maximisation:
    """How directions are maximised; the numbers were tuned by eye on EfficientNet-Lite0.

    Attributes:
      descent: the optimiser; Adam, since the gradient's scale differs from layer to layer.
      regularisers: of the image in ImageNet's normalisation, whatever the network's; their sums are
        divided by the image's area in units of 224 × 224 pixels, so that they weigh alike at any
        size.
      pooling: how the responses at all places become the one that is maximised.
      shift: the image is moved by up to so many pixels along either axis, per 224 pixels of size.
      zoom: and scaled by up to exp(± zoom).
      levels: arrays that add up to the image, each of half the resolution of the one before.
      chroma: size of steps in colour relative to those in brightness; 1 makes gaudy images.
      deviation: of the noise that each level starts from.
      candidates: starts of which each direction takes the one that excites it most. One alone may
        leave a filter silent.
      leak: share of the gradient that passes rectifiers that are off (`leaking_gradients`), for
        filters that every start leaves silent; it falls to 0 over the first third of the steps.
    """

    descent: Descent = DESCENT
    regularisers: Regularisers = REGULARISERS
    pooling: ResponsePooling = "mean"
    shift: float = 12.0
    zoom: float = 0.1
    levels: int = 5
    chroma: float = 0.4
    deviation: float = 0.2
    candidates: int = 16
    leak: float = 0.05

    def __post_init__(self) -> None:
        for name in ("levels", "candidates"):
            if getattr(self, name) < 1:
                raise Net2VecError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("shift", "zoom", "chroma", "deviation", "leak"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise Net2VecError(f"{name} must be a number from 0 on, not {getattr(self, name)}")


DEFAULT = Maximisation()


@dataclass(frozen=True, eq=False)
class MaximisedImages:
    """Images that excite T directions.

    Attributes:
      images: uint8 [T, S, S, 3], RGB.
      activations: float32 [T, h, w, K] (or [T, K]) of these images, as they are, unmoved.
      losses: float32 [steps, T], before each step.
    """

    images: np.ndarray
    activations: np.ndarray
    losses: np.ndarray


def maximise_activations(
    network: Network,
    layer: str,
    directions: np.ndarray,
    keys: Key[Array, " T"],
    *,
    preprocessing: Preprocessing,
    size: int,
    config: Maximisation = DEFAULT,
    batch_size: int = 8,
    progress: Callable[[int], object] = lambda count: None,
) -> MaximisedImages:
    """Optimise an image for each direction.

    A direction's image depends on its own key alone, not on the directions beside it.

    Args:
      network: whose layer responds.
      layer: its name or alias.
      directions: [T, K], made unit vectors.
      keys: one per direction.
      preprocessing: of pixels 0 … 255 into the network's input.
      size: S, pixels along either side.
      config: how.
      batch_size: at most so many images are optimised at once; the last batch is filled up.
      progress: called with the number of images finished after every batch.

    Raises:
      Net2VecError: there is no such layer, it has another number of filters, the images are too
        small for the network, a direction is 0 or not finite, or an activation is not.
    """
    layer = network.resolve_layer(layer)
    directions = _make_unit(np.asarray(directions, np.float32))
    filters = find_response_shape(network, layer, preprocessing, size)[-1]
    if directions.shape[1] != filters:
        raise Net2VecError(
            f"directions have {directions.shape[1]} numbers; layer {layer} has {filters} filters"
        )
    count = len(directions)
    batch_size = -(-count // -(-count // batch_size))  # as few batches, as even as can be
    found = []
    for start in range(0, count, batch_size):
        chosen = np.minimum(np.arange(start, start + batch_size), count - 1)
        results = _maximise(
            network, directions[chosen], keys[chosen], layer=layer, preprocessing=preprocessing,
            size=size, config=config,
        )  # fmt: skip
        kept = min(batch_size, count - start)
        images, activations, losses = map(np.asarray, results)
        found.append((images[:kept], activations[:kept], losses[:, :kept]))
        progress(kept)
    images, activations, losses = zip(*found, strict=True)
    maximised = MaximisedImages(
        np.concatenate(images), np.concatenate(activations), np.concatenate(losses, axis=1)
    )
    if not np.isfinite(maximised.activations).all():
        raise Net2VecError(
            f"activations of layer {layer} are not finite; check weights and preprocessing"
        )
    return maximised


def _make_unit(directions: np.ndarray) -> np.ndarray:
    if directions.ndim != 2 or not len(directions):
        raise Net2VecError(f"directions have shape {directions.shape}, not [T, K] with T > 0")
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(wrong):
        raise Net2VecError(f"direction {wrong[0]} has no direction: its norm is {norms[wrong[0]]}")
    return directions / norms


@functools.partial(jax.jit, static_argnames=("layer", "preprocessing", "size", "config"))
def _maximise(
    network: Network,
    directions: Float[Array, "T K"],
    keys: Key[Array, " T"],
    *,
    layer: str,
    preprocessing: Preprocessing,
    size: int,
    config: Maximisation,
) -> tuple[UInt8[Array, "T S S 3"], Float[Array, "T *places K"], Float[Array, "steps T"]]:
    """One batch, from noise to images and their activations."""

    def respond(pixels: Array) -> Array:
        return network.activations(preprocessing(pixels), (layer,))[layer]

    def measure(pixels: Array) -> Array:
        return direction_response(respond(pixels), directions, config.pooling)

    start = _choose_start(keys, measure, size, config)
    first = respond(paint(start, size, config.chroma))
    scale = jnp.sqrt(jnp.square(first).mean(axis=tuple(range(1, first.ndim)))) + 1e-6
    area = (size / REFERENCE_SIZE) ** 2

    def loss(levels: Levels, keys: Array, done: Array) -> Array:
        pixels = paint(levels, size, config.chroma)
        moved = move_randomly(
            pixels, keys, shift=config.shift * size / REFERENCE_SIZE, zoom=config.zoom
        )
        # By the logarithm, what counts is the relative growth of a response, so that the
        # regularisers need no other weights for strong filters than for weak ones.
        leak = config.leak * jnp.maximum(1 - done / LEAKING_SHARE, 0.0)
        with leaking_gradients(leak):
            response = measure(moved)
        gain = symmetric_logarithm(response / scale)
        return config.regularisers(IMAGENET(pixels)) / area - gain

    end, losses = descend(loss, start, _fold_in(keys, 1), config.descent)
    images = jnp.round(paint(end, size, config.chroma)).astype(jnp.uint8)
    return images, respond(images), losses


def _choose_start(
    keys: Key[Array, " T"], measure: Callable[[Array], Array], size: int, config: Maximisation
) -> Levels:
    """Of several starts, the one to which each direction responds most."""
    keys = _fold_in(keys, 0)

    def draw(number: Array | int) -> Levels:
        candidate_keys = _fold_in(keys, number)
        return draw_levels(candidate_keys, size, config.levels, config.deviation)

    def compare(best: tuple[Array, Array], number: Array) -> tuple[tuple[Array, Array], None]:
        response = measure(paint(draw(number), size, config.chroma))
        better = response > best[1]
        kept = jnp.where(better, number, best[0]), jnp.where(better, response, best[1])
        return kept, None

    nothing = jnp.zeros(len(keys), jnp.int32), jnp.full(len(keys), -jnp.inf)
    (number, _), _ = jax.lax.scan(compare, nothing, jnp.arange(config.candidates))
    chosen = jax.vmap(jax.random.fold_in)(keys, number)
    return draw_levels(chosen, size, config.levels, config.deviation)


def _fold_in(keys: Key[Array, " T"], number: Array | int) -> Key[Array, " T"]:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def draw_levels(keys: Key[Array, " T"], size: int, levels: int, deviation: float) -> Levels:
    """Noise of ever coarser resolution: arrays [T, ⌈S / 2^l⌉, ⌈S / 2^l⌉, 3] for each level l."""

    def draw(key: Array) -> Levels:
        sides = [-(-size // 2**level) for level in range(levels)]
        return tuple(
            deviation * jax.random.normal(jax.random.fold_in(key, level), (side, side, 3))
            for level, side in enumerate(sides)
        )

    return jax.vmap(draw)(keys)


def paint(levels: Levels, size: int, chroma: float) -> Float[Array, "T S S 3"]:
    """Pixels, 0 … 255, from levels of brightness and two opponent colours."""
    opponents = jnp.array(
        [
            [1.0, 1.0, 1.0],
            [chroma * 1.5**0.5, 0.0, -chroma * 1.5**0.5],
            [-chroma * 0.5**0.5, chroma * 2**0.5, -chroma * 0.5**0.5],
        ]
    )  # orthogonal rows, of the same norm but for chroma
    shape = (len(levels[0]), size, size, 3)
    values = sum(jax.image.resize(level, shape, "linear") for level in levels)
    values = jnp.einsum("nhwi,ic->nhwc", values, opponents, precision=jax.lax.Precision.HIGHEST)
    return 255.0 * jax.nn.sigmoid(values)


def move_randomly(
    images: Float[Array, "N H W 3"], keys: Key[Array, " N"], *, shift: float, zoom: float
) -> Float[Array, "N H W 3"]:
    """Each image moved and scaled about its centre, by its own random numbers.

    Args:
      images: pixels 0 … 255; what comes in from outside is grey.
      keys: one per image.
      shift: up to so many pixels along either axis.
      zoom: by up to exp(± zoom).
    """
    if not shift and not zoom:
        return images
    size = jnp.array(images.shape[1:3], jnp.float32)
    grey = 127.5

    def move(image: Array, key: Array) -> Array:
        for_scale, for_offset = jax.random.split(key)
        scale = jnp.exp(zoom * jax.random.uniform(for_scale, minval=-1.0))
        offset = shift * jax.random.uniform(for_offset, (2,), minval=-1.0)
        moved = jax.image.scale_and_translate(
            image - grey, image.shape, (0, 1), jnp.stack([scale, scale]),
            offset + (1 - scale) * size / 2, method="linear", antialias=False,
        )  # fmt: skip
        return moved + grey

    return jax.vmap(move)(images, keys)
