"""Images that cannot be read are listed all at once, or left out."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core import errors
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data import bad_images
from net2vec_jax.data.bad_images import ListsBadImages, find_bad_images, leave_out_bad_images
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, LabelledImage, map_in_order
from net2vec_jax.data.masks import collect_concept_masks

IMAGES = 20
BAD = {3: ".jpg", 7: "_object.png", 11: ".jpg", 19: ".jpg"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Twenty images; the image or the plane of four is damaged."""
    rng = np.random.default_rng(0)
    examples = [
        LabelledImage(
            f"x/{index:02d}.jpg",
            "train" if index < 14 else "val",
            np.full((12, 10, 3), 10 * index, np.uint8),
            ImageLabels({"object": rng.integers(0, 3, (1, 6, 5)).astype(np.int32)}, {}),
        )
        for index in range(IMAGES)
    ]
    write_broden(tmp_path / "broden", examples, {1: "dog", 2: "cat"})
    for index, ending in BAD.items():
        (tmp_path / f"broden/images/x/{index:02d}{ending}").write_bytes(b"no image")
    return tmp_path / "broden"


def test_all_bad_images_are_found_with_their_messages(directory: Path) -> None:
    found = find_bad_images(BrodenDataset(directory))
    assert list(found) == [f"x/{index:02d}.jpg" for index in BAD]
    for message, (index, ending) in zip(found.values(), BAD.items(), strict=True):
        assert f"x/{index:02d}{ending} cannot be decoded" in message


def test_an_image_whose_labels_are_bad_too_has_both_messages(directory: Path) -> None:
    (directory / "images/x/03_object.png").write_bytes(b"")
    message = find_bad_images(BrodenDataset(directory))["x/03.jpg"]
    assert "03.jpg cannot" in message
    assert "03_object.png cannot" in message


def read_images(dataset: ConceptDataset) -> None:
    list(map_in_order(dataset.image, range(len(dataset)), workers=4))


@pytest.mark.parametrize("read", [read_images, collect_concept_masks])
def test_the_first_failure_lists_all(directory: Path, read, monkeypatch) -> None:
    passes = []

    def count_passes(dataset: ConceptDataset) -> dict[str, str]:
        passes.append(threading.get_ident())
        return find_bad_images(dataset)

    monkeypatch.setattr(bad_images, "find_bad_images", count_passes)
    dataset = ListsBadImages(BrodenDataset(directory), advice="mend them")
    with pytest.raises(Net2VecError) as refused:
        read(dataset)
    message = str(refused.value)
    assert "4 of 20 images cannot be read" in message
    for index, ending in BAD.items():
        assert f"x/{index:02d}{ending} cannot be decoded" in message
    assert message.endswith("mend them")
    assert len(passes) == 1  # however many threads failed


def test_reading_sound_images_checks_nothing(directory: Path, monkeypatch) -> None:
    monkeypatch.setattr(bad_images, "find_bad_images", lambda _: pytest.fail("checked"))
    inner = BrodenDataset(directory)
    dataset = ListsBadImages(inner)
    np.testing.assert_array_equal(dataset.image(4), inner.image(4))
    np.testing.assert_array_equal(
        dataset.labels(4).planes["object"], inner.labels(4).planes["object"]
    )
    for name in ("name", "catalog", "categories", "image_names", "fingerprint"):
        assert getattr(dataset, name) == getattr(inner, name)
    assert len(dataset) == IMAGES


def test_a_failure_that_does_not_repeat_is_told_as_it_was(directory: Path) -> None:
    whole = BrodenDataset(directory)
    kept = leave_out_bad_images(whole)
    dataset = ListsBadImages(kept)
    first = directory / "images/x/00.jpg"
    content = first.read_bytes()
    first.unlink()
    original = bad_images.find_bad_images

    def mend_and_check(inner: ConceptDataset) -> dict[str, str]:
        first.write_bytes(content)
        return original(inner)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bad_images, "find_bad_images", mend_and_check)
        with pytest.raises(Net2VecError, match=r"x/00\.jpg is missing"):
            dataset.image(0)
    assert dataset.image(0).shape == (12, 10, 3)


def test_what_is_left_is_the_dataset_without_the_bad_images(directory: Path) -> None:
    whole = BrodenDataset(directory)
    rest = leave_out_bad_images(whole)
    kept = [index for index in range(IMAGES) if index not in BAD]
    assert len(rest) == len(kept)
    assert rest.image_names == tuple(whole.image_names[index] for index in kept)
    assert rest.is_val.tolist() == whole.is_val[kept].tolist()
    assert set(rest.left_out) == {f"x/{index:02d}.jpg" for index in BAD}
    for place, index in enumerate(kept):
        np.testing.assert_array_equal(rest.image(place), whole.image(index))
        np.testing.assert_array_equal(
            rest.labels(place).planes["object"], whole.labels(index).planes["object"]
        )
    masks = collect_concept_masks(rest)
    assert masks.pair_image.max() == len(kept) - 1
    assert masks.segmentation_size == (6, 5)


def test_fingerprint_says_which_images_are_left_out(directory: Path) -> None:
    whole = BrodenDataset(directory)
    one = leave_out_bad_images(whole).fingerprint
    assert one == leave_out_bad_images(whole).fingerprint != whole.fingerprint
    (directory / "images/x/05.jpg").write_bytes(b"no image")
    assert leave_out_bad_images(BrodenDataset(directory)).fingerprint != one


def test_missing_files_are_listed_at_once_and_left_out(directory: Path) -> None:
    before = leave_out_bad_images(BrodenDataset(directory))
    for name in ("01.jpg", "05_object.png"):
        (directory / "images/x" / name).unlink()
    with pytest.raises(Net2VecError, match=r"2 errors:(?s:.*)01\.jpg is missing(?s:.*)05_object"):
        BrodenDataset(directory)
    rest = leave_out_bad_images(BrodenDataset(directory, allow_missing=True))
    assert set(before.image_names) - set(rest.image_names) == {"x/01.jpg", "x/05.jpg"}
    assert "01.jpg is missing" in rest.left_out["x/01.jpg"]


def test_a_sound_dataset_stays_itself(directory: Path) -> None:
    for index, ending in BAD.items():
        source = directory / f"images/x/00{ending}"
        (directory / f"images/x/{index:02d}{ending}").write_bytes(source.read_bytes())
    whole = BrodenDataset(directory)
    assert leave_out_bad_images(whole) is whole


def test_nothing_left_is_an_error(directory: Path) -> None:
    for path in (directory / "images/x").glob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(Net2VecError, match=r"none of 20 images can be read(?s:.*)00\.jpg"):
        leave_out_bad_images(BrodenDataset(directory))


def test_long_lists_are_cut_short(directory: Path, monkeypatch) -> None:
    monkeypatch.setattr(errors, "MOST_LISTED", 3)
    with pytest.raises(Net2VecError, match=r"4 of 20(?s:.*)11\.jpg(?s:.*)and 1 more"):
        ListsBadImages(BrodenDataset(directory)).image(19)
