"""Classes' gradients on several devices are those on one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from net2vec_jax.analysis.use.sensitivity import differentiate_classes
from net2vec_jax.networks.load import load_network

network = load_network("efficientnet_lite0").network
images = jax.random.normal(jax.random.key(0), (4, 32, 32, 3))
found = jax.jit(lambda network: network.activations(images, ["block14", "logits"]))(network)
response = found["block14"]
members = jnp.eye(1000, dtype=bool)[:3]
four = differentiate_classes(network, response, images, members, layer="block14")
assert len(four[1].sharding.device_set) == 4
three = differentiate_classes(network, response[:3], images[:3], members, layer="block14")
assert len(three[1].sharding.device_set) == 1  # four devices cannot share three images
for several, one in zip(four, three):
    np.testing.assert_allclose(several[:3], one, rtol=1e-5, atol=1e-6)
np.testing.assert_allclose(four[0], found["logits"][:, :3], atol=1e-4)
assert np.abs(four[1]).max() > 1e-3
"""


def test_four_devices_give_what_one_gives() -> None:
    environment = os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
