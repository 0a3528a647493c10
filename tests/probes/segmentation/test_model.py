"""The loss and its closed-form gradient (reference spec 5.2, 5.4, 5.5; appendix D.3, D.4)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_masks, make_random_problem, pack_masks, place_data

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import upsample_align_corners
from net2vec_jax.probes.segmentation import model as segmentation_model
from net2vec_jax.probes.segmentation.model import (
    ClassWeights,
    Loss,
    class_weights_of,
    geometry_of,
    pixel_loss,
    score_pixels,
    sum_pixels,
    unpack_masks,
    unpack_rows,
)
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.probes.segmentation.training import make_segmentation_heads

# Compiled: op by op it is slow.
loss_and_gradient = jax.jit(
    segmentation_model.loss_and_gradient, static_argnames=("geometry", "loss")
)


def naive_pixel_loss(z, target, positive, negative, loss):
    """The definition: α·t·p + (1−α)·(1−t)·(1−p), or with logarithms, summed and negated."""
    p = jax.nn.sigmoid(z)
    q = jax.nn.sigmoid(-z)
    if loss == "bce":
        p, q = jnp.log(p), jnp.log(q)
    a, b = positive[None, :, None], negative[None, :, None]
    return -(a * target * p + b * (1 - target) * q).sum(axis=(0, 2))


@pytest.mark.parametrize("loss", ["linear", "bce"])
def test_pixel_gradient_is_the_derivative_of_the_loss(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(scale=3, size=(9, 5, 7)), jnp.float32)
    target = jnp.asarray(rng.random((9, 5, 7)) < 0.3)
    positive, negative = jnp.asarray(rng.random((2, 5)), jnp.float32)
    area = target.sum(axis=(0, 2)).astype(jnp.float32)
    value, gradient = pixel_loss(z, target, area, positive, negative, loss)
    target = target.astype(jnp.float32)
    expected = naive_pixel_loss(z, target, positive, negative, loss)
    # 63 terms of size 1, summed in float32 in another order.
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    by_autodiff = jax.grad(lambda z: naive_pixel_loss(z, target, positive, negative, loss).sum())(z)
    np.testing.assert_allclose(gradient, by_autodiff, atol=1e-6)


@pytest.mark.parametrize("loss", ["linear", "bce"])
def test_loss_is_finite_at_extreme_scores(loss: Loss) -> None:
    z = jnp.asarray([[[-1e4, 1e4, 0.0]] * 2], jnp.float32)
    target = jnp.asarray([[[1, 0, 1], [0, 1, 0]]], bool)
    ones = jnp.ones(2)
    area = target.sum(axis=(0, 2)).astype(jnp.float32)
    value, gradient = pixel_loss(z, target, area, ones, ones, loss)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", ["linear", "bce"])
@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_weight_gradient_is_the_derivative_of_the_loss(form: Form, loss: Loss) -> None:
    activations, masks = make_random_problem(0)
    heads = make_segmentation_heads(masks, filters=11, key=jax.random.key(0))
    data, geometry = place_data(activations, masks, form), geometry_of(activations, masks)
    class_weights, _ = class_weights_of(masks, heads)
    weights = jnp.asarray(heads.initial_weights)
    pair = jnp.arange(len(masks.pair_image))
    head = jnp.asarray(masks.pair_concept)
    scale = jnp.asarray(np.random.default_rng(0).random(len(pair)), jnp.float32)
    value, gradient = loss_and_gradient(
        weights, jnp.zeros_like(weights), head, pair, scale, data, class_weights,
        geometry=geometry, loss=loss,
    )  # fmt: skip

    bits = jnp.asarray(activations.unpack(masks.pair_image), jnp.float32)
    target = jnp.asarray(masks.unpack(slice(None)), jnp.float32).transpose(1, 0, 2)

    def naive(weights):
        scores = jnp.einsum("nyxk,nk->nyx", bits, weights[head])
        z = upsample_align_corners(scores, masks.segmentation_size).transpose(1, 0, 2)
        positive, negative = class_weights.positive[head], class_weights.negative[head]
        losses = naive_pixel_loss(z, target, positive, negative, loss)
        return (scale * losses).sum(), losses

    expected_gradient, expected = jax.grad(naive, has_aux=True)(weights)
    # Sums of 130 pixels and 30 pairs of size 1, in float32.
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(
        gradient, expected_gradient, atol=1e-5 * np.abs(expected_gradient).max()
    )


def test_gradients_add_to_what_was_there() -> None:
    activations, masks = make_random_problem(0)
    heads = make_segmentation_heads(masks, filters=11, key=jax.random.key(0))
    data, geometry = place_data(activations, masks), geometry_of(activations, masks)
    class_weights, _ = class_weights_of(masks, heads)
    weights = jnp.asarray(heads.initial_weights)

    def gradient(start, scale):
        return loss_and_gradient(
            weights, start, jnp.zeros(4, int), jnp.arange(4), jnp.full(4, scale), data,
            class_weights, geometry=geometry, loss="linear",
        )[1]  # fmt: skip

    zero, one = jnp.zeros_like(weights), jnp.ones_like(weights)
    np.testing.assert_array_equal(gradient(one, 0.0), one)
    np.testing.assert_allclose(gradient(one, 1.0), 1 + gradient(zero, 1.0), atol=1e-5)


def test_loss_at_zero_weights() -> None:
    # Appendix D.3: p = ½ everywhere gives −½ Σ [αt + (1−α)(1−t)] / B = −HsWs·α(1−α) for a mean
    # coverage of 1−α.
    activations, masks = make_random_problem(5)
    heads = Heads.of(np.array([1]), np.zeros((1, 11)))
    data, geometry = place_data(activations, masks), geometry_of(activations, masks)
    class_weights, alpha = class_weights_of(masks, heads)
    train = np.flatnonzero((masks.pair_concept == 1) & ~masks.pair_is_val)
    value, _ = loss_and_gradient(
        jnp.zeros((1, 11)), jnp.zeros((1, 11)), jnp.zeros(len(train), int), jnp.asarray(train),
        jnp.full(len(train), 1 / len(train)), data, class_weights, geometry=geometry, loss="linear",
    )  # fmt: skip
    assert alpha[0] == 1 - masks.train_coverage()[1]
    assert np.mean(value) == pytest.approx(-13 * 10 * alpha[0] * (1 - alpha[0]), rel=1e-6)


def test_image_without_an_active_filter_scores_exactly_zero() -> None:
    # Appendix D.4: p = 0.5 exactly, which is no prediction. Image 0 has no active filter.
    activations, masks = make_random_problem(0)
    data, geometry = place_data(activations, masks), geometry_of(activations, masks)
    pair = np.flatnonzero(masks.pair_image == 0)
    weights = jnp.full((3, 11), 5.0)
    image = jnp.asarray(masks.pair_image[pair])
    concept = jnp.asarray(masks.pair_concept[pair])
    z = score_pixels(weights, concept, image, data.activations, geometry)
    assert not np.asarray(z).any()


def test_whole_image_concepts_have_equal_weights() -> None:
    # Spec 5.4: α of exactly 0 stands for both weights 1.
    half = np.zeros((4, 4), bool)
    half[:2] = True
    full = np.ones((4, 4), bool)
    marked = {(0, 0): full, (0, 1): full, (1, 0): half, (1, 1): full}
    masks = make_masks([False, False], marked, concepts=2)
    heads = make_segmentation_heads(
        make_masks([False, True], marked, concepts=2), filters=3, key=jax.random.key(0)
    )
    weights, alpha = class_weights_of(masks, heads)
    np.testing.assert_allclose(alpha, [0, 0.25])
    np.testing.assert_allclose(weights.positive, [1, 0.25])
    np.testing.assert_allclose(weights.negative, [1, 0.75])
    assert isinstance(weights, ClassWeights)


def test_alpha_outside_of_its_range_is_refused_by_name_but_for_rounding() -> None:
    full = np.ones((3, 7), bool)
    masks = make_masks([False] * 3, {(0, image): full for image in range(3)}, concepts=1)
    heads = Heads.of(np.array([0]), np.zeros((1, 2)))
    # Fractions of planes that add up to 1 on average, and in floating point to a bit more.
    rounded = dataclasses.replace(masks, pixels=np.array([17, 39, 7], np.int32))
    assert 1 < rounded.train_coverage()[0] < 1 + 1e-12
    weights, alpha = class_weights_of(rounded, heads)
    assert alpha[0] == 0 and np.asarray(weights.positive)[0] == 1
    name = masks.catalog.concepts[0].name
    twice = dataclasses.replace(masks, pixels=np.full(3, 28, np.int32))
    with pytest.raises(Net2VecError, match=f"'{name}' marks 133% of the pixels"):
        class_weights_of(twice, heads)


@pytest.mark.parametrize("rows", [1, 8, 13, 112])
def test_masks_unpack_on_the_device_as_on_the_host(rows: int) -> None:
    masks = np.random.default_rng(rows).random((3, rows, 5)) < 0.5
    packed = jnp.asarray(pack_masks(masks))
    np.testing.assert_array_equal(unpack_masks(packed, rows), masks.transpose(1, 0, 2))
    np.testing.assert_array_equal(unpack_rows(packed, rows, axis=1), masks)


def test_sum_pixels_is_the_sum() -> None:
    values = np.random.default_rng(0).integers(0, 2, (4, 112, 113)).astype(np.float32)
    # Whole numbers below 2²⁴: exact in float32.
    np.testing.assert_array_equal(sum_pixels(jnp.asarray(values)), values.sum(axis=(0, 2)))


def test_activations_of_other_images() -> None:
    activations, _ = make_random_problem(0, images=5)
    _, masks = make_random_problem(0, images=6)
    with pytest.raises(Net2VecError, match="5 images, but masks of 6"):
        geometry_of(activations, masks)
