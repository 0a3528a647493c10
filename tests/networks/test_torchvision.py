"""Networks of torchvision, from their weights to their activations.

The weights are made here, from a formula; the outputs are torchvision's own.
"""

import functools
import math

import jax
import numpy as np
import pytest
from helpers import respond
from torchvision_golden import (
    NETWORKS,
    golden_array,
    golden_images,
    golden_state_dict,
    read_golden,
    tapped_modules,
)

from net2vec_jax.networks.load import NETWORKS as ZOO
from net2vec_jax.networks.load import load_network, port_network


def _check_outputs(golden, found, logits, deep):
    for tap in tapped_modules(golden):
        values = np.asarray(found[tap])
        shape = tuple(golden[f"tap/{tap}/shape"])
        index, expected = golden[f"tap/{tap}/index"], golden[f"tap/{tap}/value"]
        if len(shape) == 3:  # a transformer's tokens [N, 1 + 14·14, K]; we leave out the first
            image, token, channel = np.unravel_index(index, shape)
            kept = token > 0
            assert kept.sum() > len(kept) / 2
            values = values.reshape(values.shape[0], -1, values.shape[-1])
            assert values.shape == (shape[0], shape[1] - 1, shape[2])
            values = values[image[kept], token[kept] - 1, channel[kept]]
            expected = expected[kept]
        else:
            values = values.transpose(0, 3, 1, 2) if values.ndim == 4 else values
            assert values.shape == shape
            values = values.reshape(-1)[index]
        # The reference's own tolerance: summation order differs, and adds up with depth.
        deviations = 1e-3 if deep and tap in ("layer3", "layer4") else 2e-4
        np.testing.assert_allclose(
            values, expected, rtol=0, atol=deviations * golden[f"tap/{tap}/std"] + 1e-5, err_msg=tap
        )
    deviations = 1e-3 if deep else 2e-4
    np.testing.assert_allclose(
        logits, golden["logits"], rtol=0, atol=deviations * golden["logits"].std() + 1e-5
    )


@pytest.fixture(scope="module")
def draw():
    """Draws weights, the large ones of VGG16, which VGG19 has too, only once."""
    large = functools.lru_cache(maxsize=2)(golden_array)
    return lambda key, shape: (large if math.prod(shape) > 10_000_000 else golden_array)(key, shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_torchvisions(name, draw, golden_dir, full_torchvision_dir):
    golden = read_golden(golden_dir / "torchvision", name)
    network = port_network(ZOO[name], golden_state_dict(golden, draw), origin="the formula")
    last = network.layers[-1]
    taps = tapped_modules(golden)
    found = respond(network, golden_images(), (*taps, last))
    deep = name == "resnet152"
    _check_outputs(golden, found, found[last][:, : golden["logits"].shape[1]], deep)
    if full_torchvision_dir is not None:
        _check_outputs(read_golden(full_torchvision_dir, name), found, found[last], deep)


def test_files_of_both_formats_give_the_weights(golden_dir, tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    weights = golden_state_dict(read_golden(golden_dir / "torchvision", "resnet50"))
    torch.save({key: torch.from_numpy(a) for key, a in weights.items()}, tmp_path / "weights.pth")
    safetensors.save_file(weights, tmp_path / "weights.safetensors")
    ported = port_network(ZOO["resnet50"], weights, origin="the formula")
    for name in ("weights.pth", "weights.safetensors"):
        loaded = load_network("resnet50", weights=tmp_path / name).network
        jax.tree.map(np.testing.assert_array_equal, loaded, ported)
