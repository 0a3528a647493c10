"""Masks on the activation grid are the adjoint of the upsampling."""

import numpy as np
import pytest
from helpers import make_random_problem, upsample_by_loop

from net2vec_jax.probes.segmentation import grid_targets
from net2vec_jax.probes.segmentation.grid_targets import bring_to_grid, mass_of_positions

GRID, SIZE = (4, 3), (13, 10)


@pytest.mark.parametrize("at_once", [256, 4])
def test_masks_on_the_grid_are_the_adjoint_of_upsampling(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_targets, "MASKS_AT_ONCE", at_once)
    _, masks = make_random_problem(9, grid=GRID, segmentation_size=SIZE)
    pairs = np.array([2, 5, 0, 5, 1, 3, 7])
    maps = np.random.default_rng(0).normal(size=GRID)
    found, pixels = bring_to_grid(masks, pairs, GRID), masks.unpack(pairs)
    expected = (pixels * upsample_by_loop(maps, SIZE)).sum(axis=(1, 2))
    np.testing.assert_allclose(found @ maps.ravel(), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.sum(1), masks.area[pairs], rtol=1e-5)
    assert (found <= mass_of_positions(GRID, SIZE) + 1e-4).all()
    assert bring_to_grid(masks, pairs[:0], GRID).shape == (0, 12)


def test_a_position_stands_for_the_pixels_that_are_interpolated_from_it() -> None:
    each = upsample_by_loop(np.eye(12).reshape(12, *GRID), SIZE).sum(axis=(1, 2))
    found = mass_of_positions(GRID, SIZE)
    np.testing.assert_allclose(found, each, rtol=1e-5)
    assert found.sum() == pytest.approx(13 * 10)
