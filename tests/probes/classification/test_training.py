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
    HeadGroups,
    evaluate_classification,
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.model import score
from net2vec_jax.probes.classification.sampling import ListedSampler
from net2vec_jax.probes.classification.training import (
    ClassificationConfig,
    train_classification_heads,
)
from net2vec_jax.probes.heads import Heads, join_heads, make_subset_heads
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
    heads = make_classification_heads(masks, filters=pooled.shape[2], key=KEY, seeds=seeds)
    return heads, _train_heads(heads, masks, pooled, config)


def _train_heads(heads, masks, pooled, config=GENTLE):
    groups = group_heads(heads, masks)
    words = lambda epoch: groups.draw_words(KEY, epoch)  # noqa: E731
    return train_classification_heads(heads, pooled, groups, words, config)


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
    heads = Heads.of(
        np.array([0, 2, 1, 0, 1]),  # two of the first two concepts, one of the last
        rng.standard_normal((5, 5)),
        filter_mask=rng.random((5, 5)) < 0.7,
        initial_bias=rng.random(5).astype(np.float32),
        filters=np.array([0, 0, 0, 3, 3]),
    )
    sampler = ListedSampler(jnp.asarray(image), jnp.asarray(shows))
    groups = HeadGroups(
        concept=np.arange(3), seed=np.zeros(3, int), number=np.arange(3), name=("a", "b", "c"),
        rows=np.array([[0, 3], [2, 4], [1, -1]]), sampler=sampler, count=count,
    )  # fmt: skip
    result = train_classification_heads(heads, pooled, groups, sampler.epoch_as_words, config)
    for head, group in enumerate(heads.concept):
        weights, bias = _train_by_loop(
            heads.initial_weights[head], heads.initial_bias[head], heads.filter_mask[head], pooled,
            image[:, group, : count[group]], shows[:, group, : count[group]], config,
        )  # fmt: skip
        np.testing.assert_allclose(result.weights[head], weights, atol=2e-6)
        np.testing.assert_allclose(result.bias[head], bias, atol=2e-6)
    assert (result.weights[~heads.filter_mask] == 0).all()


def test_together_equals_alone(masks, pooled):
    heads, together = _train(masks, pooled, seeds=2)
    for place in (1, 2):
        alone_heads, alone = _train(
            masks.select(masks.catalog.select([str(masks.catalog.concepts[place].number)])),
            pooled,
            seeds=2,
        )
        assert alone_heads.seed.tolist() == [0, 1]
        same = heads.concept == place
        np.testing.assert_array_equal(together.weights[same], alone.weights)
        np.testing.assert_array_equal(together.bias[same], alone.bias)


@pytest.mark.parametrize("chunk_size", [1, 3, 16])
def test_chunks_do_not_matter(masks, pooled, chunk_size):
    _, expected = _train(masks, pooled)
    config = dataclasses.replace(GENTLE, chunk_size=chunk_size)
    np.testing.assert_allclose(
        _train(masks, pooled, config)[1].weights, expected.weights, atol=1e-6
    )


def test_seeds_differ(masks, pooled):
    heads, result = _train(masks, pooled, seeds=3)
    assert len(np.unique(heads.initial_weights[:, 0])) == len(heads)
    assert len(np.unique(result.weights[:, 0])) == len(heads)


def test_order_and_neighbours_of_heads_do_not_matter(masks, pooled):
    heads, full = _train(masks, pooled, seeds=2)
    few = make_subset_heads(heads, full.weights, [2]).select(heads.seed == 0)
    alone = _train_heads(few, masks, pooled)
    order = np.random.default_rng(0).permutation(len(heads) + len(few))
    together = _train_heads(join_heads([heads, few]).select(order), masks, pooled)
    back = np.argsort(order)
    np.testing.assert_allclose(together.weights[back][: len(heads)], full.weights, atol=1e-6)
    np.testing.assert_allclose(together.weights[back][len(heads) :], alone.weights, atol=1e-6)
    np.testing.assert_allclose(together.loss[:, back][:, : len(heads)], full.loss, atol=1e-6)


def test_all_filters_as_a_subset_reproduce_the_full_embedding(masks, pooled):
    heads, full = _train(masks, pooled)
    subsets = make_subset_heads(heads, full.weights, [1, 3, FILTERS])
    weights = _train_heads(subsets, masks, pooled).weights
    np.testing.assert_allclose(weights[subsets.filters == FILTERS], full.weights, atol=1e-5)
    np.testing.assert_array_equal((weights != 0).sum(axis=1), subsets.filters)
    largest = np.abs(full.weights).argmax(axis=1)
    np.testing.assert_array_equal(np.abs(weights[subsets.filters == 1]).argmax(axis=1), largest)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_filter_that_shows_the_concept_is_found(masks, pooled, optimizer):
    planted = pooled.copy()
    for concept, filter_ in enumerate((4, 2, 0, 5)):
        images = masks.pair_image[masks.pair_concept == concept]
        planted[0, images, filter_] += 6
    config = ClassificationConfig(epochs=30, learning_rate=0.1, optimizer=optimizer, chunk_size=2)
    heads, result = _train(masks, planted, config)
    np.testing.assert_array_equal(result.weights.argmax(axis=1), [4, 2, 0, 5])
    scores = evaluate_classification(heads, result.weights, result.bias, planted, masks, key=KEY)
    assert scores.correct.mean() > 0.85
    assert result.accuracy[-1].mean() > 0.9
    assert result.loss[-1].mean() < result.loss[0].mean()


