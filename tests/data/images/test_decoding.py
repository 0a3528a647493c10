"""Images given as bytes are decoded or refused; sizes change as Broden's did."""

import io

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image
from tfds_writer import encode

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import read_image, read_label_plane
from net2vec_jax.data.images.resized import open_image, resize_image, resize_mask


@pytest.mark.parametrize(
    ("size", "new"), [((375, 500), (112, 112)), ((60, 41), (113, 113)), ((7, 9), (7, 9))]
)
def test_masks_are_resized_as_broden_was(size: tuple[int, int], new: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 200, size).astype(np.uint8)
    zoom = [m / n for m, n in zip(new, size, strict=True)]
    np.testing.assert_array_equal(resize_mask(mask, new), scipy.ndimage.zoom(mask, zoom, order=0))


def test_a_mask_of_one_pixel_is_the_first(mask_size: int = 5) -> None:
    mask = np.arange(mask_size**2).reshape(mask_size, mask_size)
    assert resize_mask(mask, (1, 1)).tolist() == [[0]]


def test_resizing_an_image_does_not_alias() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(Image.fromarray(stripes), (50, 40))
    assert small.shape == (50, 40, 3)
    assert small.dtype == np.uint8
    # Points picked from the stripes would be 0 or 255.
    assert 120 < small.min() <= small.max() < 135


def test_grey_palette_and_transparent_images_become_rgb() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    expected = np.repeat(grey[..., None], 3, axis=-1)
    images = [Image.fromarray(grey), Image.fromarray(grey).convert("RGBA")]
    palette = Image.fromarray(grey)
    palette.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    for image in [*images, palette]:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        np.testing.assert_array_equal(
            read_image(buffer.getvalue(), (6, 8), source="y", where="x"), expected
        )


def test_plane_is_red_plus_256_times_green() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = (7, 0, 0)
    pixels[1, 1] = (173, 4, 0)
    plane = read_label_plane(encode(pixels), (2, 2), source="y", where="x")
    assert plane.dtype == np.int32
    assert plane.tolist() == [[7, 0], [0, 1197]]


def test_plane_may_have_an_alpha_channel_that_is_opaque() -> None:
    pixels = np.full((2, 2, 4), 255, np.uint8)
    pixels[..., :3] = (173, 4, 0)
    assert (
        read_label_plane(encode(pixels), (2, 2), source="y", where="x").tolist() == [[1197] * 2] * 2
    )
    pixels[1, 1, 3] = 0
    with pytest.raises(Net2VecError, match="x has transparent pixels; fill them"):
        read_label_plane(encode(pixels), (2, 2), source="y", where="x")


def test_what_is_no_image_is_refused() -> None:
    whole = encode(np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8))
    for encoded in (b"", b"no image", whole[:100], whole[:-40]):
        with pytest.raises(Net2VecError, match=r"here cannot be decoded as an image"):
            open_image(encoded, "here")
    with pytest.raises(Net2VecError, match=r"here: the image is 20×20 pixels.*20×21"):
        read_image(whole, (20, 21), source="y", where="here")
    with pytest.raises(Net2VecError, match=r"here: the label plane is 20×20 pixels.*10×10"):
        read_label_plane(whole, (10, 10), source="y", where="here")
    with pytest.raises(Net2VecError, match=r"here: a label plane must be an 8-bit RGB"):
        read_label_plane(encode(np.zeros((20, 20), np.uint8)), (20, 20), source="y", where="here")
