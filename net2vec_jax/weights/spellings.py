"""Other libraries' names for the same weights.

The zoo's networks know the keys of one library, their original's. timm and transformers name the
same arrays otherwise, and may keep in several what the original keeps in one. A spelling turns
their keys into the original's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from net2vec_jax.weights.porting import Renames, rename_keys


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
      convert: what else differs: the original's arrays from the renamed ones.
    """

    library: str
    mark: str
    renames: Renames
    convert: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None


def respell(
    weights: Mapping[str, np.ndarray], spellings: Sequence[Spelling]
) -> dict[str, np.ndarray]:
    """The arrays under the original's keys; as they are where no spelling's mark is found.

    Args:
      weights: arrays by the keys of a file.
      spellings: of the network; the first whose mark is found is taken.

    Examples:
      >>> timm = Spelling("timm", r"stem\\.", ((r"^stem\\.", "features.0."),))
      >>> list(respell({"stem.weight": np.zeros(3)}, [timm]))
      ['features.0.weight']
    """
    for spelling in spellings:
        if any(re.match(spelling.mark, key) for key in weights):
            renamed = _join_parts(rename_keys(weights, spelling.renames))
            return spelling.convert(renamed) if spelling.convert else renamed
    return dict(weights)


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