def test_constant_filters_do_no_harm(masks, pooled):
    constant = pooled.copy()
    constant[0, :, 1] = 0
    heads, result = _train(masks, constant)
    assert np.isfinite(result.weights).all()
    np.testing.assert_array_equal(result.weights[:, 1], heads.initial_weights[:, 1])


def test_scores_are_those_of_the_concepts_val_images(masks, pooled):
    heads, result = _train(masks, pooled, seeds=2)
    scores = evaluate_classification(
        heads, result.weights, result.bias, pooled, masks, key=KEY, chunk_size=7
    )
    assert masks.is_val[scores.image].all()
    assert (np.diff(scores.head) >= 0).all()
    shown = set(zip(masks.pair_concept.tolist(), masks.pair_image.tolist(), strict=True))
    pairs = zip(heads.concept[scores.head].tolist(), scores.image.tolist(), strict=True)
    np.testing.assert_array_equal(scores.shows, [pair in shown for pair in pairs])
    expected = (pooled[0, scores.image] * result.weights[scores.head]).sum(1)
    np.testing.assert_allclose(scores.logit, expected + result.bias[scores.head], atol=1e-5)
    for concept in range(4):  # all heads of a concept see the same images, in the same order
        one, other = np.flatnonzero(heads.concept == concept)
        first, second = scores.head == one, scores.head == other
        assert first.any()
        np.testing.assert_array_equal(scores.image[first], scores.image[second])
        assert scores.shows[first].mean() == 0.5


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


def test_pooling_of_binary_activations():
    values = np.random.default_rng(0).standard_normal((5, 3, 4, 2)).astype(np.float32)
    thresholds = np.array([0.2, -0.5], np.float32)
    active = values > thresholds
    fractions = collect_pooled_activations([values[:2], values[2:]], thresholds=thresholds)
    np.testing.assert_allclose(fractions, active.mean((1, 2))[None], atol=1e-6)
    both = collect_pooled_activations([values], pooling="max", thresholds=thresholds)
    np.testing.assert_array_equal(both, [active.any((1, 2)), active.all((1, 2))])
    vectors = collect_pooled_activations([values[:, 0, 0]], thresholds=thresholds)
    np.testing.assert_array_equal(vectors, active[None, :, 0, 0])


def test_divergence_is_refused(masks, pooled):
    with pytest.raises(Net2VecError, match=r"diverged.*concept 1, .*epoch 1; .* below 0\.05"):
        _train(masks, pooled * np.float32(1e25))


def test_means_over_batches():
    np.testing.assert_allclose(mean_over_batches(np.array([1, 0, 0, 0, 1.0]), 4), (0.25 + 1) / 2)
    assert np.isnan(mean_over_batches(np.zeros(0), 4))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epochs": -1}, "must be at least 0"),
        ({"optimizer": "rmsprop"}, "neither 'sgd' nor 'adam'"),
        ({"epochs_per_decay": 0}, "epochs per decay"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"learning_rate": float("inf")}, "learning rate inf"),
        ({"learning_rate": 0.0}, "finite number above 0"),
        ({"momentum": 1.0}, "momentum 1.0 must be"),
        ({"momentum": float("nan")}, "momentum nan"),
    ],
)
def test_bad_settings_are_refused(change, complaint):
    with pytest.raises(Net2VecError, match=complaint):
        dataclasses.replace(GENTLE, **change)


@pytest.mark.wrong_shapes
def test_bad_shapes_are_refused(masks, pooled):
    heads, _ = _train(masks, pooled)
    with pytest.raises(Net2VecError, match="heads over 6 filters, but activations of 5"):
        _train_heads(heads, masks, pooled[..., :5])
    with pytest.raises(Net2VecError, match="pooling 'sum'"):
        collect_pooled_activations([pooled], pooling="sum")
    with pytest.raises(Net2VecError, match="expected"):
        collect_pooled_activations([pooled])
    nothing = make_classification_heads(masks, filters=6, key=KEY, minimum=50)
    with pytest.raises(Net2VecError, match="no head to train"):
        _train_heads(nothing, masks, pooled)
