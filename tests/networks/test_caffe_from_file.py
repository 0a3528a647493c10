"""Caffe's networks, from a .caffemodel to the logits, against torch on the same numbers.

Local response normalisation, groups and the pooling that rounds up are all on the way.
"""

import numpy as np
import pytest
from caffe_encoder import layer, legacy_blob, message, shaped_blob, v1_layer
from helpers import respond

from net2vec_jax.networks.load import NETWORKS, load_network

torch = pytest.importorskip("torch")


def _write_current(path, weights):
    with path.open("wb") as file:
        file.write(message(1, b"net"))
        for name, kind, kernel, bias in weights:
            file.write(layer(name, kind, [shaped_blob(kernel), shaped_blob(bias)]))


def _write_legacy(path, weights):
    numbers = {"Convolution": 4, "InnerProduct": 14}
    with path.open("wb") as file:
        for name, kind, kernel, bias in weights:
            file.write(v1_layer(name, numbers[kind], [legacy_blob(kernel), legacy_blob(bias)]))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("caffenet", _write_legacy),
        ("caffe_alexnet", _write_current),
        ("caffe_googlenet", _write_current),
        ("caffe_googlenet", _write_legacy),
    ],
)
def test_logits_equal_torchs(name, write, tmp_path):
    from experiments.torch_reference.networks import build_torch_network, state_arrays

    module = build_torch_network(name)
    arrays = state_arrays(name, module)
    layers = list(dict.fromkeys(key.rsplit(".", 1)[0] for key in arrays))
    kinds = {4: "Convolution", 2: "InnerProduct"}
    weights = [
        (key, kinds[arrays[f"{key}.0"].ndim], arrays[f"{key}.0"], arrays[f"{key}.1"])
        for key in layers
    ]
    path = tmp_path / "net.caffemodel"
    write(path, weights)
    loaded = load_network(name, weights=path)
    path.unlink()
    side = NETWORKS[name].input_size
    # As large as images from which a mean was subtracted, so that the normalisation matters.
    rgb = 80 * np.random.default_rng(0).standard_normal((1, side, side, 3)).astype(np.float32)
    bgr = torch.from_numpy(rgb[..., ::-1].transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        expected = module(bgr).numpy()
    last = loaded.network.layers[-1]
    found = respond(loaded.network, rgb, (last,))[last]
    # Float32 sums of some thousand products that follow each other.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5 * expected.std())
    assert loaded.classes == 1000
    assert loaded.own_preprocessing.deviation == (1, 1, 1)
