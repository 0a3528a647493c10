"""Importing the package is cheap and brings in nothing that only some users need."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch", "tensorflow", "tensorflow_datasets", "matplotlib", "pycocotools", "gensim", "nltk",
    "sklearn", "orbax", "h5py", "huggingface_hub",
)  # fmt: skip
ON_REQUEST = (
    "net2vec_jax.report", "net2vec_jax.plots", "net2vec_jax.data.tfds.builders",
    "net2vec_jax.studies.apply", "net2vec_jax.studies.inspect_data", "net2vec_jax.studies.pictures",
    "net2vec_jax.studies.report",
)  # fmt: skip
"""What is imported only by those who use it."""
SCRIPT = """
import importlib, pkgutil, sys
import net2vec_jax
assert "jax" not in sys.modules, "the top level imports JAX"
import experiments.benchmark.__main__, experiments.benchmark.ours, experiments.cost_model
assert "pandas" not in sys.modules, "the benchmark imports pandas"
for module in pkgutil.walk_packages(net2vec_jax.__path__, "net2vec_jax."):
    if not module.name.startswith({on_request}):
        importlib.import_module(module.name)
import experiments.segmentation, experiments.quickstart, experiments.prepare_tfds
import jax
jax.config.update("jax_num_cpu_devices", 1)  # fails if an import has started JAX's backends
print([name for name in {heavy} if name in sys.modules])
"""


def test_nothing_heavy_is_imported() -> None:
    script = SCRIPT.replace("{heavy}", repr(HEAVY)).replace("{on_request}", repr(ON_REQUEST))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
