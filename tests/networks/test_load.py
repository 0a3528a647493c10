"""Networks are found by name, with their weights, preprocessing and layers."""

import functools
import hashlib
import json
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import respond
from torchvision_golden import golden_state_dict, read_golden

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import NETWORKS, load_network, open_network_origin, save_network
from net2vec_jax.networks.preprocessing import IMAGENET, REFERENCE_CODE_PREPROCESSING, Preprocessing
from net2vec_jax.weights.cache import find_efficientnet_lite
from net2vec_jax.weights.porting import find_rules, port_weights

SELF_SUPERVISED = ("moco_v2", "swav", "dino", "barlow_twins", "vicreg")


@functools.cache
def _abstract(name, classes=7):
    return nnx.eval_shape(lambda: NETWORKS[name].build(classes=classes, rngs=nnx.Rngs(0)))


@functools.cache
def _responses(name):
    """Names and shapes of all responses to two bfloat16 images, without computing them."""

    def respond(network, images):
        network = jax.tree.map(lambda leaf: leaf.astype(images.dtype), network)
        found = list(network.responses(images))
        names.extend(layer for layer, _ in found)
        return dict(found)

    names: list[str] = []
    side = NETWORKS[name].input_size
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.bfloat16)
    return names, jax.eval_shape(respond, _abstract(name), images)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_layers_are_those_that_are_computed(name):
    entry = NETWORKS[name]
    network = _abstract(name)
    names, shapes = _responses(name)
    assert tuple(names) == network.layers
    assert len(set(names)) == len(names)
    assert set(network.aliases.values()) <= set(names)
    assert not set(network.aliases) & set(names) - {
        alias for alias, layer in network.aliases.items() if alias == layer
    }
    assert entry.probing_layers
    places = [names.index(layer) for layer in entry.probing_layers]
    assert places == sorted(places)
    assert all(len(shapes[layer].shape) == 4 for layer in entry.probing_layers)
    assert len(shapes[names[-1]].shape) == 2
    assert shapes[names[-1]].shape[1] == 7 or not entry.logits_key


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_parameter_has_a_rule_and_the_logits_a_key(name):
    entry = NETWORKS[name]
    rules = find_rules(_abstract(name), caffe=entry.caffe)
    with pytest.raises(Net2VecError, match=r"do not fit .*: missing"):  # and no ValueError
        port_weights(_abstract(name), {}, caffe=entry.caffe)
    assert entry.logits_key in {"", *(key for rule in rules.values() for key in rule.keys)}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_are_pickled(name):
    kind = type(_abstract(name))
    assert pickle.loads(pickle.dumps(kind)) is kind


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_types_follow_the_input(name):
    _, shapes = _responses(name)
    assert {value.dtype for value in shapes.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_published_weights_are_well_described(name):
    entry = NETWORKS[name]
    assert len({source.name for source in entry.sources}) == len(entry.sources)
    for source in entry.sources:
        if source.locate is not None:
            continue
        assert re.fullmatch(r"https?://[^ ]+\.(pth|pth\.tar|pt|caffemodel|safetensors)", source.url)
        algorithms = r"sha256:[0-9a-f]{8,64}|sha1:[0-9a-f]{40}|md5:[0-9a-f]{32}"
        assert source.checksum is None or re.fullmatch(algorithms, source.checksum)
        if "download.pytorch.org" in source.url:
            assert source.checksum.removeprefix("sha256:") in source.file_name
        logits = 365 if "places" in source.name else 1000
        headless = not entry.logits_key or source.name in SELF_SUPERVISED
        assert source.classes == (0 if headless else logits)
    assert len({s.file_name for e in NETWORKS.values() for s in e.sources}) == sum(
        len(entry.sources) for entry in NETWORKS.values()
    )


def test_fingerprint_is_that_of_the_weight_file(tmp_path):
    contents = find_efficientnet_lite(0).read_bytes()
    copy = tmp_path / "weights.pth"
    copy.write_bytes(contents)
    loaded = load_network("efficientnet_lite0", weights=str(copy))
    assert loaded.fingerprint == hashlib.sha256(contents).hexdigest()
    assert loaded.name == "efficientnet_lite0"
    assert loaded.classes == 1000
    assert loaded.preprocessing() == loaded.own_preprocessing
    assert loaded.preprocessing("imagenet") == IMAGENET


def test_loaded_weights_are_arrays_of_jax():
    leaves = jax.tree.leaves(load_network("efficientnet_lite0").network)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)


@pytest.fixture(scope="module")
def squeezenet(golden_dir):
    """The smallest network's state dict, with 365 classes."""
    weights = golden_state_dict(read_golden(golden_dir / "torchvision", "squeezenet1_1"))
    return {
        key: array[:365] if key.startswith("classifier.1.") else array
        for key, array in weights.items()
    }


