"""Training all heads as one ragged problem equals training each by the book."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import make_catalog, make_masks, make_random_problem, train_by_loop, upsample_by_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.head_shards import resolve_chunk_size
from net2vec_jax.probes.heads import Heads, make_subset_heads
from net2vec_jax.probes.segmentation import evaluation as segmentation_evaluation
from net2vec_jax.probes.segmentation import steps as segmentation_steps
from net2vec_jax.probes.segmentation import training as segmentation
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.model import Geometry
from net2vec_jax.probes.segmentation.training import (
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.stats.metrics import set_iou

# float32 sums in another order, over a few dozen steps; the largest weight is of order 1.
SAME = 1e-5
# A learning rate at which weights move by about their own size within a few epochs of these small
# problems (the reference's 1e-4 is for 112 × 112 pixels).
CONFIG = SegmentationConfig(epochs=4, batch_size=3, learning_rate=0.01, chunk_size=8)


def heads_of(masks: ConceptMasks, seed: int = 0) -> Heads:
    return make_segmentation_heads(masks, filters=11, key=jax.random.key(seed))


@given(seed=st.integers(0, 10**6), chunk_size=st.sampled_from([5, 64]))
@settings(max_examples=5)
def test_training_alone_equals_training_together(seed: int, chunk_size: int) -> None:
    activations, masks = make_random_problem(seed)
    heads = heads_of(masks, seed)
    together = train_segmentation_heads(heads, activations, masks, CONFIG)
    moved = np.abs(together.weights - heads.initial_weights).max(axis=1)
    assert (moved > 100 * SAME).all(), "the problem must be one in which something is learned"
    for head in range(len(heads)):
        one = heads.select(slice(head, head + 1))
        config = dataclasses.replace(CONFIG, chunk_size=chunk_size)
        alone = train_segmentation_heads(one, activations, masks, config)
        np.testing.assert_allclose(alone.weights, together.weights[head : head + 1], atol=SAME)
        np.testing.assert_allclose(alone.loss[:, 0], together.loss[:, head], rtol=SAME)
        assert alone.alpha[0] == together.alpha[head]


def test_training_on_the_masks_of_one_concept_equals_training_on_all() -> None:
    activations, masks = make_random_problem(3)
    heads = heads_of(masks)
    together = train_segmentation_heads(heads, activations, masks, CONFIG)
    part = masks.select(ConceptCatalog(masks.catalog.concepts[1:2]))
    alone = train_segmentation_heads(heads_of(part), activations, part, CONFIG)
    np.testing.assert_allclose(alone.weights, together.weights[1:2], atol=SAME)


def test_order_of_the_heads_does_not_matter() -> None:
    activations, masks = make_random_problem(4)
    heads = heads_of(masks)
    order = np.array([2, 0, 1])
    straight = train_segmentation_heads(heads, activations, masks, CONFIG)
    permuted = train_segmentation_heads(heads.select(order), activations, masks, CONFIG)
    np.testing.assert_allclose(permuted.weights, straight.weights[order], atol=SAME)


@pytest.mark.parametrize(
    ("chunk_size", "form"), [(1, "sparse"), (7, "sparse"), (7, "dense"), (1000, "dense")]
)
def test_chunk_size_and_form_do_not_matter(chunk_size: int, form: str) -> None:
    activations, masks = make_random_problem(1)
    heads = heads_of(masks)
    usual = train_segmentation_heads(heads, activations, masks, CONFIG)
    config = dataclasses.replace(CONFIG, chunk_size=chunk_size, form=form)
    other = train_segmentation_heads(heads, activations, masks, config)
    np.testing.assert_allclose(other.weights, usual.weights, atol=SAME)
    np.testing.assert_allclose(other.loss, usual.loss, rtol=SAME)


@pytest.mark.parametrize(
    ("loss", "batch_size", "legacy"),
    [
        ("linear", 1, False),
        ("linear", 4, False),
        ("linear", 4, True),  # 9 train images: the last batch has one
        ("linear", 64, False),
        ("bce", 4, False),
    ],
)
def test_equals_a_plain_loop_in_float64(loss: str, batch_size: int, legacy: bool) -> None:
    activations, masks = make_random_problem(2)
    heads = heads_of(masks)
    config = SegmentationConfig(
        epochs=5,
        batch_size=batch_size,
        learning_rate=0.01 if loss == "linear" else 0.002,
        loss=loss,
        legacy_single_image_scale=legacy,
        chunk_size=8,
    )
    result = train_segmentation_heads(heads, activations, masks, config)
    for head, concept in enumerate(heads.concept):
        weights, losses = train_by_loop(
            heads.initial_weights[head], heads.filter_mask[head], concept, activations, masks,
            epochs=5, batch_size=batch_size, learning_rate=config.learning_rate, loss=loss,
            legacy_single_image_scale=legacy,
        )  # fmt: skip
        size = np.abs(weights).max()
        np.testing.assert_allclose(result.weights[head], weights, atol=SAME * max(size, 1))
        np.testing.assert_allclose(result.loss[:, head], losses, rtol=SAME)


def test_legacy_scale_leaves_larger_batches_alone() -> None:
    activations, masks = make_random_problem(2)
    heads = heads_of(masks).select([0])
    assert masks.count_images()[0][0] == 9
    legacy = dataclasses.replace(CONFIG, legacy_single_image_scale=True)
    np.testing.assert_array_equal(
        train_segmentation_heads(heads, activations, masks, legacy).weights,
        train_segmentation_heads(heads, activations, masks, CONFIG).weights,
    )


def test_unused_filters_have_weight_zero_exactly() -> None:
    activations, masks = make_random_problem(5)
    full = heads_of(masks)
    weights = train_segmentation_heads(full, activations, masks, CONFIG).weights
    subset = make_subset_heads(full, weights, [4])
    result = train_segmentation_heads(subset, activations, masks, CONFIG).weights
    assert (result[~subset.filter_mask] == 0).all()
    assert (result[subset.filter_mask] != 0).all()
    for head, concept in enumerate(subset.concept):
        expected, _ = train_by_loop(
            subset.initial_weights[head], subset.filter_mask[head], concept, activations, masks,
            epochs=4, batch_size=3, learning_rate=0.01,
        )  # fmt: skip
        np.testing.assert_allclose(result[head], expected, atol=SAME)


def test_all_filters_as_a_subset_reproduce_the_full_head() -> None:
    activations, masks = make_random_problem(6)
    full = heads_of(masks)
    weights = train_segmentation_heads(full, activations, masks, CONFIG).weights
    all_ = make_subset_heads(full, weights, [11])
    np.testing.assert_array_equal(
        train_segmentation_heads(all_, activations, masks, CONFIG).weights, weights
    )


def test_two_steps_with_a_constant_gradient() -> None:
    # Appendix D.5: from rest w moves by −lr·g, then −lr·1.9·g.
    optimizer = SegmentationConfig(learning_rate=0.5).update_rule().make_optimizer()
    weights, gradient = jnp.zeros(3), jnp.asarray([1.0, -2.0, 4.0])
    state = optimizer.init(weights)
    for factor in (1, 1.9, 2.71):
        updates, state = optimizer.update(gradient, state, weights)
        np.testing.assert_allclose(updates, -0.5 * factor * gradient, rtol=1e-6)
        weights = optax.apply_updates(weights, updates)


def test_no_epoch_leaves_the_initial_weights() -> None:
    activations, masks = make_random_problem(0)
    heads = heads_of(masks)
    config = dataclasses.replace(CONFIG, epochs=0)
    result = train_segmentation_heads(heads, activations, masks, config)
    np.testing.assert_array_equal(result.weights, heads.initial_weights)
    assert result.loss.shape == (0, 3)


def test_each_epoch_is_reported() -> None:
    activations, masks = make_random_problem(0)
    seen: dict[int, np.ndarray] = {}
    result = train_segmentation_heads(
        heads_of(masks), activations, masks, CONFIG,
        on_epoch=lambda epoch, weights: seen.update({epoch: np.array(weights)}),
    )  # fmt: skip
    assert list(seen) == [1, 2, 3, 4]
    np.testing.assert_array_equal(seen[4], result.weights)
    fewer = dataclasses.replace(CONFIG, epochs=2)
    stopped = train_segmentation_heads(heads_of(masks), activations, masks, fewer)
    np.testing.assert_array_equal(seen[2], stopped.weights)


def test_same_key_same_order_and_heads_are_independent_when_shuffled() -> None:
    activations, masks = make_random_problem(7)
    heads = heads_of(masks)
    config = dataclasses.replace(CONFIG, shuffle=True)
    key = jax.random.key(5)
    together = train_segmentation_heads(heads, activations, masks, config, key=key)
    again = train_segmentation_heads(heads, activations, masks, config, key=key)
    np.testing.assert_array_equal(again.weights, together.weights)
    alone = train_segmentation_heads(heads.select([1]), activations, masks, config, key=key)
    np.testing.assert_allclose(alone.weights, together.weights[1:2], atol=SAME)
    part = masks.select(ConceptCatalog(masks.catalog.concepts[1:2]))
    own = train_segmentation_heads(heads_of(part), activations, part, config, key=key)
    np.testing.assert_allclose(own.weights, together.weights[1:2], atol=SAME)
    other = train_segmentation_heads(heads, activations, masks, config, key=jax.random.key(6))
    fixed = train_segmentation_heads(heads, activations, masks, CONFIG)
    for different in (other, fixed):
        assert np.abs(different.weights - together.weights).max() > 100 * SAME


def test_shuffling_draws_a_permutation_of_every_concepts_train_pairs() -> None:
    _, masks = make_random_problem(8, images=40)
    train, _ = masks.count_images()
    orders = []
    for seed in range(2):
        pairs = np.flatnonzero(~masks.pair_is_val)
        order = pairs[segmentation._shuffle(jax.random.key(seed), masks, pairs)]
        for concept, own in enumerate(np.split(order, np.cumsum(train)[:-1])):
            expected = (masks.pair_concept == concept) & ~masks.pair_is_val
            assert sorted(own.tolist()) == np.flatnonzero(expected).tolist()
        orders.append(order)
    assert (orders[0] != orders[1]).any()


def test_shuffling_needs_a_key() -> None:
    activations, masks = make_random_problem(0)
    with pytest.raises(Net2VecError, match="key is needed to shuffle"):
        train_segmentation_heads(
            heads_of(masks), activations, masks, SegmentationConfig(shuffle=True)
        )


def test_concept_without_train_images_is_refused() -> None:
    activations, _ = make_random_problem(0, images=3)
    only_val = make_masks([False, False, True], {(0, 2): np.ones((13, 10), bool)}, concepts=1)
    heads = Heads.of(np.zeros(1, int), np.zeros((1, 11), np.float32))
    with pytest.raises(Net2VecError, match="concept 'concept 1' has no train image"):
        train_segmentation_heads(heads, activations, only_val)


@pytest.mark.parametrize("loss", ["linear", "bce"])
def test_divergence_is_refused(loss) -> None:
    activations, masks = make_random_problem(0)
    config = dataclasses.replace(CONFIG, learning_rate=3e38, loss=loss)
    with pytest.raises(Net2VecError, match=r"diverged: .*concept \d.*epoch \d.* below 3e\+38"):
        train_segmentation_heads(heads_of(masks), activations, masks, config)


def test_concept_marked_beyond_its_image_is_refused() -> None:
    activations, masks = make_random_problem(0)
    pixels = np.where(masks.pair_concept == 1, 150, masks.pixels).astype(np.int32)  # of 130
    doubled = dataclasses.replace(masks, pixels=pixels)
    with pytest.raises(Net2VecError, match=r"'concept 2' marks 115% "):
        train_segmentation_heads(heads_of(masks), activations, doubled, CONFIG)


def test_heads_over_other_filters_than_the_activations() -> None:
    activations, masks = make_random_problem(0)
    heads = make_segmentation_heads(masks, filters=10, key=jax.random.key(0))
    with pytest.raises(Net2VecError, match="over 10 filters, but activations of 11"):
        train_segmentation_heads(heads, activations, masks)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"chunk_size": 0},
        {"loss": "focal"},
        {"learning_rate": float("nan")},
        {"learning_rate": -1.0},
        {"momentum": 1.5},
    ],
)
def test_configuration_out_of_range(wrong: dict) -> None:
    with pytest.raises(Net2VecError, match=str(next(iter(wrong.values())))):
        SegmentationConfig(**wrong)


@pytest.mark.parametrize(("chunk_size", "form"), [(1, "sparse"), (7, "dense"), (64, "sparse")])
def test_evaluation_counts_equal_brute_force(chunk_size: int, form: str) -> None:
    activations, masks = make_random_problem(9)
    heads = heads_of(masks).select([2, 0, 2])
    weights = np.random.default_rng(0).normal(size=(3, 11)).astype(np.float32)
    counts = evaluate_segmentation(
        weights, heads, activations, masks, chunk_size=chunk_size, form=form
    )
    bits = activations.unpack().astype(float)
    intersection, union = [], []
    for head, pair in zip(counts.head, counts.pair, strict=True):
        assert masks.pair_concept[pair] == heads.concept[head]
        scores = bits[masks.pair_image[pair]] @ weights[head]
        predicted = upsample_by_loop(scores, masks.segmentation_size) > 0
        target = masks.unpack(slice(pair, pair + 1))[0]
        intersection.append((predicted & target).sum())
        union.append((predicted | target).sum())
    # No score is so near 0 that rounding decides: random float weights.
    np.testing.assert_array_equal(counts.overlap.intersection, intersection)
    np.testing.assert_array_equal(counts.overlap.union, union)
    expected = np.concatenate([np.flatnonzero(masks.pair_concept == c) for c in (2, 0, 2)])
    np.testing.assert_array_equal(counts.pair, expected)


def test_an_embedding_finds_what_one_filter_marks() -> None:
    # The concept is where filter 3 is active; the others are noise.
    activations, _ = make_random_problem(10, density=0.3)
    bits = activations.unpack()[..., 3].astype(float)
    target = upsample_by_loop(bits, (13, 10)) > 0.5
    is_val = np.arange(14) >= 10
    marked = {(0, image): target[image] for image in range(14)}
    masks = make_masks(is_val, marked, concepts=1)
    heads = Heads.of(np.zeros(1, int), np.zeros((1, 11), np.float32))
    config = dataclasses.replace(CONFIG, epochs=60, learning_rate=0.05)
    weights = train_segmentation_heads(heads, activations, masks, config).weights
    assert weights[0].argmax() == 3
    counts = evaluate_segmentation(weights, heads, activations, masks)
    assert set_iou(counts.overlap, counts.head, 1)[0] > 0.6


def test_compilations_do_not_grow_with_concepts_batches_or_epochs() -> None:
    # 200 concepts with 1 to 30 train images, so of 1 to 10 batches.
    rng = np.random.default_rng(0)
    images = 45
    is_val = np.arange(images) >= 30
    marked = {}
    for concept in range(200):
        shown = rng.choice(30, rng.integers(1, 31), replace=False).tolist()
        for image in [*shown, 30 + concept % 15]:
            marked[concept, image] = rng.random((13, 10)) < 0.3
    masks = make_masks(is_val, marked, concepts=200)
    activations, _ = make_random_problem(0, images=images)
    config = SegmentationConfig(epochs=7, batch_size=3, shuffle=True)
    compiled: list[str] = []

    def count(event: str, _: float, **__: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        heads = heads_of(masks)
        assert len(heads) == 200
        result = train_segmentation_heads(heads, activations, masks, config, key=jax.random.key(0))
        evaluate_segmentation(result.weights, heads, activations, masks)
        probe_single_filters(activations, masks)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    # Training, evaluation, single filters, and the small ones between them: measured 18, and
    # fewer where other tests have compiled some before.
    assert 3 <= len(compiled) <= 25


def test_two_problems_of_the_same_shapes_compile_once() -> None:
    config = dataclasses.replace(CONFIG, epochs=3, learning_rate=0.0123)
    sizes = {"images": 17, "concepts": 2, "density": 0.05}
    before = segmentation_steps.train_epoch._cache_size()
    for seed in range(2):
        activations, masks = make_random_problem(seed, **sizes)
        train_segmentation_heads(heads_of(masks), activations, masks, config)
    longer = dataclasses.replace(config, epochs=5)  # nor does the number of epochs compile anew
    train_segmentation_heads(heads_of(masks), activations, masks, longer)
    assert segmentation_steps.train_epoch._cache_size() == before + 1
    before = segmentation_evaluation._count_chunks._cache_size()
    for seed in range(2):
        activations, masks = make_random_problem(seed, **sizes)
        heads = heads_of(masks)
        evaluate_segmentation(heads.initial_weights, heads, activations, masks, chunk_size=5)
    assert segmentation_evaluation._count_chunks._cache_size() == before + 1


def test_chunks_follow_the_sizes_of_a_problem(monkeypatch) -> None:
    small = Geometry((14, 14), (112, 112))
    assert resolve_chunk_size(7, small, 100) == 7
    assert resolve_chunk_size(None, small, 100) == 16
    assert resolve_chunk_size(None, Geometry((14, 14), (192, 192)), 100) == 5
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert resolve_chunk_size(None, small, 256) == 1024
    # 224 × 224 positions of 64 filters: 12.8 MB per pair in float32.
    assert resolve_chunk_size(None, Geometry((224, 224), (112, 112)), 64) == 82


def test_a_bar_changes_nothing() -> None:
    activations, masks = make_random_problem(0)
    plain = train_segmentation_heads(heads_of(masks), activations, masks, CONFIG)
    shown = train_segmentation_heads(
        heads_of(masks), activations, masks, CONFIG, progress="embeddings"
    )
    np.testing.assert_array_equal(plain.weights, shown.weights)


def test_no_head_is_refused() -> None:
    activations, masks = make_random_problem(0)
    with pytest.raises(Net2VecError, match="no head to train"):
        train_segmentation_heads(heads_of(masks).select(slice(0)), activations, masks, CONFIG)


def test_catalog_of_the_helpers_is_sound() -> None:
    assert [concept.number for concept in make_catalog(3)] == [1, 2, 3]
