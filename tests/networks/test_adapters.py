"""Models of one's own become networks: the same numbers, laid out as the probes need them."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from helpers import ListDataset, make_catalog

from net2vec_jax.activations.compute import compute_activations
from net2vec_jax.activations.layer import collect_activations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.networks.adapters import (
    module_fingerprint,
    wrap_function,
    wrap_linen,
    wrap_nnx,
    wrap_torch,
)
from net2vec_jax.networks.load import NETWORKS, open_network_origin
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import CENTRED, IMAGENET

# Compiled and uncompiled programs round differently; responses are of order 1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


class InheritsCall(nnx.Conv):
    """Its `__call__` is its parent's."""


class Block(nnx.Module):
    def __init__(self, inputs: int, rngs: nnx.Rngs) -> None:
        self.convolution = InheritsCall(inputs, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.dropout(nnx.relu(self.norm(self.convolution(images))))


class Model(nnx.Module):
    """Three blocks, tokens, logits; `transform` is applied to the call of every block."""

    def __init__(self, transform=None) -> None:
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([Block(3, rngs), Block(4, rngs), Block(4, rngs)])
        self.heads = nnx.Dict(logits=nnx.Linear(4, 5, rngs=rngs))
        self.tokens = Tokens()
        self.unused = nnx.Linear(1, 1, rngs=rngs)
        self.transform = transform

    def __call__(self, images: jax.Array, scale: float = 1.0) -> jax.Array:
        values = images * scale
        for block in self.blocks:
            if self.transform is None:
                values = block(values)
            else:
                values = self.transform(lambda block, values: block(values))(block, values)
        self.tokens(self.tokens(values)[1])
        return self.heads["logits"](values.mean((1, 2)))


class Tokens(nnx.Module):
    """(how many, tokens with a class token in front), of a map or of tokens."""

    def __call__(self, values: jax.Array) -> tuple[int, jax.Array]:
        tokens = values.reshape(len(values), -1, values.shape[-1])
        return tokens.shape[1], jnp.concatenate([tokens[:, :1], tokens], axis=1)


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        values = linen.Conv(4, (3, 3))(images)
        values = linen.BatchNorm(use_running_average=not train)(values)
        return linen.relu(values)


class LinenModel(linen.Module):
    @linen.compact
    def __call__(self, images: jax.Array, train: bool = True) -> jax.Array:
        values = LinenBlock(name="first")(images, train)
        values = linen.Dropout(0.5, deterministic=not train)(values)
        values = linen.Dense(5)(values)
        return linen.Dense(2)(values.mean((1, 2)))


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(1), (2, 6, 8, 3))


@pytest.fixture(scope="module")
def linen_variables(images: jax.Array):
    return LinenModel().init(jax.random.key(0), images, train=False)


def respond(network: Network, images: jax.Array, *layers: str) -> dict[str, jax.Array]:
    return jax.jit(lambda network, images: network.activations(images, layers))(network, images)


def test_nnx_submodules_give_what_they_return(images: jax.Array) -> None:
    model = Model()
    network = wrap_nnx(model, layers=["blocks.0.convolution", "blocks.1", "heads.logits"]).network
    assert network.layers == ("blocks.0.convolution", "blocks.1", "heads.logits")
    reference = nnx.clone(model)
    reference.eval()
    first = reference.blocks[0].convolution(images)
    second = reference.blocks[1](reference.blocks[0](images))
    for found in (respond(network, images, *network.layers),
                  network.activations(images, network.layers)):  # fmt: skip
        np.testing.assert_allclose(found["blocks.0.convolution"], first, **ROUNDING)
        np.testing.assert_allclose(found["blocks.1"], second, **ROUNDING)
        np.testing.assert_allclose(found["heads.logits"], reference(images), **ROUNDING)
    np.testing.assert_array_equal(
        network.activations(images, ["blocks/1"])["blocks/1"],
        network.activations(images, ["blocks.1"])["blocks.1"],
    )


