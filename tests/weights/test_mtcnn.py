"""Two files of the same small networks agree once ported: Caffe's from Matlab, and PyTorch's.

Matlab stores images column by column, so that Caffe's kernels of MTCNN have height and width
swapped, as has the map that is flattened in front of its linear layer; PyTorch's version flattens
[width, height, channels]. Only layouts differ from those of the zoo; porting is the same.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, SAME, Layout, Rule
from net2vec_jax.weights.porting import port_weights
from net2vec_jax.weights.readers.files import load_weight_file

FIXTURES = Path("/work/shared/weights/reader_fixtures")
SIDE, FILTERS = 3, 64  # of the map in front of the linear layer

SWAPPED = Layout(CONVOLUTION.file_shapes, lambda kernel: kernel.transpose(3, 2, 1, 0))
MATLAB_MAP = Layout(
    LINEAR.file_shapes,
    lambda kernel: kernel.reshape(-1, FILTERS, SIDE, SIDE).transpose(3, 2, 1, 0),
)
TORCH_MAP = Layout(
    LINEAR.file_shapes,
    lambda kernel: kernel.reshape(-1, SIDE, SIDE, FILTERS).transpose(2, 1, 3, 0),
)


def _port(arrays, torch):
    """The parameters by name, in Flax's layout."""

    class Part(nnx.Module):
        key = ""

        def __init__(self, layer, file_key, layout):
            self.kernel, self.bias = layer.kernel, layer.bias
            weight, bias = ("weight", "bias") if torch else ("0", "1")
            self.found = {
                "kernel": Rule((f"{file_key}.{weight}",), layout),
                "bias": Rule((f"{file_key}.{bias}",), SAME),
            }

        def rules(self, key):
            return self.found

    rngs = nnx.Rngs(0)
    kernel, flattened = (CONVOLUTION, TORCH_MAP) if torch else (SWAPPED, MATLAB_MAP)
    names = ("dense4", "dense5_1", "dense5_2") if torch else ("conv4", "conv5-1", "conv5-2")
    module = nnx.Dict(
        conv1=Part(Convolution(3, 28, 3, rngs=rngs), "conv1", kernel),
        conv2=Part(Convolution(28, 48, 3, rngs=rngs), "conv2", kernel),
        conv3=Part(Convolution(48, FILTERS, 2, rngs=rngs), "conv3", kernel),
        dense=Part(Linear(FILTERS * SIDE**2, 128, rngs=rngs), names[0], flattened),
        score=Part(Linear(128, 2, rngs=rngs), names[1], LINEAR),
        box=Part(Linear(128, 4, rngs=rngs), names[2], LINEAR),
    )
    return nnx.state(port_weights(module, arrays, ignored=("*relu*", "conv5-3.*")))


@pytest.mark.skipif(not FIXTURES.exists(), reason="needs the published files")
def test_both_files_of_a_network_agree_once_ported():
    torchs = load_weight_file(FIXTURES / "facenet_mtcnn_pt" / "rnet.pt")
    caffes = load_weight_file(FIXTURES / "mtcnn_caffemodel" / "MTCNNv1_det2.caffemodel")
    jax.tree.map(np.testing.assert_array_equal, _port(torchs, True), _port(caffes, False))
