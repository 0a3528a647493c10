"""Porting a large file takes little more memory than the network itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from net2vec_jax.networks.models.vgg import VGG16
from net2vec_jax.weights.porting import find_rules

CHECK = """
import re, sys
from net2vec_jax.networks.load import load_network
import jax
jax.block_until_ready(load_network("vgg16", weights=sys.argv[1]).network)
status = open("/proc/self/status").read()  # getrusage would tell the parent's peak, too
print(1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", status).group(1)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_vgg16_is_ported_in_less_than_two_and_a_half_times_its_size(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from flax import nnx

    module = nnx.eval_shape(lambda: VGG16(rngs=nnx.Rngs(0)))
    state = dict(nnx.to_flat_state(nnx.state(module)))
    weights = {}
    for path, rule in find_rules(module).items():
        shape = state[tuple(path.split("."))].shape
        for key, expected in zip(rule.keys, rule.layout.file_shapes(shape), strict=True):
            weights[key] = torch.ones(expected)
    file = tmp_path / "vgg16.pth"
    torch.save(weights, file)
    size = file.stat().st_size
    assert size > 550e6
    del weights
    done = subprocess.run(
        [sys.executable, "-c", CHECK, file], capture_output=True, text=True, check=True
    )
    file.unlink()
    assert int(done.stdout) < 2.5 * size
