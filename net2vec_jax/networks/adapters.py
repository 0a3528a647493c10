"""Any other model as a `Network`: a function, a Flax NNX module, or a Linen module.

A wrapped model is traced as a whole; but the forward pass runs under `jax.jit`, where XLA removes
whatever the layers asked for do not need, such as everything beyond the deepest of them.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen, nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.wrap import Layers, OutputForm, WrappedNetwork


class FunctionNetwork(WrappedNetwork):
    """A model given as a function: the simplest way and the most general."""

    def __init__(
        self,
        apply: Callable[[Any, Array], Mapping[str, Array]],
        parameters: Any,
        layers: Layers,
        *,
        channels_first: bool = False,
        grid: tuple[int, int] | None = None,
        leading_tokens: int = 0,
    ) -> None:
        """Keep the function and what it computes with.

        Args:
          apply: (parameters, preprocessed images [N, H, W, 3]) → {layer: response}; jittable.
          parameters: any pytree of arrays: an NNX module, Linen's variables, a dictionary.
          layers: the names that `apply` returns.
          channels_first: see `wrap_nnx`, as what follows.
        """
        super().__init__(layers, OutputForm(channels_first, grid, leading_tokens))
        self._apply = nnx.static(apply)
        self.parameters = nnx.data(parameters)

    def outputs(
        self, images: Float[Array, "N H W 3"], layers: tuple[str, ...]
    ) -> Mapping[str, Any]:
        """What the function returns.

        Raises:
          Net2VecError: a layer is not among it.
        """
        returned = self._apply(self.parameters, images)
        returned = {name.replace("/", "."): output for name, output in returned.items()}
        for layer in layers:
            if layer not in returned:
                raise unknown_name_error("layer, not returned by the function:", layer, returned)
        return {layer: returned[layer] for layer in layers}


def wrap_nnx(
    module: nnx.Module,
    layers: Layers | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    channels_first: bool = False,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> Network:
    """A Flax NNX module as a network whose layers are submodules.

    The module is copied and put into evaluation mode (dropout off, running averages used).

    Args:
      module: called as `module(images, **arguments)` with images [N, H, W, 3].
      layers: paths of submodules, "encoder.blocks.3"; a layer's response is what the submodule's
        `__call__` returns. Or {path: function}, where the function makes the response from that,
        such as `nnx.relu` for a convolution whose nonlinearity is no module. By default all
        submodules.
      arguments: further arguments of the module, hashable.
      channels_first: maps come out as [N, K, h, w].
      grid: (h, w) of the patches, for outputs [N, tokens, K] of a transformer.
      leading_tokens: how many tokens come before those of the patches.

    Raises:
      Net2VecError: there is no such submodule; the message names the nearest.
    """
    module = nnx.clone(module)
    module.eval()
    paths = _submodules(module)
    layers = tuple(paths) if layers is None else layers
    for name in () if isinstance(layers, str) else layers:
        if name.replace("/", ".") not in paths:
            raise unknown_name_error("submodule", name, paths)
    form = OutputForm(channels_first, grid, leading_tokens)
    return _NNXNetwork(module, layers, arguments, form)


def wrap_linen(
    module: linen.Module,
    variables: Mapping[str, Any],
    layers: Layers | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    channels_first: bool = False,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> Network:
    """A Flax Linen module as a network whose layers are submodules.

    Args:
      module: applied as `module.apply(variables, images, **arguments)`, images [N, H, W, 3].
      variables: its parameters and other collections, {"params": …}.
      layers: paths of submodules, "Conv_0" or "blocks_3/Conv_1" ("blocks_3.Conv_1" is the same);
        or {path: function}, see `wrap_nnx`. By default all submodules with parameters.
        A path that does not exist is noticed when images are first computed.
      arguments: further arguments of the module, hashable: {"train": False}.
      channels_first: see `wrap_nnx`, as what follows.
    """
    form = OutputForm(channels_first, grid, leading_tokens)
    found = _inner_paths(variables.get("params", {}))
    return _LinenNetwork(module, variables, found if layers is None else layers, arguments, form)


def module_fingerprint(module: Any) -> str:
    """SHA-256 that tells a model's weights from others: of paths, shapes, types and bytes.

    Args:
      module: an NNX module, a `Network`, Linen's variables, or any other pytree of arrays. The
        state of random number generators does not count.
    """
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        module, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
    )
    named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    for path, leaf in sorted(named.items()):
        if isinstance(leaf, nnx.RngState):
            continue
        array = np.asarray(leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf)
        digest.update(f"{path} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class _Output(nnx.Intermediate):
    """What a submodule returned."""


_RECORD = "net2vec_output"


class _NNXNetwork(WrappedNetwork):
    def __init__(
        self,
        module: nnx.Module,
        layers: Layers,
        arguments: Mapping[str, Any] | None,
        form: OutputForm,
    ) -> None:
        super().__init__(layers, form)
        self.module = module
        self._arguments = tuple((arguments or {}).items())

    def outputs(
        self, images: Float[Array, "N H W 3"], layers: tuple[str, ...]
    ) -> Mapping[str, Any]:
        """The outputs of submodules that record what they return."""
        module = nnx.clone(self.module)  # so that this one stays as it is
        submodules = dict(nnx.iter_modules(module))
        for name, path in _submodules(module).items():
            if name in layers:
                _record(submodules[path])
        forward = nnx.capture(lambda module: module(images, **dict(self._arguments)), _Output)
        _, state = forward(module)
        returned = {
            ".".join(map(str, path[:-1])): output.get_value()
            for path, output in nnx.to_flat_state(state)
            if path[-1] == _RECORD
        }
        return {layer: _only_call(layer, returned.get(layer, ())) for layer in layers}


def _record(module: nnx.Module) -> None:
    # The class of this one object changes: `nnx.capture` by itself would change the classes of all
    # modules for as long as it runs, and would miss a `__call__` that is inherited.
    object.__setattr__(module, "__class__", _recording_class(type(module)))


@functools.cache
def _recording_class(kind: type[nnx.Module]) -> type[nnx.Module]:
    def __call__(self: nnx.Module, *args: Any, **kwargs: Any) -> Any:
        output = kind.__call__(self, *args, **kwargs)
        self.sow(_Output, _RECORD, output)
        return output

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(__call__=__call__, __module__=kind.__module__)

    return types.new_class(kind.__name__, (kind,), {"pytree": kind._pytree__is_pytree}, fill)


def _submodules(module: nnx.Module) -> dict[str, tuple]:
    """Dotted name → path of every submodule that can be called."""
    return {
        ".".join(map(str, path)): path
        for path, submodule in nnx.iter_modules(module)
        if path and callable(submodule)
    }


class _LinenNetwork(WrappedNetwork):
    def __init__(
        self,
        module: linen.Module,
        variables: Mapping[str, Any],
        layers: Layers,
        arguments: Mapping[str, Any] | None,
        form: OutputForm,
    ) -> None:
        super().__init__(layers, form)
        self._module = nnx.static(module)
        self.variables = nnx.data(dict(variables))
        self._arguments = tuple((arguments or {}).items())

    def outputs(
        self, images: Float[Array, "N H W 3"], layers: tuple[str, ...]
    ) -> Mapping[str, Any]:
        """Linen's own intermediates, of the submodules asked for."""
        called: list[str] = []

        def is_wanted(module: linen.Module, method: str) -> bool:
            if method != "__call__":
                return False
            called.append(".".join(module.path))
            return called[-1] in layers

        _, state = self._module.apply(
            self.variables,
            images,
            capture_intermediates=is_wanted,
            mutable=["intermediates"],
            **dict(self._arguments),
        )
        found = {}
        for layer in layers:
            if layer not in called:
                raise unknown_name_error("submodule", layer, dict.fromkeys(filter(None, called)))
            inner = state.get("intermediates", {})
            for part in layer.split("."):
                inner = inner.get(part, {})
            found[layer] = _only_call(layer, inner.get("__call__", ()))
        return found


def _inner_paths(tree: Mapping[str, Any], above: str = "") -> tuple[str, ...]:
    """Dotted paths of the inner nodes of nested dictionaries, parents first."""
    inner = [(above + name, child) for name, child in tree.items() if isinstance(child, Mapping)]
    return tuple(
        path for name, child in inner for path in (name, *_inner_paths(child, above=name + "."))
    )


def _only_call(layer: str, outputs: tuple) -> Any:
    """What a submodule returned in its only call."""
    if len(outputs) != 1:
        times = f"{len(outputs)} times" if outputs else "never, or only inside a scan"
        raise Net2VecError(
            f"submodule {layer} is called {times} in a forward pass, not once; give its response "
            "by a FunctionNetwork"
        )
    return outputs[0]
