"""Preprocessing against its formulas."""

import jax
import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.preprocessing import CENTRED, View

VIEW = View(CENTRED)
MODES = ("own", "imagenet", "reference_code")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)


def test_imagenet_agrees_with_torchvision():
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    expected = (IMAGES.astype(np.float32) / np.float32(255) - mean) / deviation
    # Values up to 2.7, a few roundings of float32 apart.
    np.testing.assert_allclose(VIEW.preprocessing("imagenet")(IMAGES), expected, rtol=0, atol=1e-6)


def test_reference_code_divides_all_channels_alike():
    expected = (IMAGES - np.array([124.6901, 118.6897, 109.5388])) / (255 * 0.224)
    np.testing.assert_allclose(VIEW.preprocessing("reference_code")(IMAGES), expected, atol=1e-6)


def test_own_is_the_networks():
    expected = (IMAGES.astype(np.float32) - 127) / 128
    np.testing.assert_array_equal(VIEW.preprocessing("own")(IMAGES), expected)


@pytest.mark.parametrize("mode", MODES)
def test_presets_are_static_arguments_of_jit(mode):
    preset = VIEW.preprocessing(mode)
    found = jax.jit(lambda images, preset: preset(images), static_argnums=1)(IMAGES, preset)
    assert found.dtype == np.float32
    # A compiled division may be a product with the reciprocal.
    np.testing.assert_allclose(found, VIEW.preprocessing(mode)(IMAGES), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_inverting_gives_the_image_back(mode):
    preset = VIEW.preprocessing(mode)
    np.testing.assert_allclose(preset.invert(preset(IMAGES)), IMAGES, rtol=0, atol=1e-4)


def test_unknown_modes_are_refused():
    with pytest.raises(Net2VecError, match="unknown preprocessing 'imagnet'; did you mean"):
        VIEW.preprocessing("imagnet")(IMAGES)
