"""Folders and files whose names are those of splits."""

import pytest

from net2vec_jax.data.splits import split_by_folders


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train", "val"),
        ("Training", "validation"),
        ("train2017", "test"),
        ("train_images", "val_images"),
        ("images_train", "images_test"),
        ("training_set", "test_set"),
        ("train-set", "val-set"),
        ("trainA", "testA"),
        ("train", "dev"),
        ("Train", "Eval"),
        ("train", "evaluation"),
        ("train", "holdout"),
        ("train2017_images", "val_2017"),
    ],
)
def test_folders_named_like_splits_are_the_split(train: str, val: str) -> None:
    names = [f"{train}/a.jpg", f"{val}/b.jpg", f"deeper/{val}/c/d.jpg"]
    splits, notice = split_by_folders(names, otherwise="write splits.csv")
    assert splits == {names[0]: "train", names[1]: "val", names[2]: "val"}
    assert f"{train.lower()}/ is train" in notice
    assert f"{val.lower()}/ is val" in notice
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
    "word",
    ["trainer", "value", "testimony", "trains", "traina", "train_station", "device", "val_x"],
)
def test_words_that_only_begin_like_splits_are_none(word: str) -> None:
    names = [f"train/{word}/a.jpg", f"val/{word}/b.jpg"]
    assert split_by_folders(names, otherwise="")[0] == {names[0]: "train", names[1]: "val"}
    assert split_by_folders([f"{word}/a.jpg", f"{word}/b.jpg"], otherwise="") == (None, None)


def test_file_names_like_splits_are_said_but_not_followed() -> None:
    for names in (
        ["ADE_train_0001.jpg", "ADE_val_0007.jpg"],
        ["a/train_0.jpg", "b/val_6.jpg", "Test-7.jpg"],
        ["COCO_train2014_1.jpg", "COCO_val2014_2.jpg"],
    ):
        splits, notice = split_by_folders(names, otherwise="write splits.csv")
        assert splits is None
        assert "train" in notice
        assert "by a hash of the names; write splits.csv" in notice
        assert split_by_folders([*names, "cat.jpg"], otherwise="") == (None, None)
        assert split_by_folders(names[:1], otherwise="") == (None, None)
    assert split_by_folders(["trains_1.jpg", "valley_2.jpg"], otherwise="") == (None, None)
