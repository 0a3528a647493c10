"""`--network`: a name in the zoo, or a function of the user's own that returns a network.

`FILE.py:FUNCTION` and `package.module:FUNCTION` name a function without arguments that returns a
`LoadedNetwork` (docs/own_models.md). The file or module is imported and the function called: this
runs code, so name only what you trust. Modules beside FILE.py can be imported by it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.load import LoadedNetwork, load_network
from net2vec_jax.networks.options import WeightOptions
from net2vec_jax.networks.own_code import describe_failure


def open_network(
    name: str, *, weights: str | Path | None = None, options: WeightOptions | None = None
) -> LoadedNetwork:
    """A network of the zoo, or what a function of the user's own returns.

    Args:
      name: a name in the zoo, "FILE.py:FUNCTION" or "package.module:FUNCTION".
      weights: of a network of the zoo; see `load_network`. A function brings its own.
      options: how they are read, likewise.

    Raises:
      Net2VecError: there is no such network, file, module or function; its weights cannot be used;
        the user's code raises, which the message shows; or it returns something else.
    """
    origin, colon, function = name.rpartition(":")
    if not colon:
        if name.endswith(".py"):
            raise Net2VecError(f"--network {name} names no function; write {name}:FUNCTION")
        return load_network(name, weights=weights, **(options.chosen if options else {}))
    given = ({} if weights is None else {"weights": weights}) | (options.chosen if options else {})
    if given:
        raise Net2VecError(
            f"{', '.join(given)}: for networks of the zoo; {name} is a function, which loads its "
            "weights itself"
        )
    find = _import_file if origin.endswith(".py") else importlib.import_module
    module = _run(name, lambda: find(origin))
    known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    if not callable(getattr(module, function, None)):
        raise unknown_name_error(f"function in {origin}:", function, known)
    loaded = _run(name, getattr(module, function))
    if not isinstance(loaded, LoadedNetwork):
        raise Net2VecError(
            f"{name} returned {type(loaded).__name__}, not a LoadedNetwork: see docs/own_models.md"
        )
    return loaded


def _import_file(name: str) -> ModuleType:
    path = Path(name)
    if not path.is_file():
        raise Net2VecError(f"there is no file {path}")
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # behind the rest, so that nothing installed is hidden
    spec = importlib.util.spec_from_file_location(f"own_network_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # of a .py file there always is one
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def _run(name: str, call: Callable[[], Any]) -> Any:
    """The result of a call into the user's code, whose exceptions become one message."""
    try:
        return call()
    except Net2VecError:
        raise
    except Exception as error:
        raise Net2VecError(f"{name} failed: {describe_failure(error)}") from error
