"""A model of one's own as a network: Flax NNX or Linen module, function, PyTorch module."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jaxtyping import Array

from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.modules import (
    FunctionNetwork,
    LinenNetwork,
    NNXNetwork,
    TorchNetwork,
    find_inner_paths,
    find_submodules,
    find_torch_submodules,
    name_functions,
)
from net2vec_jax.networks.preprocessing import IMAGENET, Preprocessing
from net2vec_jax.networks.wrap import Layers, OutputForm, Rest, WrappedNetwork

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
    rest: Rest | None = None,
) -> LoadedNetwork:
    """A Flax NNX module as a network whose layers are submodules.

    The module is copied and put into evaluation mode (dropout off, running averages used).

    Args:
      model: called as `model(images, **arguments)` with images [N, H, W, 3].
      layers: paths of submodules, "encoder.blocks.3"; a layer's response is what the submodule's
        `__call__` returns. In an `nnx.Sequential`, "layers.1" may also be a function. Or
        {path: function}, where the function makes the response from what the submodule returns,
        such as `nnx.relu` for a convolution whose nonlinearity is no module. By default all
        submodules.
      preprocessing: of images 0 … 255 into what the model was trained on.
      name: for tables and run directories; by default that of the model's class.
      input_size: pixels along a side of the images that it was trained on.
      arguments: further arguments of the model, hashable.
      channels_first: maps come out as [N, K, h, w].
      grid: (h, w) of the patches, for outputs [N, tokens, K] of a transformer.
      leading_tokens: how many tokens come before those of the patches.
      rest: {layer: function}, where the function makes the model's last output, such as logits
        [N, classes], of the layer's response; for `LoadedNetwork.continue_from`.

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
    _require_kind(model, nnx.Module)
    module = nnx.clone(model)
    module.eval()
    name_functions(module)
    paths = find_submodules(module)
    layers = tuple(paths) if layers is None else layers
    for path in () if isinstance(layers, str) else layers:
        if path.replace("/", ".") not in paths:
            raise unknown_name_error("submodule", path, paths)
    form = OutputForm(channels_first, grid, leading_tokens)
    network = NNXNetwork(module, layers, arguments, form, rest)
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
    rest: Rest | None = None,
) -> LoadedNetwork:
    """A Flax Linen module as a network whose layers are submodules.

    Args:
      model: applied as `model.apply(variables, images, **arguments)`, images [N, H, W, 3].
      variables: its parameters and other collections, {"params": …}.
      layers: paths of submodules, "Conv_0" or "blocks_3/Conv_1" ("blocks_3.Conv_1" is the same);
        or {path: function}, see `wrap_nnx`. By default all submodules with parameters.
        A path that does not exist is noticed when images are first computed.
      preprocessing: see `wrap_nnx`, as `name`, `input_size`, `channels_first`, `grid`,
        `leading_tokens` and `rest`.
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
    _require_kind(model, linen.Module)
    if not isinstance(variables, Mapping) or (variables and "params" not in variables):
        raise Net2VecError(
            "variables are all that model.init returned, {'params': …, 'batch_stats': …}; of a "
            "TrainState, {'params': state.params, …}"
        )
    layers = find_inner_paths(variables.get("params", {})) if layers is None else layers
    form = OutputForm(channels_first, grid, leading_tokens)
    network = LinenNetwork(model, variables, layers, arguments, form, rest)
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
    rest: Rest | None = None,
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
    network = FunctionNetwork(model, parameters, layers, form, rest)
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
    rest: Rest | None = None,
) -> LoadedNetwork:
    """A PyTorch module as a network whose layers are submodules.

    PyTorch computes, on the device where the module is, in float32. So there are no gradients:
    images cannot be optimised for such a network. `rest` is of JAX, which differentiates it.

    Args:
      model: called as `model(images)` with images [N, 3, H, W]; put into evaluation mode.
      layers: paths of submodules, as in `named_modules`; or {path: function}, where the function
        makes the tensor of the response from what the submodule returns. What changes it in place
        later, such as `nn.ReLU(inplace=True)`, does not count.
      preprocessing: see `wrap_nnx`, as what follows.
      channels_first: maps come out as [N, K, h, w], as is the rule in PyTorch.

    Returns:
      The network; its fingerprint is of the module's state dict.

    Raises:
      Net2VecError: there is no such submodule, and the message names the nearest; or the model is
        TorchScript, or has weights without values.

    Examples:
      >>> import torch  # doctest: +SKIP
      >>> import net2vec_jax as n2v
      >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))  # doctest: +SKIP
      >>> network = n2v.wrap_torch(model, layers=["0"])  # doctest: +SKIP
    """
    import torch

    _require_kind(model, torch.nn.Module)
    if isinstance(model, torch.jit.ScriptModule):
        raise Net2VecError(
            "TorchScript does not show its layers; wrap the Python module that it was made from"
        )
    model.eval()
    paths = find_torch_submodules(model)
    for path in () if isinstance(layers, str) else layers:
        if path.replace("/", ".") not in paths:
            raise unknown_name_error("submodule", path, filter(None, paths))
    form = OutputForm(channels_first, grid, leading_tokens)
    network = TorchNetwork(model, layers, form, rest)
    try:
        weights = jax.tree.map(
            lambda leaf: _to_numpy(leaf) if torch.is_tensor(leaf) else np.empty(0),
            dict(model.state_dict()),
        )
    except (NotImplementedError, RuntimeError, ValueError) as error:  # on device meta, or lazy
        raise Net2VecError(
            f"{type(model).__name__} has weights without values; load them first"
        ) from error
    return _load(network, weights, name or type(model).__name__, preprocessing, input_size)


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    is_bfloat16 = str(tensor.dtype) == "torch.bfloat16"  # which numpy does not know
    return (tensor.float() if is_bfloat16 else tensor).numpy()


_WRAPPERS = {
    "flax.nnx": "wrap_nnx", "flax.linen": "wrap_linen", "torch": "wrap_torch",
}  # fmt: skip


def _require_kind(model: Any, kind: type) -> None:
    """Refuse what is no module of this kind, and say what takes it."""
    if isinstance(model, kind):
        return
    parents = [parent.__module__ for parent in type(model).__mro__]
    wrappers = [
        wrapper
        for package, wrapper in _WRAPPERS.items()
        if any(parent.startswith(package) for parent in parents)
    ]
    if isinstance(model, type):
        advice = "that is a class; build the model first"
    else:
        advice = f"use {(wrappers or ['wrap_function'])[0]}"
    library = kind.__module__.split(".")[0]
    raise Net2VecError(
        f"the model is {type(model).__name__}, not a {library} {kind.__name__}: {advice}"
    )


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

    Raises:
      Net2VecError: a leaf is no array, such as a function; the message gives its path.
    """
    digest = hashlib.sha256()
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        module, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
    )
    named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    for path, leaf in sorted(named.items()):
        value = leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        is_key = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        if is_key or isinstance(leaf, nnx.RngState):
            continue
        array = np.asarray(value)
        if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
            kind = getattr(value, "__name__", type(value).__name__)
            raise Net2VecError(
                f"{path or 'the model'} is no array but {kind}; give the arrays alone as "
                "parameters and keep the rest in the function, with Equinox: arrays, static = "
                "equinox.partition(model, equinox.is_array)"
            )
        digest.update(f"{path} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
