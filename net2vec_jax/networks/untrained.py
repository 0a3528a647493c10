"""A network as it was before training: what its architecture alone can do."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import Affine, Convolution
from net2vec_jax.networks.load import NETWORKS
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.preprocessing import Preprocessing, PreprocessingName

SMALLEST_DEVIATION = 1e-5


class _FittedConvolution(Convolution):
    """Takes its normalisation from the first images that it sees."""

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N h w O"]:
        values, mean, factor = _standardize(super().__call__(images))
        self.kernel[...] = self.kernel[...] * factor[None, None, None]
        if self.bias is not None:
            self.bias[...] = (self.bias[...] - mean) * factor
        return values


class _FittedAffine(Affine):
    """Takes its normalisation from the first images that it sees."""

    def __call__(self, values: Float[Array, "N h w K"]) -> Float[Array, "N h w K"]:
        values, mean, factor = _standardize(values)
        self.scale[...], self.bias[...] = factor, -mean * factor
        return values


def has_untrained(loaded: LoadedNetwork) -> bool:
    """Whether it is known how a network began: it is one of the zoo's, without an autoencoder."""
    is_of_zoo = loaded.name in NETWORKS and loaded.weights is not None
    return is_of_zoo and not loaded.options.sae


def untrain(
    loaded: LoadedNetwork,
    images: UInt8[np.ndarray, "n H W 3"],
    *,
    preprocessing: PreprocessingName = "own",
    seed: int = 0,
) -> LoadedNetwork:
    """The same architecture with random weights, and normalisations that fit these images.

    Kernels are He's normal, biases 0, as before the first step of training. Where the original has
    a batch normalisation, each channel has mean 0 and deviation 1 over the images: layer after
    layer, each after those before it.

    Args:
      loaded: a network of the zoo.
      images: some train images, RGB, 0 … 255.
      preprocessing: of the images.
      seed: of the weights.

    Raises:
      Net2VecError: it is a model of your own, of which only you know how it began.
    """
    if not has_untrained(loaded):
        raise Net2VecError(
            f"{loaded.name} is no network of the zoo, so how it began is not known: probe your own "
            "model with fresh weights"
        )
    classes = loaded.classes or NETWORKS[loaded.name].sources[0].classes
    network = NETWORKS[loaded.name].build(classes=classes, rngs=nnx.Rngs(seed))
    fitted: list[tuple[nnx.Module, type]] = []
    for _, module in nnx.iter_modules(network):
        kind = type(module)
        if isinstance(module, Convolution) and module.norm is not None:
            module.__class__ = _FittedConvolution
        elif isinstance(module, Affine):
            module.__class__ = _FittedAffine
        else:
            continue
        fitted.append((module, kind))
    definition, state = nnx.split(network)
    preprocess = loaded.preprocessing(preprocessing)
    nnx.update(network, _fit(state, jnp.asarray(images), definition, preprocess))
    for module, kind in fitted:
        module.__class__ = kind
    digest = hashlib.sha256(f"untrained {loaded.name} {seed}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    return dataclasses.replace(
        loaded, network=network, fingerprint=digest.hexdigest(), source="untrained", weights=None
    )


@partial(jax.jit, static_argnames=("definition", "preprocess"))
def _fit(
    state: nnx.State,
    images: UInt8[Array, "n H W 3"],
    definition: nnx.GraphDef,
    preprocess: Preprocessing,
) -> nnx.State:
    """One program for all networks of one architecture: step by step, one compiles hundreds."""
    network = nnx.merge(definition, state)
    for _ in network.responses(preprocess(images)):
        pass
    return nnx.state(network)


def _standardize(
    values: Float[Array, "N h w K"],
) -> tuple[Float[Array, "N h w K"], Float[Array, " K"], Float[Array, " K"]]:
    """Values of mean 0 and deviation 1 in every channel; the mean, and what they were scaled by."""
    mean = jnp.mean(values, axis=(0, 1, 2))
    factor = 1 / jnp.maximum(jnp.std(values, axis=(0, 1, 2)), SMALLEST_DEVIATION)
    return (values - mean[None, None, None]) * factor[None, None, None], mean, cast(Array, factor)
