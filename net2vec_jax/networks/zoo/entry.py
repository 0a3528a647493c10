"""What the zoo knows of a network: how it is built, where its weights are, how it sees images."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import View
from net2vec_jax.weights.cache import fetch_weights
from net2vec_jax.weights.porting import IGNORED_KEYS, Renames
from net2vec_jax.weights.spellings import Spelling

# Layers worth probing, of networks of both frameworks.
ALEXNET_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
VGG16_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
SQUEEZENET_LAYERS = ("conv1", "fire3", "fire5", "fire7", "fire9")
GOOGLENET_LAYERS = ("conv3", "inception3b", "inception4c", "inception4e", "inception5b")


@dataclass(frozen=True)
class WeightSource:
    """Published weights of a network.

    Attributes:
      name: what they were trained on, as --weights takes it: "imagenet", "places365".
      url: where they are.
      checksum: "sha256:" or "sha1:" and hexadecimal digits, the first ones at least; None where
        none was published.
      classes: number of logits; 0 where the network has none.
      view: how the network with these weights sees images.
      locate: finds the file in an installed package; by default it is downloaded.
    """

    name: str
    url: str
    checksum: str | None
    classes: int
    view: View
    locate: Callable[[], Path] | None = None

    @property
    def file_name(self) -> str:
        """The file's name in the cache; some say too little without the model's or publisher's."""
        file = self.url.rsplit("/", 1)[-1]
        publishers = r"https://(?:huggingface\.co/[^/]+|dl\.fbaipublicfiles\.com)/([^/]+)/"
        model = re.match(publishers, self.url)
        return f"{model[1]}-{file}" if model else file

    def find(self) -> Path:
        """The file, downloaded if need be.

        Raises:
          Net2VecError: it cannot be downloaded, or is not what it should be; or the package that
            it comes with is not installed.
        """
        if self.locate is not None:
            return self.locate()
        return fetch_weights(self.url, self.file_name, self.checksum)


@dataclass(frozen=True)
class NetworkEntry:
    """What the zoo knows of a network.

    Attributes:
      name: as `load_network` takes it.
      build: the network with random weights, from `classes` and `rngs`.
      sources: published weights, the default first.
      probing_layers: the layers worth probing, shallow to deep.
      logits_key: key of the file whose first axis are the classes; "" where there are none.
      input_size: pixels along a side of the images that it was trained on.
      ignored: shell patterns of the file's keys that have no counterpart in the network.
      renames: how keys of older files are spelt today.
      spellings: other libraries' names for its weights.
      caffe: whether the weight file is Caffe's, see `find_rules`.
    """

    name: str
    build: Callable[..., Network]
    sources: tuple[WeightSource, ...]
    probing_layers: tuple[str, ...]
    logits_key: str
    input_size: int = 224
    ignored: tuple[str, ...] = IGNORED_KEYS
    renames: Renames = ()
    spellings: tuple[Spelling, ...] = ()
    caffe: bool = False
