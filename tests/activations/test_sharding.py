"""Forward passes sharded over several devices give what one device gives."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import jax, numpy as np
from net2vec_jax.activations.compute import compute_activations
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.networks.load import load_network
from helpers import ListDataset, make_catalog

class Noise(ListDataset):
    def image(self, index):
        return np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)

labels = [ImageLabels({}, {"object": (1,)})] * 11
dataset = Noise(make_catalog(1), ("object",), labels, (16, 16))
loaded = load_network("efficientnet_lite0")
collected = compute_activations(
    loaded.network, dataset, ["block1"], preprocess=loaded.preprocessing(), batch_size=3
)
batches = [batch["block1"] for batch in collected]
preprocessed = loaded.preprocessing()(np.stack([dataset.image(i) for i in range(11)]))
alone = jax.jit(lambda images: loaded.network.activations(images, ["block1"])["block1"])(
    preprocessed
)
print(len(jax.devices()), len(batches[0]), len(np.concatenate(batches)))
# other batch sizes sum in another order
np.testing.assert_allclose(np.concatenate(batches), alone, atol=1e-5 * np.abs(alone).max())
"""


def test_eight_devices_give_what_one_gives() -> None:
    environment = os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # 8 devices; the batch of 3 was rounded up to 8 images; all 11 images came out
    assert done.stdout.split() == ["8", "8", "11"]
