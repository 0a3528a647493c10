"""A small problem solved with all devices of all hosts; test_devices runs it in other processes.

  python device_problem.py OUT.npz

The environment says how many devices there are, and which host this is.
"""

import dataclasses
import os
import sys

import jax
import numpy as np
from helpers import make_linear_problem, make_random_problem

from net2vec_jax.core.devices import share_of_host
from net2vec_jax.probes.classification.groups import (
    evaluate_classification,
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.training import (
    ClassificationConfig,
    train_classification_heads,
)
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.all_images import score_all_images
from net2vec_jax.probes.segmentation.best_filters import choose_signed_filters
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.image_blocks import train_entries
from net2vec_jax.probes.segmentation.optimum import OptimumConfig, train_to_optimum
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.probes.segmentation.training import (
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters

IMAGES, CONCEPTS = 40, 11
EXACT = "classification_"
"""Results that are the same to the last bit on any number of devices."""


def solve() -> dict[str, np.ndarray]:
    """All that is computed on several devices."""
    # On this grid no upsampled 0/1 map is exactly 0.5 anywhere, so counts are exact.
    activations, masks = make_random_problem(
        3, images=IMAGES, concepts=CONCEPTS, grid=(4, 4), segmentation_size=(16, 10)
    )
    heads = make_segmentation_heads(masks, filters=11, key=jax.random.key(0))
    config = SegmentationConfig(
        epochs=3, batch_size=3, learning_rate=0.01, shuffle=True, chunk_size=8
    )
    epochs: list[np.ndarray] = []
    trained = train_segmentation_heads(
        heads, activations, masks, config, key=jax.random.key(1),
        on_epoch=lambda _, weights: epochs.append(np.array(weights)),
    )  # fmt: skip
    counts = evaluate_segmentation(heads.initial_weights, heads, activations, masks, chunk_size=4)
    single = probe_single_filters(activations, masks)
    everywhere = score_all_images(
        heads, heads.initial_weights, np.zeros(CONCEPTS), ImageOverlaps.of(counts, masks),
        activations, masks, key=jax.random.key(2), bootstrap_samples=20,
    )  # fmt: skip
    standardized, linear = make_linear_problem(3, noise=np.linspace(0, 2, CONCEPTS).tolist())
    full = Heads.of(np.arange(CONCEPTS), np.zeros((CONCEPTS, standardized.filters)))
    entries, l2 = train_entries(full, linear), np.ones(CONCEPTS, np.float32)
    optimum = train_to_optimum(
        full, standardized, linear, entries, l2, OptimumConfig(loss_share=0.9999)
    )
    filter_, sign = choose_signed_filters(standardized, linear, entries, CONCEPTS)
    pooled = np.random.default_rng(0).standard_normal((2, IMAGES, 6)).astype(np.float32)
    concepts = make_classification_heads(masks, filters=6, key=jax.random.key(4), seeds=2)
    groups = group_heads(concepts, masks)
    classified = train_classification_heads(
        concepts, pooled, groups, lambda epoch: groups.draw_words(jax.random.key(5), epoch),
        ClassificationConfig(epochs=3, batch_size=4, optimizer="adam", chunk_size=3),
    )  # fmt: skip
    shown = evaluate_classification(
        concepts, classified.weights, classified.bias, pooled, masks, key=jax.random.key(5),
        chunk_size=16,
    )  # fmt: skip
    classification = dataclasses.asdict(classified) | dataclasses.asdict(shown)
    return {f"{EXACT}{name}": values for name, values in classification.items()} | {
        "weights": trained.weights,
        "loss": trained.loss,
        "epochs": np.stack(epochs),
        "head": counts.head,
        "pair": counts.pair,
        "intersection": counts.overlap.intersection,
        "union": counts.overlap.union,
        "single_intersection": single.intersection,
        "single_union": single.union,
        "precision": everywhere.precision.value,
        "average_precision": everywhere.average_precision.value,
        "optimum_weights": optimum.weights,
        "optimum_bias": optimum.bias,
        "best_filter": filter_,
        "best_sign": sign,
    }


if __name__ == "__main__":
    if "HOST" in os.environ:
        jax.distributed.initialize(os.environ["COORDINATOR"], 2, int(os.environ["HOST"]))
    share = share_of_host(IMAGES, multiple=16)
    setting = [jax.process_count(), len(jax.devices()), share.start, share.stop]
    np.savez(sys.argv[1], setting=setting, **solve())
