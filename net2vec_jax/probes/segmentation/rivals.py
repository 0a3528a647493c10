"""What an embedding is compared with, image by image, under its own decision rule.

B concepts that have embeddings, R rivals, Q (concept, image) entries:
  single_same_rule  the best single filter, chosen on train, that marks by the embeddings' rule
  prior             where the concept mostly is, whatever the image shows
  control           an embedding trained on masks exchanged among the concept's images
  untrained         an embedding of the same layer before its network was trained, if asked for
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np

from net2vec_jax.stats.overlap import Overlap

RIVAL_LABELS = {
    "single_same_rule": "best single filter, same rule",
    "prior": "location prior",
    "control": "embedding of exchanged masks",
    "untrained": "embedding of the untrained network",
}
"""What rivals are called in figures and tables."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["concept", "filter", "sign", "row", "image", "is_val", "intersection", "union"],
    meta_fields=["names"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Rivals:
    """Overlaps of all rivals with the concepts.

    Attributes:
      names: of the R rivals.
      concept: place of each concept in the table, int32 [B].
      filter: best single filter under the same rule, int32 [B]; `metrics.NO_FILTER` where none
        overlaps the concept.
      sign: 1, or -1 for a filter that marks where it is low, float32 [B].
      row: which of the B concepts, ascending, int32 [Q].
      image: index of the image, int32 [Q].
      is_val: bool [Q].
      intersection: pixels, int32 [R, Q].
      union: pixels, int32 [R, Q].
    """

    names: tuple[str, ...]
    concept: np.ndarray
    filter: np.ndarray
    sign: np.ndarray
    row: np.ndarray
    image: np.ndarray
    is_val: np.ndarray
    intersection: np.ndarray
    union: np.ndarray

    def overlap(self, name: str, chosen: np.ndarray) -> Overlap:
        """Pixels of a rival, of these entries.

        Raises:
          KeyError: there is no such rival.
        """
        if name not in self.names:
            raise KeyError(name)
        place = self.names.index(name)
        return Overlap(self.intersection[place, chosen], self.union[place, chosen])
