"""A network is found among a file's keys, and only where nothing else is possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.fitting import Wanted, fit_keys
from net2vec_jax.weights.spellings import Spelling

SHAPES = {
    "conv1.weight": (4, 3, 2, 2),
    "layer1.0.conv.weight": (4, 4, 1, 1),
    "layer1.0.norm.weight": (4,),
    "fc.weight": (9, 4),
    "fc.bias": (9,),
}
WANTED = Wanted(SHAPES, [["fc.weight", "fc.bias"]], "fc.bias", ignored=("*num_batches_tracked",))
BODY = [key for key in SHAPES if not key.startswith("fc.")]


def _network(seed=0, classes=9):
    rng = np.random.default_rng(seed)
    shapes = SHAPES | {"fc.weight": (classes, 4), "fc.bias": (classes,)}
    return {key: rng.random(shape) for key, shape in shapes.items()}


def _behind(prefix, weights):
    return {f"{prefix}.{key}": array for key, array in weights.items()}


def _assert_same(fit, weights):
    assert fit.arrays.keys() == weights.keys()
    for key, array in weights.items():
        np.testing.assert_array_equal(fit.arrays[key], array)


WRAPPING = ["module", "_orig_mod", "_fsdp_wrapped_module", "model", "encoder_q", "net.0", "trunk"]


@given(st.lists(st.sampled_from([*WRAPPING, "a_name_of_ones_own"]), max_size=4))
def test_whatever_prefix_explains_all_is_taken_away(parts):
    weights = _network()
    prefix = ".".join(parts)
    fit = fit_keys(_behind(prefix, weights) if parts else weights, WANTED)
    _assert_same(fit, weights)
    assert bool(fit.remarks) == bool(parts)
    assert not fit.without


def test_wrapped_parts_inside_keys_are_unwrapped():
    weights = _network()
    keys = {key: key.replace("layer1.0", "layer1.module.0._checkpoint_wrapped_module")
            for key in weights}  # fmt: skip
    _assert_same(fit_keys({keys[key]: array for key, array in weights.items()}, WANTED), weights)


def test_what_stands_beside_is_left_out_and_counted():
    file = _behind("module.model", _network()) | {"module.normalizer.new_mean": np.ones((3, 1, 1))}
    file |= _behind("module.attacker.model", _network())  # the same arrays once more
    fit = fit_keys(file, WANTED)
    _assert_same(fit, _network())
    assert fit.prefix == "model"
    assert "not used: normalizer (1 array), attacker (5 arrays)" in fit.remarks


def test_of_networks_side_by_side_the_leading_one_is_taken_and_said():
    for leading, follower in (("encoder_q", "encoder_k"), ("model", "ema_model")):
        file = _behind(follower, _network(1)) | _behind(leading, _network(0))
        fit = fit_keys(file, WANTED)
        _assert_same(fit, _network(0))
        assert any(follower in remark and "--checkpoint-key" in remark for remark in fit.remarks)
        _assert_same(fit_keys(file, WANTED, prefix=follower), _network(1))


def test_networks_side_by_side_that_no_custom_tells_apart_are_refused():
    file = _behind("student", _network(0)) | _behind("teacher", _network(1))
    with pytest.raises(Net2VecError, match=r"student, teacher; choose one with --checkpoint-key"):
        fit_keys(file, WANTED)
    _assert_same(fit_keys(file, WANTED, prefix="teacher"), _network(1))
    with pytest.raises(Net2VecError, match=r"no key begins with 'pupil'; there are: student"):
        fit_keys(file, WANTED, prefix="pupil")


def test_the_head_may_be_missing_or_another():
    body = {key: array for key, array in _network().items() if key in BODY}
    others = {
        "none": {},
        "deeper": {"fc.1.weight": np.ones((2, 4)), "fc.1.bias": np.ones(2)},
        "unbiased": {"fc.weight": np.ones((9, 4))},
        "several": {
            "color.weight": np.ones((2, 4)),
            "color.bias": np.ones(2),
            "age.1.w": np.eye(4),
        },
        "wider": {"fc.weight": np.ones((9, 5)), "fc.bias": np.ones(9)},
        "elsewhere": {"projection_head.0.weight": np.ones((3, 4)), "prototypes.weight": np.eye(3)},
    }
    for head in others.values():
        fit = fit_keys(body | head, WANTED)
        assert fit.without == {"fc.weight", "fc.bias"}
        _assert_same(fit, body)
    assert fit_keys(_network(classes=3), WANTED).without == frozenset()


@pytest.mark.parametrize("key", ["conv1.weight", "layer1.0.conv.weight", "layer1.0.norm.weight"])
def test_a_part_of_a_layer_is_missed_by_porting(key):
    weights = _network()
    del weights[key]
    fit = fit_keys(weights, WANTED)
    assert not fit.without
    assert fit.arrays.keys() == weights.keys()


def test_kernels_beside_a_missing_head_are_none():
    body = {key: array for key, array in _network().items() if key in BODY}
    fit = fit_keys(body | {"extra.0.weight": np.ones((4, 4, 1, 1)), "extra.1.w": np.eye(4)}, WANTED)
    assert {"extra.0.weight", "extra.1.w"} <= fit.arrays.keys()


def test_what_normalises_images_is_left_out_and_said():
    buffers = {"mean": np.ones((1, 3, 1, 1)), "normalize.std": np.ones(3), "pixel_std": np.ones(3)}
    fit = fit_keys(_network() | buffers, WANTED)
    _assert_same(fit, _network())
    assert fit.remarks == ("not used: mean (1 array), normalize (1 array), pixel_std (1 array)",)


def test_numbers_that_are_none_are_left_to_porting():
    weights = _network()
    weights["conv1.weight"][0] = np.nan
    _assert_same(fit_keys(weights, WANTED), weights)
    both = _behind("model", weights) | _behind("attacker.model", weights)
    assert fit_keys(both, WANTED).prefix == "model"


@pytest.mark.parametrize("prefix", ["", "0.", "encoder.net."])
def test_the_one_module_of_a_network_may_be_alone(prefix):
    body = {"0.weight": np.ones((4, 3)), "1.weight": np.ones((2, 4))}
    wanted = Wanted(
        {f"features.{key}": array.shape for key, array in body.items()} | {"fc.bias": (9,)},
        [["fc.bias"]],
        "fc.bias",
    )
    fit = fit_keys({f"{prefix}{key}": array for key, array in body.items()}, wanted)
    _assert_same(fit, {f"features.{key}": array for key, array in body.items()})
    assert fit.without == {"fc.bias"}


@pytest.mark.parametrize("key", ["ca.fc1.weight", "layer1.1.conv.weight", "layer1.0.prelu.weight"])
def test_what_may_belong_to_the_network_stays_for_porting_to_refuse(key):
    assert key in fit_keys(_network() | {key: np.ones(1)}, WANTED).arrays


def test_counters_are_ignored_at_any_level():
    counters = ("total_ops", "layer1.0.total_params", "n_averaged", "layer1.0.conv.num_calls")
    file = _network() | {key: np.zeros((1,) * n) for n, key in enumerate(counters)}
    file |= {"layer1.0.norm.num_batches_tracked": np.array(3)}
    _assert_same(fit_keys(file, WANTED), _network())


def test_what_makes_weights_is_named():
    keys = {
        "conv1.weight_mask": "pruned (conv1.weight is conv1.weight_orig",
        "conv1.weight_g": "remove_parametrizations",
        "layer1.0.conv.parametrizations.weight.original0": "remove_parametrizations",
        "layer1.0.conv.lora_A.default.weight": "merge_and_unload",
        "layer1.0.conv.zero_point": "quantised",
        "_flat_param": "FULL_STATE_DICT",
        "params.stem.kernel": "Flax or Keras",
        "patch_embed.proj.weight": "timm",
    }
    for key, advice in keys.items():
        assert advice in fit_keys({key: np.ones(2), "conv1.bias": np.ones(2)}, WANTED).advice
    assert not fit_keys(_network(), WANTED).advice


def test_other_libraries_names_are_found_behind_prefixes_and_reshaped():
    renames = ((r"^stem\.", "conv1."), (r"^head\.", "fc."))
    wanted = Wanted(SHAPES, WANTED.head, "fc.bias", (Spelling("timm", r"stem\.", renames),))
    theirs = {k.replace("conv1", "stem").replace("fc", "head"): a for k, a in _network().items()}
    theirs["head.weight"] = theirs["head.weight"][:, :, None, None]  # a 1 × 1 convolution
    for file in (theirs, _behind("model", theirs)):
        fit = fit_keys(file, wanted)
        _assert_same(fit, _network())
        assert "names of timm" in fit.remarks
