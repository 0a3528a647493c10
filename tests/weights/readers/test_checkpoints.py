"""Which state dict of a checkpoint is taken, and what is said of the others."""

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.files import read_weight_file

torch = pytest.importorskip("torch")


def network(value: float = 0.0, layers: int = 10) -> dict:
    """A state dict with kernels of one value."""
    return {f"{n}.weight": torch.full((2, 2), value) for n in range(layers)}


def read(folder, checkpoint, key=None):
    torch.save(checkpoint, folder / "a.pth")
    return read_weight_file(folder / "a.pth", key)


TRAINING = {
    "epoch": 3,
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2, 2)}}, "param_groups": [{"lr": 1}]},
    "optimizer_by_name": {"state": {"0.weight": {"exp_avg": torch.ones(2, 2)}}},
    "loss": {"center": torch.ones(1, 9)},
    "rng_state": torch.get_rng_state(),
    "rng_states": {"cuda": torch.get_rng_state(), "cpu": torch.get_rng_state()},
}


@pytest.mark.parametrize(
    ("path", "nested"),
    [
        ("state_dict", lambda state: {"state_dict": state}),
        ("model", lambda state: {"model": state}),
        ("my_net", lambda state: {"my_net": state}),
        ("state_dict.model", lambda state: {"state_dict": {"model": state}}),
        ("a.b.c.d", lambda state: {"a": {"b": {"c": {"d": state, "heads": {}}}}}),
        ("state_dict_ema", lambda state: {"state_dict_ema": state}),
        ("a.b", lambda state: {"a": {"b": state, "averages": list(state.values())}}),
    ],
)
def test_the_only_state_dict_is_taken(tmp_path, path, nested):
    found = read(tmp_path, nested(network()) | TRAINING)
    assert found.checkpoint_key == path
    assert list(found.arrays) == list(network())
    assert set(found.other_keys) <= {"loss"}


@pytest.mark.parametrize(
    ("taken", "averaged"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("params", "params_ema"),
        ("net", "ema.shadow"),
        ("backbone", "modelEMA"),
        ("state_dict", "swa_state_dict"),
        ("online", "target"),
    ],
)
def test_raw_weights_go_before_averaged_ones(tmp_path, taken, averaged):
    checkpoint = {taken: network(1.0)}
    inner = checkpoint
    *levels, last = averaged.split(".")
    for level in levels:
        inner = inner.setdefault(level, {})
    inner[last] = network(2.0)
    for key, value in ((None, 1.0), (averaged, 2.0), (averaged.split(".")[0], 2.0)):
        found = read(tmp_path, checkpoint | TRAINING, key)
        np.testing.assert_array_equal(found.arrays["0.weight"], value)
        other = averaged if value == 1.0 else taken
        assert other in found.other_keys
        assert found.checkpoint_key not in found.other_keys


def test_parts_are_not_taken_for_networks(tmp_path):
    found = read(tmp_path, {"encoder": network(), "head": network(layers=1)})
    assert (found.checkpoint_key, found.other_keys) == ("encoder", ("head",))
    assert read(tmp_path, network() | {"ema": network()}).checkpoint_key is None


@pytest.mark.parametrize(
    "names", [("teacher", "student"), ("netG", "netD"), ("model.a", "model.b")]
)
def test_networks_without_a_usual_name_must_be_chosen(tmp_path, names):
    checkpoint: dict = {}
    for value, name in enumerate(names):
        *around, last = name.split(".")
        (checkpoint.setdefault(around[0], {}) if around else checkpoint)[last] = network(value)
    expected = rf"{names[0]} \(10 tensors\), {names[1]} .*; choose by --checkpoint-key {names[0]}"
    with pytest.raises(Net2VecError, match=expected):
        read(tmp_path, checkpoint)
    found = read(tmp_path, checkpoint, names[1])
    np.testing.assert_array_equal(found.arrays["0.weight"], 1.0)


def test_lists_of_state_dicts_are_looked_into(tmp_path):
    found = read(tmp_path, (network(1.0), 12, [3]))
    assert (found.checkpoint_key, len(found.arrays)) == ("0", 10)
    with pytest.raises(Net2VecError, match=r"several networks: 0 \(10 tensors\), 1 \(10 tensors\)"):
        read(tmp_path, [network(1.0), network(2.0)])
    np.testing.assert_array_equal(
        read(tmp_path, [network(1.0), network(2.0)], "1").arrays["0.weight"], 2.0
    )


def test_one_dictionary_under_two_names_can_be_asked_for_by_either(tmp_path):
    state = network()
    for key in ("best", "last"):
        assert read(tmp_path, {"best": state, "last": state}, key).checkpoint_key == key


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(Net2VecError, match=r"at 'teacher'; there are: state_dict \(10 tensors\)"):
        read(tmp_path, {"state_dict": network()}, "teacher")
    with pytest.raises(Net2VecError, match="one state dict and nothing around"):
        read(tmp_path, network(), "teacher")


def test_what_is_no_tensor_in_a_state_dict_is_left_out_or_refused(tmp_path):
    extras = {"_metadata": {"v": 1}, "steps": 3, "name": "a", "none": None, "acc": np.float64(1)}
    extras["0._extra_state"] = extras["config"] = tmp_path
    assert list(read(tmp_path, network() | extras).arrays) == list(network())
    with pytest.raises(Net2VecError, match=r"its entry '3\.weight' is an object of \S*Path"):
        read(tmp_path, network() | {"3.weight": tmp_path})


@pytest.mark.parametrize(
    ("saved", "complaint"),
    [
        ({}, "holds an empty state dict"),
        ([torch.ones(2, 2)], "no state dict but an object of type list, without the names"),
        (torch.ones(2), "no state dict but a tensor"),
        (
            {"epoch": 3, "t": torch.ones(2), "l": [], "m": []},
            r"but 'epoch' \(an object of type int",
        ),
        (torch.nn.Linear(2, 2), r"holds a whole model of class torch\.nn\.modules\.linear\.Linear"),
        ({"model": torch.nn.ReLU()}, r"its entry 'model' is a whole model of class \S*ReLU"),
        ({"a": {"net": torch.nn.ReLU()}}, r"its entry 'a\.net' is a whole model of class \S*ReLU"),
        ((torch.nn.ReLU(), 3), r"its entry '0' is a whole model of class \S*ReLU"),
        (
            {"decay": 0.9, "shadow_params": [torch.ones(2), torch.ones(3)]},
            r"its entry 'shadow_params' is a list of 2 tensors, without the names",
        ),
        ({"optimizer": {"parts": [torch.ones(2)]}}, r"but 'optimizer' \(an object of type dict"),
        (np.arange(3), "no state dict but a tensor"),
        (np.random.default_rng(0), "holds an object of class numpy"),
    ],
)
def test_files_without_a_state_dict_say_what_they_hold(tmp_path, saved, complaint):
    torch.save(saved, tmp_path / "a.pth")
    with pytest.raises(Net2VecError, match=complaint):
        read_weight_file(tmp_path / "a.pth")
