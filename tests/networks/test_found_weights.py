"""Weight files as they are found: wrapped, without a head, for other images."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from flax import nnx
from helpers import respond

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import (
    NETWORKS,
    _abstract,
    _describe_wanted,
    _find_head,
    _find_normalisations,
    _set_epsilon,
    load_network,
    open_network_origin,
    save_network,
)
from net2vec_jax.networks.options import WeightOptions, read_options
from net2vec_jax.networks.untrained import untrain
from net2vec_jax.weights.fitting import fit_keys
from net2vec_jax.weights.porting import port_weights


def _weights(name="squeezenet1_1", classes=5, seed=0):
    """Random weights by the original's keys."""
    rng = np.random.default_rng(seed)
    entry = NETWORKS[name]
    shapes = _describe_wanted(entry, _abstract(entry, classes)).shapes
    return {key: rng.random(shape, np.float32) for key, shape in shapes.items()}


@pytest.fixture
def save(tmp_path):
    """Saves arrays as a .safetensors file."""

    def save(arrays, name="weights.safetensors"):
        from safetensors.numpy import save_file

        save_file({k: np.ascontiguousarray(a) for k, a in arrays.items()}, tmp_path / name)
        return tmp_path / name

    return save


IMAGES = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), np.uint8)


def _respond(loaded, layer="fire9", images=IMAGES):
    return respond(loaded.network, loaded.preprocessing()(images), (layer,))[layer]


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_head_is_what_lies_behind_the_layers_worth_probing(name):
    entry = NETWORKS[name]
    network = _abstract(entry, None)
    head = _find_head(entry, network)
    keys = {key for layer in head for key in layer.keys}
    wanted = _describe_wanted(entry, network)
    assert not entry.logits_key or entry.logits_key in keys
    assert len(keys) < len(wanted.shapes) / 2
    zeros = {key: np.zeros(wanted.shapes[key], np.int8) for key in wanted.body}
    fit = fit_keys(zeros, wanted)
    assert fit.without == keys
    assert fit.arrays.keys() == zeros.keys()


def test_a_network_without_its_head_is_loaded_stored_and_asked(save, tmp_path, capsys):
    weights = _weights()
    whole = load_network("squeezenet1_1", weights=save(weights, "whole.safetensors"))
    body = {f"encoder.{k}": a for k, a in weights.items() if not k.startswith("classifier.")}
    loaded = load_network("squeezenet1_1", weights=save(body))
    assert "note: weights.safetensors: its keys begin with encoder." in capsys.readouterr().err
    save_network(loaded, tmp_path / "ported")
    for one in (loaded, load_network(tmp_path / "ported"), open_network_origin(loaded.origin)):
        assert one.classes is None
        assert one.network.layers[-1] == "fire9"
        assert one.network.lacking == ("conv10", "logits")
        assert "no classifier.1" in repr(one)
        np.testing.assert_array_equal(_respond(one), _respond(whole))
        for layer in ("conv10", "logits", "classifier.2"):
            with pytest.raises(Net2VecError, match=f"layer {layer} cannot be computed"):
                one.network.activations(np.zeros((1, 40, 40, 3), np.float32), [layer])
    assert untrain(loaded, IMAGES).network.layers[-1] == "logits"


def test_normalisations_have_the_epsilon_of_the_librarys_names(save, tmp_path):
    network = _abstract(NETWORKS["vit_b_16"], None)
    _set_epsilon(network, NETWORKS["vit_b_16"].spellings[1].epsilon)
    assert {norm.epsilon for norm in _find_normalisations(network)} == {1e-12}
    loaded = load_network("convnextv2_atto", weights=save(_weights("convnextv2_atto")))
    _set_epsilon(loaded.network, 1e-9)
    save_network(loaded, tmp_path / "ported")
    again = load_network(tmp_path / "ported").network
    assert {norm.epsilon for norm in _find_normalisations(again)} == {1e-9}


