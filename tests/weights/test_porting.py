"""Porting is strict, folding is exact, layouts follow torch's conventions."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import Affine, Convolution, Linear
from net2vec_jax.weights.layouts import CONVOLUTION, linear_after_map
from net2vec_jax.weights.porting import find_rules, port_weights


class _Two(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.convolution = Convolution(
            4, 4, 5, groups=2, key="conv", norm="bn", epsilon=0.1, rngs=rngs
        )
        self.layers = nnx.List([Linear(8, 6, key="fc", rngs=rngs)])


def _weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv.weight": (4, 2, 5, 5), "fc.weight": (6, 8), "fc.bias": (6,)}
    shapes |= {f"bn.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    weights = {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    return weights | {"bn.num_batches_tracked": np.array(7)}


def test_a_list_may_be_the_module_itself():
    rules = find_rules(nnx.List([Linear(2, 3, key="fc", rngs=nnx.Rngs(0))]))
    assert rules["0.kernel"].keys == ("fc.weight",)


def test_every_parameter_is_filled_in_our_layout():
    weights = _weights()
    module = port_weights(_Two(), weights)
    scale = weights["bn.weight"] / np.sqrt(weights["bn.running_var"] + 0.1)
    # A few roundings in float32.
    np.testing.assert_allclose(
        module.convolution.kernel[...],
        weights["conv.weight"].transpose(2, 3, 1, 0) * scale,
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        module.convolution.bias[...],
        weights["bn.bias"] - weights["bn.running_mean"] * scale,
        atol=1e-6,
    )
    np.testing.assert_array_equal(module.layers[0].kernel[...], weights["fc.weight"].T)
    np.testing.assert_array_equal(module.layers[0].bias[...], weights["fc.bias"])


def test_the_given_module_stays_as_it_is():
    module = _Two()
    port_weights(module, _weights())
    assert not module.layers[0].bias[...].any()


def test_abstract_modules_suffice():
    module = port_weights(nnx.eval_shape(_Two), _weights())
    assert module.layers[0].kernel.dtype == jnp.float32


def test_half_and_double_precision_become_single():
    weights = _weights()
    weights["fc.weight"] = weights["fc.weight"].astype(np.float16)
    weights["fc.bias"] = weights["fc.bias"].astype(np.float64)
    layer = port_weights(_Two(), weights).layers[0]
    assert layer.kernel.dtype == layer.bias.dtype == jnp.float32


def test_parameters_outlive_a_change_of_the_weights():
    weights = _weights()
    module = port_weights(_Two(), weights)
    before = np.array(module.layers[0].bias[...])
    weights["fc.bias"][:] = -1
    np.testing.assert_array_equal(module.layers[0].bias[...], before)


def test_one_error_lists_everything_that_is_wrong():
    weights = _weights()
    del weights["bn.running_var"], weights["conv.weight"]
    weights["fc.weight"] = weights["fc.weight"].T
    weights["fc.bias"] = np.array(["a"] * 6)
    weights["extra.weight"] = np.zeros(3)
    with pytest.raises(Net2VecError) as caught:
        port_weights(_Two(), weights, origin="the weights in a.pth")
    message = str(caught.value)
    for part in (
        "the weights in a.pth do not fit _Two",
        "missing bn.running_var, conv.weight",
        "unexpected extra.weight",
        "fc.weight has shape (8, 6), not (6, 8)",
        "fc.bias has type <U1",
    ):
        assert part in message
    assert "num_batches_tracked" not in message


def test_long_lists_are_cut_short():
    with pytest.raises(Net2VecError, match="k11 and 8 more"):
        port_weights(_Two(), _weights() | {f"k{number:02}": np.zeros(1) for number in range(20)})


def test_integers_are_refused(key="conv.weight"):
    weights = _weights()
    weights[key] = weights[key].astype(np.int8)
    with pytest.raises(Net2VecError, match=rf"{key} has integers \(int8\)"):
        port_weights(_Two(), weights)


def test_keys_are_ignored_only_by_name():
    weights = _weights() | {"aux.weight": np.zeros(1)}
    with pytest.raises(Net2VecError, match=r"unexpected aux\.weight"):
        port_weights(_Two(), weights)
    port_weights(_Two(), weights, ignored=("aux.*", "*num_batches_tracked"))


def test_a_parameter_without_rule_is_a_mistake_of_the_program():
    module = _Two()
    module.scale = nnx.Param(jnp.ones(1))
    with pytest.raises(ValueError, match="scale"):
        port_weights(module, _weights())


class _Block(nnx.Module):
    def __init__(self, key=None):
        self.key = key
        self.norm = Affine(2)
        self.last = Linear(2, 3, key="head.0", rngs=nnx.Rngs(0))


class _Nested(nnx.Module):
    def __init__(self):
        self.plain = _Block()
        self.named = _Block("features.3")
        self.transparent = _Block("")
        self.lists = nnx.List([nnx.List([_Block(), _Block("stage.1")])])
        self.conv = Convolution(3, 2, 1, rngs=nnx.Rngs(0))


def test_keys_follow_the_attributes_or_what_modules_say():
    rules = find_rules(_Nested())
    expected = {
        "plain": "plain",
        "named": "features.3",
        "transparent": None,
        "lists.0.0": "lists.0.0",
        "lists.0.1": "stage.1",
    }
    for path, key in expected.items():
        around = f"{key}." if key else ""
        assert rules[f"{path}.last.kernel"].keys == (f"{around}head.0.weight",)
        assert f"{around}norm.running_var" in rules[f"{path}.norm.scale"].keys
    assert len(rules) == 4 * len(expected) + 2


def test_caffes_arrays_are_numbered_and_its_images_reversed():
    module = nnx.Dict(
        first=Convolution(3, 2, 1, rngs=nnx.Rngs(0)), second=Convolution(2, 2, 1, rngs=nnx.Rngs(0))
    )
    kernels = {"first.0": np.arange(6.0), "second.0": np.arange(4.0)}
    weights = {key: kernel.reshape(2, -1, 1, 1) for key, kernel in kernels.items()}
    weights |= {f"{name}.1": np.zeros(2) for name in module}
    ported = port_weights(module, weights, caffe=True)
    np.testing.assert_array_equal(ported["first"].kernel[0, 0, :, 0], [2, 1, 0])
    np.testing.assert_array_equal(ported["second"].kernel[0, 0, :, 0], [0, 1])


def test_linear_after_a_map_sees_the_same_numbers():
    rng = np.random.default_rng(0)
    images, kernel = rng.random((2, 3, 2, 5)), rng.random((4, 30))  # NCHW; [out, channels·2·5]
    converted = linear_after_map(2, 5).convert(kernel).reshape(30, 4)
    ours = images.transpose(0, 2, 3, 1).reshape(2, -1) @ converted
    np.testing.assert_allclose(ours, images.reshape(2, -1) @ kernel.T)


def test_convolution_layout_is_hwio():
    kernel = np.random.default_rng(0).random((6, 2, 3, 5))
    assert CONVOLUTION.file_shapes((3, 5, 2, 6)) == ((6, 2, 3, 5),)
    assert CONVOLUTION.convert(kernel)[2, 4, 1, 5] == kernel[5, 1, 2, 4]
