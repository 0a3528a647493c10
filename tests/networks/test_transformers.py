"""DINOv2, CLIP's image towers and Swin give what their originals give.

The weights come from a formula; the outputs were recorded from torchvision, timm and transformers.
"""

import functools
import gzip
import json

import jax
import numpy as np
import pytest
from flax import nnx
from torchvision_golden import golden_state_dict, read_golden

from net2vec_jax.networks.load import NETWORKS, port_network
from net2vec_jax.weights.porting import find_rules

GOLDEN = ("dinov2_vits14", "dinov2_vits14_reg", "clip_vit_b_32", "clip_resnet50", "swin_t")


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_equal_the_originals(name, golden_dir):
    golden = read_golden(golden_dir / "transformers", name)
    network = port_network(NETWORKS[name], golden_state_dict(golden), origin="the formula")
    shape = tuple(golden["images"])
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    layers = [key.split("/")[1] for key in golden if key.endswith("/index")]
    found = jax.jit(lambda network, images: network.activations(images, layers))(network, images)
    for layer in layers:
        index, expected, deviation = (golden[f"tap/{layer}/{p}"] for p in ("index", "value", "std"))
        values = np.asarray(found[layer]).reshape(-1)[index]
        np.testing.assert_allclose(
            values, expected, rtol=0, atol=1e-5 * deviation, err_msg=layer
        )
