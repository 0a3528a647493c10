"""Images find planted directions, each for itself and reproducibly."""

from __future__ import annotations

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.inversion.descent import Descent
from net2vec_jax.inversion.maximisation import (
    Maximisation,
    MaximisedImages,
    draw_levels,
    maximise_activations,
    move_randomly,
    paint,
)
from net2vec_jax.inversion.objectives import Regularisers, direction_response
from net2vec_jax.networks.adapters import FunctionNetwork
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.load import LoadedNetwork, load_network
from net2vec_jax.networks.preprocessing import CENTRED, IMAGENET

SIZE = 16
FILTERS = 5


@functools.cache  # one object, so that tests share compiled programs
def make_linear_network() -> FunctionNetwork:
    """Filters that are patterns of the whole image: A_k = ⟨pattern_k, x⟩, no places."""
    patterns = np.random.default_rng(0).standard_normal((SIZE, SIZE, 3, FILTERS))

    def apply(patterns, images):
        return {
            "flat": jnp.einsum("nhwc,hwck->nk", images, patterns),
            "map": images @ patterns[0, 0],
        }

    return FunctionNetwork(apply, jnp.asarray(patterns, jnp.float32), ("flat", "map"))


FEW = Maximisation(descent=Descent("adam", learning_rate=0.05, steps=8), levels=2, candidates=2)
PLAIN = Maximisation(
    descent=Descent("sgd", learning_rate=100.0, steps=60, decay_every=1000),
    regularisers=Regularisers(alpha=2.0, alpha_weight=0.01, variation_weight=0.0),
    shift=0.0,
    zoom=0.0,
    levels=1,
    chroma=1.0,
)


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def test_the_planted_direction_is_found() -> None:
    # The optimum of log(1 + ⟨p, x⟩) - λ ‖x‖² is a multiple of the pattern p that w makes of the
    # filters', as long as pixels are far from black and white; both in ImageNet's normalisation.
    network = make_linear_network()
    directions = np.random.default_rng(1).standard_normal((3, FILTERS)).astype(np.float32)
    config = dataclasses.replace(
        PLAIN,
        descent=Descent("adam", learning_rate=0.02, steps=300, decay_every=200),
        regularisers=Regularisers(alpha=2.0, alpha_weight=1e-5, variation_weight=0.0),
    )
    found = maximise_activations(
        network, "flat", directions, keys_of(3), preprocessing=IMAGENET, size=SIZE, config=config
    )
    patterns = np.einsum("hwck,tk->thwc", network.parameters, directions)
    for values, pattern in zip(np.asarray(IMAGENET(found.images)), patterns, strict=True):
        cosine = (values * pattern).sum() / np.linalg.norm(values) / np.linalg.norm(pattern)
        assert cosine > 0.99
    assert (found.losses[-1] < found.losses[0]).all()


def maximise(directions: np.ndarray, keys: jax.Array, **options) -> MaximisedImages:
    options = {"preprocessing": IMAGENET, "size": SIZE, "config": FEW} | options
    return maximise_activations(make_linear_network(), "map", directions, keys, **options)


@hypothesis.settings(max_examples=8)
@hypothesis.given(seed=strategies.integers(0, 10**6), place=strategies.integers(0, 2))
def test_a_target_alone_gives_the_image_it_gives_among_others(seed: int, place: int) -> None:
    directions = np.random.default_rng(seed).standard_normal((3, FILTERS)).astype(np.float32)
    keys = keys_of(3, seed)
    together = maximise(directions, keys)
    alone = maximise(directions[place : place + 1], keys[place : place + 1])
    # Sums of another shape round differently; pixels are then rounded to whole numbers.
    difference = np.abs(together.images[place].astype(int) - alone.images[0])
    assert difference.max() <= 1
    np.testing.assert_allclose(together.losses[:, place], alone.losses[:, 0], rtol=1e-3, atol=1e-4)


def test_batches_do_not_matter_and_the_last_is_filled_up() -> None:
    directions = np.eye(3, FILTERS, dtype=np.float32)
    done: list[int] = []
    images = [
        maximise(directions, keys_of(3), batch_size=size, progress=done.append).images
        for size in (1, 2)
    ]
    assert images[0].shape == (3, SIZE, SIZE, 3) and images[0].dtype == np.uint8
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert done == [1, 1, 1, 2, 1]


def test_the_same_key_gives_the_same_image_and_another_key_another() -> None:
    direction = np.eye(1, FILTERS, dtype=np.float32)
    images = [maximise(direction, keys_of(1, seed)).images for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).mean() > 0.5


@pytest.fixture(scope="module")
def efficientnet() -> LoadedNetwork:
    return load_network("efficientnet_lite0")


