"""Caffe's AlexNets and GoogLeNet against torch, written anew from Caffe's prototxt files.

Caffe's images are blue, green and red; ours red, green and blue. They reach ±300, so that local
response normalisation makes a difference. Torch computes in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import cast, jit_once, respond

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.models.caffe_alexnet import CaffeAlexNet, CaffeNet
from net2vec_jax.networks.models.googlenet import CAFFE_GOOGLENET_IGNORED, CaffeGoogLeNet
from net2vec_jax.weights.porting import port_weights

CLASSES = 5
# Float32 sums of thousands of products in a row; relative to value and standard deviation.
TOLERANCE = 1e-5

# Layer of the file: output channels, input channels per group, size.
ALEXNET_SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (CLASSES, 4096),
}
# 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj: Table 1 of Szegedy et al. 2014.
INCEPTION_WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def _googlenet_shapes():
    shapes = {
        "conv1/7x7_s2": (64, 3, 7, 7),
        "conv2/3x3_reduce": (64, 64, 1, 1),
        "conv2/3x3": (192, 64, 3, 3),
    }
    inputs = 192
    for block, (small, reduce3, middle, reduce5, large, project) in INCEPTION_WIDTHS.items():
        shapes |= {
            f"inception_{block}/1x1": (small, inputs, 1, 1),
            f"inception_{block}/3x3_reduce": (reduce3, inputs, 1, 1),
            f"inception_{block}/3x3": (middle, reduce3, 3, 3),
            f"inception_{block}/5x5_reduce": (reduce5, inputs, 1, 1),
            f"inception_{block}/5x5": (large, reduce5, 5, 5),
            f"inception_{block}/pool_proj": (project, inputs, 1, 1),
        }
        inputs = small + middle + large + project
    return shapes | {"loss3/classifier": (CLASSES, inputs)}


def _random_weights(shapes):
    rng = np.random.default_rng(0)
    weights = {}
    for layer, shape in shapes.items():
        kernel = rng.standard_normal(shape, np.float32)
        weights[f"{layer}.0"] = kernel * np.float32((2.0 / np.prod(shape[1:])) ** 0.5)
        weights[f"{layer}.1"] = rng.standard_normal(shape[0], np.float32)
    return weights


def _random_images(size, seed=1):
    return 80 * np.random.default_rng(seed).standard_normal((1, size, size, 3), np.float32)


class _Torch:
    """Caffe's layers in torch, with the file's weights by layer name."""

    def __init__(self, weights):
        self.torch = pytest.importorskip("torch")
        self.weights = {
            key: self.torch.from_numpy(array).double() for key, array in weights.items()
        }

    def images(self, rgb):
        return self.torch.from_numpy(rgb[..., ::-1].transpose(0, 3, 1, 2).copy()).double()

    def convolve(self, values, layer, **options):
        kernel, bias = self.weights[f"{layer}.0"], self.weights[f"{layer}.1"]
        return self.torch.nn.functional.conv2d(values, kernel, bias, **options).relu()

    def pool(self, values):
        return self.torch.nn.functional.max_pool2d(values, 3, 2, ceil_mode=True)

    def normalise(self, values):
        # Caffe's k is 1; torch divides alpha by the size, as Caffe does.
        return self.torch.nn.functional.local_response_norm(values, 5, alpha=1e-4, beta=0.75, k=1.0)

    def multiply(self, values, layer):
        kernel, bias = self.weights[f"{layer}.0"], self.weights[f"{layer}.1"]
        return self.torch.nn.functional.linear(values, kernel, bias)


def _alexnet_in_torch(weights, rgb, *, pools_first):
    caffe = _Torch(weights)
    found, values = {}, caffe.images(rgb)
    for stage, options in ((1, {"stride": 4}), (2, {"padding": 2, "groups": 2})):
        values = found[f"conv{stage}"] = caffe.convolve(values, f"conv{stage}", **options)
        if pools_first:
            values = found[f"pool{stage}"] = caffe.pool(values)
            values = found[f"norm{stage}"] = caffe.normalise(values)
        else:
            values = found[f"norm{stage}"] = caffe.normalise(values)
            values = found[f"pool{stage}"] = caffe.pool(values)
    values = found["conv3"] = caffe.convolve(values, "conv3", padding=1)
    values = found["conv4"] = caffe.convolve(values, "conv4", padding=1, groups=2)
    values = found["conv5"] = caffe.convolve(values, "conv5", padding=1, groups=2)
    values = found["pool5"] = caffe.pool(values)
    values = found["fc6"] = caffe.multiply(values.flatten(1), "fc6").relu()
    values = found["fc7"] = caffe.multiply(values, "fc7").relu()
    found["fc8"] = caffe.multiply(values, "fc8")
    return found


def _googlenet_in_torch(weights, rgb):
    caffe = _Torch(weights)
    found, values = {}, caffe.images(rgb)
    values = found["conv1"] = caffe.convolve(values, "conv1/7x7_s2", stride=2, padding=3)
    values = found["pool1"] = caffe.pool(values)
    values = found["norm1"] = caffe.normalise(values)
    values = found["conv2"] = caffe.convolve(values, "conv2/3x3_reduce")
    values = found["conv3"] = caffe.convolve(values, "conv2/3x3", padding=1)
    values = found["norm2"] = caffe.normalise(values)
    for block in INCEPTION_WIDTHS:
        if block in ("3a", "4a", "5a"):
            values = found[f"pool{int(block[0]) - 1}"] = caffe.pool(values)
        name = f"inception_{block}"
        largest = caffe.torch.nn.functional.max_pool2d(values, 3, 1, 1)
        branches = (
            caffe.convolve(values, f"{name}/1x1"),
            caffe.convolve(caffe.convolve(values, f"{name}/3x3_reduce"), f"{name}/3x3", padding=1),
            caffe.convolve(caffe.convolve(values, f"{name}/5x5_reduce"), f"{name}/5x5", padding=2),
            caffe.convolve(largest, f"{name}/pool_proj"),
        )
        values = found[f"inception{block}"] = caffe.torch.cat(branches, 1)
    means = caffe.torch.nn.functional.avg_pool2d(values, 7).flatten(1)
    found["logits"] = caffe.multiply(means, "loss3/classifier")
    return found


@jit_once
def _respond(network, images):
    return dict(network.responses(images))


def _assert_same_layers(network, images, expected):
    found = _respond(network, jnp.asarray(images))
    assert set(network.layers) == set(found) == set(expected)
    for layer in network.layers:
        values = expected[layer].numpy()
        values = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
        np.testing.assert_allclose(
            found[layer], values, rtol=TOLERANCE, atol=TOLERANCE * values.std(), err_msg=layer
        )


def _abstract(network):
    return nnx.eval_shape(lambda: network(classes=CLASSES, rngs=nnx.Rngs(0)))


def _shapes(network, size):
    """{layer: shape of one image's response}, in the order in which they are computed."""
    shapes = {}

    def respond(network, images):
        shapes.update((name, values.shape[1:]) for name, values in network.responses(images))

    jax.eval_shape(respond, network, jax.ShapeDtypeStruct((2, size, size, 3), np.float32))
    return shapes


@pytest.fixture(scope="module")
def alexnet_weights():
    return _random_weights(ALEXNET_SHAPES)


@pytest.fixture(scope="module")
def googlenet_weights():
    return _random_weights(_googlenet_shapes())


@pytest.fixture(scope="module")
def googlenet(googlenet_weights):
    auxiliary = {"loss1/fc.1": np.zeros(1024), "loss2/classifier.0": np.zeros((CLASSES, 1024))}
    return port_weights(
        _abstract(CaffeGoogLeNet),
        googlenet_weights | auxiliary,
        caffe=True,
        ignored=CAFFE_GOOGLENET_IGNORED,
    )


@pytest.mark.parametrize("version", [CaffeNet, CaffeAlexNet])
def test_alexnet_equals_torch(version, alexnet_weights):
    network = port_weights(_abstract(version), alexnet_weights, caffe=True)
    images = _random_images(227)
    expected = _alexnet_in_torch(alexnet_weights, images, pools_first=version is CaffeNet)
    _assert_same_layers(network, images, expected)


def test_googlenet_equals_torch(googlenet, googlenet_weights):
    images = _random_images(224)
    _assert_same_layers(googlenet, images, _googlenet_in_torch(googlenet_weights, images))


@pytest.mark.parametrize("size", [39, 40, 41, 42])
def test_first_convolution_of_alexnet_equals_torch_at_any_size(size, caffenet, alexnet_weights):
    images = _random_images(size)
    caffe = _Torch(alexnet_weights)
    expected = caffe.convolve(caffe.images(images), "conv1", stride=4).numpy()
    found = caffenet.activations(jnp.asarray(images), ["conv1"])["conv1"]
    np.testing.assert_allclose(
        found, expected.transpose(0, 2, 3, 1), rtol=TOLERANCE, atol=TOLERANCE * expected.std()
    )


def test_normalisation_makes_a_difference_at_this_scale(googlenet):
    found = googlenet.activations(jnp.asarray(_random_images(64)), ["pool1", "norm1"])
    assert found["norm1"].max() < 0.5 * found["pool1"].max()


@pytest.mark.parametrize("network", [CaffeNet, CaffeAlexNet, CaffeGoogLeNet])
def test_layers_are_listed_in_the_order_of_their_computation(network):
    assert tuple(_shapes(_abstract(network), 227)) == network.layers


def test_layers_of_googlenet_are_known_by_the_names_of_caffe(googlenet):
    assert googlenet.resolve_layer("inception_4e/output") == "inception4e"
    assert googlenet.resolve_layer("inception_4e-output") == "inception4e"
    assert googlenet.resolve_layer("conv2/3x3") == "conv3"
    assert googlenet.resolve_layer("pool3/3x3_s2") == "pool3"
    assert googlenet.resolve_layer("loss3/classifier") == "logits"
    assert set(CaffeGoogLeNet.aliases.values()) == set(CaffeGoogLeNet.layers)
    assert _shapes(googlenet, 224)["inception4e"] == (14, 14, 832)


@pytest.fixture(scope="module")
def caffenet(alexnet_weights):
    return port_weights(_abstract(CaffeNet), alexnet_weights, caffe=True)


@pytest.mark.parametrize("name", ["caffenet", "googlenet"])
def test_bfloat16_stays_bfloat16_and_near_float32(name, request):
    exact = request.getfixturevalue(name)
    narrow = cast(exact, "bfloat16")
    maps = tuple(layer for layer in exact.layers if not layer.startswith("fc"))
    images = jnp.asarray(_random_images(67))
    expected = respond(exact, images, maps)
    found = respond(narrow, images.astype(jnp.bfloat16), maps)
    for layer, values in found.items():
        assert values.dtype == jnp.bfloat16, layer
        error = np.abs(np.asarray(values, np.float32) - np.asarray(expected[layer]))
        # bfloat16 rounds to 2⁻⁸ and 20 layers add up.
        assert error.mean() < 0.05 * np.asarray(expected[layer]).std(), layer


@pytest.mark.parametrize(
    ("network", "smallest"), [(CaffeNet, 39), (CaffeAlexNet, 39), (CaffeGoogLeNet, 31)]
)
def test_smallest_images_leave_something_to_every_map(network, smallest):
    assert network.smallest_input == smallest
    maps = [layer for layer in network.layers if not layer.startswith("fc")]
    shapes = jax.eval_shape(
        lambda network, images: network.activations(images, maps),
        _abstract(network),
        jax.ShapeDtypeStruct((1, smallest, smallest, 3), np.float32),
    )
    assert all(min(value.shape) > 0 for value in shapes.values())
    too_small = jnp.zeros((1, smallest, smallest - 1, 3))
    with pytest.raises(Net2VecError, match=f"{smallest} × {smallest - 1} pixels are too small"):
        _abstract(network).activations(too_small, ["conv1"])


def test_fully_connected_layers_refuse_images_of_another_size():
    image = jax.ShapeDtypeStruct((1, 300, 227, 3), np.float32)
    with pytest.raises(Net2VecError, match="227 × 227 pixels give; these give 9 × 6"):
        jax.eval_shape(
            lambda network, images: network.activations(images, ["fc7"]), _abstract(CaffeNet), image
        )
