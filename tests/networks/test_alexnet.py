"""AlexNet against torchvision under weights that are a function of key and shape."""

import json
import zlib

import jax
import numpy as np
import pytest

from net2vec_jax.errors import Net2VecError
from net2vec_jax.networks.zoo import load_network

SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}


def _golden_array(key, shape):
    """The reproducible weights that the golden outputs were computed with."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) == 1:
        return 0.1 * rng.standard_normal(shape)
    return rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))


@pytest.fixture(scope="module")
def weights():
    entries = {}
    for name, shape in SHAPES.items():
        entries[f"{name}.weight"] = _golden_array(f"{name}.weight", shape).astype(np.float32)
        entries[f"{name}.bias"] = _golden_array(f"{name}.bias", shape[:1]).astype(np.float32)
    return entries


@pytest.fixture(scope="module")
def weight_file(weights, tmp_path_factory):
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({key: torch.from_numpy(array) for key, array in weights.items()}, path)
    return path


@pytest.fixture(scope="module")
def loaded(weight_file):
    return load_network("alexnet", weights=weight_file)


def test_activations_equal_those_of_torchvision(loaded, weights, shared_dir):
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with np.load(shared_dir / "golden" / "torchvision" / "alexnet.npz") as file:
        golden = dict(file)
    assert json.loads(str(golden["keys"])) == list(weights)
    taps = [key.split("/")[1] for key in golden if key.endswith("/index")]
    found = jax.jit(lambda network, images: network.activations(images, [*taps, "fc8"]))(
        loaded.network, images.transpose(0, 2, 3, 1)
    )
    assert len(taps) == 7
    for tap in taps:
        values = np.asarray(found[tap])
        values = values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
        assert values.shape == tuple(golden[f"tap/{tap}/shape"])
        # The golden files' own tolerance: summation order differs between frameworks.
        np.testing.assert_allclose(
            values.reshape(-1)[golden[f"tap/{tap}/index"]],
            golden[f"tap/{tap}/value"],
            rtol=0,
            atol=2e-4 * golden[f"tap/{tap}/std"] + 1e-5,
            err_msg=tap,
        )
    np.testing.assert_allclose(found["fc8"], golden["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(63, 63), (227, 227), (150, 300)])
def test_any_size_equals_torch(loaded, weights, size):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    images = np.random.default_rng(1).standard_normal((1, 3, *size)).astype(np.float32)
    tensors = {key: torch.from_numpy(array) for key, array in weights.items()}

    def convolve(values, name, **options):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return nn.functional.conv2d(values, weight, bias, **options).relu()

    pool = nn.MaxPool2d(3, 2)
    values = pool(convolve(torch.from_numpy(images), "features.0", stride=4, padding=2))
    values = pool(convolve(values, "features.3", padding=2))
    for name in ("features.6", "features.8", "features.10"):
        values = convolve(values, name, padding=1)
    pooled = pool(values)
    vectors = nn.AdaptiveAvgPool2d(6)(pooled).flatten(1)
    fc6 = vectors @ tensors["classifier.1.weight"].T + tensors["classifier.1.bias"][None]
    found = loaded.network.activations(images.transpose(0, 2, 3, 1), ["pool5", "fc6"])
    # Responses are of order 1; summation order differs.
    np.testing.assert_allclose(found["pool5"], pooled.permute(0, 2, 3, 1).numpy(), atol=1e-4)
    np.testing.assert_allclose(found["fc6"], fc6.relu().numpy(), atol=1e-4)


def test_shapes_at_227_pixels(loaded):
    shapes = jax.eval_shape(
        lambda network, images: network.activations(images, network.layers),
        loaded.network,
        jax.ShapeDtypeStruct((2, 227, 227, 3), np.float32),
    )
    assert {layer: value.shape[1:] for layer, value in shapes.items()} == {
        "conv1": (56, 56, 64),
        "pool1": (27, 27, 64),
        "conv2": (27, 27, 192),
        "pool2": (13, 13, 192),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 256),
        "conv5": (13, 13, 256),
        "pool5": (6, 6, 256),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }


def test_images_too_small_are_refused(loaded):
    with pytest.raises(Net2VecError, match="62 × 80 pixels are too small for AlexNet"):
        loaded.network.activations(np.zeros((1, 62, 80, 3), np.float32), ["conv1"])


def test_without_weights_the_message_says_which_file():
    with pytest.raises(Net2VecError, match=r"alexnet-owt-7be5be79\.pth"):
        load_network("alexnet")


def test_weights_of_another_network_do_not_fit(weight_file):
    with pytest.raises(Net2VecError) as caught:
        load_network("efficientnet_lite0", weights=weight_file)
    assert str(weight_file) in str(caught.value)
    assert "do not fit EfficientNetLite0: missing _blocks.0." in str(caught.value)
