"""A model of one's own as a network: Flax NNX or Linen module, function, PyTorch module.

A wrapped model is traced as a whole; but the forward pass runs under `jax.jit`, where XLA removes
whatever the layers asked for do not need, such as everything beyond the deepest of them. (PyTorch
computes by itself, all of its module.)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np
from flax import linen, nnx
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.preprocessing import IMAGENET, Preprocessing
from net2vec_jax.networks.wrap import AS_IT_IS, Layers, OutputForm, WrappedNetwork

if TYPE_CHECKING:
    import torch


def wrap_nnx(
    model: nnx.Module,
    *,
    layers: Layers | None = None,
    preprocessing: Preprocessing = IMAGENET,
    name: str | None = None,
    input_size: int = 224,
    arguments: Mapping[str, Any] | None = None,
    channels_first: bool = False,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> LoadedNetwork:
    """A Flax NNX module as a network whose layers are submodules.

    The module is copied and put into evaluation mode (dropout off, running averages used).

    Args:
      model: called as `model(images, **arguments)` with images [N, H, W, 3].
      layers: paths of submodules, "encoder.blocks.3"; a layer's response is what the submodule's
        `__call__` returns. Or {path: function}, where the function makes the response from that,
        such as `nnx.relu` for a convolution whose nonlinearity is no module. By default all
        submodules.
      preprocessing: of images 0 … 255 into what the model was trained on.
      name: for tables and run directories; by default that of the model's class.
      input_size: pixels along a side of the images that it was trained on.
      arguments: further arguments of the model, hashable.
      channels_first: maps come out as [N, K, h, w].
      grid: (h, w) of the patches, for outputs [N, tokens, K] of a transformer.
      leading_tokens: how many tokens come before those of the patches.

    Returns:
      The network; its fingerprint is `module_fingerprint(model)`.

    Raises:
      Net2VecError: there is no such submodule; the message names the nearest.

    Examples:
      >>> from flax import nnx
      >>> import net2vec_jax as n2v
      >>> model = nnx.Sequential(nnx.Conv(3, 8, (3, 3), strides=4, rngs=nnx.Rngs(0)), nnx.relu)
      >>> network = n2v.wrap_nnx(model, layers={"layers.0": nnx.relu}, name="mine")
      >>> n2v.collect_activations(network, np.zeros((2, 32, 32, 3), np.uint8), "layers.0")
      LayerActivations(mine, layer layers.0: 2 × 8 × 8 × 8)
    """
    module = nnx.clone(model)
    module.eval()
    paths = _submodules(module)
    layers = tuple(paths) if layers is None else layers
    for path in () if isinstance(layers, str) else layers:
        if path.replace("/", ".") not in paths:
            raise unknown_name_error("submodule", path, paths)
    form = OutputForm(channels_first, grid, leading_tokens)
    network = NNXNetwork(module, layers, arguments, form)
    return _load(network, model, name or type(model).__name__, preprocessing, input_size)


def wrap_linen(
    model: linen.Module,
    variables: Mapping[str, Any],
    *,
    layers: Layers | None = None,
    preprocessing: Preprocessing = IMAGENET,
    name: str | None = None,
    input_size: int = 224,
    arguments: Mapping[str, Any] | None = None,
    channels_first: bool = False,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> LoadedNetwork:
    """A Flax Linen module as a network whose layers are submodules.

    Args:
      model: applied as `model.apply(variables, images, **arguments)`, images [N, H, W, 3].
      variables: its parameters and other collections, {"params": …}.
      layers: paths of submodules, "Conv_0" or "blocks_3/Conv_1" ("blocks_3.Conv_1" is the same);
        or {path: function}, see `wrap_nnx`. By default all submodules with parameters.
        A path that does not exist is noticed when images are first computed.
      preprocessing: see `wrap_nnx`, as `name`, `input_size`, `channels_first`, `grid` and
        `leading_tokens`.
      arguments: further arguments of the model, hashable: {"train": False}.

    Returns:
      The network; its fingerprint is `module_fingerprint(variables)`.

    Examples:
      >>> from flax import linen
      >>> import net2vec_jax as n2v
      >>> model = linen.Sequential([linen.Conv(8, (3, 3), strides=4), linen.relu])
      >>> variables = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
      >>> network = n2v.wrap_linen(model, variables, layers=["layers_0"], name="mine")
      >>> n2v.collect_activations(network, np.zeros((2, 32, 32, 3), np.uint8), "layers_0")
      LayerActivations(mine, layer layers_0: 2 × 8 × 8 × 8)
    """
    layers = _inner_paths(variables.get("params", {})) if layers is None else layers
    form = OutputForm(channels_first, grid, leading_tokens)
    network = LinenNetwork(model, variables, layers, arguments, form)
    return _load(network, variables, name or type(model).__name__, preprocessing, input_size)


def wrap_function(
    model: Callable[[Any, Array], Mapping[str, Array]],
    parameters: Any,
    *,
    layers: Layers,
    preprocessing: Preprocessing = IMAGENET,
    name: str | None = None,
    input_size: int = 224,
    channels_first: bool = False,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> LoadedNetwork:
    """A function as a network: the most general way.

    Args:
      model: (parameters, preprocessed images [N, H, W, 3]) → {layer: response}; jittable.
      parameters: any pytree of arrays: an NNX module, Linen's variables, a dictionary.
      layers: the names that the function returns; or {name: function}, see `wrap_nnx`.
      preprocessing: see `wrap_nnx`, as what follows.

    Returns:
      The network; its fingerprint is `module_fingerprint(parameters)`.

    Examples:
      >>> import net2vec_jax as n2v
      >>> def model(scale, images):
      ...     return {"pixels": scale * images}
      >>> network = n2v.wrap_function(model, np.float32(2), layers=["pixels"], name="mine")
      >>> n2v.collect_activations(network, np.zeros((2, 32, 32, 3), np.uint8), "pixels")
      LayerActivations(mine, layer pixels: 2 × 32 × 32 × 3)
    """
    form = OutputForm(channels_first, grid, leading_tokens)
    network = FunctionNetwork(model, parameters, layers, form)
    called = getattr(model, "__name__", "function")
    return _load(network, parameters, name or called, preprocessing, input_size)


def wrap_torch(
    model: torch.nn.Module,
    *,
    layers: Layers,
    preprocessing: Preprocessing = IMAGENET,
    name: str | None = None,
    input_size: int = 224,
    channels_first: bool = True,
    grid: tuple[int, int] | None = None,
    leading_tokens: int = 0,
) -> LoadedNetwork:
    """A PyTorch module as a network whose layers are submodules.

    PyTorch computes, on the device where the module is, in float32. So there are no gradients:
    images cannot be optimised for such a network.

    Args:
      model: called as `model(images)` with images [N, 3, H, W]; put into evaluation mode.
      layers: paths of submodules, as in `named_modules`; or {path: function}, where the function
        makes the tensor of the response from what the submodule returns.
      preprocessing: see `wrap_nnx`, as what follows.
      channels_first: maps come out as [N, K, h, w], as is the rule in PyTorch.

    Returns:
      The network; its fingerprint is of the module's state dict.

    Raises:
      Net2VecError: there is no such submodule; the message names the nearest.

    Examples:
      >>> import torch  # doctest: +SKIP
      >>> import net2vec_jax as n2v
      >>> network = n2v.wrap_torch(torch.nn.Conv2d(3, 8, 3), layers=[""])  # doctest: +SKIP
    """
    model.eval()
    paths = dict(model.named_modules())
    for path in () if isinstance(layers, str) else layers:
        if path not in paths:
            raise unknown_name_error("submodule", path, filter(None, paths))
    network = TorchNetwork(model, layers, OutputForm(channels_first, grid, leading_tokens))
    weights = {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}
    return _load(network, weights, name or type(model).__name__, preprocessing, input_size)


def _load(
    network: WrappedNetwork, weights: Any, name: str, preprocessing: Preprocessing, size: int
) -> LoadedNetwork:
    """What every wrapped model becomes."""
    fingerprint = module_fingerprint(weights)
    return LoadedNetwork(name, network, fingerprint, size, preprocessing, network.layers)


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


class FunctionNetwork(WrappedNetwork):
    """A model given as a function, see `wrap_function`."""

    def __init__(
        self,
        apply: Callable[[Any, Array], Mapping[str, Array]],
        parameters: Any,
        layers: Layers,
        form: OutputForm = AS_IT_IS,
    ) -> None:
        """Keep the function and what it computes with."""
        super().__init__(layers, form)
        self._apply = nnx.static(apply)
        self.parameters = nnx.data(parameters)

    def outputs(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> Mapping[str, Any]:
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
    ) -> None:
        """Keep the module, in evaluation mode."""
        super().__init__(layers, form)
        self.module = module
        self._arguments = tuple((arguments or {}).items())

    def outputs(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> Mapping[str, Any]:
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


class LinenNetwork(WrappedNetwork):
    """A Flax Linen module with its variables, see `wrap_linen`."""

    def __init__(
        self,
        module: linen.Module,
        variables: Mapping[str, Any],
        layers: Layers,
        arguments: Mapping[str, Any] | None,
        form: OutputForm,
    ) -> None:
        """Keep the module and what it computes with."""
        super().__init__(layers, form)
        self._module = nnx.static(module)
        self.variables = nnx.data(dict(variables))
        self._arguments = tuple((arguments or {}).items())

    def outputs(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> Mapping[str, Any]:
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
            inner: Any = state.get("intermediates", {})
            for part in (*layer.split("."), "__call__"):
                inner = inner.get(part, {})
            found[layer] = _only_call(layer, tuple(inner))
        return found


def _inner_paths(tree: Mapping[str, Any], above: str = "") -> tuple[str, ...]:
    """Dotted paths of the inner nodes of nested dictionaries, parents first."""
    inner = [(above + name, child) for name, child in tree.items() if isinstance(child, Mapping)]
    return tuple(
        path for name, child in inner for path in (name, *_inner_paths(child, above=name + "."))
    )


class TorchNetwork(WrappedNetwork):
    """A PyTorch module, see `wrap_torch`."""

    is_traceable = False

    def __init__(self, module: torch.nn.Module, layers: Layers, form: OutputForm) -> None:
        """Keep the module, in evaluation mode."""
        finishes = layers if isinstance(layers, Mapping) else {}
        super().__init__(layers if isinstance(layers, str) else tuple(layers), form)
        self._module = nnx.static(module)
        self._finish_tensor = tuple(finishes.items())

    def outputs(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> Mapping[str, Any]:
        """The outputs of submodules, recorded by hooks, in float32."""
        compute = functools.partial(self._compute, tuple(layers))
        if not isinstance(images, jax.core.Tracer):
            return dict(zip(layers, compute(images), strict=True))
        found = compute(np.zeros((1, *images.shape[1:]), np.float32))  # for the shapes
        shapes = [jax.ShapeDtypeStruct((len(images), *one.shape[1:]), np.float32) for one in found]
        return dict(zip(layers, jax.pure_callback(compute, shapes, images), strict=True))

    def _compute(self, layers: tuple[str, ...], images: Any) -> list[np.ndarray]:
        import torch

        calls: dict[str, list[Any]] = {layer: [] for layer in layers}
        pixels = torch.from_numpy(np.array(images, np.float32).transpose(0, 3, 1, 2))
        with contextlib.ExitStack() as hooks, torch.inference_mode():
            for layer in layers:
                submodule = self._module.get_submodule(layer)
                record = lambda _, __, output, layer=layer: calls[layer].append(output)  # noqa: E731
                hooks.callback(submodule.register_forward_hook(record).remove)
            self._module(pixels.to(next(self._module.parameters(), pixels).device))
        finishes, found = dict(self._finish_tensor), []
        for layer, outputs in calls.items():
            output, finish = _only_call(layer, tuple(outputs)), finishes.get(layer)
            output = output if finish is None else finish(output)
            if not isinstance(output, torch.Tensor):
                self._form.lay_out(layer, output, len(images))  # which refuses it
            found.append(output.detach().float().cpu().numpy())
        return found


def _only_call(layer: str, outputs: tuple) -> Any:
    """What a submodule returned in its only call."""
    if len(outputs) != 1:
        times = f"{len(outputs)} times" if outputs else "never, or only inside a scan"
        raise Net2VecError(
            f"submodule {layer} is called {times} in a forward pass, not once; give its response "
            "by wrap_function"
        )
    return outputs[0]
