"""Forward passes over a dataset."""

from collections.abc import Iterator
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import ListDataset, make_catalog

from net2vec_jax.activations.collect import collect_activations, store_activations
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.errors import Net2VecError
from net2vec_jax.networks.network import Network


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
        collect_activations(
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

    batches = collect_activations(
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
        list(collect_activations(TwoLayers(), dataset, ["half"], preprocess=to_float))


def test_unknown_layer_suggests_the_nearest() -> None:
    with pytest.raises(Net2VecError, match=r"unknown layer 'haf'.*'half'"):
        list(collect_activations(TwoLayers(), make_dataset(2), ["haf"], preprocess=to_float))


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
