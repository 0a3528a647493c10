"""Forward passes over a dataset."""

from collections.abc import Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ListDataset, draw_weights, make_catalog

from net2vec_jax.activations.compute import _cast, compute_activations, store_activations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.networks.models.efficientnet import EFFICIENTNET_LITES
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.preprocessing import IMAGENET


class TwoLayers(Network):
    """Half of the image, and its sum over each image."""

    layers = ("half", "total")
    aliases: ClassVar = {}

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = nnx.Param(jnp.float32(factor))

    def responses(self, images: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        half = images * self.factor[...]
        yield "half", half
        yield "total", half.sum(axis=(1, 2))


def to_float(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32)


def make_dataset(images: int) -> ListDataset:
    labels = [ImageLabels({}, {"object": (1,)})] * images
    return ListDataset(make_catalog(1), ("object",), labels, (4, 3))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
def test_batches_are_the_images_in_order(batch_size: int) -> None:
    dataset = make_dataset(7)  # image i is filled with i
    batches = list(
        compute_activations(
            TwoLayers(), dataset, ["half", "total"], preprocess=to_float, batch_size=batch_size
        )
    )
    half = np.concatenate([batch["half"] for batch in batches])
    total = np.concatenate([batch["total"] for batch in batches])
    expected = np.stack([dataset.image(i) for i in range(7)]) * np.float32(0.5)
    np.testing.assert_array_equal(half, expected)
    np.testing.assert_array_equal(total, expected.sum(axis=(1, 2)))


def test_activations_that_are_not_finite_name_layer_and_image() -> None:
    def break_image_five(images: jax.Array) -> jax.Array:
        images = to_float(images)
        return jnp.where(images == 5, jnp.nan, images)

    batches = compute_activations(
        TwoLayers(), make_dataset(7), ["half"], preprocess=break_image_five, batch_size=4
    )
    with pytest.raises(Net2VecError, match=r"half.*not finite.*5\.jpg"):
        list(batches)


def test_images_of_another_size_are_refused() -> None:
    class Uneven(ListDataset):
        def image(self, index: int) -> np.ndarray:
            return super().image(index)[: 8 - (index == 2)]

    labels = [ImageLabels({}, {"object": (1,)})] * 4
    dataset = Uneven(make_catalog(1), ("object",), labels, (4, 3))
    with pytest.raises(Net2VecError, match=r"image 2\.jpg has shape"):
        list(compute_activations(TwoLayers(), dataset, ["half"], preprocess=to_float))


def test_unknown_layer_suggests_the_nearest() -> None:
    with pytest.raises(Net2VecError, match=r"unknown layer 'haf'.*'half'"):
        list(compute_activations(TwoLayers(), make_dataset(2), ["haf"], preprocess=to_float))


class Noise(ListDataset):
    def image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_bfloat16_is_close_and_float32_is_untouched() -> None:
    labels = [ImageLabels({}, {"object": (1,)})] * 2
    dataset = Noise(make_catalog(1), ("object",), labels, (16, 16))
    network = draw_weights(nnx.eval_shape(lambda: EFFICIENTNET_LITES[0](rngs=nnx.Rngs(0))))
    layers = ["block0", "block4"]
    found = {}
    for dtype in ("float32", "bfloat16"):
        (found[dtype],) = compute_activations(
            network, dataset, layers, preprocess=IMAGENET, batch_size=2, dtype=dtype
        )
    images = jnp.stack([dataset.image(index) for index in range(2)])
    expected = jax.jit(lambda network: network.activations(IMAGENET(images), layers))(network)
    for layer in layers:
        wide, narrow = found["float32"][layer], found["bfloat16"][layer]
        assert wide.dtype == narrow.dtype == np.float32
        np.testing.assert_allclose(wide, expected[layer], atol=1e-5 * np.abs(wide).max())
        # 8 bits of mantissa: each of up to 14 layers rounds by 2e-3, at random
        error = np.linalg.norm(narrow - wide) / np.linalg.norm(wide)
        assert 0 < error < 0.05, layer
    assert network.stem.kernel[...].dtype == jnp.float32


def test_float32_networks_are_not_copied() -> None:
    network = draw_weights(nnx.eval_shape(lambda: EFFICIENTNET_LITES[0](rngs=nnx.Rngs(0))))
    cast = jax.tree.leaves(_cast(network, "float32"))
    assert all(a is b for a, b in zip(jax.tree.leaves(network), cast, strict=True))


def test_networks_of_another_type_give_float32() -> None:
    network = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), TwoLayers(0.3))
    (batch,) = compute_activations(network, make_dataset(3), ["half"], preprocess=to_float)
    assert batch["half"].dtype == np.float32


def test_unknown_type_is_refused() -> None:
    batches = compute_activations(
        TwoLayers(), make_dataset(3), ["half"], preprocess=to_float, dtype="float8"
    )
    with pytest.raises(Net2VecError, match="dtype 'float8' is none of float32, bfloat16"):
        list(batches)


def test_interrupted_collection_leaves_no_store(tmp_path) -> None:
    def interrupted() -> Iterator[dict[str, np.ndarray]]:
        yield {"half": np.zeros((2, 1, 1, 3), np.float32)}
        raise KeyboardInterrupt

    origins = {"half": {"network": "two layers"}}
    with pytest.raises(KeyboardInterrupt):
        store_activations(interrupted(), {"half": tmp_path / "half"}, 4, origins)
    assert not (tmp_path / "half").exists()
    whole = iter([{"half": np.ones((4, 1, 1, 3), np.float32)}])
    store = store_activations(whole, {"half": tmp_path / "half"}, 4, origins)["half"]
    np.testing.assert_array_equal(np.concatenate(list(store.batches())), 1)
