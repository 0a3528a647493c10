"""Importing the package is cheap and brings in nothing that only some users need."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "tensorflow", "matplotlib", "pandas")
SCRIPT = """
import importlib, pkgutil, sys
import net2vec_jax
assert "jax" not in sys.modules, "the top level imports JAX"
for module in pkgutil.walk_packages(net2vec_jax.__path__, "net2vec_jax."):
    if not module.name.startswith("net2vec_jax.report"):
        importlib.import_module(module.name)
import experiments.segmentation, experiments.quickstart
import jax
jax.config.update("jax_num_cpu_devices", 1)  # fails if an import has started JAX's backends
print([name for name in {heavy} if name in sys.modules])
"""


def test_nothing_heavy_is_imported() -> None:
    script = SCRIPT.replace("{heavy}", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
