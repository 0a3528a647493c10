"""`--network` takes names of the zoo and functions of one's own, and says what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.choice import open_network
from net2vec_jax.studies import segmentation

OWN = '''
import dataclasses

import jax.numpy as jnp

import beside
from net2vec_jax.networks.adapters import FunctionNetwork, module_fingerprint
from net2vec_jax.networks.preprocessing import IMAGENET
from net2vec_jax.networks.load import LoadedNetwork


@dataclasses.dataclass
class Settings:
    factor: float = beside.FACTOR


def make_network():
    """Twice the image."""
    factor = jnp.float32(Settings().factor)
    network = FunctionNetwork(lambda f, images: {"double": f * images}, factor, ["double"])
    return LoadedNetwork("own", network, module_fingerprint(network), 64, IMAGENET, ("double",))


def make_nothing():
    return None


def fail():
    return {}["missing weights"]


CONSTANT = 3
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_file.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("FACTOR = 2.0\n")
    (tmp_path / "broken.py").write_text("x = 1\nx +\n")
    (tmp_path / "needs_more.py").write_text("import package_that_is_nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_names_are_looked_up_in_the_zoo() -> None:
    assert open_network("efficientnet_lite0").name == "efficientnet_lite0"
    with pytest.raises(Net2VecError, match="unknown network 'alexnett'; did you mean 'alexnet'"):
        open_network("alexnett")


def test_function_in_a_file(folder: Path) -> None:
    for name in ("own_file.py:make_network", f"{folder}/own_file.py:make_network"):
        loaded = open_network(name)
        assert (loaded.name, loaded.network.layers) == ("own", ("double",))


def test_function_in_a_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    loaded = open_network("own_file:make_network")
    assert loaded.fingerprint == open_network("own_file.py:make_network").fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_file.py", r"names no function; write own_file\.py:FUNCTION"),
        ("nowhere.py:make_network", r"there is no file nowhere\.py"),
        ("no.such.module:make_network", "failed: ModuleNotFoundError: No module named 'no'$"),
        (
            "own_file.py:make_netwrk",
            r"function in own_file\.py: 'make_netwrk'; did you mean 'make_",
        ),
        ("own_file.py:CONSTANT", "unknown function"),
        ("own_file.py:", "unknown function"),
        (":make_network", r"failed: ValueError: Empty module name"),
        ("own_file.py:make_nothing", "make_nothing returned NoneType, not a LoadedNetwork"),
        ("own_file.py:fail", r"fail failed: KeyError: 'missing weights' .*own_file\.py, line 29\)"),
        ("broken.py:make", r"broken\.py:make failed: SyntaxError: .*\(broken\.py, line 2\)$"),
        ("needs_more.py:make", r"ModuleNotFoundError: No module .*needs_more\.py, line 1\)"),
    ],
)
def test_what_is_wrong_is_said(name: str, message: str, folder: Path) -> None:
    with pytest.raises(Net2VecError, match=message):
        open_network(name)


def test_weights_are_for_the_zoo(folder: Path) -> None:
    with pytest.raises(Net2VecError, match="is a function, which loads its weights itself"):
        open_network("own_file.py:make_network", weights="imagenet")


def test_script_exits_with_the_users_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--dataset", "scenes", "--network", "own_file.py:fail", "--layer", "x"]
    monkeypatch.setattr(sys, "argv", ["segmentation", *arguments, "--out", "out"])
    for name in ("open_screened_dataset", "require_both_splits"):
        monkeypatch.setattr(f"net2vec_jax.runs.layer.{name}", lambda *_, **__: None)
    with pytest.raises(SystemExit) as stopped:
        run_script(segmentation.main)
    assert stopped.value.code == 2
    assert "error: own_file.py:fail failed: KeyError: 'missing weights'" in capsys.readouterr().err
