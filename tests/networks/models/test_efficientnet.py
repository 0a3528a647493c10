"""EfficientNet-Lite0 against torch's activations, small and at full scale."""

import csv

import jax
import numpy as np
import pytest
from golden.make_efficientnet_lite0 import SIZES, synthetic_images
from PIL import Image

from net2vec_jax.networks.load import load_network


@pytest.fixture(scope="module")
def loaded():
    return load_network("efficientnet_lite0")


@jax.jit(static_argnames=("layers", "preprocessing"))
def _forward(network, images, *, layers, preprocessing):
    return network.activations(preprocessing(images), layers)


@pytest.mark.parametrize("size", SIZES)
def test_activations_equal_those_of_torch(loaded, golden_dir, size):
    images = synthetic_images(*SIZES[size])
    with np.load(golden_dir / "efficientnet_lite0.npz") as golden:
        expected = {
            key.split("/")[1]: (golden[key.replace("/value", "/index")], golden[key])
            for key in golden.files
            if key.startswith(size) and key.endswith("/value")
        }
    found = _forward(
        loaded.network, images, layers=tuple(expected), preprocessing=loaded.preprocessing("own")
    )
    assert len(expected) == 8
    for layer, (index, values) in expected.items():
        # Sums are formed in another order, in float32, over up to 50 convolutions.
        atol = 1e-4 * np.abs(values).max()
        np.testing.assert_allclose(
            np.asarray(found[layer]).reshape(-1)[index], values, rtol=0, atol=atol, err_msg=layer
        )


def test_photographs_equal_the_reference_activations(loaded, shared_dir):
    dataset = shared_dir / "data" / "camvid_broden"
    with open(dataset / "index.csv", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)][:64]
    images = [np.asarray(Image.open(dataset / "images" / name).convert("RGB")) for name in names]
    golden = shared_dir / "golden" / "net2vec_reference" / "block10_activations_first64.npz"
    with np.load(golden) as arrays:
        expected = arrays["activations"].transpose(0, 2, 3, 1)
    found = _forward(
        loaded.network,
        np.stack(images),
        layers=("_blocks.10",),
        preprocessing=loaded.preprocessing("imagenet"),
    )["_blocks.10"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_layers_and_shapes(loaded):
    network = loaded.network
    assert len(network.layers) == 1 + 15 + 16 + 16 + 2
    assert "block0_expand" not in network.layers
    shapes = jax.eval_shape(
        lambda network, images: network.activations(images, network.layers),
        network,
        jax.ShapeDtypeStruct((2, 224, 224, 3), np.float32),
    )
    for layer, shape in {
        "stem": (2, 112, 112, 32),
        "block0": (2, 112, 112, 16),
        "block1_expand": (2, 112, 112, 96),
        "block1_depthwise": (2, 56, 56, 96),
        "block2": (2, 56, 56, 24),
        "block4": (2, 28, 28, 40),
        "block7": (2, 14, 14, 80),
        "block10": (2, 14, 14, 112),
        "block14": (2, 7, 7, 192),
        "block15": (2, 7, 7, 320),
        "head": (2, 7, 7, 1280),
        "logits": (2, 1000),
    }.items():
        assert shapes[layer].shape == shape, layer


def test_module_paths_are_aliases(loaded):
    assert loaded.network.resolve_layer("_blocks.10") == "block10"
    assert loaded.network.resolve_layer("_fc") == "logits"
