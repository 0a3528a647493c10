"""Torch with all concepts in one program computes what ours computes."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.torch_reference import vectorised  # noqa: E402
from experiments.torch_reference.classification import draw_all_images  # noqa: E402
from net2vec_jax.activations.thresholds import collect_thresholds  # noqa: E402
from net2vec_jax.probes.classification.groups import (  # noqa: E402
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.training import (  # noqa: E402
    ClassificationConfig,
    train_classification_heads,
)
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation  # noqa: E402
from net2vec_jax.probes.segmentation.training import (  # noqa: E402
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters  # noqa: E402


def test_the_same_weights_and_losses(masks, activations) -> None:
    """17 train images in batches of 4, a third of them with the third concept."""
    config = SegmentationConfig(epochs=4, batch_size=4, learning_rate=1e-2)
    heads = make_segmentation_heads(masks, filters=activations.filters, key=jax.random.key(0))
    ours = train_segmentation_heads(heads, activations, masks, config)
    weights, loss, _ = vectorised.train_segmentation_vectorised(heads, activations, masks, config)
    # float32 sums of at most 520 pixels, in another order
    np.testing.assert_allclose(weights, ours.weights, atol=1e-5)
    np.testing.assert_allclose(loss, ours.loss, rtol=1e-5)
    assert np.abs(weights - heads.initial_weights).max() > 0.01


def test_the_same_counts_of_embeddings(masks, activations) -> None:
    heads = make_segmentation_heads(masks, filters=activations.filters, key=jax.random.key(0))
    weights = heads.initial_weights
    counts = evaluate_segmentation(weights, heads, activations, masks)
    found = vectorised.evaluate_segmentation_vectorised(weights, heads, activations, masks)
    where = (masks.pair_is_val[counts.pair].astype(int), counts.head)
    for one, values in zip(found, counts.overlap, strict=True):
        expected = np.zeros_like(one)
        np.add.at(expected, where, values)
        np.testing.assert_array_equal(one, expected)


def test_the_same_counts_of_filters(masks, activations) -> None:
    found = vectorised.probe_single_filters_vectorised(activations, masks)
    for one, values in zip(found, probe_single_filters(activations, masks), strict=True):
        np.testing.assert_array_equal(one, values)


def test_the_same_thresholds() -> None:
    values = np.random.default_rng(0).standard_normal((40, 6, 7, 3), np.float32)
    for quantile in (0.005, 0.3):
        np.testing.assert_array_equal(
            vectorised.collect_thresholds_vectorised(values, quantile=quantile),
            collect_thresholds([values], 40 * 42, quantile=quantile),
        )


def test_the_same_classification_weights(masks) -> None:
    pooled = np.random.default_rng(2).random((1, len(masks.is_val), 5)).astype(np.float32)
    config = ClassificationConfig(epochs=3, batch_size=4, epochs_per_decay=2)
    key = jax.random.key(1)
    # The first two concepts are on all images: only the third has images without it.
    heads = make_classification_heads(masks, filters=5, key=key, seeds=2)
    groups = group_heads(heads, masks)
    ours = train_classification_heads(
        heads, pooled, groups, lambda epoch: groups.draw_words(key, epoch), config
    )
    images, shows = draw_all_images(groups, key, config.epochs)
    weights = vectorised.train_classification_vectorised(
        pooled[0], images, shows, groups.count, heads.initial_weights, heads.initial_bias, config
    )
    np.testing.assert_allclose(weights, ours.weights, atol=1e-6)
    assert np.abs(weights - heads.initial_weights).max() > 1e-2
