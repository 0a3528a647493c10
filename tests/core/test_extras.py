"""What an extra brings is imported when it is used; where it is missing, the message names it."""

import subprocess
import sys
from pathlib import Path

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.extras import import_extra

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tensorflow_datasets", "gensim", "nltk", "pycocotools", "pillow_heif", "h5py")


def test_missing_packages_are_named_with_their_extra() -> None:
    with pytest.raises(Net2VecError, match=r"no_such_package.*net2vec_jax\[lexical\]"):
        import_extra("no_such_package.models", "lexical")


def test_what_an_installed_package_lacks_is_not_called_an_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_package", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_extra("half_there", "lexical")


SCRIPT = """
import importlib, pkgutil, sys
for name in {packages}:
    sys.modules[name] = None  # an import of it fails
import net2vec_jax
for module in pkgutil.walk_packages(net2vec_jax.__path__, "net2vec_jax."):
    if module.name not in {need_one}:
        importlib.import_module(module.name)
"""


def test_all_modules_can_be_imported_without_the_extras() -> None:
    need_one = ("net2vec_jax.data.tfds.builders",)  # registers its classes with TFDS
    script = SCRIPT.format(packages=PACKAGES, need_one=need_one)
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
