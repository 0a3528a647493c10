"""What trained embeddings predict: their overlap with each concept (reference behaviour 5.10).

The paper predicts a pixel where p > 0.5 strictly, that is z > 0, so a place without any active
filter is not. H heads, P (concept, image) pairs, Q (head, pair) entries.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.devices import DIVIDED, fetch, make_mesh, place_parts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.head_shards import DATA_SPEC, Shard, divide_heads, resolve_chunk_size
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.model import (
    Geometry,
    ProbeData,
    geometry_of,
    score_pixels,
    unpack_masks,
)
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.stats.overlap import Overlap, count_overlap

CHUNKS_PER_CALL = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationCounts:
    """Overlap of each head's prediction with its concept on every image of the concept.

    Attributes:
      head: int32 [Q], ascending.
      pair: int32 [Q], index into the masks' pairs, ascending within a head.
      overlap: intersections and unions in pixels, int32 [Q].
    """

    head: np.ndarray
    pair: np.ndarray
    overlap: Overlap


@partial(jax.jit, static_argnames=("mesh", "geometry"))
def _count_chunks(
    weights: Float[Array, "D n K"],
    level: Float[Array, "D n"],
    head: Int[Array, "D chunks c"],
    pair: Int[Array, "D chunks c"],
    data: ProbeData,
    *,
    mesh: Mesh,
    geometry: Geometry,
) -> Overlap:
    def on_device(
        weights: Array, level: Array, head: Array, pair: Array, data: ProbeData
    ) -> Overlap:
        pair_image, masks, _ = (values[0] for values in data[1:])

        def count(chunk: tuple[Array, Array]) -> Overlap:
            head, pair = chunk
            z = score_pixels(weights[0], head, pair_image[pair], data.activations, geometry)
            above = z > level[0, head][None, :, None]
            return count_overlap(above, unpack_masks(masks[pair], geometry.segmentation_size[0]))

        return jax.tree.map(lambda x: x[None], jax.lax.map(count, (head[0], pair[0])))

    divided = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(DIVIDED, DIVIDED, DIVIDED, DIVIDED, DATA_SPEC),
        out_specs=DIVIDED,
        check_vma=False,
    )
    return divided(weights, level, head, pair, data)


def evaluate_segmentation(
    weights: Float[np.ndarray, "H K"],
    heads: Heads,
    activations: SpatialActivations,
    masks: ConceptMasks,
    *,
    level: Float[np.ndarray, " H"] | None = None,
    chunk_size: int | None = None,
    form: Form | None = None,
    progress: str = "",
) -> SegmentationCounts:
    """Overlap of every head's prediction with its concept, on all images of the concept.

    Set IoU on a split is `metrics.set_iou` of the split's entries, grouped by head. Heads are
    divided over all devices, as in training.

    Args:
      weights: embeddings of the heads.
      heads: the heads.
      activations: of all N images.
      masks: masks of the concepts.
      level: a head predicts the pixels where Σ_k w_k x_k is above its level, strictly; by default
        above 0 (behaviour 5.10).
      chunk_size: pairs computed at a time on a device; by default what suits the backend.
      form: how activations are read, see `score_maps`.
      progress: name of a progress bar; none is shown by default.

    Raises:
      Net2VecError: there is no head, or activations and masks are not of the same images.
    """
    if not len(heads):
        raise Net2VecError("there is no head to evaluate")
    geometry = geometry_of(activations, masks)
    chunk_size = resolve_chunk_size(chunk_size, geometry, activations.filters)
    shards = divide_heads(heads, masks, np.ones(len(masks.pair_image), bool), make_mesh())
    data = shards.place_data(activations, masks, form)
    placed_weights = shards.place(np.asarray(weights, np.float32))
    levels = np.zeros(len(heads)) if level is None else level
    placed_level = shards.place(np.asarray(levels, np.float32))
    entries = [_entries(shard) for shard in shards.shards]
    most = -(-max(len(pair) for _, pair in entries) // chunk_size)
    at_once = min(CHUNKS_PER_CALL, max(most, 1))
    calls = -(-max(most, 1) // at_once)

    def lay(values: np.ndarray) -> np.ndarray:
        out = np.zeros((calls, at_once, chunk_size), np.int32)
        out.reshape(-1)[: len(values)] = values
        return out

    laid = [(lay(head), lay(pair)) for head, pair in entries]
    counts = []
    for call in track(range(calls), progress, unit="call"):
        head, pair = (
            place_parts(shards.mesh, lambda place, side=side, call=call: laid[place][side][call])
            for side in (0, 1)
        )
        counted = _count_chunks(
            placed_weights, placed_level, head, pair, data, mesh=shards.mesh, geometry=geometry
        )
        counts.append(fetch(counted))
    overlap = [np.stack(values, axis=1) for values in zip(*counts, strict=True)]
    head = np.concatenate([s.heads[h] for s, (h, _) in zip(shards.shards, entries, strict=True)])
    pair = np.concatenate([s.pairs[p] for s, (_, p) in zip(shards.shards, entries, strict=True)])
    order = np.lexsort([pair, head])

    def gather(values: np.ndarray) -> np.ndarray:
        parts = [v.reshape(-1)[: len(p)] for v, (_, p) in zip(values, entries, strict=True)]
        return np.concatenate(parts)[order]

    return SegmentationCounts(
        head[order].astype(np.int32), pair[order].astype(np.int32), Overlap(*map(gather, overlap))
    )


def _entries(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """Every (head, pair) entry of a device: places in the shard's heads and in its pairs."""
    head = np.repeat(np.arange(len(shard.heads)), shard.count)
    place = np.arange(len(head)) - np.repeat(np.cumsum(shard.count) - shard.count, shard.count)
    return head, shard.first[head] + place
