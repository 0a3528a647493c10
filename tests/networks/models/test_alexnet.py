"""AlexNet at sizes other than its own, against torch."""

import jax
import numpy as np
import pytest
from torchvision_golden import golden_state_dict, read_golden

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import load_network


@pytest.fixture(scope="module")
def weights(golden_dir):
    return golden_state_dict(read_golden(golden_dir / "torchvision", "alexnet"))


@pytest.fixture(scope="module")
def weight_file(weights, tmp_path_factory):
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({key: torch.from_numpy(array) for key, array in weights.items()}, path)
    return path


@pytest.fixture(scope="module")
def loaded(weight_file):
    return load_network("alexnet", weights=weight_file)


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


def test_weights_of_another_network_do_not_fit(weight_file):
    with pytest.raises(Net2VecError) as caught:
        load_network("efficientnet_lite0", weights=weight_file)
    assert str(weight_file) in str(caught.value)
    assert "do not fit EfficientNetLite0: missing _blocks.0." in str(caught.value)
