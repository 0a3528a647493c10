"""Whether a model of the user's own gives every image a response of its own.

What the model gives for an image must depend neither on the other images of its batch, as batch
normalisation in training mode makes it, nor on chance; and the axes must be what they are taken
for. A few images show it, once for every layer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.interpreters import partial_eval
from jaxtyping import Array, UInt8

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.own_code import describe_failure, find_cure
from net2vec_jax.networks.wrap import WrappedNetwork

IMAGES = 4
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Norm of a difference over the norm that still is rounding. Responses that depend on the batch or
on chance differ by .1 and more."""
_BY_CHANCE = "from one copy of it to the next, so it draws random numbers"
_BY_OTHERS = "with the other images of its batch, as batch normalisation in training mode makes it"
_CHECKED: weakref.WeakKeyDictionary[WrappedNetwork, set[str]] = weakref.WeakKeyDictionary()


def check_own_model(
    network: WrappedNetwork,
    layers: tuple[str, ...],
    image: UInt8[np.ndarray, "H W 3"],
    compute: Callable[[np.ndarray], Mapping[str, Array]],
    tolerance: float,
) -> None:
    """Refuse layers whose responses are not those of single images; each is checked once.

    Args:
      network: the model.
      layers: names of its own.
      image: the first of those that are probed.
      compute: uint8 [n, H, W, 3] → {layer: float32 [n, …]}.
      tolerance: see `TOLERANCE`.

    Raises:
      Net2VecError: names the layer and what cures it.
    """
    if set(layers) <= _CHECKED.setdefault(network, set()):
        return
    others = np.random.default_rng(0).integers(0, 256, (IMAGES - 1, *image.shape), np.uint8)
    try:
        # Of another size, so that no axis of that length is taken for the images.
        jax.eval_shape(compute, jax.ShapeDtypeStruct(others.shape, np.uint8))
        alike = compute(np.stack([image] * IMAGES))
        mixed = compute(np.stack([image, *others]))
    except jax.errors.UnexpectedTracerError as error:
        cure = find_cure(error, network.evaluation)
        raise Net2VecError(f"the model failed: {describe_failure(error)}{cure}") from error
    for layer in layers:
        same, other = np.asarray(alike[layer]), np.asarray(mixed[layer])
        size = np.linalg.norm(same[0])
        if not np.isfinite(size):  # refused by the image's name where it is computed
            continue
        for changed, reason, cure in (
            (same - same[:1], _BY_CHANCE, ", or take a layer before the random numbers"),
            (other[:1] - same[:1], _BY_OTHERS, ""),
        ):
            change = max(map(np.linalg.norm, changed))
            if change > tolerance * size:
                raise Net2VecError(
                    f"layer {layer}: the response to an image changes by {change / size:.0%} "
                    f"{reason}; {network.evaluation}{cure}"
                )
    _refuse_generators(network, layers, image.shape)
    network.check_axes(image.shape[0], image.shape[1], layers)
    _CHECKED[network].update(layers)


def _refuse_generators(
    network: WrappedNetwork, layers: tuple[str, ...], image: tuple[int, ...]
) -> None:
    """Refuse layers that random number generators of NNX reach.

    A few copies may all be drawn alike, as where stochastic depth seldom drops a block or drops it
    for the whole batch; what the program reads is sure.
    """
    generators = [
        isinstance(leaf, nnx.RngState)
        for leaf in jax.tree.leaves(network, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
        for _ in jax.tree.leaves(leaf)
    ]
    if not any(generators):
        return
    images = jax.ShapeDtypeStruct((IMAGES, *image), jnp.float32)
    for layer in layers:
        respond = lambda network, images, layer=layer: network.activations(images, [layer])  # noqa: E731
        program = jax.make_jaxpr(respond)(network, images).jaxpr
        _, used = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
        if any(np.logical_and(generators, used[: len(generators)])):
            raise Net2VecError(
                f"layer {layer}: the response depends on a random number generator of the model; "
                f"{network.evaluation}, or take a layer before the random numbers"
            )