def test_nnx_module_is_left_as_it_was(images: jax.Array) -> None:
    model = Model()
    classes = [type(module) for _, module in nnx.iter_modules(model)]
    fingerprint = module_fingerprint(model)
    network = wrap_nnx(model, layers=["blocks.1"]).network
    before = [type(module) for _, module in nnx.iter_modules(network)]
    network.activations(images, ["blocks.1"])
    assert [type(module) for _, module in nnx.iter_modules(model)] == classes
    assert [type(module) for _, module in nnx.iter_modules(network)] == before
    assert not model.blocks[0].dropout.deterministic
    assert module_fingerprint(model) == fingerprint


@pytest.mark.parametrize("transform", [nnx.jit, nnx.remat])
def test_nnx_submodules_inside_transformations(transform, images: jax.Array) -> None:
    layers = ["blocks.1.convolution", "blocks.2"]
    expected = respond(wrap_nnx(Model(), layers=layers).network, images, *layers)
    found = respond(wrap_nnx(Model(transform), layers=layers).network, images, *layers)
    for layer in layers:
        np.testing.assert_allclose(found[layer], expected[layer], **ROUNDING)


def test_all_submodules_are_layers_by_default() -> None:
    layers = wrap_nnx(Model()).network.layers
    assert {"blocks.0", "blocks.2.dropout", "heads.logits", "tokens"} <= set(layers)
    assert "blocks" not in layers  # a list is not called


def test_functions_finish_outputs(images: jax.Array) -> None:
    plain = wrap_nnx(Model(), layers=["blocks.0.convolution"]).network
    finished = wrap_nnx(
        Model(), layers={"blocks.0.convolution": nnx.relu, "blocks.1": None}
    ).network
    name = "blocks.0.convolution"
    expected = nnx.relu(respond(plain, images, name)[name])
    np.testing.assert_allclose(respond(finished, images, name)[name], expected, **ROUNDING)


def test_arguments_reach_the_module(images: jax.Array) -> None:
    plain = wrap_nnx(Model(), layers=["blocks.1"]).network
    doubled = wrap_nnx(Model(), layers=["blocks.1"], arguments={"scale": 2.0}).network
    np.testing.assert_array_equal(
        doubled.activations(images, ["blocks.1"])["blocks.1"],
        plain.activations(2 * images, ["blocks.1"])["blocks.1"],
    )


def test_what_the_layers_do_not_need_is_not_computed(images: jax.Array) -> None:
    network = wrap_nnx(Model(), layers=["blocks.0", "blocks.2"]).network

    def cost(layer: str) -> int:
        compiled = jax.jit(lambda network: network.activations(images, [layer])).lower(network)
        return compiled.compile().as_text().count(" convolution(")

    assert (cost("blocks.0"), cost("blocks.2")) == (1, 3)


def test_unknown_and_unfit_submodules_are_refused(images: jax.Array) -> None:
    with pytest.raises(
        Net2VecError, match=r"unknown submodule 'blocks\.7'; did you mean 'blocks\."
    ):
        wrap_nnx(Model(), layers=["blocks.7"])
    with pytest.raises(Net2VecError, match=r"write \['blocks.1'\]"):
        wrap_nnx(Model(), layers="blocks.1")
    network = wrap_nnx(Model()).network
    with pytest.raises(Net2VecError, match=r"unknown layer 'block\.1'; did you mean 'blocks\.1'"):
        network.activations(images, ["block.1"])
    with pytest.raises(Net2VecError, match="unused is called never"):
        network.activations(images, ["unused"])
    with pytest.raises(Net2VecError, match="tokens is called 2 times"):
        network.activations(images, ["tokens"])


def test_functions_of_a_sequential_are_layers(images: jax.Array) -> None:
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.relu, nnx.Conv(4, 2, (1, 1), rngs=rngs)
    )
    loaded = wrap_nnx(model)
    assert loaded.network.layers == ("layers.0", "layers.1", "layers.2")
    assert loaded.fingerprint == module_fingerprint(model)
    found = respond(loaded.network, images, "layers.0", "layers.1")
    np.testing.assert_array_equal(found["layers.1"], np.maximum(found["layers.0"], 0))
    assert model.layers[1] is nnx.relu
    with pytest.raises(Net2VecError, match=r"'layers.7'; did you mean 'layers.[012]'"):
        wrap_nnx(model, layers=["layers.7"])


