"""What is installed is what lies here."""

import tomllib
from pathlib import Path

import net2vec_jax

ROOT = Path(__file__).resolve().parents[1]


def test_files_that_are_no_modules_are_package_data() -> None:
    """A file that setuptools is not told of is missing from a wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = settings["tool"]["setuptools"]
    tops = [ROOT / name.removesuffix("*") for name in settings["packages"]["find"]["include"]]
    packages = [path.parent for top in tops for path in top.rglob("__init__.py")]
    packed = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    assert tops == [ROOT / "net2vec_jax"]
    found = {
        path
        for path in (ROOT / "net2vec_jax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in found if path.suffix != ".py"} == packed
    assert {path.parent for path in found if path.suffix == ".py"} == set(packages)


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {net2vec_jax.__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {net2vec_jax.__version__}" in changes
