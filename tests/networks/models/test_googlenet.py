"""Torchvision's GoogLeNet under weights that are a function of key and shape."""

import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import cast, jit_once

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.models.googlenet import GOOGLENET_IGNORED, GoogLeNet
from net2vec_jax.weights.porting import port_weights


def _golden_array(key, shape):
    """The reproducible weights that the golden outputs were computed with."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return (0.5 + rng.random(shape)).astype(np.float32)
    if key.endswith("running_mean"):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) <= 1:
        mean = 1 if key.endswith("weight") else 0
        return (mean + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    return (rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))).astype(np.float32)


@pytest.fixture(scope="module")
def golden(shared_dir):
    with np.load(shared_dir / "golden" / "torchvision" / "googlenet.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def network(golden):
    keys, shapes = json.loads(str(golden["keys"])), json.loads(str(golden["shapes"]))
    weights = {
        key: _golden_array(key, tuple(shape)) for key, shape in zip(keys, shapes, strict=True)
    }
    auxiliary = {"aux1.fc2.bias": np.zeros(1000, np.float32), "aux2.conv.bn.bias": np.zeros(128)}
    return port_weights(_abstract(), weights | auxiliary, ignored=GOOGLENET_IGNORED)


def _abstract():
    return nnx.eval_shape(lambda: GoogLeNet(rngs=nnx.Rngs(0)))


def _golden_images():
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    return images.transpose(0, 2, 3, 1)


@jit_once
def _respond(network, images):
    return network.activations(images, network.layers)


def test_activations_equal_those_of_torchvision(network, golden):
    taps = [key.split("/")[1] for key in golden if key.endswith("/index")]
    found = _respond(network, _golden_images())
    assert len(taps) == 9
    for tap in taps:
        values = np.asarray(found[network.resolve_layer(tap)]).transpose(0, 3, 1, 2)
        assert values.shape == tuple(golden[f"tap/{tap}/shape"])
        # The golden files' own tolerance: summation order differs between frameworks.
        np.testing.assert_allclose(
            values.reshape(-1)[golden[f"tap/{tap}/index"]],
            golden[f"tap/{tap}/value"],
            rtol=0,
            atol=2e-4 * golden[f"tap/{tap}/std"] + 1e-5,
            err_msg=tap,
        )
    logits = golden["logits"]
    np.testing.assert_allclose(
        found["logits"], logits, rtol=0, atol=2e-4 * logits.std() + 1e-5, err_msg="logits"
    )


def test_shapes_and_order_of_the_layers():
    shapes = {}

    def respond(network, images):
        shapes.update((name, values.shape[1:]) for name, values in network.responses(images))

    jax.eval_shape(respond, _abstract(), jax.ShapeDtypeStruct((2, 224, 224, 3), np.float32))
    assert shapes == {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2": (56, 56, 64),
        "conv3": (56, 56, 192),
        "pool2": (28, 28, 192),
        "inception3a": (28, 28, 256),
        "inception3b": (28, 28, 480),
        "pool3": (14, 14, 480),
        "inception4a": (14, 14, 512),
        "inception4b": (14, 14, 512),
        "inception4c": (14, 14, 512),
        "inception4d": (14, 14, 528),
        "inception4e": (14, 14, 832),
        "pool4": (7, 7, 832),
        "inception5a": (7, 7, 832),
        "inception5b": (7, 7, 1024),
        "logits": (1000,),
    }
    assert tuple(shapes) == GoogLeNet.layers
    assert set(GoogLeNet.aliases.values()) <= set(GoogLeNet.layers)


def test_bfloat16_stays_bfloat16_and_near_float32(network, golden):
    images = _golden_images()[:1, :67, :67]
    narrow = cast(network, "bfloat16")
    found = _respond(narrow, images.astype(jnp.bfloat16))
    exact = _respond(network, images)
    for layer, values in found.items():
        assert values.dtype == jnp.bfloat16, layer
        error = np.abs(np.asarray(values, np.float32) - np.asarray(exact[layer]))
        # bfloat16 rounds to 2⁻⁸ and 20 layers add up.
        assert error.mean() < 0.05 * np.asarray(exact[layer]).std(), layer


def test_smallest_images_leave_something_to_every_layer():
    image = jax.ShapeDtypeStruct((1, 15, 15, 3), np.float32)
    shapes = jax.eval_shape(_respond, _abstract(), image)
    assert all(min(value.shape) > 0 for value in shapes.values())
    with pytest.raises(Net2VecError, match="14 × 15 pixels are too small for GoogLeNet"):
        _abstract().activations(jnp.zeros((1, 14, 15, 3)), ["conv1"])
