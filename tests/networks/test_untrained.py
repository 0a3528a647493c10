"""A network before its training: random weights, channels of mean 0 and deviation 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.layers.blocks import Convolution
from net2vec_jax.networks.untrained import untrain
from net2vec_jax.runs import segmentation

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)


def test_channels_are_normalised_and_weights_are_random() -> None:
    trained = n2v.load_network("efficientnet_lite0")
    untrained = untrain(trained, IMAGES)
    assert untrained.fingerprint not in (
        trained.fingerprint,
        untrain(trained, IMAGES, seed=1).fingerprint,
    )
    images = untrained.preprocessing()(jnp.asarray(IMAGES))
    first = next(
        module
        for _, module in nnx.iter_modules(untrained.network)
        if type(module) is Convolution and module.kernel[...].shape[2] == 3 and module.groups == 1
    )
    values = np.asarray(first(images))
    np.testing.assert_allclose(values.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std((0, 1, 2)), 1, atol=1e-3)
    see = jax.jit(lambda network: network.activations(images, ["block8"])["block8"])
    # The eighth block is as alive as the first: nothing dies out or explodes on the way.
    deep = np.asarray(see(untrained.network))
    assert 0.5 < deep.std() < 5
    np.testing.assert_array_equal(see(untrain(trained, IMAGES).network), deep)


def test_models_of_your_own_have_no_untrained_counterpart() -> None:
    own = n2v.wrap_function(lambda _, x: {"image": x}, (), layers=["image"], name="own")
    with pytest.raises(Net2VecError, match="own is no network of the zoo"):
        untrain(own, IMAGES)


def test_an_untrained_network_is_a_rival() -> None:
    masks = np.ones((6, 16, 16), np.int32)
    masks[:, :8] = 2
    dataset = n2v.from_arrays(IMAGES, masks, {1: "ground", 2: "sky"})
    network = n2v.load_network("efficientnet_lite0")
    layer = n2v.collect_activations(network, dataset, "block2")
    settings = {"epochs": 1, "bootstrap_samples": 20, "controls": False}
    probe = n2v.train_segmentation(layer, dataset, **settings)
    assert probe.rivals.names == ("single_same_rule", "prior", "untrained")
    scores = probe.scores()
    assert scores.untrained_val_iou.between(0, 1).all()
    elsewhere = n2v.read_activations(np.random.default_rng(0).random((6, 4, 4, 3)))
    for other, more in ((layer, {"untrained": False}), (elsewhere, {})):
        plain = n2v.train_segmentation(other, dataset, **settings, **more)
        assert plain.rivals.names == ("single_same_rule", "prior")
        assert plain.scores().untrained_val_iou.isna().all()


def test_an_untrained_network_computes_in_the_layers_type(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.ones((6, 16, 16), np.int32)
    dataset = n2v.from_arrays(IMAGES, masks, {1: "ground"})
    network = n2v.load_network("efficientnet_lite0")
    layer = n2v.collect_activations(network, dataset, "block0", dtype="bfloat16")
    collect, types = segmentation.collect_activations, []

    def spy(*arguments, **options):
        types.append(options["dtype"])
        return collect(*arguments, **options)

    monkeypatch.setattr(segmentation, "collect_activations", spy)
    n2v.train_segmentation(layer, dataset, epochs=1, bootstrap_samples=20, controls=False)
    assert types == ["bfloat16"]
