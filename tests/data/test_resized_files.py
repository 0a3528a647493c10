"""What the names and heads of image files say: splits by folders."""

import pytest

from net2vec_jax.data.resized_files import split_by_folders


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
