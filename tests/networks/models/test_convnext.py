"""ConvNeXt's blocks: what is computed in bands of rows is what is computed at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.models import convnext
from net2vec_jax.networks.models.convnext import CONVNEXTS, Block


@pytest.fixture(scope="module")
def block():
    return Block(8, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("pixels", "rows"),
    [(1, 1), (60, 1), (61, 2), (200, 4), (241, 6), (10_000, 12)],  # a row of all images is 60
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_bands_of_rows_make_up_the_block(block, monkeypatch, pixels, rows, dtype):
    monkeypatch.setattr(convnext, "BAND_PIXELS", pixels)
    assert convnext._count_rows(5, 12, 12) == rows
    images, values = jax.random.normal(jax.random.key(0), (2, 5, 12, 12, 8), dtype)
    narrow = jax.tree.map(lambda leaf: leaf.astype(dtype), block)
    found = jax.jit(Block._add_in_bands)(narrow, images, values)
    expected = jax.jit(Block._add)(narrow, images, values)
    assert found.dtype == dtype
    # Responses are of order 1; rounding depends on how the compiler joins operations.
    np.testing.assert_allclose(
        found.astype(jnp.float32),
        expected.astype(jnp.float32),
        atol=1e-5 if dtype == jnp.float32 else 0.1,
    )


@pytest.mark.parametrize("height", [1, 7, 13])
def test_a_height_without_divisors_is_one_band_or_single_rows(height):
    assert convnext._count_rows(1, height, 7) == height
    assert convnext._count_rows(convnext.BAND_PIXELS, height, 7) == 1


@pytest.mark.parametrize(("size", "grid"), [((32, 32), (1, 1)), ((63, 75), (1, 2))])
def test_small_images_leave_something_to_every_layer(size, grid):
    network = nnx.eval_shape(lambda: CONVNEXTS["convnext_tiny"](rngs=nnx.Rngs(0)))
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda network, images: dict(network.responses(images)), network, images
    )
    assert shapes["stage4"].shape == (2, *grid, 768)
    smaller = jax.ShapeDtypeStruct((2, 31, size[1], 3), jnp.float32)
    with pytest.raises(Net2VecError, match="too small for ConvNeXtTiny, which needs 32"):
        jax.eval_shape(
            lambda network, images: network.activations(images, ["stem"]), network, smaller
        )
