"""Networks are found by name, with the fingerprint of their weights."""

import hashlib

import jax
import pytest

from net2vec_jax.errors import Net2VecError
from net2vec_jax.networks.preprocessing import IMAGENET
from net2vec_jax.networks.zoo import load_network
from net2vec_jax.weights.cache import find_efficientnet_lite0


def test_fingerprint_is_that_of_the_weight_file(tmp_path):
    contents = find_efficientnet_lite0().read_bytes()
    copy = tmp_path / "weights.pth"
    copy.write_bytes(contents)
    loaded = load_network("efficientnet_lite0", weights=str(copy))
    assert loaded.fingerprint == hashlib.sha256(contents).hexdigest()
    assert loaded.name == "efficientnet_lite0"
    assert loaded.preprocessing() == loaded.own_preprocessing
    assert loaded.preprocessing("imagenet") == IMAGENET


def test_loaded_weights_are_arrays_of_jax():
    leaves = jax.tree.leaves(load_network("efficientnet_lite0").network)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)


def test_unknown_networks_are_refused_with_the_nearest():
    with pytest.raises(Net2VecError, match="unknown network 'alexnett'; did you mean 'alexnet'"):
        load_network("alexnett")


def test_missing_weight_files_are_named(tmp_path):
    with pytest.raises(Net2VecError, match=r"none\.pth: there is no such weight file"):
        load_network("alexnet", weights=tmp_path / "none.pth")