def test_linen_submodules_give_what_they_return(images: jax.Array, linen_variables) -> None:
    model = LinenModel()
    network = wrap_linen(model, linen_variables, arguments={"train": False}).network
    names = {"first", "first.Conv_0", "first.BatchNorm_0", "Dense_0", "Dense_1"}
    assert set(network.layers) == names
    found = respond(network, images, "first/Conv_0", "first.Conv_0", "Dense_1")
    parameters = linen_variables["params"]["first"]["Conv_0"]
    expected = linen.Conv(4, (3, 3)).apply({"params": parameters}, images)
    np.testing.assert_allclose(found["first/Conv_0"], expected, **ROUNDING)
    np.testing.assert_array_equal(found["first.Conv_0"], found["first/Conv_0"])
    logits = model.apply(linen_variables, images, train=False)
    np.testing.assert_allclose(found["Dense_1"], logits, **ROUNDING)


def test_linen_submodules_without_parameters(images: jax.Array, linen_variables) -> None:
    layers = ["Dropout_0", "first", "second"]
    network = wrap_linen(
        LinenModel(), linen_variables, layers=layers, arguments={"train": False}
    ).network
    found = respond(network, images, "Dropout_0", "first")
    np.testing.assert_array_equal(found["Dropout_0"], found["first"])  # it drops nothing
    with pytest.raises(Net2VecError, match=r"unknown submodule 'second'; there are: first\.Conv_0"):
        network.activations(images, ["second"])


def test_function_gives_any_layer(images: jax.Array) -> None:
    def apply(parameters, images):
        values = images @ parameters["kernel"]
        return {"linear": values, "deep/relu": jnp.maximum(values, 0), "mean": values.mean((1, 2))}

    parameters = {"kernel": np.ones((3, 2), np.float32)}
    network = wrap_function(apply, parameters, layers=["linear", "deep/relu"]).network
    found = respond(network, images, "linear", "deep/relu")
    np.testing.assert_allclose(found["linear"][..., 0], images.sum(-1), **ROUNDING)
    np.testing.assert_allclose(found["deep/relu"], np.maximum(found["linear"], 0), **ROUNDING)
    absent = wrap_function(apply, parameters, layers=["relu"]).network
    with pytest.raises(Net2VecError, match="not returned by the function: 'relu'; did you mean"):
        absent.activations(images, ["relu"])


def make_constant(output, **options) -> Network:
    def respond(_, images):
        return {"layer": output}

    return wrap_function(respond, (), layers=["layer"], **options).network


def test_tokens_become_a_grid(images: jax.Array) -> None:
    tokens = np.arange(2 * 7 * 5, dtype=np.float32).reshape(2, 7, 5)
    network = make_constant(jnp.array(tokens), grid=(2, 3), leading_tokens=1)
    grid = network.activations(images, ["layer"])["layer"]
    assert grid.shape == (2, 2, 3, 5)
    np.testing.assert_array_equal(grid[1, 1, 2], tokens[1, 6])
    np.testing.assert_array_equal(grid[0, 0, 0], tokens[0, 1])


