"""Above which score a head marks a pixel: the level of largest set IoU on train images.

Pixels are counted as `evaluate_segmentation` does. On the activation grid a position is no pixel:
the IoU of objects as small as a position's surroundings hardly depends on the level there. L levels
are tried.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.segmentation.image_blocks import Entries
from net2vec_jax.probes.segmentation.model import (
    Geometry,
    geometry_of,
    score_pixels,
    unpack_masks,
)
from net2vec_jax.probes.segmentation.prediction import chunk_pairs, score_pairs
from net2vec_jax.probes.segmentation.score_maps import ArrangedActivations, arrange_activations
from net2vec_jax.stats.metrics import iou
from net2vec_jax.stats.overlap import Overlap, count_overlap

LEVELS = 64
SAMPLED_ENTRIES = 32
"""Images of a head from whose scores the levels are taken."""
SMALLEST_PART = 0.001
"""The highest level leaves such a part of the positions above it."""
MOST_ENTRIES = 512
"""Of a head's entries, the level is chosen on so many, evenly over all."""
ENTRIES_PER_CALL = 4096


def choose_levels(
    weights: Float[np.ndarray, "H K"],
    entries: Entries,
    activations: SpatialActivations,
    masks: ConceptMasks,
) -> Float[np.ndarray, " H"]:
    """For each head, the level above which Σ_k w_k x_k overlaps best with its concept.

    Args:
      weights: embeddings of the heads.
      entries: on which the level is chosen, heads ascending; each head has one at least. Of more
        than `MOST_ENTRIES` of a head, so many are used.
      activations: of all N images.
      masks: the concepts' masks.

    Returns:
      float32 [H].

    Raises:
      Net2VecError: activations and masks are not of the same images.
    """
    geometry, heads = geometry_of(activations, masks), len(weights)
    weights = np.asarray(weights, np.float32)
    levels = _propose_levels(weights, entries, activations)
    entries = _thin_out(entries, heads)
    placed = jax.tree.map(jnp.asarray, (weights, levels, arrange_activations(activations)))
    totals = np.zeros((2, heads, LEVELS), np.int64)
    for start in range(0, len(entries.head), ENTRIES_PER_CALL):
        part = entries.select(slice(start, start + ENTRIES_PER_CALL))
        (head, image), count = chunk_pairs(part.head, part.image)
        (pair, _), _ = chunk_pairs(part.pair, part.image)
        found = _count_levels(
            *placed, head, image, masks.packed[np.asarray(pair)], geometry=geometry
        )
        for total, of_entries in zip(totals, found, strict=True):
            np.add.at(total, part.head, np.asarray(of_entries).reshape(-1, LEVELS)[:count])
    return levels[np.arange(heads), iou(*totals).argmax(axis=1)]


def _thin_out(entries: Entries, heads: int) -> Entries:
    """At most `MOST_ENTRIES` of every head."""
    count = np.bincount(entries.head, minlength=heads)
    rank = np.arange(len(entries.head)) - (np.cumsum(count) - count)[entries.head]
    kept, count = np.minimum(count, MOST_ENTRIES)[entries.head], count[entries.head]
    return entries.select((rank + 1) * kept // count > rank * kept // count)


def _propose_levels(
    weights: Float[np.ndarray, "H K"], entries: Entries, activations: SpatialActivations
) -> Float[np.ndarray, "H L"]:
    """Quantiles of a head's scores on the grid, ascending; above the first one is everything."""
    count = np.bincount(entries.head, minlength=len(weights))
    place = np.arange(SAMPLED_ENTRIES) * count[:, None] // SAMPLED_ENTRIES
    chosen = ((np.cumsum(count) - count)[:, None] + place).ravel()
    sample = score_pairs(weights, entries.head[chosen], entries.image[chosen], activations)
    above = np.geomspace(1, SMALLEST_PART, LEVELS)
    sample = sample.reshape(len(weights), -1)
    levels = np.quantile(sample, 1 - above, axis=1).T
    # Beside the scores, where no pixel hangs on rounding.
    beside = 1e-4 * sample.std(axis=1)
    levels += beside[:, None]
    levels[:, 0] -= 2 * beside
    levels = levels.astype(np.float32)
    levels[:, 0] = np.nextafter(levels[:, 0], -np.inf, dtype=np.float32)
    return levels


@partial(jax.jit, static_argnames=("geometry",))
def _count_levels(
    weights: Float[Array, "H K"],
    levels: Float[Array, "H L"],
    activations: ArrangedActivations,
    head: Int[Array, "chunks c"],
    image: Int[Array, "chunks c"],
    packed: UInt8[Array | np.ndarray, "chunks c bytes X"],
    *,
    geometry: Geometry,
) -> Overlap:
    """Overlap [chunks, c, L] of what is above every level with the concept."""

    def count_chunk(chunk: tuple[Array, Array, Array]) -> Overlap:
        head, image, packed = chunk
        z = score_pixels(weights, head, image, activations, geometry)
        target = unpack_masks(packed, geometry.segmentation_size[0])

        def count(level: Array) -> Overlap:
            return count_overlap(z > level[None, :, None], target)

        return jax.tree.map(jnp.transpose, jax.lax.map(count, levels[head].T))

    return jax.lax.map(count_chunk, (head, image, packed))
