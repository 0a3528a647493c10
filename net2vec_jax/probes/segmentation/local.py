"""Local embeddings: a head for every (concept, image) pair (LoCE, Mikriukov et al., IJCV 2025).

A local embedding is an ordinary head of a concept that has one train image, its α included, so that
all that holds of heads holds of it. Heads start at w = 0: from random weights, filters that are
nowhere active on the image would keep theirs, and embeddings would be compared by noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.training import SegmentationConfig, train_segmentation_heads
from net2vec_jax.stats.metrics import iou

BYTES_AT_ONCE, MOST_AT_ONCE = 2**22, 2**11
"""Weights, and heads, that are trained at a time: in all their steps they stay in a CPU's cache."""


def train_local(
    activations: BinaryActivations,
    masks: ConceptMasks,
    pairs: Int[np.ndarray, " n"],
    config: SegmentationConfig,
    *,
    heads_at_once: int | None = None,
    progress: str = "",
) -> tuple[Float[np.ndarray, "n K"], Float[np.ndarray, " n"]]:
    """Train an embedding on each pair alone, in blocks of heads, on all devices.

    A head's result does not depend on which others are trained beside it.

    Args:
      activations: of all N images.
      masks: masks of the concepts.
      pairs: which of the masks' pairs, train or val.
      config: hyperparameters; an epoch is one step.
      heads_at_once: heads of a block; by default as many as a cache holds.
      progress: name of a progress bar; none is shown by default.

    Returns:
      (embeddings, float32, 0 at filters that are nowhere active on the image; IoU of each one's
      prediction with its own mask, float64).

    Raises:
      Net2VecError: there is no pair, sizes disagree, or training diverged.
    """
    if not len(pairs):
        raise Net2VecError("there is no pair of a concept and an image to train on")
    most = min(MOST_AT_ONCE, max(BYTES_AT_ONCE // (4 * activations.filters), 1))
    size = min(heads_at_once or most, len(pairs))
    heads = Heads.of(np.arange(size), np.zeros((size, activations.filters), np.float32))
    weights = np.empty((len(pairs), activations.filters), np.float32)
    own = np.empty(len(pairs))
    for start in track(range(0, len(pairs), size), progress, unit="block"):
        # The last block reaches back into the one before: all have one size, and one program.
        part = slice(min(start, len(pairs) - size), min(start + size, len(pairs)))
        alone = masks.isolate(pairs[part])
        weights[part] = train_segmentation_heads(heads, activations, alone, config).weights
        own[part] = iou(*evaluate_segmentation(weights[part], heads, activations, alone).overlap)
    return weights, own