def test_channels_first_maps_are_transposed(images: jax.Array) -> None:
    maps = np.random.default_rng(0).random((2, 5, 3, 4)).astype(np.float32)
    found = make_constant(maps, channels_first=True).activations(images, ["layer"])["layer"]
    np.testing.assert_array_equal(found, maps.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        (
            np.zeros((2, 7, 5), np.float32),
            {},
            r"shape \(2, 7, 5\) for 2 images.*give grid=\(h, w\)",
        ),
        (np.zeros((2, 7, 5), np.float32), {"grid": (2, 4)}, "gives 7 tokens; a grid of 2 × 4.*8$"),
        (
            np.zeros((2, 7, 5), np.float32),
            {"grid": (2, 3)},
            r"if 1 tokens come before.*give leading_tokens=1; if they come behind.*tokens\[:, :6\]",
        ),
        (np.zeros((8, 6, 5), np.float32), {"grid": (2, 3)}, "4 entries per image, such as windows"),
        (np.zeros((3, 2, 6, 5), np.float32), {"grid": (2, 3)}, r"seem to be axis 1.*blocks\[-1\]"),
        (np.zeros((1, 5), np.float32), {}, r"shape \(1, 5\) for 2 images"),
        (np.zeros((2, 5), np.int32), {}, "gives an array of int32, not an array of floating"),
        ((np.zeros((2, 5)),), {}, "gives tuple.*takes the array out of it"),
    ],
)
def test_outputs_of_another_form_are_refused(output, options, message, images: jax.Array) -> None:
    with pytest.raises(Net2VecError, match=message):
        make_constant(output, **options).activations(images, ["layer"])


def test_layers_name_folders() -> None:
    with pytest.raises(Net2VecError, match=r"can name a folder: \['\.\.'\]"):
        wrap_function(lambda _, images: {}, (), layers=[".."])
    with pytest.raises(Net2VecError, match="there are none"):
        wrap_function(lambda _, images: {}, (), layers=[])
    with pytest.raises(Net2VecError, match="give grid"):
        make_constant(np.zeros((2, 2)), leading_tokens=1)


def fail_on(images: jax.Array, call, **options) -> str:
    """What a function that fails on images says."""
    network = wrap_function(call, (), layers=["layer"], **options).network
    with pytest.raises(Net2VecError) as caught:
        respond(network, images, "layer")
    return str(caught.value)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda x: x if x.mean() > 0 else -x, "TracerBoolConversionError.*use jnp.where"),
        (lambda x: x * float(x[0, 0, 0, 0]), "ConcretizationTypeError.*use jnp.where"),
        (lambda x: np.asarray(x) + 1, "TracerArrayConversionError.*use jnp.where"),
        (lambda x: x[x > 0], "NonConcreteBooleanIndexError.*use jnp.where"),
        (lambda x: {}[x.ndim], r"KeyError: 4 \([^;]*$"),
        (lambda x: jnp.einsum("nchw,ck->nkhw", x, jnp.ones((3, 4))), r".*wants \[N, 3, H, W\]"),
        (lambda x: jnp.einsum("hwc,ck->hwk", x, jnp.ones((3, 4))), r".*one image \[H, W, 3\]"),
        (lambda x: jnp.einsum("chw,ck->khw", x, jnp.ones((3, 4))), r".*one image \[3, H, W\]"),
    ],
)
def test_failing_functions_say_line_and_cure(use, said: str, images: jax.Array) -> None:
    found = fail_on(images, lambda _, x: {"layer": use(x)})
    assert re.search(rf"^the model failed on images \(2, 6, 8, 3\): {said}", found), found
    assert f"test_adapters.py, line {use.__code__.co_firstlineno}" in found


def test_models_in_training_mode_say_how_to_evaluate(images: jax.Array, linen_variables) -> None:
    network = wrap_linen(LinenModel(), linen_variables).network
    with pytest.raises(
        Net2VecError, match=r"batch_stats.*test_adapters.*arguments=\{'train': False"
    ):
        network.activations(images, ["first"])
    dropout = linen.Dropout(0.5, deterministic=False)
    network = wrap_linen(linen.Sequential([dropout]), {}, layers=["layers_0"]).network
    with pytest.raises(Net2VecError, match=r"needs PRNG.*deterministic=True.*wrap_function"):
        network.activations(images, ["layers_0"])


class Nested(nnx.Module):
    """Calls its submodule inside a transformation of JAX."""

    def __init__(self, transform) -> None:
        self.inner = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        self.transform = transform

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.transform(lambda images: self.inner(images))(images)


