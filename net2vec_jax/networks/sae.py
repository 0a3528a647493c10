"""Latents of a sparse autoencoder as filters: a layer of their own behind the one they encode.

z = f((x − b) W + c) of the response x at every place, see `net2vec_jax.weights.readers.sae_files`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.wrap import AS_IT_IS, WrappedNetwork
from net2vec_jax.weights.readers.sae_files import SparseAutoencoder, read_sae_file


def wrap_sae(network: LoadedNetwork, layer: str, file: str | Path) -> LoadedNetwork:
    """A network with a sparse autoencoder's latents as one more layer, LAYER.sae.

    The network computes what it did; a further autoencoder can be wrapped around it.

    Args:
      network: of the zoo, or a model of your own.
      layer: the layer that is encoded: its name or alias.
      file: weights of the autoencoder, .safetensors or another format, with what they do not tell
        in a JSON file beside them; see `net2vec_jax.weights.readers.sae_files.read_sae_file`.

    Returns:
      The network; its fingerprint is also of the autoencoder's numbers.

    Raises:
      Net2VecError: the network has no such layer; the file cannot be read, does not tell what it
        is, or encodes responses of another number of filters.

    Examples:
      >>> import net2vec_jax as n2v
      >>> network = n2v.load_network("efficientnet_lite0")
      >>> network = n2v.wrap_sae(network, "block10", "sae.safetensors")  # doctest: +SKIP
      >>> n2v.collect_activations(network, images, "block10.sae")  # doctest: +SKIP
      LayerActivations(efficientnet_lite0, layer block10.sae: 60 × 14 × 14 × 2048)
    """
    source = network.network.resolve_layer(layer)
    sae = read_sae_file(file)
    images = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)
    response = jax.eval_shape(lambda x: network.network.activations(x, [source])[source], images)
    if response.shape[-1] != len(sae.encoder):
        raise Net2VecError(
            f"the sparse autoencoder {file} encodes {len(sae.encoder)} filters, but layer {source} "
            f"of {network.name} has {response.shape[-1]}"
        )
    digest = hashlib.sha256(f"{network.fingerprint} {source} {sae.k}".encode())
    for array in (sae.encoder, sae.bias, sae.threshold, sae.decoder):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    wrapped = SAENetwork(network.network, source, sae)
    named = f"{source}={Path(file).absolute()}"
    return dataclasses.replace(
        network,
        network=wrapped,
        fingerprint=digest.hexdigest(),
        probing_layers=(*network.probing_layers, wrapped.latents),
        source=f"{network.source or 'a model of your own'}; {wrapped.latents}: {sae}, {file}",
        options=dataclasses.replace(network.options, sae=(*network.options.sae, named)),
    )


class SAENetwork(WrappedNetwork):
    """A network with latents of one of its layers, see `wrap_sae`.

    Attributes:
      inner: the network itself.
      source: its layer that is encoded.
      latents: the name of the layer of the latents.
    """

    def __init__(self, inner: Network, source: str, sae: SparseAutoencoder) -> None:
        """Of `inner`, whose layer `source` has as many filters as the autoencoder encodes."""
        self.source, self.latents = source, f"{source}.sae"
        place = inner.layers.index(source) + 1
        super().__init__((*inner.layers[:place], self.latents, *inner.layers[place:]), AS_IT_IS)
        self.aliases = nnx.static(inner.aliases)
        self.lacking, self.is_traceable = inner.lacking, inner.is_traceable
        self.smallest_input, self.side_multiple = inner.smallest_input, inner.side_multiple
        self.inner = inner
        self.encoder, self.bias = nnx.Param(jnp.array(sae.encoder)), nnx.Param(jnp.array(sae.bias))
        self.threshold = nnx.Param(jnp.array(sae.threshold))
        self.decoder = None if sae.decoder is None else nnx.Param(jnp.array(sae.decoder))
        self._k = sae.k

    def encode(self, response: Float[Array, "*places D"]) -> Float[Array, "*places K"]:
        """Latents of a response; of TopK, as many more than k as are equal to the last of them."""
        latents = response.reshape(-1, response.shape[-1]) @ self.encoder[...]
        latents = jax.nn.relu(latents + self.bias[...][None])
        if self._k is None:
            is_kept = latents > self.threshold[...][None]
        else:
            is_kept = latents >= find_largest(latents, self._k)
        return jnp.where(is_kept, latents, 0).reshape(*response.shape[:-1], -1)

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """Responses of the network's own layers, and the latents."""
        own = [self.source if layer == self.latents else layer for layer in layers]
        found = self.inner.activations(images, tuple(dict.fromkeys(own)))
        if self.latents in layers:
            found[self.latents] = self.encode(found[self.source])
        return {layer: found[layer] for layer in layers}

    def continue_from(
        self,
        layer: str,
        response: Float[Array | np.ndarray, "N *places K"],
        images: Array | np.ndarray | None = None,
    ) -> Float[Array, "N ..."]:
        """See `Network.continue_from`. Latents z' in place of z make the layer's response
        x + (z' − z) V: what the autoencoder does not explain of x stays.

        Raises:
          Net2VecError: as there; or latents are given without images or a decoder.
        """
        name = self.resolve_layer(layer)
        if name == self.latents:
            if self.decoder is None or images is None:
                lacking = "images" if images is None else "a decoder in the autoencoder's file"
                raise Net2VecError(f"to go on from {self.latents}, {lacking} are needed")
            own = self.inner.activations(images, [self.source])[self.source]
            changed = jnp.asarray(response) - self.encode(own)
            name, response = self.source, own + changed @ self.decoder[...]
        return self.inner.continue_from(name, response, images)  # pyright: ignore[reportArgumentType]

    def sees_images_behind(self, layer: str, size: int) -> bool:
        """See `Network.sees_images_behind`; True of latents, which stand for a part of theirs."""
        name = self.resolve_layer(layer)
        return name == self.latents or self.inner.sees_images_behind(name, size)


def find_largest(latents: Float[Array, "n K"], k: int) -> Float[Array, "n 1"]:
    """The k-th largest of each row, none of which is below 0.

    The k largest are in the k groups of largest maxima, so few numbers need be sorted: of 32,768
    and k = 32, two times 1,024, which is 15 times as fast as sorting all on a CPU.
    """
    size = max(1, math.isqrt(latents.shape[1] // k))
    padded = jnp.pad(latents, ((0, 0), (0, -latents.shape[1] % size)))
    groups = padded.reshape(len(latents), -1, size)
    best = jax.lax.top_k(groups.max(axis=2), k)[1]
    among = jnp.take_along_axis(groups, best[:, :, None], axis=1)
    return jax.lax.top_k(among.reshape(len(latents), -1), k)[0][:, -1:]
