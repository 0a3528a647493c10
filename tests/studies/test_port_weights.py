"""Weights are ported once; the directory serves as --weights."""

from pathlib import Path

import jax
import numpy as np
import pytest

from net2vec_jax.core.console import run_script
from net2vec_jax.networks.choice import open_network
from net2vec_jax.networks.load import load_network
from net2vec_jax.studies import port_weights


def test_the_directory_serves_as_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = port_weights.PortFlags(network="efficientnet_lite0", out=tmp_path / "ported")
    port_weights.main(flags)
    printed = capsys.readouterr().out
    assert "efficientnet_lite0 with 1000 classes" in printed
    assert f"--weights {tmp_path / 'ported'}" in printed
    again = open_network("efficientnet_lite0", weights=str(tmp_path / "ported"))
    first = load_network("efficientnet_lite0")
    jax.tree.map(np.testing.assert_array_equal, again.network, first.network)
    assert again.fingerprint == first.fingerprint
    assert again.preprocessing("own") == first.preprocessing("own")


def test_errors_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 and no more")
    arguments = ["--network", "vgg16", "--weights", str(tmp_path / "broken.pth"), "--out", "out"]
    with pytest.raises(SystemExit) as stopped:
        run_script(port_weights.main, arguments=arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path / 'broken.pth'}: is no whole zip archive")
    assert message.count("\n") == 1