def test_images_are_seen_as_the_flags_say(save, tmp_path):
    weights = _weights()
    turned = weights | {"features.0.weight": weights["features.0.weight"][:, ::-1]}
    options = {"mean": (10.0, 20.0, 30.0), "deviation": (2.0, 3.0, 4.0), "channel_order": "bgr"}
    plain = load_network("squeezenet1_1", weights=save(weights, "rgb.safetensors"))
    file = save(turned, "bgr.safetensors")
    loaded = load_network("squeezenet1_1", weights=file, **options)
    assert loaded.own_preprocessing.mean == options["mean"]
    images = np.random.default_rng(0).normal(size=(1, 40, 40, 3)).astype(np.float32)
    responses = [respond(one.network, images, ("fire9",))["fire9"] for one in (plain, loaded)]
    np.testing.assert_array_equal(responses[0], responses[1])
    assert loaded.fingerprint != load_network("squeezenet1_1", weights=file).fingerprint
    origin = json.loads(json.dumps(loaded.origin))
    assert open_network_origin(origin).own_preprocessing == loaded.own_preprocessing
    with pytest.raises(Net2VecError, match="holds other weights"):
        open_network_origin({k: v for k, v in origin.items() if k != "weight_options"})
    save_network(loaded, tmp_path / "ported")
    again = load_network(tmp_path / "ported")
    assert again.own_preprocessing == loaded.own_preprocessing
    assert again.fingerprint == loaded.fingerprint
    with pytest.raises(Net2VecError, match="mean, deviation, channel_order was settled"):
        load_network("squeezenet1_1", weights=tmp_path / "ported", **options)


def test_options_that_are_usual_change_nothing(save):
    file = save(_weights())
    plain = load_network("squeezenet1_1", weights=file)
    said = load_network("squeezenet1_1", weights=file, mean=plain.own_preprocessing.mean)
    assert said.fingerprint == plain.fingerprint


@pytest.mark.parametrize("name, value", [("mean", (0.485, 0.456, 0.406)), ("deviation", (1, 0, 1))])
def test_senseless_options_are_refused(name, value):
    with pytest.raises(Net2VecError, match=f"--{name}"):
        load_network("squeezenet1_1", **{name: value})


def test_damaged_notes_of_options_are_refused():
    assert read_options({}) == WeightOptions()
    for noted in ({"code": 1}, [1]):
        with pytest.raises(Net2VecError, match="damaged"):
            read_options({"weight_options": noted})


def test_a_part_is_chosen_by_what_its_keys_begin_with(save):
    weights = [_weights(seed=seed) for seed in (0, 1)]
    both = {
        f"{part}.{key}": array
        for part, arrays in zip(("student", "teacher"), weights, strict=True)
        for key, array in arrays.items()
    }
    file = save(both)
    with pytest.raises(Net2VecError, match="student, teacher; choose one"):
        load_network("squeezenet1_1", weights=file)
    for part, arrays in zip(("student", "teacher"), weights, strict=True):
        chosen = load_network("squeezenet1_1", weights=file, checkpoint_key=part)
        alone = load_network("squeezenet1_1", weights=save(arrays, f"{part}.safetensors"))
        jax.tree.map(np.testing.assert_array_equal, chosen.network, alone.network)
        assert chosen.origin["weight_options"] == {"checkpoint_key": part}
    with pytest.raises(Net2VecError, match="pupil"):
        load_network("squeezenet1_1", weights=file, checkpoint_key="pupil")


@pytest.mark.parametrize(
    "key, number, reason",
    [
        ("running_mean", np.nan, "is NaN or infinite at 1 place"),
        ("running_var", -1e-7, "is a variance below 0 at 1 place"),
        ("weight", np.inf, "is NaN or infinite"),
        ("bias", 1e300, "exceeds float32"),
    ],
)
def test_impossible_numbers_are_named_by_key(key, number, reason):
    weights = {k: a.astype(np.float64) for k, a in _weights("resnet18").items()}
    weights[f"layer2.0.bn1.{key}"].flat[0] = number
    network = _abstract(NETWORKS["resnet18"], 5)
    with pytest.raises(Net2VecError, match=rf"layer2\.0\.bn1\.\w+ {reason}") as caught:
        port_weights(network, weights)
    assert str(caught.value).count("layer2") == 1


def test_the_configuration_beside_a_file_says_what_the_network_sees(save, tmp_path):
    file = save(_weights())
    config = {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 96, 96]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_network("squeezenet1_1", weights=file)
    assert loaded.own_preprocessing.mean == (127.5,) * 3
    assert loaded.input_size == 96
    said = load_network("squeezenet1_1", weights=file, mean=(1, 2, 3), deviation=(4, 5, 6))
    assert said.own_preprocessing.mean == (1, 2, 3)


@pytest.mark.parametrize("layout", ["tf", "th"])
def test_squeezenet_of_keras_is_read(shared_dir, layout):
    pytest.importorskip("h5py")
    keras = shared_dir / "weights" / "squeezenet_v1.1_keras"
    [file] = keras.glob(f"*{layout}_kernels*.h5")
    loaded = load_network("squeezenet1_1", weights=file)
    converted = load_network("squeezenet1_1", weights=next(keras.glob("*.safetensors")))
    expected = _respond(converted)
    assert isinstance(loaded.network, nnx.Module)
    assert np.abs(_respond(loaded) - expected).max() < 1e-4 * expected.std()