@pytest.mark.parametrize("transform", [jax.jit, jax.checkpoint, jax.vmap])
def test_nnx_submodules_in_transformations_of_jax_are_refused(transform) -> None:
    images = np.zeros((5, 6, 8, 3), np.uint8)
    loaded = wrap_nnx(Nested(transform), layers=["inner"])
    with pytest.raises(Net2VecError, match=r"write nnx\.jit, nnx\.remat or nnx\.vmap"):
        collect_activations(loaded, images, "inner")


def make_torch_model():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
    norm = torch.nn.BatchNorm2d(4)
    flat = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(convolution, norm, torch.nn.ReLU(), flat, torch.nn.Linear(4, 2))


def test_torch_submodules_give_what_they_return(images: jax.Array) -> None:
    model = make_torch_model()
    torch = pytest.importorskip("torch")
    layers = {"0": None, "1": torch.relu, "2": None, "3.1": None, "4": None}
    network = wrap_torch(model, layers=layers).network
    assert not model.training
    with torch.no_grad():
        tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
        maps, logits = model[:3](tensor).permute(0, 2, 3, 1).numpy(), model(tensor).numpy()
    for found in (respond(network, images, *layers), network.activations(images, list(layers))):
        np.testing.assert_allclose(found["2"], maps, **ROUNDING)
        np.testing.assert_allclose(found["1"], maps, **ROUNDING)
        np.testing.assert_allclose(found["4"], logits, **ROUNDING)
        assert found["3.1"].shape == (2, 4)


def test_torch_modules_compute_in_their_own_type(images: jax.Array) -> None:
    torch = pytest.importorskip("torch")
    model = make_torch_model()
    expected = wrap_torch(model, layers=["2"]).network.activations(images, ["2"])["2"]
    loaded = wrap_torch(model.to(torch.bfloat16), layers=["2"])
    found = loaded.network.activations(images, ["2"])["2"]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.05)  # 8 bits of mantissa


def test_torch_submodules_that_do_not_fit_are_refused(images: jax.Array) -> None:
    model = make_torch_model()
    with pytest.raises(Net2VecError, match=r"unknown submodule '3\.7'"):
        wrap_torch(model, layers=["3.7"])
    network = wrap_torch(model, layers={"0": lambda output: (output,)}).network
    with pytest.raises(Net2VecError, match="layer 0 gives tuple"):
        network.activations(images, ["0"])


def test_torch_responses_are_those_before_work_in_place(images: jax.Array) -> None:
    torch = pytest.importorskip("torch")
    convolution = torch.nn.Conv2d(3, 4, 3)
    model = torch.nn.Sequential(convolution, torch.nn.ReLU(inplace=True))
    network = wrap_torch(model, layers={"0": None}).network
    expected = convolution(torch.from_numpy(np.array(images).transpose(0, 3, 1, 2)))
    found = respond(network, images, "0")["0"].transpose(0, 3, 1, 2)
    assert found.min() < 0
    np.testing.assert_allclose(found, expected.detach().numpy(), **ROUNDING)
    changing = wrap_torch(model, layers={"0": torch.relu_}).network
    assert respond(changing, images, "0")["0"].min() == 0


@pytest.mark.parametrize(
    ("change", "kind"),
    [(lambda x: x > 0, "bool"), (lambda x: x.int(), "int32"), (lambda x: x + 1j, "complex64")],
)
def test_torch_outputs_that_are_no_floats_are_refused(change, kind: str, images: jax.Array) -> None:
    torch = pytest.importorskip("torch")
    network = wrap_torch(torch.nn.Sequential(torch.nn.ReLU()), layers={"0": change}).network
    with pytest.raises(Net2VecError, match=f"layer 0 gives an array of {kind}"):
        respond(network, images, "0")


