"""Responses of own models belong to one image each, whatever is beside it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.activations.layer import collect_activations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.adapters import wrap_function, wrap_nnx, wrap_torch

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), np.uint8)


def collect(respond, batch_size: int = 32, **options) -> np.ndarray:
    loaded = wrap_function(lambda _, x: {"layer": respond(x)}, (), layers=["layer"], **options)
    return collect_activations(loaded, IMAGES, "layer", batch_size=batch_size).stored.read(range(6))


class Trains(nnx.Module):
    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))

    def __call__(self, images: jax.Array, train: bool = True) -> jax.Array:
        return self.norm(images, use_running_average=not train)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_batch_normalisation_in_training_mode_is_named(batch_size: int) -> None:
    loaded = wrap_nnx(Trains(), layers=["norm"])
    said = r"layer norm: .* by \d+% with the other images.*arguments=\{'train': False\}"
    with pytest.raises(Net2VecError, match=said):
        collect_activations(loaded, IMAGES, "norm", batch_size=batch_size)
    loaded = wrap_nnx(Trains(), layers=["norm"], arguments={"train": False})
    assert len(collect_activations(loaded, IMAGES, "norm", batch_size=batch_size)) == 6


def test_random_numbers_are_named() -> None:
    def respond(images: jax.Array) -> jax.Array:
        return images + 0.1 * jax.random.normal(jax.random.key(0), images.shape)

    with pytest.raises(Net2VecError, match="one copy of it to the next, so it draws random"):
        collect(respond)
    constant = jax.random.normal(jax.random.key(0), (1, 8, 12, 3))
    assert collect(lambda images: images + jnp.broadcast_to(constant, images.shape)).shape[0] == 6


class SeldomDrops(nnx.Module):
    """Drops a layer once in thousand batches, which no few images show."""

    def __init__(self) -> None:
        self.first = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        self.second = nnx.Linear(3, 3, rngs=nnx.Rngs(1))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(2))  # off in evaluation mode
        self.rngs = nnx.Rngs(3)

    def __call__(self, images: jax.Array) -> jax.Array:
        keep = jax.random.bernoulli(self.rngs.params(), 0.999)
        return self.second(self.dropout(self.first(images)) * keep.astype(jnp.float32))


def test_seldom_random_numbers_are_named() -> None:
    loaded = wrap_nnx(SeldomDrops(), layers=["first", "second", "dropout"])
    assert len(collect_activations(loaded, IMAGES, "first")) == 6
    assert len(collect_activations(loaded, IMAGES, "dropout")) == 6
    with pytest.raises(Net2VecError, match=r"layer second: .* a random number generator"):
        collect_activations(loaded, IMAGES, "second")


def test_parameters_may_be_numbers_of_python() -> None:
    loaded = wrap_function(lambda scale, x: {"layer": scale * x}, 2.0, layers=["layer"])
    found = collect_activations(loaded, IMAGES, "layer").stored.read(range(6))
    np.testing.assert_allclose(found, collect(lambda x: 2 * x), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 32])
@pytest.mark.parametrize("blocks", [3, 4, 32])
def test_stacked_blocks_are_refused_whatever_the_batch_size(blocks: int, batch_size: int) -> None:
    with pytest.raises(
        Net2VecError, match=rf"gives shape \({blocks}, \d, 8, 36\).*stacked by a scan"
    ):
        collect(lambda x: jnp.stack([x.reshape(-1, 8, 36)] * blocks), batch_size)


def test_windows_are_refused() -> None:
    with pytest.raises(Net2VecError, match="4 entries per image, such as windows"):
        collect(lambda x: x.reshape(-1, 24, 3), grid=(4, 6))


def test_axes_are_those_that_grow_with_the_image() -> None:
    maps = collect(lambda x: x)
    with pytest.raises(Net2VecError, match=r"rows are axis 2: .*give channels_first=True"):
        collect(lambda x: x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(
        collect(lambda x: x.transpose(0, 3, 1, 2), channels_first=True), maps
    )
    with pytest.raises(Net2VecError, match=r"rows are axis 1: .*give channels_first=False"):
        collect(lambda x: x, channels_first=True)
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.ReLU())
    loaded = wrap_torch(model, layers={"0": lambda maps: maps.permute(0, 2, 3, 1)})
    with pytest.raises(Net2VecError, match="give channels_first=False"):
        collect_activations(loaded, IMAGES, "0")
    # Of a model for images of one size nothing is known.
    assert collect(
        lambda x: x.reshape(-1, 8, 12, 3).transpose(0, 3, 1, 2) * jnp.ones((1, 1, 8, 12))
    ).shape == (6, 3, 8, 12)


def test_a_layer_is_checked_once() -> None:
    shapes = []

    def respond(images: jax.Array) -> jax.Array:
        shapes.append(images.shape)
        return images

    loaded = wrap_function(lambda _, x: {"layer": respond(x)}, (), layers=["layer"])
    collect_activations(loaded, IMAGES, "layer")
    first = len(shapes)
    assert {(4, 8, 12, 3), (3, 8, 12, 3), (1, 16, 12, 3)} < set(shapes)
    collect_activations(loaded, IMAGES[:5], "layer")
    assert len(shapes) - first <= 1
