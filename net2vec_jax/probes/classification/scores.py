"""Accuracy of classification embeddings on both splits, with intervals."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.probes.classification.groups import ClassificationCounts
from net2vec_jax.probes.heads import Heads, find_entries
from net2vec_jax.probes.scores import HeadScores, arrange_blocks, join_scores
from net2vec_jax.stats.intervals import bootstrap_accuracy
from net2vec_jax.stats.metrics import mean_over_batches


def score_classification(
    heads: Heads,
    train_accuracy: Float[np.ndarray, " H"],
    counts: ClassificationCounts,
    *,
    key: Array,
    batch_size: int | None = None,
    bootstrap_samples: int = 1000,
) -> HeadScores:
    """Accuracy of every head and embedding on its balanced images, with intervals of val.

    Args:
      heads: H heads.
      train_accuracy: of every head in the last epoch.
      counts: what they say of val images, see `evaluate_classification`.
      key: PRNG key of the bootstrap.
      batch_size: average over batches of so many images, as the original does (behaviour Q-10);
        by default over images.
      bootstrap_samples: of the intervals.
    """
    correct = counts.correct
    first = np.searchsorted(counts.head, np.arange(len(heads) + 1))
    parts = [correct[a:b].astype(np.float64) for a, b in itertools.pairwise(first)]
    val_accuracy = np.array(
        [
            part.mean() if batch_size is None else float(mean_over_batches(part, batch_size))
            for part in parts
        ]
    )
    blocks = arrange_blocks(heads, [heads.filters == size for size in np.unique(heads.filters)])
    bounds = []
    for rows in blocks:
        entries, column = find_entries(rows, counts.head)
        bounds.append(
            bootstrap_accuracy(
                correct[entries],
                column,
                rows.shape[1],
                stratum=counts.shows[entries[0]].astype(np.int32),
                key=key,
                samples=bootstrap_samples,
            )
        )
    return join_scores(heads, train_accuracy, val_accuracy, blocks, bounds)
