"""The modules and functions that `net2vec_jax.networks.adapters` wraps, as networks.

A wrapped model is traced as a whole; but the forward pass runs under `jax.jit`, where XLA removes
whatever the layers asked for do not need, such as everything beyond the deepest of them. (PyTorch
computes by itself, all of its module.)
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np
from flax import linen, nnx
from jaxtyping import Array

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.own_code import advise_evaluation
from net2vec_jax.networks.wrap import AS_IT_IS, Layers, OutputForm, Rest, WrappedNetwork

if TYPE_CHECKING:
    import torch


class FunctionNetwork(WrappedNetwork):
    """A model given as a function, see `wrap_function`."""

    def __init__(
        self,
        apply: Callable[[Any, Array], Mapping[str, Array]],
        parameters: Any,
        layers: Layers,
        form: OutputForm = AS_IT_IS,
        rest: Rest | None = None,
    ) -> None:
        """Keep the function and what it computes with."""
        super().__init__(layers, form, rest)
        self._apply = nnx.static(apply)
        self.parameters = nnx.data(parameters)

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """What the function returns.

        Raises:
          Net2VecError: a layer is not among it.
        """
        returned = self._apply(self.parameters, images)
        if not isinstance(returned, Mapping):
            kind = "an array" if isinstance(returned, jax.Array) else type(returned).__name__
            raise Net2VecError(
                f"the function returned {kind}, not a dictionary; return {{{layers[0]!r}: …}}"
            )
        returned = {str(name).replace("/", "."): output for name, output in returned.items()}
        for layer in layers:
            if layer not in returned:
                raise unknown_name_error("layer, not returned by the function:", layer, returned)
        return {layer: returned[layer] for layer in layers}


class _Output(nnx.Intermediate):
    """What a submodule returned."""


_RECORD = "net2vec_output"


class NNXNetwork(WrappedNetwork):
    """A Flax NNX module, see `wrap_nnx`."""

    def __init__(
        self,
        module: nnx.Module,
        layers: Layers,
        arguments: Mapping[str, Any] | None,
        form: OutputForm,
        rest: Rest | None = None,
    ) -> None:
        """Keep the module, in evaluation mode."""
        super().__init__(layers, form, rest)
        self.module = module
        self._arguments = _freeze(arguments)

    @property
    def evaluation(self) -> str:
        """See `WrappedNetwork`."""
        return advise_evaluation(type(self.module).__call__, vars(self.module))

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """The outputs of submodules that record what they return."""
        module = nnx.clone(self.module)  # so that this one stays as it is
        submodules = dict(nnx.iter_modules(module))
        for name, path in find_submodules(module).items():
            if name in layers:
                _record(submodules[path])
        forward = nnx.capture(lambda module: module(images, **dict(self._arguments)), _Output)
        _, state = forward(module)
        returned = {
            _join(path[:-1]): output.get_value()
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


class _Function(nnx.Module):
    """A function among the layers of an `nnx.Sequential`."""

    def __init__(self, function: Callable) -> None:
        self.function = nnx.static(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def name_functions(module: nnx.Module) -> None:
    """Make the functions in every `nnx.Sequential` submodules, so that they can be layers."""
    for _, submodule in list(nnx.iter_modules(module)):
        if isinstance(submodule, nnx.Sequential):
            submodule.layers = nnx.List(
                layer if isinstance(layer, nnx.Module) else _Function(layer)
                for layer in submodule.layers
            )


def _join(path: Iterable[Any]) -> str:
    """The dotted name of a path; a slash counts as a dot, as in `WrappedNetwork`."""
    return ".".join(map(str, path)).replace("/", ".")


def find_submodules(module: nnx.Module) -> dict[str, tuple]:
    """Dotted name → path of every submodule that can be called."""
    return {
        _join(path): path
        for path, submodule in nnx.iter_modules(module)
        if path and callable(submodule)
    }


class LinenNetwork(WrappedNetwork):
    """A Flax Linen module with its variables, see `wrap_linen`."""

    def __init__(
        self,
        module: linen.Module,
        variables: Mapping[str, Any],
        layers: Layers,
        arguments: Mapping[str, Any] | None,
        form: OutputForm,
        rest: Rest | None = None,
    ) -> None:
        """Keep the module and what it computes with."""
        super().__init__(layers, form, rest)
        self._module = nnx.static(module)
        self.variables = nnx.data(dict(variables))
        self._arguments = _freeze(arguments)

    @property
    def evaluation(self) -> str:
        """See `WrappedNetwork`."""
        return advise_evaluation(type(self._module).__call__, vars(self._module))

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """Linen's own intermediates, of the submodules asked for."""
        called: list[str] = []
        paths: dict[str, tuple[str, ...]] = {}

        def is_wanted(module: linen.Module, method: str) -> bool:
            if method != "__call__":
                return False
            called.append(_join(module.path))
            paths[called[-1]] = module.path
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
            inner: Any = state.get("intermediates", {})
            for part in (*paths[layer], "__call__"):
                inner = inner.get(part, {})
            found[layer] = _only_call(layer, tuple(inner))
        return found


