"""Alpha channels that hide nothing are dropped; files are found in either Unicode form."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.images.files import drop_opaque_alpha, find_file

LEVELS = np.arange(6, dtype=np.uint8).reshape(2, 3)


def save_and_open(path: Path, image: Image.Image, **options: object) -> Image.Image:
    image.save(path, **options)
    return Image.open(path)


def make_palette() -> Image.Image:
    image = Image.fromarray(LEVELS).convert("P")
    image.putpalette([7 * level % 256 for level in range(768)])
    return image


@pytest.mark.parametrize(
    ("image", "opaque", "transparent"),
    [
        (Image.fromarray(LEVELS), {"transparency": 9}, {"transparency": 3}),
        (Image.fromarray(LEVELS).convert("RGB"), {"transparency": (1, 2, 3)}, None),
        (Image.fromarray(LEVELS).convert("RGB"), None, {"transparency": (4, 4, 4)}),
        (make_palette(), {"transparency": 9}, {"transparency": 5}),
        (make_palette(), {"transparency": b"\xff" * 6}, {"transparency": b"\xff" * 5 + b"\xfe"}),
    ],
)
def test_a_transparent_colour_matters_only_where_it_occurs(
    tmp_path: Path, image: Image.Image, opaque: dict | None, transparent: dict | None
) -> None:
    if opaque is not None:
        opened = save_and_open(tmp_path / "a.png", image, **opaque)
        assert opened.has_transparency_data
        dropped = drop_opaque_alpha(opened, "here")
        assert dropped.mode == image.mode and not dropped.has_transparency_data
        np.testing.assert_array_equal(np.asarray(dropped), np.asarray(image))
    if transparent is not None:
        opened = save_and_open(tmp_path / "b.png", image, **transparent)
        with pytest.raises(Net2VecError, match=r"^here has transparent pixels; fill them"):
            drop_opaque_alpha(opened, "here")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_alpha_channel_is_dropped_where_all_is_opaque(mode: str) -> None:
    image = Image.fromarray(LEVELS).convert(mode)
    layered = image.copy()
    layered.putalpha(255)
    assert layered.mode == mode + "A" or layered.mode == "LA"
    dropped = drop_opaque_alpha(layered, "here")
    assert dropped.mode == mode
    np.testing.assert_array_equal(np.asarray(dropped), np.asarray(image))
    assert drop_opaque_alpha(image, "here") is image
    layered.putalpha(Image.fromarray(np.where(LEVELS == 2, 254, 255).astype(np.uint8)))
    with pytest.raises(Net2VecError, match="here has transparent pixels"):
        drop_opaque_alpha(layered, "here")


@pytest.mark.parametrize("folder_form", ["NFC", "NFD"])
@pytest.mark.parametrize("file_form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked_form", ["NFC", "NFD"])
def test_files_are_found_in_either_form(
    tmp_path: Path, folder_form: str, file_form: str, asked_form: str
) -> None:
    folder = tmp_path / unicodedata.normalize(folder_form, "Zürich")
    folder.mkdir()
    path = folder / unicodedata.normalize(file_form, "Über.png")
    path.write_text("")
    assert find_file(tmp_path, unicodedata.normalize(asked_form, "Zürich/Über.png")) == path


def test_the_name_itself_comes_first_and_stays_where_nothing_is(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    assert [find_file(tmp_path, name) for name in names] == [tmp_path / name for name in names]
    for name in names:
        (tmp_path / name).write_text("")
    assert [find_file(tmp_path, name) for name in names] == [tmp_path / name for name in names]
    for name in ("a/b.png", "é/" + "é" * 2000):
        assert find_file(tmp_path, name) == tmp_path / name
