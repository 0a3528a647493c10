"""Classification embeddings: against a plain loop, and the laws that they obey."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_masks

from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.classification.groups import (
    evaluate_classification,
    make_full_classification_heads,
    make_groups,
    make_subset_classification_heads,
)
from net2vec_jax.probes.classification.model import ClassificationHeads, score
from net2vec_jax.probes.classification.sampling import ListedSampler
from net2vec_jax.probes.classification.training import (
    ClassificationConfig,
    train_classification,
)
from net2vec_jax.stats.metrics import mean_over_batches

KEY = jax.random.key(3)
FILTERS, IMAGES = 6, 60
GENTLE = ClassificationConfig(epochs=4, learning_rate=0.05, batch_size=8, chunk_size=2)


@pytest.fixture(scope="module")
def pooled():
    return np.random.default_rng(0).standard_normal((1, IMAGES, FILTERS)).astype(np.float32)


@pytest.fixture(scope="module")
def masks():
    """Concepts on 25, 9, 40 and 3 of 60 images, a third of which are val."""
    rng = np.random.default_rng(1)
    is_val = np.arange(IMAGES) % 3 == 0
    mask = np.ones((2, 2), bool)
    marked = {}
    for concept, count in enumerate((25, 9, 40, 6)):
        marked |= {(concept, int(i)): mask for i in rng.choice(IMAGES, count, replace=False)}
    return make_masks(is_val, marked, 4)


def _train(masks, pooled, config=GENTLE, *, seeds=1):
    groups = make_groups(masks, seeds=seeds)
    heads = make_full_classification_heads(groups, filters=pooled.shape[2], key=KEY)
    words = lambda epoch: groups.draw_words(KEY, epoch)  # noqa: E731
    return (
        groups,
        heads,
        train_classification(heads, pooled, groups.sampler, groups.count, words, config),
    )


def _train_by_loop(weights, bias, mask, pooled, image, shows, config):
    """One head in float64, image by image; SGD with momentum."""
    weights, bias = np.where(mask, weights, 0).astype(np.float64), float(bias)
    velocity, bias_velocity = np.zeros_like(weights), 0.0
    for epoch in range(config.epochs):
        for first in range(0, image.shape[1], config.batch_size):
            batch = slice(first, first + config.batch_size)
            gradient, bias_gradient = np.zeros_like(weights), 0.0
            chosen = list(zip(image[epoch, batch], shows[epoch, batch], strict=True))
            for i, target in chosen:
                values = np.where(weights >= 0, pooled[0, i], pooled[-1, i]).astype(np.float64)
                error = 1 / (1 + np.exp(-(values @ weights + bias))) - target
                gradient += error * values / len(chosen)
                bias_gradient += error / len(chosen)
            velocity = config.momentum * velocity + gradient * mask
            bias_velocity = config.momentum * bias_velocity + bias_gradient
            rate = config.rate(epoch)
            weights, bias = weights - rate * velocity, bias - rate * bias_velocity
    return weights, bias


@pytest.mark.parametrize("parts", [1, 2])
def test_training_equals_a_loop(parts):
    rng = np.random.default_rng(5)
    pooled = np.sort(rng.standard_normal((parts, 20, 5)).astype(np.float32), axis=0)[::-1]
    config = ClassificationConfig(
        epochs=3, learning_rate=0.3, epochs_per_decay=2, batch_size=4, chunk_size=2
    )
    count = np.array([10, 7, 4])
    image = rng.integers(0, 20, (3, 3, 10))
    shows = rng.random((3, 3, 10)) < 0.5
    heads = ClassificationHeads(
        rng.random((3, 2, 5)) < 0.7,
        rng.standard_normal((3, 2, 5)).astype(np.float32),
        rng.random((3, 2)).astype(np.float32),
    )
    sampler = ListedSampler(jnp.asarray(image), jnp.asarray(shows))
    result = train_classification(heads, pooled, sampler, count, sampler.epoch_as_words, config)
    for group in range(3):
        for head in range(2):
            weights, bias = _train_by_loop(
                heads.initial_weights[group, head], heads.initial_bias[group, head],
                heads.filter_mask[group, head], pooled,
                image[:, group, : count[group]], shows[:, group, : count[group]], config,
            )  # fmt: skip
            np.testing.assert_allclose(result.weights[group, head], weights, atol=2e-6)
            np.testing.assert_allclose(result.bias[group, head], bias, atol=2e-6)
    assert (result.weights[~heads.filter_mask] == 0).all()


def test_together_equals_alone(masks, pooled):
    groups, _, together = _train(masks, pooled, seeds=2)
    for place in (1, 2):
        alone_groups, _, alone = _train(
            masks.select(masks.catalog.select([str(masks.catalog.concepts[place].number)])),
            pooled,
            seeds=2,
        )
        assert len(alone_groups) == 2
        same = groups.concept == place
        np.testing.assert_array_equal(together.weights[same], alone.weights)
        np.testing.assert_array_equal(together.bias[same], alone.bias)


@pytest.mark.parametrize("chunk_size", [1, 3, 16])
def test_chunks_do_not_matter(masks, pooled, chunk_size):
    _, _, expected = _train(masks, pooled)
    config = dataclasses.replace(GENTLE, chunk_size=chunk_size)
    np.testing.assert_allclose(
        _train(masks, pooled, config)[2].weights, expected.weights, atol=1e-6
    )


def test_seeds_differ(masks, pooled):
    _, heads, result = _train(masks, pooled, seeds=3)
    assert len(np.unique(heads.initial_weights[:, 0, 0])) == len(heads)
    assert len(np.unique(result.weights[:, 0, 0])) == len(heads)


def test_all_filters_as_a_subset_reproduce_the_full_embedding(masks, pooled):
    groups, heads, full = _train(masks, pooled)
    subsets = make_subset_classification_heads(heads, full.weights, [1, 3, FILTERS])
    words = lambda epoch: groups.draw_words(KEY, epoch)  # noqa: E731
    result = train_classification(subsets, pooled, groups.sampler, groups.count, words, GENTLE)
    np.testing.assert_allclose(result.weights[:, 2], full.weights[:, 0], atol=1e-5)
    np.testing.assert_array_equal((result.weights != 0).sum(axis=2), [[1, 3, FILTERS]] * 4)
    largest = np.abs(full.weights[:, 0]).argmax(axis=1)
    np.testing.assert_array_equal(np.abs(result.weights[:, 0]).argmax(axis=1), largest)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_filter_that_shows_the_concept_is_found(masks, pooled, optimizer):
    planted = pooled.copy()
    for concept, filter_ in enumerate((4, 2, 0, 5)):
        images = masks.pair_image[masks.pair_concept == concept]
        planted[0, images, filter_] += 6
    config = ClassificationConfig(epochs=30, learning_rate=0.1, optimizer=optimizer, chunk_size=2)
    groups, _, result = _train(masks, planted, config)
    np.testing.assert_array_equal(result.weights[:, 0].argmax(axis=1), [4, 2, 0, 5])
    scores = evaluate_classification(groups, result.weights, result.bias, planted, masks, key=KEY)
    assert scores.correct.mean() > 0.85
    assert result.accuracy[-1].mean() > 0.9
    assert result.loss[-1].mean() < result.loss[0].mean()


def test_constant_filters_do_no_harm(masks, pooled):
    constant = pooled.copy()
    constant[0, :, 1] = 0
    _, heads, result = _train(masks, constant)
    assert np.isfinite(result.weights).all()
    np.testing.assert_array_equal(result.weights[:, 0, 1], heads.initial_weights[:, 0, 1])


def test_scores_are_those_of_the_concepts_val_images(masks, pooled):
    groups, _, result = _train(masks, pooled, seeds=2)
    scores = evaluate_classification(
        groups, result.weights, result.bias, pooled, masks, key=KEY, chunk_size=7
    )
    assert scores.logits.shape[:2] == (2, 1)
    assert masks.is_val[scores.image].all()
    shown = set(zip(masks.pair_concept.tolist(), masks.pair_image.tolist(), strict=True))
    pairs = zip(scores.concept.tolist(), scores.image.tolist(), strict=True)
    np.testing.assert_array_equal(scores.shows, [pair in shown for pair in pairs])
    for place, (concept, image) in enumerate(zip(scores.concept, scores.image, strict=True)):
        for seed in range(2):
            group = np.flatnonzero((groups.concept == concept) & (groups.seed == seed))[0]
            expected = pooled[0, image] @ result.weights[group, 0] + result.bias[group, 0]
            np.testing.assert_allclose(scores.logits[seed, 0, place], expected, atol=1e-5)
    assert scores.correct.shape == scores.loss.shape == scores.logits.shape


def test_ties_are_wrong():
    zero = score(jnp.zeros((1, 1, 3)), jnp.zeros((1, 1)), jnp.ones((1, 1, 2, 3)))
    np.testing.assert_array_equal(zero, 0)


def test_pooling():
    values = np.random.default_rng(0).standard_normal((5, 3, 4, 2)).astype(np.float32)
    mean = collect_pooled_activations([values[:2], values[2:]])
    np.testing.assert_allclose(mean, values.mean((1, 2))[None], atol=1e-6)
    both = collect_pooled_activations([values], pooling="max")
    np.testing.assert_array_equal(both, [values.max((1, 2)), values.min((1, 2))])
    vectors = collect_pooled_activations([values[:, 0, 0]], pooling="max")
    np.testing.assert_array_equal(vectors, values[None, :, 0, 0])


def test_means_over_batches():
    np.testing.assert_allclose(mean_over_batches(np.array([1, 0, 0, 0, 1.0]), 4), (0.25 + 1) / 2)
    assert np.isnan(mean_over_batches(np.zeros(0), 4))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epochs": -1}, "must be at least 0"),
        ({"optimizer": "rmsprop"}, "neither 'sgd' nor 'adam'"),
        ({"epochs_per_decay": 0}, "epochs per decay"),
    ],
)
def test_bad_settings_are_refused(change, complaint):
    with pytest.raises(Net2VecError, match=complaint):
        dataclasses.replace(GENTLE, **change)


def test_bad_shapes_are_refused(masks, pooled):
    groups, heads, _ = _train(masks, pooled)
    words = lambda epoch: groups.draw_words(KEY, epoch)  # noqa: E731
    with pytest.raises(Net2VecError, match="heads over 6 filters, but activations of 5"):
        train_classification(heads, pooled[..., :5], groups.sampler, groups.count, words)
    with pytest.raises(Net2VecError, match="pooling 'sum'"):
        collect_pooled_activations([pooled], pooling="sum")
    with pytest.raises(Net2VecError, match="expected"):
        collect_pooled_activations([pooled])
    nothing = make_groups(masks, minimum=50)
    with pytest.raises(Net2VecError, match="no head to train"):
        train_classification(
            make_full_classification_heads(nothing, filters=6, key=KEY),
            pooled, nothing.sampler, nothing.count, words,
        )  # fmt: skip
