"""Overlays show each mask where it is, and scores as the colours that they have."""

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from net2vec_jax.plots.overlays import darken_outside, draw_mask, draw_outline, draw_scores
from net2vec_jax.plots.paper_style import CATEGORY_STYLES

RNG = np.random.default_rng(0)
BLUE = CATEGORY_STYLES["object"][0]


def is_outline(drawn: np.ndarray, color: str = BLUE) -> np.ndarray:
    return (np.abs(drawn - np.array(to_rgb(color)) * 255) < 1).all(axis=-1)


def test_inside_is_kept_outside_is_grey_and_between_is_the_outline() -> None:
    image = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    drawn = draw_mask(image, mask, BLUE)
    np.testing.assert_array_equal(drawn[10:30, 20:40], image[10:30, 20:40])
    outline = is_outline(drawn)
    assert outline[9, 20:40].all() and outline[30, 20:40].all()
    assert outline[10:30, 19].all() and outline[10:30, 40].all()
    assert outline.sum() == 2 * (20 + 20)
    outside = ~outline
    outside[10:30, 20:40] = False
    assert (drawn[outside].max(axis=-1) == drawn[outside].min(axis=-1)).all()
    assert drawn[outside].min() >= 140  # pale


def test_a_mask_of_the_whole_image_is_a_frame() -> None:
    image = RNG.integers(0, 256, (100, 100, 3), dtype=np.uint8)
    drawn = draw_mask(image, np.ones((7, 7), bool), BLUE)
    outline = is_outline(drawn)
    np.testing.assert_array_equal(drawn[1:-1, 1:-1], image[1:-1, 1:-1])
    assert outline[0].all() and outline[:, -1].all()


def test_the_originals_overlay_darkens_outside_to_a_fifth() -> None:
    image = np.array([[[100, 200, 50], [10, 20, 255]]], np.uint8)
    mask = np.array([[True, False]])
    np.testing.assert_array_equal(darken_outside(image, mask), [[[100, 200, 50], [2, 4, 51]]])
    np.testing.assert_array_equal(darken_outside(image, mask, dark=1.0), image)
    np.testing.assert_array_equal(darken_outside(image, ~mask, dark=0.0)[0, 0], [0, 0, 0])


def test_a_smaller_mask_covers_the_pixels_that_it_stands_for() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    drawn = darken_outside(image, np.array([[1, 0, 0], [0, 0, 1]], bool))
    expected = np.kron([[1, 0, 0], [0, 0, 1]], np.ones((2, 2))) * 80 + 20
    np.testing.assert_array_equal(drawn[..., 0], expected)


def test_an_outline_leaves_all_else_as_it_is() -> None:
    image = RNG.integers(0, 256, (10, 10, 3), dtype=np.uint8)
    mask = np.zeros((10, 10), bool)
    mask[4:6, 4:6] = True
    drawn = draw_outline(image, mask, "#ff0000")
    changed = (drawn != image).any(axis=-1)
    assert (drawn[changed] == [255, 0, 0]).all()
    assert not changed[mask].any() and changed.sum() <= 8
    np.testing.assert_array_equal(draw_outline(image, np.zeros((3, 3), bool), "#ff0000"), image)


def test_scores_are_blended_as_colours() -> None:
    image = np.array([[[10, 20, 30], [200, 100, 0], [0, 0, 0]]], np.uint8)
    scores = np.array([[0.2, 0.5, 0.8]], np.float32)
    np.testing.assert_array_equal(draw_scores(image, scores, alpha=0), image)
    for colors in ("viridis", "jet"):
        drawn = draw_scores(image, scores, limits=(0.2, 0.8), alpha=1, colors=colors)
        shown = matplotlib.colormaps[colors]
        expected = np.array([shown(value)[:3] for value in (0.0, 0.5, 1.0)]) * 255
        np.testing.assert_allclose(drawn[0], expected, atol=4)  # a step of 256
    half = draw_scores(image, scores, limits=(0.2, 0.8), alpha=0.5, colors="jet")
    np.testing.assert_allclose(half[0], (image[0] + expected) / 2, atol=3)


def test_scores_beyond_the_limits_have_the_outer_colours() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    scores = np.array([[-5, 0], [1, 9]], np.float32)
    drawn = draw_scores(image, scores, alpha=1)
    np.testing.assert_array_equal(drawn[0, 0], drawn[0, 1])
    np.testing.assert_array_equal(drawn[1, 0], drawn[1, 1])
    assert draw_scores(image, np.full((3, 3), 0.5), limits=(0.5, 0.5)).shape == (2, 2, 3)
