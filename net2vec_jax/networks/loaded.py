"""A network with its weights and what is known of them: what `load_network` and `wrap_…` return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.options import WeightOptions
from net2vec_jax.networks.preprocessing import Overrides, Preprocessing, View


@dataclass(frozen=True, repr=False)
class LoadedNetwork:
    """A network with its weights.

    Attributes:
      name: its name in the zoo, or the one that its user gave it.
      network: ready to be probed.
      fingerprint: SHA-256 of the weight file, and of how it was read where that is not the usual
        way; or of the weights of a wrapped model.
      input_size: pixels along a side of the images that it was trained on.
      own_preprocessing: what it was trained with.
      probing_layers: the layers worth probing, shallow to deep.
      classes: number of logits; None where it has none or they are unknown.
      overrides: modes of preprocessing that mean something else for it, see `View`.
      source: where the weights come from, in words.
      weights: what `load_network` takes to load the same again: the name of published weights or an
        absolute path; None of a wrapped model, which only its user can make again.
      options: with which `load_network` loads the same again.
    """

    name: str
    network: Network
    fingerprint: str
    input_size: int
    own_preprocessing: Preprocessing
    probing_layers: tuple[str, ...]
    classes: int | None = None
    overrides: Overrides = ()
    source: str = ""
    weights: str | None = None
    options: WeightOptions = field(default_factory=WeightOptions)

    def preprocessing(self, mode: str = "own") -> Preprocessing:
        """The preprocessing named "own", "imagenet" or "reference_code".

        Raises:
          Net2VecError: there is no such preprocessing, or it makes no sense for the network.
        """
        return View(self.own_preprocessing, self.overrides).preprocessing(mode)

    def continue_from(
        self,
        layer: str,
        response: Float[Array | np.ndarray, "N *places K"],
        images: UInt8[Array | np.ndarray, "N H W 3"] | None = None,
        *,
        preprocessing: str = "own",
    ) -> Float[Array, "N ..."]:
        """The last layer's response, most often the logits, with another response of one layer.

        See `Network.continue_from`: equal to the whole pass where the response is the layer's own.

        Args:
          layer: name or alias.
          response: [N, h, w, K] or [N, K], as `collect_activations` gives it.
          images: RGB, that it is a response to. Not needed where they have no other way to the last
            layer than through this one, and are of the network's input size.
          preprocessing: of the images, see `preprocessing`.

        Raises:
          Net2VecError: images are needed; the response has another shape; there is no such layer;
            or it is a wrapped model that was given no `rest` for the layer.

        Examples:
          >>> import net2vec_jax as n2v
          >>> network = n2v.load_network("efficientnet_lite0")
          >>> network.continue_from("block10", np.zeros((2, 14, 14, 112), np.float32)).shape
          (2, 1000)
        """
        response = jnp.asarray(response)
        if images is not None:
            given = self.preprocessing(preprocessing)(jnp.asarray(images)).astype(response.dtype)
            return self.network.continue_from(layer, response, given)
        if self.network.sees_images_behind(layer, self.input_size):
            raise Net2VecError(
                f"behind {layer}, {self.name} sees the images on another way too (around a block, "
                "or by a class token): give the images of the response"
            )
        size = (len(response), self.input_size, self.input_size, 3)
        return self.network.continue_from(layer, response, jnp.zeros(size, response.dtype))

    @property
    def origin(self) -> dict[str, Any]:
        """What `open_network_origin` opens the network with, as JSON takes it.

        "network" is the name, "weights" the fingerprint, "weights_from" `LoadedNetwork.weights`
        and "weight_options" how they were read, where that was said.
        """
        origin = {"network": self.name, "weights": self.fingerprint, "weights_from": self.weights}
        chosen = self.options.chosen
        return origin | ({"weight_options": chosen} if chosen else {})

    def __repr__(self) -> str:
        own = self.own_preprocessing
        return (
            f"LoadedNetwork({self.name!r}: {self.network!r}\n"
            f"  worth probing: {', '.join(self.probing_layers)}\n"
            f"  images of {self.input_size} pixels less {own.mean}, divided by {own.deviation}\n"
            f"  weights: {self.source or 'a model of your own'}, SHA-256 {self.fingerprint[:12]}…)"
        )
