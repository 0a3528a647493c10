"""What every network promises: names, one pass, nothing beyond the deepest layer.

Checked on three of the zoo whose blocks differ; `test_load` checks names and shapes of all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import draw_weights, respond

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import NETWORKS

SIZES = {"efficientnet_lite0": 32, "alexnet": 63, "squeezenet1_1": 32}


@pytest.fixture(scope="module", params=sorted(SIZES))
def name(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def _networks_are_given_up():
    yield
    _random_network.cache_clear()


@functools.cache
def _random_network(name, seed=0):
    return draw_weights(nnx.eval_shape(lambda: NETWORKS[name].build(rngs=nnx.Rngs(0))), seed)


@pytest.fixture(scope="module")
def network(name):
    return _random_network(name)


@pytest.fixture(scope="module")
def images(name):
    size = SIZES[name]
    return jax.random.normal(jax.random.key(1), (3, size, size, 3))


def _trace(network, images, layers):
    """The program's convolutions and matrix products, and the parameters that it reads."""
    program = jax.make_jaxpr(lambda network, images: network.activations(images, layers))(
        network, images
    )
    text = str(program)
    used = {id(variable) for equation in program.eqns for variable in equation.invars}
    parameters = sum(id(variable) in used for variable in program.jaxpr.invars[:-1])
    return text.count("dot_general[") + text.count("conv_general_dilated["), parameters


def test_nothing_beyond_the_deepest_layer_is_computed(network, images):
    layers = (*network.layers[:-1:4], network.layers[-1])
    costs = [_trace(network, images, [layer]) for layer in layers]
    assert costs == sorted(costs)
    assert costs[0] == (1, 2)
    # Every parameter serves the last layer.
    assert costs[-1][1] == len(jax.tree.leaves(network))
    assert _trace(network, images, network.layers) == costs[-1]


def test_no_layers_cost_nothing(network, images):
    assert network.activations(images, []) == {}


def test_several_layers_in_one_pass_equal_single_passes(network, images):
    layers = network.layers[1::9]
    together = respond(network, images, tuple(layers))
    for layer in layers:
        alone = respond(network, images, (layer,))[layer]
        np.testing.assert_array_equal(together[layer], alone)


def test_order_and_aliases_do_not_matter(network, images):
    alias, layer = min(network.aliases.items(), key=lambda both: network.layers.index(both[1]))
    found = network.activations(images, [layer, network.layers[1], alias])
    assert list(found) == [layer, network.layers[1], alias]
    np.testing.assert_array_equal(found[alias], found[layer])


def test_jit_and_vmap_take_the_network_as_it_is(network, images):
    layer = network.layers[3]
    expected = network.activations(images, [layer])[layer]
    assert expected.dtype == jnp.float32

    def respond(network, images):
        return network.activations(images, [layer])[layer]

    # Fused programs round differently; responses are of order 1.
    np.testing.assert_allclose(jax.jit(respond)(network, images), expected, atol=1e-4)
    by_image = jax.vmap(respond, in_axes=(None, 0))(network, images[:, None])
    np.testing.assert_allclose(by_image[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["squeezenet1_1"], scope="module")
def test_vmap_over_networks_runs_an_ensemble(name, images):
    pair = [_random_network(name, seed) for seed in (0, 1)]
    layer = pair[0].layers[0]
    ensemble = jax.tree.map(lambda a, b: np.stack([a, b]), *pair)
    found = jax.vmap(lambda network: network.activations(images, [layer])[layer])(ensemble)
    for each, network in zip(found, pair, strict=True):
        np.testing.assert_allclose(each, network.activations(images, [layer])[layer], atol=1e-4)


@pytest.mark.parametrize("name", ["squeezenet1_1"], scope="module")
def test_one_compilation_serves_networks_of_one_shape(name, images):
    calls = []

    @jax.jit
    def respond(network, images):
        calls.append(1)
        return network.activations(images, network.layers[:1])

    for seed in (0, 1):
        respond(_random_network(name, seed), images)
    assert len(calls) == 1


def test_unknown_layers_are_refused_with_the_nearest(network, images):
    layer = network.layers[1]
    with pytest.raises(Net2VecError, match=f"unknown layer '{layer}x'; did you mean '{layer}'"):
        network.activations(images, [layer + "x"])


def test_one_string_is_no_list_of_layers(network, images):
    with pytest.raises(Net2VecError, match=r"write \['stem'\]"):
        network.activations(images, "stem")


def test_images_of_another_shape_or_type_are_refused(network, images):
    layer = network.layers[:1]
    with pytest.raises(Net2VecError, match=r"shape \(3, 3, \d+, \d+\), not \[N, height"):
        network.activations(images.transpose(0, 3, 1, 2), layer)
    with pytest.raises(Net2VecError, match="shape"):
        network.activations(images[0], layer)
    with pytest.raises(Net2VecError, match="are uint8; preprocess them"):
        network.activations(jnp.zeros(images.shape, jnp.uint8), layer)
