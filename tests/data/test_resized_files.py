"""What the names and heads of image files say: splits by folders, EXIF orientations."""

from pathlib import Path

import pytest
from PIL import Image

from net2vec_jax.data.resized_files import orientation_remark, split_by_folders


@pytest.mark.parametrize(
    ("train", "val"), [("train", "val"), ("Training", "validation"), ("train2017", "test")]
)
def test_folders_named_like_splits_are_the_split(train: str, val: str) -> None:
    names = [f"{train}/a.jpg", f"{val}/b.jpg", f"deeper/{val}/c/d.jpg"]
    splits, notice = split_by_folders(names, otherwise="write splits.csv")
    assert splits == {names[0]: "train", names[1]: "val", names[2]: "val"}
    assert f"{train.lower()}/ is train" in notice
    assert f"{val}/ is val" in notice
    assert notice.endswith("write splits.csv")


def test_folders_that_do_not_say_it_of_every_image_are_not_followed() -> None:
    names = ["train/a.jpg", "val/b.jpg", "more/c.jpg", "train/val/d.jpg"]
    splits, notice = split_by_folders(names, otherwise="write splits.csv")
    assert splits is None
    assert "more/c.jpg, train/val/d.jpg" in notice


def test_a_single_split_is_not_followed() -> None:
    splits, notice = split_by_folders(["train/a.jpg", "train/b.jpg"], otherwise="")
    assert splits is None
    assert "train" in notice


def test_other_folders_say_nothing() -> None:
    assert split_by_folders(["a.jpg", "train.jpg", "bus/c.jpg"], otherwise="") == (None, None)
    assert split_by_folders(["train/a.jpg", "bus/c.jpg"], otherwise="") == (None, None)


@pytest.mark.parametrize(
    ("orientation", "shape", "prefer_stored", "assumed"),
    [
        (None, (8, 12), False, None),
        (1, (8, 12), True, None),
        (6, (12, 8), True, None),  # only upright
        (6, (8, 12), True, ("only as stored", "taken as stored")),
        (6, (8, 12), False, ("only as stored", "taken as stored")),
        (3, (16, 24), True, ("both upright and as stored", "taken as stored")),
        (3, (16, 24), False, ("both upright and as stored", "taken upright")),
        (6, (99, 10), False, None),  # fits neither way, which reading it refuses
        (9, (8, 12), True, None),
        (6, None, True, ("both upright and as stored", "taken as stored")),
    ],
)
def test_what_is_assumed_of_turned_photographs_is_told(
    orientation: int | None,
    shape: tuple[int, int] | None,
    prefer_stored: bool,
    assumed: tuple[str, str] | None,
    tmp_path: Path,
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.new("RGB", (12, 8)).save(path, exif=exif)
    remark = orientation_remark(
        path, shape, prefer_stored=prefer_stored, otherwise="turn them yourself"
    )
    if assumed is None:
        assert remark is None
        return
    assert all(part in remark for part in ("photographs", "({count}: {images})", *assumed))
    assert remark.endswith(": turn them yourself")


def test_photographs_that_cannot_be_read_have_no_remark(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"none")
    for name in ("a.jpg", "nowhere.jpg"):
        assert orientation_remark(tmp_path / name, (1, 1), otherwise="") is None
