"""Heads divided over the devices, each with the (concept, image) pairs that its heads need.

Heads are independent, so devices never talk to each other. A device has up to `size` heads, those
with many pairs first, and the masks of their pairs only; binary activations are copied to all.
D devices, H heads, P pairs of the masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.core.devices import (
    COPIED,
    DIVIDED,
    Division,
    divide_evenly,
    pad_first_axis,
    place_copies,
    place_parts,
)
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.model import Geometry, ProbeData
from net2vec_jax.probes.segmentation.score_maps import Form, arrange_activations

HEADS_AT_ONCE = 32
"""Heads are updated in blocks of so many; a device's heads are padded to whole blocks."""
PIXELS_IN_CACHE = 200_000
"""On a CPU so many pixels are computed at a time: float32, they fit in a core's second cache."""
PAIRS_ON_ACCELERATORS = 1024
"""Elsewhere so many pairs that the time to start the device's programs does not count,"""
BYTES_ON_ACCELERATORS = 2**30
"""or fewer, so that their unpacked activations and pixels take no more than this."""


def resolve_chunk_size(chunk_size: int | None, geometry: Geometry, filters: int) -> int:
    """Pairs computed at a time: those asked for, or what suits the backend and the sizes."""
    if chunk_size is not None:
        return chunk_size
    pixels = geometry.segmentation_size[0] * geometry.segmentation_size[1]
    if jax.default_backend() == "cpu":
        return max(1, round(PIXELS_IN_CACHE / pixels))
    bytes_per_pair = 4 * (geometry.positions * filters + 3 * pixels)
    return int(np.clip(BYTES_ON_ACCELERATORS // bytes_per_pair, 1, PAIRS_ON_ACCELERATORS))


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """What one device has.

    Attributes:
      heads: int64 [n], its heads; those with many pairs first.
      pairs: int64 [m], the masks' pairs of their concepts, ascending.
      first: int64 [n], where each head's pairs begin in `pairs`; they follow each other.
      count: int64 [n], how many they are.
    """

    heads: np.ndarray
    pairs: np.ndarray
    first: np.ndarray
    count: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class HeadShards(Division):
    """All devices' heads; `size` is a multiple of `block`.

    Attributes:
      shards: what each device has.
      block: heads updated at a time.
    """

    shards: list[Shard]
    block: int

    def place_data(
        self, activations: SpatialActivations, masks: ConceptMasks, form: Form | None
    ) -> ProbeData:
        """What the probe reads: each device's pairs, and all activations."""
        most = max(len(shard.pairs) for shard in self.shards)

        def part_of(values: np.ndarray, dtype: type) -> Callable[[int], np.ndarray]:
            return lambda place: pad_first_axis(
                values, most, rows=self.shards[place].pairs, dtype=dtype
            )

        return ProbeData(
            place_copies(self.mesh, arrange_activations(activations, form)),
            place_parts(self.mesh, part_of(masks.pair_image, np.int32)),
            place_parts(self.mesh, part_of(masks.packed, np.uint8)),
            place_parts(self.mesh, part_of(masks.area, np.float32)),
        )


DATA_SPEC = ProbeData._make([COPIED, DIVIDED, DIVIDED, DIVIDED])
"""How `place_data` lays things on the devices."""


def divide_heads(heads: Heads, masks: ConceptMasks, chosen: np.ndarray, mesh: Mesh) -> HeadShards:
    """Divide heads so that all devices have about equally many (head, pair) entries.

    Args:
      heads: H heads.
      masks: the concepts' masks.
      chosen: bool [P], which pairs count, such as those on train images.
      mesh: the devices.
    """
    per_concept = np.bincount(masks.pair_concept[chosen], minlength=len(masks.catalog))
    shards = []
    for items in divide_evenly(per_concept[heads.concept], mesh.size):
        count = per_concept[heads.concept[items]]
        order = np.argsort(-count, kind="stable")
        items, count = items[order], count[order]
        here = np.zeros(len(masks.catalog), bool)
        here[heads.concept[items]] = True
        first = np.cumsum(per_concept * here) - per_concept * here
        pairs = np.flatnonzero(chosen & here[masks.pair_concept])
        shards.append(Shard(items, pairs, first[heads.concept[items]], count))
    most = max(max(len(shard.heads) for shard in shards), 1)
    block = min(most, HEADS_AT_ONCE)
    size = -(-most // block) * block
    return HeadShards(mesh, [shard.heads for shard in shards], size, shards, block)
