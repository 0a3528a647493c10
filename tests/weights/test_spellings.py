"""Other libraries' names for the same weights."""

from __future__ import annotations

import numpy as np

from net2vec_jax.weights.spellings import Spelling, respell

PACKED = Spelling(
    "transformers",
    r"encoder\.layer\.",
    (
        (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
        (r"\.query\.(\w+)$", r".qkv.\1#0"),
        (r"\.key\.(\w+)$", r".qkv.\1#1"),
        (r"\.value\.(\w+)$", r".qkv.\1#2"),
    ),
)


def test_parts_are_joined_in_their_order_wherever_they_stand_in_the_file():
    file = {
        "encoder.layer.0.value.bias": np.full(2, 3.0),
        "encoder.layer.0.query.bias": np.full(2, 1.0),
        "encoder.layer.0.norm.bias": np.zeros(2),
        "encoder.layer.0.key.bias": np.full(2, 2.0),
    }
    ours = respell(file, PACKED)
    assert ours.keys() == {"blocks.0.qkv.bias", "blocks.0.norm.bias"}
    np.testing.assert_array_equal(ours["blocks.0.qkv.bias"], [1, 1, 2, 2, 3, 3])


def test_kernels_of_keras_and_theano_are_turned():
    renames = ((r"\.kernel$", ".weight"),)
    kernel = np.random.default_rng(0).random((3, 5, 2, 4))
    theanos = kernel.transpose(3, 2, 0, 1)[:, :, ::-1, ::-1]
    for axes, given in (("keras", kernel), ("theano", theanos)):
        spelling = Spelling("Keras", "conv", renames, axes=axes)
        file = {"conv.kernel": given, "fc.kernel": kernel[0, 0], "bias": np.ones(2)}
        turned = respell(file, spelling)
        assert turned["conv.weight"][3, 1, 2, 4] == kernel[2, 4, 1, 3]
        np.testing.assert_array_equal(turned["fc.weight"], kernel[0, 0].T)
        assert turned["bias"].shape == (2,)
