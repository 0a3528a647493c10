"""What a layer gives for an image of a size, found without computing anything."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import Preprocessing


def find_response_shape(
    network: Network, layer: str, preprocessing: Preprocessing, size: int
) -> tuple[int, ...]:
    """Shape [h, w, K] (or [K]) of a layer's response to an image of S × S pixels; runs nothing.

    Raises:
      Net2VecError: there is no such layer, or the image is too small for the network.
    """
    if size < max(network.smallest_input, 2):
        raise Net2VecError(
            f"images of {size} × {size} pixels are too small for {type(network).__name__}, which "
            f"needs {max(network.smallest_input, 2)} on each side"
        )
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    responses = jax.eval_shape(
        lambda network, images: network.activations(preprocessing(images), (layer,)),
        network, images,
    )  # fmt: skip
    return responses[layer].shape[1:]
