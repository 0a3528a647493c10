"""Porting is strict, folding is exact, layouts follow torch's conventions."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, linear_after_map
from net2vec_jax.weights.porting import port_weights
from net2vec_jax.weights.rules import folded_rules, plain_rules


class _Layer(nnx.Module):
    def __init__(self, *shape):
        self.kernel = nnx.Param(jnp.zeros(shape))
        self.bias = nnx.Param(jnp.zeros(shape[-1]))


class _Two(nnx.Module):
    def __init__(self):
        self.convolution = _Layer(3, 5, 2, 4)
        self.layers = nnx.List([_Layer(8, 6)])


RULES = folded_rules("convolution", "conv", "bn", epsilon=0.1)
RULES |= plain_rules("layers.0", "fc", LINEAR)


def _weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv.weight": (4, 2, 3, 5), "fc.weight": (6, 8), "fc.bias": (6,)}
    shapes |= {f"bn.{name}": (4,) for name in ("weight", "bias", "running_mean", "running_var")}
    weights = {key: rng.random(shape, np.float32) for key, shape in shapes.items()}
    return weights | {"bn.num_batches_tracked": np.array(7)}


def test_every_parameter_is_filled_in_our_layout():
    weights = _weights()
    module = port_weights(_Two(), weights, RULES)
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
    port_weights(module, _weights(), RULES)
    assert not module.layers[0].bias[...].any()


def test_abstract_modules_suffice():
    module = port_weights(nnx.eval_shape(_Two), _weights(), RULES)
    assert module.layers[0].kernel.dtype == jnp.float32


def test_half_and_double_precision_become_single():
    weights = _weights()
    weights["fc.weight"] = weights["fc.weight"].astype(np.float16)
    weights["fc.bias"] = weights["fc.bias"].astype(np.float64)
    layer = port_weights(_Two(), weights, RULES).layers[0]
    assert layer.kernel.dtype == layer.bias.dtype == jnp.float32


def test_parameters_outlive_a_change_of_the_weights():
    weights = _weights()
    module = port_weights(_Two(), weights, RULES)
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
        port_weights(_Two(), weights, RULES, origin="the weights in a.pth")
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
        port_weights(
            _Two(), _weights() | {f"k{number:02}": np.zeros(1) for number in range(20)}, RULES
        )


def test_keys_are_ignored_only_by_name():
    weights = _weights() | {"aux.weight": np.zeros(1)}
    with pytest.raises(Net2VecError, match=r"unexpected aux\.weight"):
        port_weights(_Two(), weights, RULES)
    port_weights(_Two(), weights, RULES, ignored=("aux.*", "*num_batches_tracked"))


def test_a_parameter_without_rule_is_a_mistake_of_the_program():
    rules = {path: rule for path, rule in RULES.items() if path != "layers.0.bias"}
    with pytest.raises(ValueError, match=r"layers\.0\.bias"):
        port_weights(_Two(), _weights(), rules)


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
