"""Other libraries' names for the same weights.

The zoo's networks know the keys of one library, their original's. timm and transformers name the
same arrays otherwise, and may keep in several what the original keeps in one. A spelling turns
their keys into the original's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from net2vec_jax.weights.porting import Renames, rename_keys

Channels = tuple[float, float, float]
ChannelOrder = Literal["rgb", "bgr"]
Images = tuple[Channels, Channels, ChannelOrder]


_TURNS: Mapping[str, Mapping[int, Callable[[np.ndarray], np.ndarray]]] = {
    "torch": {},
    "keras": {2: np.transpose, 4: lambda kernel: kernel.transpose(3, 2, 0, 1)},
    "theano": {2: np.transpose, 4: lambda kernel: kernel[:, :, ::-1, ::-1]},
}


@dataclass(frozen=True)
class Spelling:
    """How another library names the weights of a network.

    Attributes:
      library: that names them so, as messages say it: "timm", "transformers".
      mark: regular expression that a key of such a file fits from its first character on, and no
        key of the original's files.
      renames: what turns a key into the original's, applied one after the other. A key that then
        ends in "#0", "#1", … is a part of one array: the parts are joined along the first axis
        ("attention.query.weight", "….key.weight" and "….value.weight" as "in_proj_weight#0" to
        "#2").
      axes: of kernels: "torch" [out, in, height, width] and [out, in] of linear layers; "keras"
        [height, width, in, out] and [in, out]; or "theano", torch's, but turned by 180°, since
        Theano convolves where the others correlate.
      images: what such networks usually see: mean, deviation and order of the channels; None
        where that is as with the original's weights.
      architectures: regular expression of the names, in the library's configuration, of networks
        that compute the same; some have the same keys and pad otherwise.
      convert: what else differs: the original's arrays from the renamed ones.
      epsilon: ε of the layer normalisations, where that is not the original's.
    """

    library: str
    mark: str
    renames: Renames
    axes: Literal["torch", "keras", "theano"] = "torch"
    images: Images | None = None
    architectures: str = ".*"
    convert: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    epsilon: float | None = None

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether the mark is found among the keys."""
        return any(re.match(self.mark, key) for key in keys)


def join_attention(attention: str, joint: str) -> Renames:
    """The renames of queries, keys and values, which transformers keeps apart.

    Args:
      attention: regular expression of the module that has them.
      joint: the original's key of all three, up to "weight" or "bias".
    """
    return tuple(
        (rf"^(?!text)(.*?)\.{attention}\.(?:{name}|{name[0]}_proj)\.(weight|bias)$",
         rf"\1.{joint}\2#{number}")
        for number, name in enumerate(("query", "key", "value"))
    )  # fmt: skip


def respell(weights: Mapping[str, np.ndarray], spelling: Spelling) -> dict[str, np.ndarray]:
    """The arrays under the original's keys.

    Args:
      weights: arrays by the keys of a file.
      spelling: theirs.

    Examples:
      >>> timm = Spelling("timm", r"stem\\.", ((r"^stem\\.", "features.0."),))
      >>> list(respell({"stem.weight": np.zeros(3)}, timm))
      ['features.0.weight']
    """
    joined = _join_parts(rename_keys(weights, spelling.renames))
    turn = _TURNS[spelling.axes]
    turned = {key: turn[a.ndim](a) if a.ndim in turn else a for key, a in joined.items()}
    return spelling.convert(turned) if spelling.convert else turned


def _join_parts(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, with those whose keys end in "#0", "#1", … joined."""
    joined: dict[str, np.ndarray] = {}
    for key in sorted(weights, key=_part):
        whole, number, _ = key.partition("#")
        if number and whole in joined:
            joined[whole] = np.concatenate([joined[whole], weights[key]])
        else:
            joined[whole] = weights[key]
    return joined


def _part(key: str) -> int:
    number = key.partition("#")[2]
    return int(number) if number else 0
