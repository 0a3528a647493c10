"""Packages that only some uses need: pyproject.toml's extras, imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from net2vec_jax.core.errors import Net2VecError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
      module: its full name, "gensim.models".
      extra: the extra of pyproject.toml that installs it, such as "coco".

    Returns:
      The module.

    Raises:
      Net2VecError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # the package is there, and lacks something of its own
        raise Net2VecError(
            f"{package} is not installed; it comes with the extra {extra}: {say_install(extra)}"
        ) from error


def say_install(extra: str) -> str:
    """How an extra is installed: `pip install "net2vec_jax[coco]" (in a clone …)`."""
    return f'pip install "net2vec_jax[{extra}]" (in a clone: pip install -e ".[{extra}]")'