def test_torch_modules_of_every_kind(images: jax.Array) -> None:
    torch = pytest.importorskip("torch")

    class Extra(torch.nn.ModuleDict):
        def __init__(self) -> None:
            super().__init__({"a/b": torch.nn.Conv2d(3, 4, 3)})
            self.size = torch.nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)

        def get_extra_state(self):
            return {"version": 1}

        def forward(self, values):
            return self["a/b"](values)

    network = wrap_torch(Extra(), layers=["a/b"]).network
    assert respond(network, images, "a/b")["a/b"].shape[3] == 4
    for model, said in [
        (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, device="meta")), "weights without values"),
        (torch.nn.Sequential(torch.nn.LazyConv2d(4, 3)), "weights without values"),
        (torch.jit.ScriptModule(), "TorchScript"),
        ({"weight": torch.zeros(1)}, "is dict, not a torch Module"),
    ]:
        with pytest.raises(Net2VecError, match=said):
            wrap_torch(model, layers=["0"])


def test_models_for_another_wrapper_are_refused(linen_variables) -> None:
    module = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    nested = nnx.Sequential(module)
    for call, said in [
        (lambda: wrap_nnx(LinenModel()), "use wrap_linen"),
        (lambda: wrap_nnx(nnx.relu), "use wrap_function"),
        (lambda: wrap_nnx(nnx.Linear), "is a class"),
        (lambda: wrap_linen(module, linen_variables), "use wrap_nnx"),
        (lambda: wrap_linen(LinenModel(), linen_variables["params"]), "all that model.init"),
        (lambda: wrap_nnx(nested, arguments={"a": jnp.ones(1)}), "'a': …} is an array"),
    ]:
        with pytest.raises(Net2VecError, match=said):
            call()


def test_slashes_in_names_count_as_dots(images: jax.Array) -> None:
    class Named(nnx.Module):
        def __init__(self) -> None:
            self.parts = nnx.Dict({"a/b": nnx.Linear(3, 4, rngs=nnx.Rngs(0))})

        def __call__(self, values: jax.Array) -> jax.Array:
            return self.parts["a/b"](values)

    network = wrap_nnx(Named(), layers=["parts.a/b"]).network
    assert respond(network, images, "parts.a/b")["parts.a/b"].shape[3] == 4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda _, x: x, "the function returned an array, not a dictionary"),
        (lambda _, x: ({"a": x}, {}), "the function returned tuple, not a dictionary"),
        (lambda _, x: f"{x.mean():.3f}", "cannot see values"),
        (lambda _, x: {"a": x.reshape(-1, 64, 64, 3) @ jnp.ones((3, len(x)))}, "64 × 64 pixels"),
    ],
)
def test_functions_that_do_not_fit_say_why(call, said: str) -> None:
    network = wrap_function(call, {}, layers=["a"]).network
    with pytest.raises(Net2VecError, match=said):
        jax.eval_shape(lambda x: network.activations(x, ["a"]), jnp.zeros((3, 32, 32, 3)))


def test_stacked_tokens_are_no_maps(images: jax.Array) -> None:
    for channels_first in (False, True):
        form = {"grid": (8, 8), "leading_tokens": 1, "channels_first": channels_first}
        for last in (5, 65):
            network = make_constant(jnp.zeros((len(images), 2, 65, last)), **form)
            with pytest.raises(Net2VecError, match="blocks or attention heads as axis 1"):
                respond(network, images, "layer")


def test_models_built_for_training_say_how_to_evaluate(images: jax.Array) -> None:
    class Built(linen.Module):
        training: bool = True

        @linen.compact
        def __call__(self, values: jax.Array) -> jax.Array:
            return linen.BatchNorm(use_running_average=not self.training)(values)

    variables = {"params": {}} | Built().init(jax.random.key(0), images)
    with pytest.raises(Net2VecError, match="build the model with training=False"):
        network = wrap_linen(Built(), variables, layers=["BatchNorm_0"]).network
        respond(network, images, "BatchNorm_0")
    with pytest.raises(Net2VecError, match="give all variables"):
        variables = {"params": variables["params"]}
        network = wrap_linen(Built(False), variables, layers=["BatchNorm_0"]).network
        respond(network, images, "BatchNorm_0")


