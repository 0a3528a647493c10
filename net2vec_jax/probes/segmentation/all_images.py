"""Scores over all val images: what a head marks where its concept is absent counts, too.

Set IoU over a concept's own images (behaviour 5.10) leaves false alarms elsewhere free. Here
I, A and T are the pixels of an image that are predicted rightly, predicted, and of the concept,
0 where the concept is absent: IoU ΣI / Σ(A + T − I), precision ΣI / ΣA, recall ΣI / ΣT, F1
2ΣI / Σ(A + T), and average precision, which needs no level. N images, H heads, G embeddings,
p = h·w positions of the activation grid.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.scores import arrange_blocks
from net2vec_jax.probes.segmentation.average_precision import (
    BINS,
    ScoreInterval,
    collect_histograms,
    deal_blocks,
    jackknife_average_precision,
)
from net2vec_jax.probes.segmentation.image_scan import ShownEntries, scan_images
from net2vec_jax.probes.segmentation.model import geometry_of
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.stats.intervals import bootstrap_ratios

HEADS_AT_ONCE = 2048
"""Their histograms of all blocks take 350 MB."""
EMBEDDINGS_PER_BOOTSTRAP = 256
"""Their counts on 20,000 images take 160 MB."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AllImageScores:
    """Scores of G embeddings over all val images, in the order of `HeadScores`.

    Pixels are summed over an embedding's repetitions before the ratios are taken; the average
    precision is the mean of theirs.

    Attributes:
      concept: int32 [G], position in the catalog.
      filters: int32 [G], number of filters, or `heads.ALL_FILTERS`.
      iou: set IoU; NaN where nothing is marked and the concept has no pixel.
      precision: share of the marked pixels that are the concept's; NaN where nothing is marked.
      recall: share of the concept's pixels that are marked; NaN where it has none.
      f1: harmonic mean of both, 2ΣI / Σ(A + T); NaN where the IoU is.
      average_precision: see `average_precision`; NaN where the concept has no pixel.
    """

    concept: np.ndarray
    filters: np.ndarray
    iou: ScoreInterval
    precision: ScoreInterval
    recall: ScoreInterval
    f1: ScoreInterval
    average_precision: ScoreInterval

    def __len__(self) -> int:
        return len(self.concept)


def score_all_images(
    heads: Heads,
    weights: Float[np.ndarray, "H K"],
    level: Float[np.ndarray, " H"],
    overlaps: ImageOverlaps,
    activations: SpatialActivations,
    masks: ConceptMasks,
    *,
    key: Array,
    bootstrap_samples: int = 1000,
    cluster: Int[np.ndarray, " N"] | None = None,
    progress: str = "",
) -> AllImageScores:
    """Score every embedding over all val images, whether they show its concept or not.

    Intervals of the ratios are those of `bootstrap_ratios`, for which the same images are drawn for
    all heads; that of the average precision is `jackknife_average_precision`'s.

    Args:
      heads: H heads.
      weights: their embeddings.
      level: a head marks the pixels where Σ_k w_k x_k is above its level, strictly.
      overlaps: of their predictions with their concepts, see `evaluate_segmentation`.
      activations: of all N images.
      masks: masks of the concepts.
      key: PRNG key of the bootstrap, and of which images share a block of the jackknife.
      bootstrap_samples: how often the val images are redrawn.
      cluster: film, patient or scene of each image; images of one are never torn apart. None:
        every image by itself.
      progress: name of a progress bar; none is shown by default.

    Raises:
      Net2VecError: there is no head or no val image, or activations, masks and clusters are not of
        the same images.
    """
    geometry_of(activations, masks)
    images = np.flatnonzero(masks.is_val)
    if not len(heads) or not len(images):
        raise Net2VecError(f"{len(heads)} heads and {len(images)} val images: nothing to score")
    if cluster is not None and len(cluster) != len(masks.is_val):
        raise Net2VecError(f"clusters of {len(cluster)} images, but masks of {len(masks.is_val)}")
    unit = np.arange(len(images)) if cluster is None else np.asarray(cluster)[images]
    unit = np.unique(unit, return_inverse=True)[1]
    block_key, bootstrap_key = jax.random.split(key)
    blocks = deal_blocks(unit, block_key)
    parts = []
    for rows in arrange_blocks(heads, [heads.filters == ALL_FILTERS, heads.filters != ALL_FILTERS]):
        for some in np.array_split(rows, -(-rows.size // HEADS_AT_ONCE), axis=1):
            chosen = some.ravel()
            entries = ShownEntries.of(chosen, heads, overlaps, masks, images)
            marked, lowest, highest = scan_images(
                weights[chosen], level[chosen], activations, masks.segmentation_size, images,
                progress,
            )  # fmt: skip
            histograms = collect_histograms(
                weights[chosen], lowest, highest, entries, activations, masks, images, blocks,
                progress,
            )  # fmt: skip
            by_repetition = [x.reshape(-1, *some.shape, BINS).swapaxes(0, 1) for x in histograms]
            scores = [
                *_score_pixels(marked, entries, some.shape, unit, bootstrap_key, bootstrap_samples),
                jackknife_average_precision(*by_repetition),
            ]
            parts.append(AllImageScores(heads.concept[some[0]], heads.filters[some[0]], *scores))
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def _score_pixels(
    marked: np.ndarray,
    entries: ShownEntries,
    shape: tuple[int, ...],
    unit: np.ndarray,
    key: Array,
    samples: int,
) -> list[ScoreInterval]:
    """Set IoU, precision, recall and F1 of heads [S, G] from their counts on each image."""
    where = (entries.image, entries.head)
    shared, area = np.zeros_like(marked), np.zeros_like(marked)
    # On its own images the counts are those of `overlaps`, to the last pixel.
    shared[where], area[where], marked[where] = entries.intersection, entries.area, entries.marked
    shared, area, marked = (
        x.reshape(len(x), *shape).sum(1, dtype=np.float32) for x in (shared, area, marked)
    )  # [N, G]
    bounds, sums = [], []
    for start in range(0, shape[1], EMBEDDINGS_PER_BOOTSTRAP):
        part = slice(start, start + EMBEDDINGS_PER_BOOTSTRAP)
        i, t, a = shared[:, part], area[:, part], marked[:, part]
        top, bottom = [i, i, i, 2 * i], [a + t - i, a, t, a + t]
        bounds.append(
            np.stack(bootstrap_ratios(top, bottom, cluster=unit, key=key, samples=samples))
        )
        sums.append([[x.sum(0, dtype=np.float64) for x in each] for each in (top, bottom)])
    top, bottom = np.concatenate(sums, axis=-1)  # [4, G] each
    empty = bottom == 0
    value = np.where(empty, np.nan, top / np.where(empty, 1, bottom))
    low, high = np.where(empty, np.nan, np.concatenate(bounds, axis=-1))
    return [ScoreInterval(*each) for each in zip(value, low, high, strict=True)]
