"""Align-corners bilinear upsampling (reference spec section 4, appendix D.2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import upsample_by_loop

from net2vec_jax.probes.interpolation import (
    interpolation_matrix,
    look_up_rows,
    look_up_rows_transposed,
    multiply_rows,
    multiply_rows_transposed,
    upsample_align_corners,
    upsample_rows,
    upsample_rows_transposed,
)

SIZES = [
    ((13, 13), (113, 113)),
    ((14, 14), (112, 112)),
    ((3, 5), (7, 4)),
    ((5, 4), (5, 4)),
    ((6, 7), (3, 2)),  # downsampling, too
    ((1, 4), (5, 9)),
    ((4, 1), (9, 5)),
    ((4, 3), (1, 6)),
    ((1, 1), (1, 1)),
]
# Sums of at most four products of numbers near 1, in float32.
ROUNDING = 1e-6
# The two ways of each; the backend chooses.
UPSAMPLINGS = [look_up_rows, multiply_rows, upsample_rows]
TRANSPOSED = [look_up_rows_transposed, multiply_rows_transposed, upsample_rows_transposed]


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_equals_the_formula_pixel_by_pixel(grid: tuple[int, int], size: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, *grid)).astype(np.float32)
    upsampled = upsample_align_corners(jnp.asarray(maps), size)
    np.testing.assert_allclose(upsampled, upsample_by_loop(maps, size), atol=5 * ROUNDING)


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_equals_torch(grid: tuple[int, int], size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(1).normal(size=(2, 3, *grid)).astype(np.float32)
    reference = torch.nn.functional.interpolate(
        torch.from_numpy(maps), size=size, mode="bilinear", align_corners=True
    )
    upsampled = upsample_align_corners(jnp.asarray(maps), size)
    # torch takes the position's fraction in float32: 112 · 2⁻²⁴ · |difference of neighbours|.
    np.testing.assert_allclose(upsampled, reference.numpy(), atol=5e-5)


def test_corners_and_centre_of_13_to_113() -> None:
    maps = np.random.default_rng(2).normal(size=(13, 13)).astype(np.float32)
    upsampled = np.asarray(upsample_align_corners(jnp.asarray(maps), (113, 113)))
    np.testing.assert_array_equal(upsampled[::56, ::56], maps[::6, ::6])


@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_a_constant_map_stays_constant(grid: tuple[int, int], size: tuple[int, int]) -> None:
    upsampled = upsample_align_corners(jnp.full(grid, 3.0), size)
    np.testing.assert_allclose(upsampled, 3.0, rtol=ROUNDING)


@pytest.mark.parametrize("n", [1, 2, 13, 14])
@pytest.mark.parametrize("m", [1, 2, 3, 112, 113, 192])
def test_rows_are_weights_of_two_neighbours(n: int, m: int) -> None:
    matrix = interpolation_matrix(n, m)
    assert matrix.shape == (m, n)
    assert matrix.dtype == np.float32
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=ROUNDING)
    for row in matrix:
        used = np.flatnonzero(row)
        assert len(used) <= 2
        assert np.ptp(used) <= 1
    assert matrix[0, 0] == 1
    if m > 1:
        assert matrix[-1, -1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_rows_first_equals_rows_last(
    upsample, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    maps = np.random.default_rng(0).normal(size=(2, *grid)).astype(np.float32)
    maps[1] = 0
    upsampled = np.asarray(upsample(jnp.asarray(maps.transpose(1, 0, 2)), size))
    np.testing.assert_allclose(
        upsampled.transpose(1, 0, 2), upsample_by_loop(maps, size), atol=5 * ROUNDING
    )
    assert not upsampled[:, 1].any()  # exactly 0


@pytest.mark.parametrize("transposed", TRANSPOSED)
@pytest.mark.parametrize(("grid", "size"), SIZES)
def test_transposed_is_the_adjoint(
    transposed, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(grid[0], 2, grid[1])).astype(np.float32)
    y = rng.normal(size=(size[0], 2, size[1])).astype(np.float32)
    up = np.asarray(upsample_rows(jnp.asarray(x), size), np.float64)
    down = np.asarray(transposed(jnp.asarray(y), grid), np.float64)
    assert down.shape == x.shape
    scale = np.linalg.norm(up) * np.linalg.norm(y) + 1e-30
    assert abs((up * y).sum() - (x * down).sum()) / scale < ROUNDING


@pytest.mark.parametrize("transposed", TRANSPOSED)
def test_transposed_is_the_gradient(transposed) -> None:
    x = jnp.zeros((4, 2, 3))
    y = jnp.asarray(np.random.default_rng(4).normal(size=(9, 2, 8)), jnp.float32)
    gradient = jax.grad(lambda x: jnp.vdot(multiply_rows(x, (9, 8)), y))(x)
    np.testing.assert_allclose(transposed(y, (4, 3)), gradient, atol=10 * ROUNDING)


def test_binary_maps_never_meet_one_half() -> None:
    # 14 → 112: denominators are 111 or divide it, odd, so counts need no tolerance.
    matrix = interpolation_matrix(14, 112).astype(np.float64)
    corners = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1)  # all 2×2 neighbourhoods
    pairs = [np.resize(row[row > 0], 2) * [1, (row > 0).sum() > 1] for row in matrix]
    values = np.einsum("yi,xj,ijn->yxn", pairs, pairs, corners.reshape(2, 2, -1))
    assert np.abs(values - 0.5).min() > 4e-5