def test_wrapped_models_say_what_they_are() -> None:
    model = Model()
    loaded = wrap_nnx(model, layers=["blocks.1", "blocks.2"], preprocessing=CENTRED)
    assert loaded.name == "Model"
    assert loaded.fingerprint == module_fingerprint(model)
    assert loaded.preprocessing() == CENTRED
    assert loaded.preprocessing("imagenet") == IMAGENET
    assert loaded.probing_layers == loaded.network.layers == ("blocks.1", "blocks.2")
    assert wrap_nnx(model, name="mine", input_size=32).input_size == 32
    assert len(repr(loaded)) < 400
    assert "Model" in repr(loaded) and "blocks.2" in repr(loaded)


def test_wrapped_models_are_not_reopened_by_their_name() -> None:
    name = next(iter(NETWORKS))
    origin = wrap_nnx(Model(), name=name).origin
    with pytest.raises(Net2VecError, match=f"{name} was a model of your own.*pass it as network="):
        open_network_origin(origin)


@pytest.mark.parametrize("kind", ["nnx", "linen", "function", "torch"])
def test_wrapped_networks_are_collected_like_built_in_ones(kind: str, linen_variables) -> None:
    labels = [ImageLabels({}, {"object": (1,)})] * 5
    dataset = ListDataset(make_catalog(1), ("object",), labels, (4, 3))
    if kind == "nnx":
        loaded, layer = wrap_nnx(Model(), layers=["blocks.1"]), "blocks.1"
    elif kind == "linen":
        loaded = wrap_linen(LinenModel(), linen_variables, arguments={"train": False})
        layer = "first"
    elif kind == "torch":
        loaded, layer = wrap_torch(make_torch_model(), layers=["0"]), "0"
    else:
        apply = lambda model, images: {"all": model.blocks[0].convolution(images)}  # noqa: E731
        loaded, layer = wrap_function(apply, Model(), layers=["all"]), "all"
    network = loaded.network

    def preprocess(images: jax.Array) -> jax.Array:
        return images.astype(jnp.float32)

    batches = compute_activations(network, dataset, [layer], preprocess=preprocess, batch_size=2)
    collected = np.concatenate([batch[layer] for batch in batches])
    images = np.stack([dataset.image(index) for index in range(5)])
    expected = respond(network, preprocess(images), layer)[layer]
    np.testing.assert_allclose(collected, expected, **ROUNDING)


def test_fingerprint_refuses_what_is_no_array() -> None:
    for tree, said in (
        ({"layers": [np.ones(2), nnx.relu]}, r"\['layers'\]\[1\] is no array but relu"),
        ({"name": "vit"}, r"\['name'\] is no array but str"),
    ):
        with pytest.raises(Net2VecError, match=rf"{said}.*equinox\.partition"):
            wrap_function(lambda parameters, images: {}, tree, layers=["a"])
    keyed = {"kernel": jnp.ones(2), "key": jax.random.key(0)}
    assert module_fingerprint(keyed) == module_fingerprint(keyed | {"key": jax.random.key(1)})


def test_fingerprint_is_of_the_weights() -> None:
    model = Model()
    fingerprint = module_fingerprint(model)
    assert fingerprint == module_fingerprint(Model())
    assert len(fingerprint) == 64
    model.blocks[0].dropout(jnp.ones(3))  # draws a random number
    assert module_fingerprint(model) == fingerprint
    model.blocks[2].norm.mean[...] += 1e-3
    assert module_fingerprint(model) != fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.ones(4, np.float32)},
        {"b": np.ones((2, 2), np.float32)},
        {"a": np.ones((2, 2), np.float16)},
        {"a": np.array([[1, 1], [1, 2]], np.float32)},
    ],
)
def test_fingerprint_tells_names_shapes_types_and_values_apart(other) -> None:
    one = {"a": np.ones((2, 2), np.float32)}
    assert module_fingerprint(one) == module_fingerprint(jax.tree.map(jnp.array, one))
    assert module_fingerprint(one) != module_fingerprint(other)
