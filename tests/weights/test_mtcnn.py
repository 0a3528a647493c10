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
from net2vec_jax.weights.readers.files import read_weight_file

SIDE = 3  # of the map in front of the first linear layer

SWAPPED = Layout(CONVOLUTION.file_shapes, lambda kernel: kernel.transpose(3, 2, 1, 0))
MATLAB_MAP = Layout(
    LINEAR.file_shapes,
    lambda kernel: kernel.reshape(len(kernel), -1, SIDE, SIDE).transpose(3, 2, 1, 0),
)
TORCH_MAP = Layout(
    LINEAR.file_shapes,
    lambda kernel: kernel.reshape(len(kernel), SIDE, SIDE, -1).transpose(2, 1, 3, 0),
)


class Part(nnx.Module):
    """A layer's parameters, at home under any key."""

    key = ""

    def __init__(self, layer, weight, bias, layout):
        self.kernel, self.bias = layer.kernel, layer.bias
        self.found = {"kernel": Rule((weight,), layout), "bias": Rule((bias,), SAME)}

    def rules(self, key):
        return self.found


def _port(arrays, torch):
    """The parameters in Flax's layout, in the order of the layers."""
    weight, bias = ("weight", "bias") if torch else ("0", "1")
    parts = []
    for key, array in arrays.items():
        layer, _, end = key.rpartition(".")
        if end != weight or array.ndim == 1:  # the slope of a nonlinearity
            continue
        if array.ndim == 4:
            outputs, inputs, size, _ = array.shape
            made = Convolution(inputs, outputs, size, rngs=nnx.Rngs(0))
            layout = CONVOLUTION if torch else SWAPPED
        else:
            made = Linear(*array.shape[::-1], rngs=nnx.Rngs(0))
            layout = LINEAR
            if all(part.kernel.ndim == 4 for part in parts):
                layout = TORCH_MAP if torch else MATLAB_MAP
        parts.append(Part(made, key, f"{layer}.{bias}", layout))
    network = nnx.Dict({f"layer{place}": part for place, part in enumerate(parts)})
    return nnx.state(port_weights(network, arrays, ignored=("*[rR]e[lL][uU]*",)))


@pytest.mark.parametrize(("torchs", "caffes"), [("pnet", "1"), ("rnet", "2"), ("onet", "3")])
def test_both_files_of_a_network_agree_once_ported(shared_dir: Path, torchs, caffes):
    fixtures = shared_dir / "weights" / "reader_fixtures"
    torchs = read_weight_file(fixtures / "facenet_mtcnn_pt" / f"{torchs}.pt").arrays
    caffe_file = fixtures / "mtcnn_caffemodel" / f"MTCNNv1_det{caffes}.caffemodel"
    caffes = read_weight_file(caffe_file).arrays
    if "dense5_1.weight" in torchs:  # PyTorch's leaves the landmarks out
        caffes = {key: array for key, array in caffes.items() if not key.startswith("conv5-3")}
    jax.tree.map(np.testing.assert_array_equal, _port(torchs, True), _port(caffes, False))
