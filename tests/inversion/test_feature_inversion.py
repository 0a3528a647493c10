"""Invertible layers give the image back; the original's descent is followed step by step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.inversion.descent import Descent
from net2vec_jax.inversion.feature_inversion import (
    INVERSION_PRESETS,
    REFERENCE,
    ROBUST,
    Inversion,
    invert_features,
)
from net2vec_jax.inversion.objectives import Regularisers
from net2vec_jax.networks.adapters import FunctionNetwork
from net2vec_jax.networks.preprocessing import CENTRED, IMAGENET

SIZE = 12


def make_network() -> FunctionNetwork:
    """An invertible layer (a rotation of the channels), and one that sees brightness alone."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))

    def apply(rotation, images):
        return {"rotated": images @ rotation, "brightness": images.mean(-1, keepdims=True)}

    return FunctionNetwork(apply, jnp.asarray(rotation, jnp.float32), ("rotated", "brightness"))


def draw_images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth images of middling contrast."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(3, axis=1).repeat(3, axis=2)


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def test_the_reference_settings_are_the_originals() -> None:
    assert (
        Inversion(
            Descent(
                "sgd", learning_rate=100.0, steps=200, decay=0.1, decay_every=100, momentum=0.9
            ),
            Regularisers(alpha=6.0, alpha_weight=1e-5, beta=2.0, variation_weight=1e-5),
            deviation=1e-3,
        )
        == REFERENCE
    )  # spec 8.9


WEAK = Regularisers(alpha_weight=1e-8, variation_weight=1e-8)


@pytest.mark.parametrize("preprocessing", [IMAGENET, CENTRED])
@pytest.mark.parametrize("preset", ["reference", "robust"])
def test_an_invertible_layer_gives_the_image_back(preset: str, preprocessing) -> None:
    images = draw_images(2)
    config = dataclasses.replace(INVERSION_PRESETS[preset], regularisers=WEAK)
    if preset == "reference":  # of 432 numbers, not of AlexNet's 150,000
        config = dataclasses.replace(
            config, descent=dataclasses.replace(config.descent, learning_rate=10.0)
        )
    found = invert_features(
        make_network(), "rotated", images, keys_of(2), preprocessing=preprocessing, config=config
    )
    assert (found.relative_errors < 1e-3).all()
    difference = found.images.astype(float) - images
    # A relative error of 1e-3 in squares is 3 % of a deviation of about 58 levels.
    assert np.sqrt(np.square(difference).mean()) < 3


def test_what_a_layer_does_not_see_is_not_found() -> None:
    images = draw_images(1)
    config = dataclasses.replace(ROBUST, regularisers=WEAK)
    found = invert_features(
        make_network(), "brightness", images, keys_of(1), preprocessing=IMAGENET, config=config
    )
    assert found.relative_errors[0] < 1e-2
    seen = [np.asarray(IMAGENET(x)).mean(-1) for x in (found.images, images)]
    assert np.abs(seen[0] - seen[1]).mean() < 0.05
    assert np.abs(found.images.astype(int) - images).mean() > 10


def test_the_reference_follows_its_formula() -> None:
    """Spec 8.9 in numpy: momentum 0.9, rate 100 divided by 10 every 100 steps, for a linear Φ."""
    images = draw_images(1)
    network = make_network()
    config = dataclasses.replace(REFERENCE, descent=dataclasses.replace(
        REFERENCE.descent, learning_rate=1.0, steps=7, decay_every=4))  # fmt: skip
    (key,) = keys = keys_of(1)
    found = invert_features(network, "rotated", images, keys, preprocessing=IMAGENET, config=config)
    rotation = np.asarray(network.parameters, float)
    target = np.asarray(IMAGENET(jnp.asarray(images)), float) @ rotation
    x = 1e-3 * np.asarray(jax.random.normal(key, images.shape[1:]), float)[None]
    velocity, losses = np.zeros_like(x), []
    for step in range(7):
        error = x @ rotation - target
        right, below = (np.zeros_like(x) for _ in range(2))
        right[:, :-1, :-1] = x[:, :-1, 1:] - x[:, :-1, :-1]
        below[:, :-1, :-1] = x[:, 1:, :-1] - x[:, :-1, :-1]
        losses.append(
            np.square(error).sum() / np.square(target).sum()
            + 1e-5 * (x**6).sum() + 1e-5 * (right**2 + below**2).sum()
        )  # fmt: skip
        gradient = 2 * error @ rotation.T / np.square(target).sum() + 6e-5 * x**5
        gradient -= 2e-5 * (right + below)
        gradient[:, :, 1:] += 2e-5 * right[:, :, :-1]
        gradient[:, 1:] += 2e-5 * below[:, :-1]
        velocity = 0.9 * velocity + gradient
        x = x - (1.0 if step < 4 else 0.1) * velocity
    np.testing.assert_allclose(found.losses[:, 0], losses, rtol=1e-4)
    expected = np.clip(np.asarray(IMAGENET.invert(jnp.asarray(x, jnp.float32))), 0, 255)
    np.testing.assert_allclose(found.images, expected, atol=0.51)


def test_an_image_alone_gives_what_it_gives_among_others() -> None:
    images, keys = draw_images(3), keys_of(3)
    options = {
        "preprocessing": IMAGENET,
        "config": Inversion(Descent("adam", learning_rate=0.05, steps=10)),
    }
    together = invert_features(make_network(), "rotated", images, keys, **options)
    alone = invert_features(make_network(), "rotated", images[1:2], keys[1:2], **options)
    assert np.abs(together.images[1].astype(int) - alone.images[0]).max() <= 1
    np.testing.assert_allclose(together.relative_errors[1], alone.relative_errors[0], rtol=1e-3)


def test_what_diverges_says_so() -> None:
    config = dataclasses.replace(
        REFERENCE, descent=dataclasses.replace(REFERENCE.descent, learning_rate=1e8)
    )
    found = invert_features(
        make_network(), "rotated", draw_images(1), keys_of(1), preprocessing=IMAGENET,
        config=config,
    )  # fmt: skip
    assert not np.isfinite(found.relative_errors[0])


@pytest.mark.wrong_shapes
def test_bad_input_is_refused() -> None:
    network, images = make_network(), draw_images(1)
    for layer, bad, complaint in (
        ("rotatd", images, "unknown layer 'rotatd'; did you mean 'rotated'"),
        ("rotated", images[:, :5], r"not \[N, S, S, 3\]"),
        ("rotated", images[:0], "with N > 0"),
        ("rotated", images[:, :1, :1], "1 × 1 pixels are too small"),
    ):
        with pytest.raises(Net2VecError, match=complaint):
            invert_features(network, layer, bad, keys_of(1), preprocessing=IMAGENET)
    black = np.zeros_like(images)
    silent = dataclasses.replace(IMAGENET, mean=(0.0, 0.0, 0.0))
    with pytest.raises(Net2VecError, match="does not respond to image 0"):
        invert_features(network, "rotated", black, keys_of(1), preprocessing=silent)
