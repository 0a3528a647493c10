"""What trained embeddings predict: their overlap with each concept (reference spec 5.10).

A pixel is predicted where p > 0.5 strictly, that is z > 0, so a place without any active filter is
not. H heads, P (concept, image) pairs, Q (head, pair) entries.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.overlap import Overlap, count_overlap
from net2vec_jax.probes.schedule import lay_out_chunks
from net2vec_jax.probes.score_maps import Form
from net2vec_jax.probes.segmentation_model import (
    Geometry,
    ProbeData,
    place_data,
    score_pixels,
    unpack_masks,
)

CHUNKS_PER_CALL = 64


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


@partial(jax.jit, static_argnames=("geometry",))
def _count_chunks(
    weights: Float[Array, "H K"],
    head: Int[Array, "chunks c"],
    pair: Int[Array, "chunks c"],
    data: ProbeData,
    *,
    geometry: Geometry,
) -> Overlap:
    def count(chunk: tuple[Array, Array]) -> Overlap:
        head, pair = chunk
        z = score_pixels(weights, head, data.pair_image[pair], data, geometry)
        target = unpack_masks(data.masks[pair], geometry.segmentation_size[0])
        return count_overlap(z > 0, target)

    return jax.lax.map(count, (head, pair))


def evaluate_segmentation(
    weights: Float[np.ndarray, "H K"],
    heads: Heads,
    activations: BinaryActivations,
    masks: ConceptMasks,
    *,
    chunk_size: int = 64,
    form: Form | None = None,
    progress: bool = False,
) -> SegmentationCounts:
    """Overlap of every head's prediction with its concept, on all images of the concept.

    Set IoU on a split is `metrics.set_iou` of the split's entries, grouped by head.

    Args:
      weights: embeddings of the heads.
      heads: the heads.
      activations: binary activations of all N images.
      masks: masks of the concepts.
      chunk_size: pairs computed at a time.
      form: how activations are read, see `score_maps`.
      progress: show a progress bar.

    Raises:
      Net2VecError: there is no head, or activations and masks are not of the same images.
    """
    if not len(heads):
        raise Net2VecError("there is no head to evaluate")
    data, geometry = place_data(activations, masks, form)
    per_concept = np.bincount(masks.pair_concept, minlength=len(masks.catalog))
    first = np.cumsum(per_concept) - per_concept
    count = per_concept[heads.concept]
    head = np.repeat(np.arange(len(heads)), count).astype(np.int32)
    place = np.arange(len(head)) - np.repeat(np.cumsum(count) - count, count)
    pair = (first[heads.concept][head] + place).astype(np.int32)
    slot, first_chunk = lay_out_chunks([len(head)], chunk_size)
    at_once = min(CHUNKS_PER_CALL, max(int(first_chunk[-1]), 1))
    calls = -(-int(first_chunk[-1]) // at_once)

    def lay(values: np.ndarray) -> np.ndarray:
        out = np.zeros((calls, at_once, chunk_size), np.int32)
        out.reshape(-1)[slot] = values
        return out

    device_weights = jnp.asarray(weights, jnp.float32)
    laid = tqdm(
        zip(lay(head), lay(pair), strict=True),
        "evaluation", calls, unit="call", disable=not progress, leave=False, delay=1,
    )  # fmt: skip
    counts = [
        jax.tree.map(np.asarray, _count_chunks(device_weights, *call, data, geometry=geometry))
        for call in laid
    ]
    overlap = Overlap(
        *(np.array(values, np.int32).reshape(-1)[slot] for values in zip(*counts, strict=True))
    )
    return SegmentationCounts(head, pair, overlap)
