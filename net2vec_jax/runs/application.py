"""A probe applied to a stream of photographs, of which it never holds more than a few batches.

Photographs are decoded, passed through the network, scored and handed on at the same time. Pixels
are counted on the run's segmentation grid [Y, X], by the operations that the run was scored with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.special

from net2vec_jax.data.dataset import map_in_order
from net2vec_jax.data.images.photographs import PhotographFiles
from net2vec_jax.probes.segmentation.prediction import score_grids, summarise_pixels
from net2vec_jax.runs.classification import ClassificationProbe
from net2vec_jax.runs.segmentation import SegmentationProbe

_SAME = ("network", "weights", "layer", "preprocessing", "dtype", "responses")


@dataclasses.dataclass(frozen=True, eq=False)
class Applied:
    """What probes say of one photograph, C concepts marked and D of which it is said if it shows
    them.

    Attributes:
      index: of the photograph.
      scores: z less each embedding's level on the activation grid, float32 [C, h, w].
      pixels: share of [Y, X] that is marked, mean and maximum of σ(z − level), float32 [C, 3].
      packed: the masks, see `PixelSummary`, uint8 [C, Y, ceil(X / 8)]; None where not asked for.
      shown: probability that the photograph shows a concept, float32 [D].
    """

    index: int
    scores: np.ndarray
    pixels: np.ndarray
    packed: np.ndarray | None
    shown: np.ndarray


def apply_probes(
    photographs: PhotographFiles,
    segmentation: SegmentationProbe | None,
    classification: ClassificationProbe | None = None,
    *,
    marked: Sequence[int] = (),
    told: Sequence[int] = (),
    filters: int | None = None,
    seed: int = 0,
    keep_masks: bool = False,
) -> Iterator[Applied]:
    """Apply one probe or both to photographs, in their order.

    Both see the same forward pass where they are of one layer, and one each otherwise.

    Args:
      photographs: of the size that the probes see; of unreadable ones the results mean nothing.
      segmentation: marks pixels.
      classification: says whether a photograph shows a concept.
      marked: places of C of the segmentation probe's concepts.
      told: places of D of the classification probe's concepts.
      filters: use the embeddings of so many filters; by default of all.
      seed: which repetition's embeddings, from 0.
      keep_masks: return masks on the segmentation grid too.

    Raises:
      Net2VecError: a probe has no such embeddings or no network, or sees images of another size.
    """
    mark_rows = tell_rows = np.zeros(0, int)
    if segmentation is not None:
        mark_rows = segmentation.find_rows(filters, seed)[np.array(marked, int)]
    if classification is not None:
        tell_rows = classification.find_rows(None if segmentation else filters, seed)[
            np.array(told, int)
        ]

    def score(pair: tuple[np.ndarray, np.ndarray]) -> list[tuple]:
        spatial, pooled = pair
        nothing = np.zeros((len(spatial), 0), np.float32)
        scores, pixels, packed, shown = nothing, nothing, None, nothing
        if segmentation is not None:
            level = segmentation.trained.level[mark_rows]
            size = segmentation.segmentation_size
            scores = score_grids(
                segmentation.trained.weights[mark_rows], segmentation.weigh([spatial])
            )
            found = summarise_pixels(scores, level, size, keep_masks=keep_masks)
            share = (found.marked / (size[0] * size[1])).astype(np.float32)
            pixels = np.stack([share, found.mean, found.maximum], axis=-1)
            packed, scores = found.packed, scores - level[:, None, None]
        if classification is not None:
            shown = scipy.special.expit(classification.find_logits([pooled], tell_rows))
        nones = [None] * len(spatial)
        return [*zip(scores, pixels, nones if packed is None else packed, shown, strict=True)]

    batches = map_in_order(score, _respond(photographs, segmentation, classification), workers=1)
    results = (result for batch in batches for result in batch)
    for index, result in enumerate(results):
        yield Applied(index, *result)


def _respond(
    photographs: PhotographFiles,
    segmentation: SegmentationProbe | None,
    classification: ClassificationProbe | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Activations for each of two probes, batch by batch."""
    probes = [probe for probe in (segmentation, classification) if probe is not None]
    first, last = probes[0], probes[-1]
    if all(first.origin.get(name) == last.origin.get(name) for name in _SAME):
        return ((batch, batch) for batch in first.respond(photographs))
    return zip(first.respond(photographs), last.respond(photographs), strict=True)