def _freeze(arguments: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Further arguments of a model's call, none of which is an array."""
    for name, value in (arguments or {}).items():
        if any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(value)):
            raise Net2VecError(
                f"arguments={{{name!r}: …}} is an array; make it a parameter of the model, or "
                "call the model in a function for wrap_function"
            )
    return tuple((arguments or {}).items())


def find_inner_paths(tree: Mapping[str, Any], above: str = "") -> tuple[str, ...]:
    """Dotted paths of the inner nodes of nested dictionaries, parents first."""
    inner = [(above + name, child) for name, child in tree.items() if isinstance(child, Mapping)]
    return tuple(
        path for name, child in inner for path in (name, *find_inner_paths(child, above=name + "."))
    )


class TorchNetwork(WrappedNetwork):
    """A PyTorch module, see `wrap_torch`."""

    is_traceable = False

    def __init__(
        self, module: torch.nn.Module, layers: Layers, form: OutputForm, rest: Rest | None = None
    ) -> None:
        """Keep the module, in evaluation mode."""
        finishes = layers if isinstance(layers, Mapping) else {}
        super().__init__(layers if isinstance(layers, str) else tuple(layers), form, rest)
        self._module = nnx.static(module)
        self._finish_tensor = tuple(finishes.items())

    @property
    def evaluation(self) -> str:
        """See `WrappedNetwork`."""
        return (
            "the module is in evaluation mode, so change what ignores it, such as F.dropout "
            "without training=self.training, or track_running_stats=False"
        )

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """The outputs of submodules, recorded by hooks, in float32."""
        compute = functools.partial(self._compute, tuple(layers))
        if not isinstance(images, jax.core.Tracer):
            return dict(zip(layers, compute(images), strict=True))
        found = compute(np.zeros(images.shape, np.float32))  # for the shapes
        shapes = [jax.ShapeDtypeStruct(one.shape, np.float32) for one in found]
        return dict(zip(layers, jax.pure_callback(compute, shapes, images), strict=True))

    def _compute(self, layers: tuple[str, ...], images: Any) -> list[np.ndarray]:
        import torch
        from torch.utils import _pytree

        calls: dict[str, list[Any]] = {layer: [] for layer in layers}
        submodules = find_torch_submodules(self._module)
        copy = lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf  # noqa: E731
        pixels = torch.from_numpy(np.array(images, np.float32).transpose(0, 3, 1, 2))
        with contextlib.ExitStack() as hooks, torch.inference_mode():
            for layer in layers:
                # Copied, since what follows may work in place, as `nn.ReLU(inplace=True)` does.
                record = lambda _, __, output, layer=layer: calls[layer].append(  # noqa: E731
                    _pytree.tree_map(copy, output)
                )
                hooks.callback(submodules[layer].register_forward_hook(record).remove)
            weights = filter(torch.is_floating_point, self._module.parameters())
            self._module(pixels.to(next(weights, pixels)))
            finishes, found = dict(self._finish_tensor), []
            for layer, outputs in calls.items():
                output, finish = _only_call(layer, tuple(outputs)), finishes.get(layer)
                output = output if finish is None else finish(output)
                is_tensor = isinstance(output, torch.Tensor)
                if is_tensor and output.is_floating_point():
                    found.append(output.float().cpu().numpy())
                else:
                    other = output.cpu().numpy() if is_tensor else output
                    self._form.lay_out(layer, other, len(images))  # which refuses it
        return found


def find_torch_submodules(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Dotted name → submodule; a slash in a name counts as a dot."""
    return {name.replace("/", "."): submodule for name, submodule in module.named_modules()}


def _only_call(layer: str, outputs: tuple) -> Any:
    """What a submodule returned in its only call."""
    if len(outputs) != 1:
        unseen = "never, or only inside a scan or by another method,"
        times = f"{len(outputs)} times" if outputs else unseen
        raise Net2VecError(
            f"submodule {layer} is called {times} in a forward pass, not once; give its response "
            "by wrap_function"
        )
    return outputs[0]