def test_each_image_excites_its_own_direction_most(efficientnet: LoadedNetwork) -> None:
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal(24).astype(np.float32)
    directions = np.stack([embedding / np.linalg.norm(embedding), np.eye(24)[7]]).astype(np.float32)
    config = dataclasses.replace(FEW, descent=Descent("adam", learning_rate=0.05, steps=24))
    found = maximise_activations(
        efficientnet.network, "_blocks.2", directions, keys_of(2),
        preprocessing=efficientnet.own_preprocessing, size=48, config=config,
    )  # fmt: skip
    responses = np.stack(
        [
            direction_response(jnp.asarray(found.activations), jnp.stack([direction] * 2))
            for direction in directions
        ]
    )
    assert responses[0, 0] > 2 * responses[0, 1]
    assert responses[1, 1] > 2 * responses[1, 0]


def test_filters_that_noise_leaves_silent_are_found_all_the_same() -> None:
    # A_0 = max(0, brightness - 0.9): no start is so bright.
    def apply(bias, images):
        return {"on": relu(images.mean(axis=-1, keepdims=True) - bias)}

    network = FunctionNetwork(apply, jnp.asarray(0.9), ("on",))
    centred = dataclasses.replace(CENTRED, mean=(127.5,) * 3)
    options = {"preprocessing": centred, "size": SIZE}
    descent = Descent("adam", learning_rate=0.3, steps=60, decay_every=100)
    regularisers = Regularisers(variation_weight=0.0)
    config = dataclasses.replace(PLAIN, descent=descent, regularisers=regularisers)
    direction = np.ones((1, 1), np.float32)
    found = maximise_activations(network, "on", direction, keys_of(1), config=config, **options)
    assert found.activations.mean() > 0.01
    strict = dataclasses.replace(config, leak=0.0)
    found = maximise_activations(network, "on", direction, keys_of(1), config=strict, **options)
    assert found.activations.max() == 0


def test_painted_pixels_can_be_shown_and_brightness_is_grey() -> None:
    levels = draw_levels(keys_of(2), 10, 3, 20.0)
    assert [level.shape for level in levels] == [(2, 10, 10, 3), (2, 5, 5, 3), (2, 3, 3, 3)]
    pixels = np.asarray(paint(levels, 10, 0.4))
    assert pixels.shape == (2, 10, 10, 3) and 0 <= pixels.min() < pixels.max() <= 255
    grey = np.asarray(paint((levels[0] * jnp.array([1.0, 0, 0])[None, None, None],), 10, 0.4))
    np.testing.assert_allclose(grey, grey[..., :1].repeat(3, axis=-1), rtol=1e-5)


def test_images_move_by_their_own_numbers() -> None:
    images = jnp.asarray(np.random.default_rng(0).random((2, 12, 12, 3), np.float32) * 255)
    assert move_randomly(images, keys_of(2), shift=0.0, zoom=0.0) is images
    moved = move_randomly(images, keys_of(2), shift=4.0, zoom=0.0)
    assert moved.shape == images.shape
    alone = move_randomly(images[1:], keys_of(2)[1:], shift=4.0, zoom=0.0)
    np.testing.assert_allclose(moved[1], alone[0], rtol=1e-5, atol=1e-3)
    flat = jnp.full((1, 9, 9, 3), 127.5)
    np.testing.assert_allclose(move_randomly(flat, keys_of(1), shift=5.0, zoom=0.3), flat)


@pytest.mark.wrong_shapes
def test_bad_input_is_refused(efficientnet: LoadedNetwork) -> None:
    network, good = efficientnet.network, np.ones((1, 24), np.float32)
    cases = [
        (("blok2", good, 48), "unknown layer 'blok2'; did you mean 'block2'"),
        (("block2", np.ones((1, 3)), 48), "directions have 3 numbers; layer block2 has 24 filters"),
        (("block2", 0 * good, 48), "direction 0 has no direction"),
        (("block2", np.nan * good, 48), "direction 0 has no direction"),
        (("block2", good[0], 48), r"shape \(24,\), not \[T, K\]"),
        (("block2", good, 1), "images of 1 × 1 pixels are too small"),
    ]
    for (layer, directions, size), complaint in cases:
        with pytest.raises(Net2VecError, match=complaint):
            maximise_activations(
                network, layer, directions, keys_of(1),
                preprocessing=efficientnet.own_preprocessing, size=size,
            )  # fmt: skip
    for changes, complaint in (
        ({"levels": 0}, "levels must be at least 1"),
        ({"zoom": -1.0}, "zoom must be a number from 0 on"),
    ):
        with pytest.raises(Net2VecError, match=complaint):
            Maximisation(**changes)
    for changes, complaint in (
        ({"steps": 0}, "steps must be at least 1"),
        ({"method": "newton"}, "'newton' is none of sgd, adam"),
        ({"learning_rate": 0.0}, "learning rate must be above 0"),
    ):
        with pytest.raises(Net2VecError, match=complaint):
            Descent(**changes)
