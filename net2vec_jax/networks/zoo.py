"""Name → network, weights, preprocessing and the layers worth probing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from flax import nnx

from net2vec_jax.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.alexnet import AlexNet, alexnet_rules
from net2vec_jax.networks.efficientnet_lite import EfficientNetLite0, efficientnet_lite0_rules
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import (
    CENTRED,
    IMAGENET,
    Preprocessing,
    find_preprocessing,
)
from net2vec_jax.weights.cache import file_fingerprint, find_efficientnet_lite0
from net2vec_jax.weights.porting import Rule, port_weights
from net2vec_jax.weights.torch_files import load_torch_file


@dataclass(frozen=True)
class NetworkEntry:
    """What the zoo knows of a network.

    Attributes:
      name: as `load_network` takes it.
      build: the network with random weights, from `rngs`.
      rules: every parameter's origin in the weight file.
      find_weights: the default weight file; raises Net2VecError where there is none.
      input_size: pixels along a side of the images that it was trained on.
      own_preprocessing: what it was trained with.
      probing_layers: the layers worth probing, shallow to deep.
    """

    name: str
    build: Callable[..., Network]
    rules: Callable[[], Mapping[str, Rule]]
    find_weights: Callable[[], Path]
    input_size: int
    own_preprocessing: Preprocessing
    probing_layers: tuple[str, ...]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights.

    Attributes:
      name: its name in the zoo.
      network: ready to be probed.
      fingerprint: SHA-256 of the weight file.
      input_size: pixels along a side of the images that it was trained on.
      own_preprocessing: what it was trained with.
      probing_layers: the layers worth probing, shallow to deep.
    """

    name: str
    network: Network
    fingerprint: str
    input_size: int
    own_preprocessing: Preprocessing
    probing_layers: tuple[str, ...]

    def preprocessing(self, mode: str = "own") -> Preprocessing:
        """The preprocessing named "own", "imagenet" or "reference_code".

        Raises:
          Net2VecError: there is no such preprocessing.
        """
        return find_preprocessing(mode, self.own_preprocessing)


def _no_alexnet() -> Path:
    raise Net2VecError(
        "alexnet comes without weights: pass torchvision's alexnet-owt-7be5be79.pth or "
        "alexnet-owt-4df8aa71.pth (https://download.pytorch.org/models/) as --weights"
    )


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            NetworkEntry(
                name="efficientnet_lite0",
                build=EfficientNetLite0,
                rules=efficientnet_lite0_rules,
                find_weights=find_efficientnet_lite0,
                input_size=224,
                own_preprocessing=CENTRED,
                probing_layers=("block2", "block4", "block7", "block10", "block15", "head"),
            ),
            NetworkEntry(
                name="alexnet",
                build=AlexNet,
                rules=alexnet_rules,
                find_weights=_no_alexnet,
                input_size=227,
                own_preprocessing=IMAGENET,
                probing_layers=("conv1", "conv2", "conv3", "conv4", "conv5"),
            ),
        )
    }
)


def load_network(name: str, *, weights: str | Path | None = None) -> LoadedNetwork:
    """Build a network and fill it with its weights.

    Args:
      name: a key of `NETWORKS`.
      weights: a state dict of PyTorch; by default the file that the entry knows.

    Raises:
      Net2VecError: there is no such network, its weights cannot be found or read, or they do not
        fit.
    """
    if name not in NETWORKS:
        raise unknown_name_error("network", name, NETWORKS)
    entry = NETWORKS[name]
    path = entry.find_weights() if weights is None else Path(weights)
    shapes = nnx.eval_shape(lambda: entry.build(rngs=nnx.Rngs(0)))
    network = port_weights(
        shapes, load_torch_file(path), entry.rules(), origin=f"the weights in {path}"
    )
    return LoadedNetwork(
        name=name,
        network=network,
        fingerprint=file_fingerprint(path),
        input_size=entry.input_size,
        own_preprocessing=entry.own_preprocessing,
        probing_layers=entry.probing_layers,
    )