@pytest.fixture
def squeezenet_file(squeezenet, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "places.safetensors"
    safetensors.save_file({key: np.ascontiguousarray(a) for key, a in squeezenet.items()}, path)
    return path


def test_the_number_of_classes_is_the_files(squeezenet_file):
    loaded = load_network("squeezenet1_1", weights=squeezenet_file)
    assert loaded.classes == 365
    images = np.zeros((1, 64, 64, 3), np.float32)
    assert respond(loaded.network, images, ("logits",))["logits"].shape == (1, 365)


def test_a_ported_network_is_the_same_network(squeezenet_file, tmp_path):
    loaded = load_network("squeezenet1_1", weights=squeezenet_file)
    save_network(loaded, tmp_path / "ported")
    again = load_network("squeezenet1_1", weights=tmp_path / "ported")
    jax.tree.map(np.testing.assert_array_equal, loaded.network, again.network)
    assert again.fingerprint == loaded.fingerprint
    assert again.classes == 365
    assert again.own_preprocessing == loaded.own_preprocessing
    assert again.probing_layers == loaded.probing_layers
    with pytest.raises(Net2VecError, match="holds the weights of squeezenet1_1, not of resnet18"):
        load_network("resnet18", weights=tmp_path / "ported")
    with pytest.raises(Net2VecError, match="exists"):
        save_network(loaded, tmp_path / "ported")


def test_networks_are_reopened_from_their_origin(squeezenet_file, tmp_path, monkeypatch):
    monkeypatch.chdir(squeezenet_file.parent)
    loaded = load_network("squeezenet1_1", weights=squeezenet_file.name)
    save_network(loaded, tmp_path / "ported")
    ported = load_network(tmp_path / "ported")
    monkeypatch.chdir("/")
    for one in (loaded, ported, load_network("efficientnet_lite0")):
        origin = json.loads(json.dumps(one.origin)) | {"layer": "conv1"}
        again = open_network_origin(origin)
        assert (again.name, again.fingerprint) == (one.name, one.fingerprint)
        assert again.preprocessing() == one.preprocessing()
        jax.tree.map(np.testing.assert_array_equal, one.network, again.network)
    with pytest.raises(Net2VecError, match=r"holds other weights of squeezenet1_1.*pass it as"):
        open_network_origin(loaded.origin | {"weights": "0" * 64})
    squeezenet_file.unlink()
    with pytest.raises(Net2VecError, match=r"places\.safetensors"):
        open_network_origin(loaded.origin)


def test_code_that_an_origin_names_is_not_run(tmp_path):
    (tmp_path / "own.py").write_text("raise SystemExit")
    name = f"{tmp_path}/own.py:make"
    with pytest.raises(Net2VecError, match="unknown network"):
        open_network_origin({"network": name, "weights": "0" * 64, "weights_from": "imagenet"})


def test_a_loaded_network_prints_as_a_summary():
    text = repr(load_network("efficientnet_lite0"))
    assert len(text) < 700
    for part in ("efficientnet_lite0", "4,631,000 parameters", "block10", "127.0", "imagenet"):
        assert part in text


def test_older_spellings_of_keys_are_known(golden_dir, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    weights = golden_state_dict(read_golden(golden_dir / "torchvision", "densenet161"))
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): array
        for key, array in weights.items()
    }
    assert old.keys() != weights.keys()
    networks = []
    for name, arrays in (("new", weights), ("old", old)):
        safetensors.save_file(arrays, tmp_path / f"{name}.safetensors")
        loaded = load_network("densenet161", weights=tmp_path / f"{name}.safetensors")
        networks.append(loaded.network)
    jax.tree.map(np.testing.assert_array_equal, *networks)


def test_googlenet_undoes_torchvisions_normalisation(squeezenet):
    view = NETWORKS["googlenet"].sources[0].view
    image = np.random.default_rng(0).integers(0, 256, (1, 4, 5, 3), np.uint8)
    # What torchvision's module does with `transform_input`, in its own words.
    deviation, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
    for mode, first in (("imagenet", IMAGENET), ("reference_code", REFERENCE_CODE_PREPROCESSING)):
        normalised = (image - np.array(first.mean)) / np.array(first.deviation)
        expected = normalised * (deviation / 0.5) + (mean - 0.5) / 0.5
        found = view.preprocessing(mode)(jnp.array(image))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(
        view.preprocessing("own")(jnp.array(image)), image / 127.5 - 1, atol=1e-5
    )


def test_caffes_images_are_not_divided():
    view = NETWORKS["caffenet"].sources[0].view
    assert view.preprocessing("own").deviation == (1, 1, 1)
    assert view.preprocessing("reference_code") == Preprocessing(
        REFERENCE_CODE_PREPROCESSING.mean, (1, 1, 1)
    )
    with pytest.raises(Net2VecError, match="'imagenet' divides by a deviation"):
        view.preprocessing("imagenet")


def test_unknown_networks_are_refused_with_the_nearest():
    with pytest.raises(Net2VecError, match="unknown network 'alexnett'; did you mean 'alexnet'"):
        load_network("alexnett")


def test_unknown_weights_are_refused_with_the_nearest():
    with pytest.raises(Net2VecError, match="did you mean 'places365'"):
        load_network("resnet18", weights="place365")


def test_missing_weight_files_are_named(tmp_path):
    with pytest.raises(Net2VecError, match=r"none\.pth: there is no such weight file"):
        load_network("alexnet", weights=tmp_path / "none.pth")


def test_files_of_another_network_are_refused(squeezenet_file):
    with pytest.raises(
        Net2VecError, match=r"do not fit VGG16: missing classifier\.0\.bias"
    ) as caught:
        load_network("vgg16", weights=squeezenet_file)
    assert str(squeezenet_file) in str(caught.value)
