"""Networks go on from a layer's response, and end where the whole pass ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import draw_weights, jit_once, respond

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.load import NETWORKS
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.networks.preprocessing import IMAGENET

# Side of the images, layers that all goes through, and layers that something goes around.
FAMILIES = {
    "alexnet": (63, ("pool5",), ()),
    "convnextv2_atto": (32, ("stage3",), ()),
    "dinov2_vits14_reg": (28, (), ("block10_mlp", "block10_register1")),
    "efficientnet_lite0": (32, ("block10",), ("block12_depthwise",)),
    "resnet18": (32, ("layer3",), ()),
    "squeezenet1_1": (32, ("fire7",), ()),
    "swin_t": (32, ("stage3",), ()),
}


def _random_network(name):
    build = NETWORKS[name].build
    return draw_weights(nnx.eval_shape(lambda: build(classes=7, rngs=nnx.Rngs(0))))


@pytest.mark.parametrize("name", FAMILIES)
def test_going_on_from_a_layer_ends_as_the_whole_pass(name):
    size, through, around = FAMILIES[name]
    network = _random_network(name)
    images = np.random.default_rng(1).standard_normal((2, size, size, 3), np.float32)
    for layer in (*through, *around):
        assert network.sees_images_behind(layer, size) == (layer in around), layer

    @jit_once
    def compute(network, images):
        found = network.activations(images, [*through, *around, network.layers[-1]])
        nothing = jnp.zeros_like(images)
        gone_on = {
            layer: [
                network.continue_from(layer, values, nothing if layer in through else images)
                for values in (found[layer], found[layer][..., ::-1])
            ]
            for layer in (*through, *around)
        }
        return found[network.layers[-1]], gone_on

    whole, gone_on = compute(network, images)
    for layer, (same, other) in gone_on.items():
        # Both programs are alike, but compilers order sums otherwise.
        np.testing.assert_allclose(same, whole, atol=1e-4 * np.std(whole), err_msg=layer)
        assert np.abs(other - whole).max() > 1e-3 * np.std(whole), layer


def test_images_are_asked_for_where_they_count():
    network = LoadedNetwork(
        "own", _random_network("efficientnet_lite0"), "", 32, IMAGENET, ("block2",)
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    given = IMAGENET(jnp.asarray(images))
    found = respond(network.network, given, ("block2", "block2_expand", "logits"))
    ends = [
        network.continue_from("block2", found["block2"]),
        network.continue_from("block2", found["block2"], images),
        network.continue_from("block2_expand", found["block2_expand"], images),
    ]
    for end in ends:
        np.testing.assert_allclose(end, found["logits"], atol=1e-4)
    with pytest.raises(Net2VecError, match="give the images of the response"):
        network.continue_from("block2_expand", found["block2_expand"])
    with pytest.raises(Net2VecError, match=r"block2 has shape \(2, 3, 3, 24\), but the layer"):
        network.continue_from("block2", np.zeros((2, 3, 3, 24), np.float32))
    with pytest.raises(Net2VecError, match="unknown layer 'blok2'; did you mean 'block2'"):
        network.continue_from("blok2", found["block2"])


def test_wrapped_models_go_on_by_a_function_of_their_own():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    model = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu)
    head = jax.random.normal(jax.random.key(0), (4, 5))
    rest = {"layers.1": lambda response: response.mean((1, 2)) @ head}
    network = n2v.wrap_nnx(model, layers=["layers.0", "layers.1"], rest=rest)
    response = network.network.activations(IMAGENET(jnp.asarray(images)), ["layers.1"])["layers.1"]
    expected = model(IMAGENET(jnp.asarray(images))).mean((1, 2)) @ head
    np.testing.assert_allclose(network.continue_from("layers.1", response), expected, atol=1e-5)
    with pytest.raises(Net2VecError, match=r"layer layers\.0 is not known; give a function"):
        network.continue_from("layers.0", response)
    with pytest.raises(Net2VecError, match="unknown layer"):
        n2v.wrap_nnx(model, layers=["layers.0"], rest={"layers.7": lambda response: response})
