"""A network with its weights and what is known of them: what `load_network` and `wrap_…` return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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
