"""Groups of images: read from every form of dataset, kept whole by drawn splits, carried along."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from coco_examples import make_annotations, make_mugs, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.bad_images import ImageSubset, ListsBadImages, leave_out_bad_images
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.cache import load_concept_masks, load_packed_images
from net2vec_jax.data.coco.dataset import CocoDataset
from net2vec_jax.data.dataset import ConceptDataset, ImageLabels, LabelledImage
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.groups import (
    draw_val_groups,
    name_group,
    number_groups,
    remark_on_groups,
    split_by_groups,
)
from net2vec_jax.data.masks import collect_concept_masks

FILMS = ["b", "b", "a", "c", "a", "c"]


def groups_by_name(dataset: ConceptDataset) -> dict[str, int]:
    return dict(zip(dataset.image_names, dataset.image_groups.tolist(), strict=True))


# Numbers and splits


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30))
def test_numbers_are_consecutive_in_order_of_first_appearance(groups: list[str]) -> None:
    numbers = number_groups(groups)
    assert numbers.dtype == np.int32
    firsts = [number for at, number in enumerate(numbers.tolist()) if number not in numbers[:at]]
    assert firsts == list(range(len(set(groups))))
    assert len(set(zip(groups, numbers.tolist(), strict=True))) == len(set(groups))


@given(
    st.lists(st.integers(0, 8), min_size=2, max_size=60).filter(lambda some: len(set(some)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_drawn_splits_take_whole_groups_and_are_near_the_fraction(
    values: list[int], fraction: float, seed: int
) -> None:
    groups = number_groups(values)
    largest = np.bincount(groups).max()
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    is_val = draw_val_groups(groups, order, fraction)
    assert not set(groups[is_val]) & set(groups[~is_val])
    assert 0 < is_val.sum() < len(groups)
    assert abs(is_val.sum() - fraction * len(groups)) <= largest
    by_hash = np.array(split_by_groups([f"film {value}" for value in values])) == "val"
    assert not set(groups[by_hash]) & set(groups[~by_hash])
    assert abs(by_hash.sum() - 0.3 * len(groups)) <= largest


def test_a_single_group_has_no_val_images() -> None:
    assert split_by_groups(["a"] * 5) == ["train"] * 5


def test_groups_of_one_image_are_drawn_like_images() -> None:
    images, masks = np.zeros((11, 8, 8, 3), np.uint8), np.ones((11, 4, 4), np.int32)
    for fraction in (0.05, 0.3, 0.5, 0.95):
        drawn = functools.partial(n2v.from_arrays, images, masks, {1: "sky"}, val=fraction, seed=3)
        assert drawn(groups=range(11)).is_val.tolist() == drawn().is_val.tolist()


@pytest.mark.parametrize("value", ["", "  ", None, float("nan"), "nan", "NULL", [1], {}, b""])
def test_empty_groups_are_refused(value: object) -> None:
    with pytest.raises(Net2VecError, match=r"here: the group is .*one of its own"):
        name_group(value, "here")


def test_groups_are_text_or_numbers() -> None:
    assert [name_group(value, "") for value in ("7", 7, np.int64(7), b"7", " 7 ")] == ["7"] * 5
    assert name_group("cafe\u0301", "") == "caf\u00e9"


# Notices


def test_torn_groups_are_counted_and_named() -> None:
    (notice,) = remark_on_groups(
        list("uvwxyz"), FILMS, np.array([0, 1, 0, 0, 1, 0], bool), remedy=""
    )
    assert "(2 of 3: b, a)" in notice
    assert not remark_on_groups(
        list("uvwxyz"), FILMS, np.array([1, 1, 0, 0, 0, 0], bool), remedy=""
    )


def frames(prefix: str, start: int, step: int, count: int = 12, end: str = ".jpg") -> list[str]:
    return [f"{prefix}{start + step * at:06}{end}" for at in range(count)]


@pytest.mark.parametrize(
    "names",
    [
        frames("0001TP_", 6690, 30, end=".png") + frames("0006R0_f", 930, 30, end=".png"),
        [
            *(f"camvid/{film}_{6690 + 30 * at:06}{eye}.jpg" for film in "AB" for at in range(12)
              for eye in "lr"),
        ],
        frames("seq_01_", 1, 1) + frames("seq_02_", 1, 1),
        frames("videos/a/", 0, 1) + frames("videos/b/", 0, 1),
        frames("frame_", 0, 1),
        frames("frames/frame", 0, 5),
        frames("clip1/", 0, 1) + frames("clip2/", 0, 1) + ["title.jpg"] * 5,
    ],
)  # fmt: skip
def test_names_that_look_like_frames_are_said(names: list[str]) -> None:
    is_val = np.zeros(len(names), bool)
    (notice,) = remark_on_groups(names, None, is_val, remedy="a column group")
    assert notice.endswith("a column group")
    assert not remark_on_groups(names, names, is_val, remedy="")


def irregular(prefix: str, digits: int, seed: int) -> list[str]:
    """A tenth of a numbered dataset, as a subset of VOC or COCO is."""
    chosen = np.sort(np.random.default_rng(seed).choice(3000, 300, replace=False)).tolist()
    return [f"{prefix}{number:0{digits}}.jpg" for number in chosen]


@pytest.mark.parametrize(
    "names",
    [
        irregular("2007_", 6, 0) + irregular("2008_", 6, 1),
        irregular("", 12, 0),
        irregular("train2017/", 12, 0) + irregular("val2017/", 12, 1),
        [f"ADE_{split}_{at:08}.jpg" for split in ("train", "val") for at in range(1, 50)],
        [f"{kind}_{at}_s.jpg" for kind in range(1, 21) for at in range(1, 31)],
        [f"{at:06}.jpg" for at in range(500)],
        [f"img_{10 * at}.jpg" for at in range(500)],
        [f"{kind}/{at:03}.jpg" for kind in ("cat", "dog") for at in range(50)],
        [f"aachen_{at:06}_000019_leftImg8bit.png" for at in range(100)],
        [f"video_{at}.png" for at in range(100)],
        [f"patients/{state}_{at}.png" for state in ("ill", "well") for at in range(50)],
        [f"{kind}_{number}.jpg" for kind in ("banded", "dotted") for number in range(1, 120)],
        frames("video1_", 0, 1, count=9) + frames("video2_", 0, 1, count=9),
        frames("video1_", 0, 1) + frames("video2_", 0, 1) + [f"cat{at}.jpg" for at in range(9)],
        ["a.jpg", "b.jpg"],
        [],
    ],
)
def test_numbered_datasets_are_not_taken_for_films(names: Sequence[str]) -> None:
    assert not remark_on_groups(names, None, np.zeros(len(names), bool), remedy="")


# Arrays


def make_arrays(**options: object) -> ConceptDataset:
    images, masks = np.zeros((6, 8, 8, 3), np.uint8), np.ones((6, 4, 4), np.int32)
    return n2v.from_arrays(images, masks, {1: "sky"}, **options)


def test_arrays_keep_groups_whole_and_have_another_fingerprint_with_them() -> None:
    dataset = make_arrays(groups=FILMS, val=0.3)
    assert dataset.image_groups.tolist() == [0, 0, 1, 2, 1, 2]
    assert dataset.is_val.sum() == 2
    assert len(set(dataset.image_groups[dataset.is_val])) == 1
    assert "in 3 groups" in repr(dataset)
    val = dataset.is_val
    alone = make_arrays(val=val)
    assert alone.image_groups is None
    # As it was before there were groups: activations on disk stay valid.
    assert make_arrays(val=[True] + [False] * 5).fingerprint.startswith("acebac71d2196e16")
    others = [[1, 1, 2, 3, 2, 3], [1, 2, 3, 4, 5, 6]]
    same, other = (make_arrays(val=val, groups=groups) for groups in others)
    assert len({alone.fingerprint, dataset.fingerprint, other.fingerprint}) == 3
    assert same.fingerprint == dataset.fingerprint


def test_arrays_say_which_groups_a_given_split_tears(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = make_arrays(groups=FILMS, val=[True, False, False, False, False, False])
    assert "(1 of 3: b)" in dataset.notices[0]
    assert f"note: {dataset.notices[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("groups", "culprit"),
    [
        (["a", "", "b", "b", "b", "b"], r"groups\[1\]: the group is ''"),
        (["a"] * 5, "6 images, but groups of 5"),
        (["a"] * 6, "6 train and 0 val images"),
    ],
)
def test_groups_of_arrays_that_are_refused(groups: list[str], culprit: str) -> None:
    with pytest.raises(Net2VecError, match=culprit):
        make_arrays(groups=groups)


# Broden directories, and what is prepared from them


def write_directory(root: Path, groups: Sequence[str | None], names: Sequence[str] = ()) -> Path:
    rng = np.random.default_rng(0)
    examples = [
        LabelledImage(
            names[at] if names else f"x/{at}.jpg",
            "val" if at in (0, 1) else "train",
            rng.integers(0, 256, (8, 8, 3)).astype(np.uint8),
            ImageLabels({"object": np.ones((1, 4, 4), np.int32)}, {}),
            group,
        )
        for at, group in enumerate(groups)
    ]
    write_broden(root, examples, {1: "sky"})
    return root


def test_broden_directories_are_written_and_read_with_groups(tmp_path: Path) -> None:
    dataset = BrodenDataset(write_directory(tmp_path / "a", FILMS))
    assert dataset.categories == ("object",)
    assert dataset.image_groups.tolist() == [0, 0, 1, 2, 1, 2]
    assert dataset.notices == ()
    alone = BrodenDataset(write_directory(tmp_path / "b", [None] * 6))
    assert alone.image_groups is None
    assert "group" not in (tmp_path / "b/index.csv").read_text()
    torn = BrodenDataset(write_directory(tmp_path / "c", ["film", *"abcd", "film"]))
    assert "(1 of 5: film)" in torn.notices[0]
    with pytest.raises(Net2VecError, match=r"x/1\.jpg: no group"):
        write_directory(tmp_path / "d", ["a", None])


def test_an_empty_group_of_a_broden_directory_is_refused(tmp_path: Path) -> None:
    index = write_directory(tmp_path / "a", FILMS) / "index.csv"
    index.write_text(index.read_text().replace(",c,", ",,", 1))
    with pytest.raises(Net2VecError, match=r"index\.csv line 5: the group is ''"):
        BrodenDataset(tmp_path / "a")


def test_films_without_groups_are_said_of_a_broden_directory(tmp_path: Path) -> None:
    names = frames("A_", 0, 30) + frames("B_", 0, 30)
    dataset = BrodenDataset(write_directory(tmp_path / "a", [None] * 24, names))
    assert "(2: A_…, B_…)" in dataset.notices[0]
    assert dataset.notices[0].endswith("a column group of index.csv")


def test_prepared_data_has_the_groups_of_its_directory(tmp_path: Path) -> None:
    from net2vec_jax.data.tfds.broden import TfdsBrodenDataset
    from net2vec_jax.data.tfds.builders import prepare_broden
    from net2vec_jax.data.tfds.records import TfdsRecords

    prepared = prepare_broden(write_directory(tmp_path / "a", FILMS), tmp_path / "tfds")
    assert prepared.image_groups.tolist() == [0, 0, 1, 2, 1, 2]
    path = prepared.directory / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps(metadata | {"groups": metadata["groups"][1:]}))
    with pytest.raises(Net2VecError, match="5 groups of 6 images"):
        TfdsBrodenDataset(TfdsRecords(prepared.directory))
    alone = prepare_broden(write_directory(tmp_path / "b", [None] * 6), tmp_path / "tfds")
    assert alone.image_groups is None
    assert "groups" not in json.loads((alone.directory / "metadata.json").read_text())


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of four films."""
    root = tmp_path / "mine"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for at in range(12):
            Image.new("L", (8, 8), 1).save(root / kind / f"{at}.png")
    (root / "concepts.csv").write_text("number,name,category\n1,sky,object\n")
    return root


def write_table(folder: Path, header: str, row: Callable[[int], str]) -> None:
    rows = "".join(f"{at}.png,{row(at)}\n" for at in range(12))
    (folder / "splits.csv").write_text(f"image,{header}\n{rows}")


def test_a_folder_with_groups_alone_is_split_by_them(folder: Path) -> None:
    without = FolderDataset(folder)
    assert without.image_groups is None
    write_table(folder, "group", lambda at: f"film {at // 3}")
    dataset = FolderDataset(folder)
    groups = groups_by_name(dataset)
    assert sorted(set(groups.values())) == [0, 1, 2, 3]
    assert all(groups[f"{at}.png"] == groups[f"{at // 3 * 3}.png"] for at in range(12))
    assert dataset.is_val.sum() == 3  # 30 % of twelve is nearest to one film
    assert len(set(dataset.image_groups[dataset.is_val])) == 1
    assert dataset.notices == ()
    assert dataset.fingerprint != without.fingerprint


def test_a_folder_says_which_groups_its_split_tears(folder: Path) -> None:
    row = lambda at: f"{'val' if at < 5 else 'train'},film {at // 3}"  # noqa: E731
    write_table(folder, "split,group", row)
    (notice,) = FolderDataset(folder).notices
    assert "(1 of 4: film 1)" in notice
    write_table(folder, "split", row=lambda at: row(at).partition(",")[0])
    assert FolderDataset(folder).image_groups is None


def test_folders_named_like_splits_may_tear_groups(folder: Path) -> None:
    for kind in ("images", "masks"):
        for at in range(12):
            path = folder / kind / ("val" if at < 5 else "train") / f"{at}.png"
            path.parent.mkdir(exist_ok=True)
            (folder / kind / f"{at}.png").rename(path)
    rows = "".join(
        f"{path.relative_to(folder / 'images').as_posix()},{int(path.stem) // 3}\n"
        for path in (folder / "images").rglob("*.png")
    )
    (folder / "splits.csv").write_text(f"image,group\n{rows}")
    dataset = FolderDataset(folder)
    assert dataset.is_val.sum() == 5
    assert "(1 of 4: 1)" in dataset.notices[1]


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (("5.png,film 1", "5.png,"), r"splits\.csv line 7: the group is ''"),
        (("5.png,film 1\n", ""), r"splits\.csv has no row for .*5\.png"),
        (("image,group", "image,film"), r"column split is missing"),
    ],
)
def test_groups_of_a_folder_that_are_refused(
    folder: Path, change: tuple[str, str], culprit: str
) -> None:
    write_table(folder, "group", lambda at: f"film {at // 3}")
    table = folder / "splits.csv"
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(Net2VecError, match=culprit):
        FolderDataset(folder)


# COCO


def test_coco_images_have_groups_or_videos(tmp_path: Path) -> None:
    for field in ("group", "video_id"):
        content = make_mugs()
        for image in content["images"]:
            image[field] = image["id"] // 2
        dataset = CocoDataset([write(tmp_path / field, content)])
        groups = groups_by_name(dataset)
        assert all(groups[f"{at}.jpg"] == groups[f"{at // 2 * 2}.jpg"] for at in range(8))
        assert sorted(set(groups.values())) == [0, 1, 2, 3]
        assert dataset.is_val.sum() == 2
        assert dataset.notices == ()
    for image in content["images"]:
        image["video_id"] = 0  # as exporters fill it in
    assert CocoDataset([write(tmp_path, content)]).image_groups is None


def test_coco_parts_share_groups_but_not_videos(tmp_path: Path) -> None:
    torn = {}
    for field in ("group", "video_id"):
        parts = []
        for split in ("train", "val"):
            content = make_annotations()
            for at, image in enumerate(content["images"]):
                image["file_name"] = f"{split}{at}.jpg"
                image[field] = at
            parts.append(write(tmp_path / field / split, content))
        dataset = CocoDataset(parts)
        assert dataset.image_groups.max() + 1 == (3 if field == "group" else 6)
        torn[field] = dataset.notices
    assert "(3 of 3: " in torn["group"][0]
    assert torn["video_id"] == ()


def test_a_coco_image_without_group_is_refused(tmp_path: Path) -> None:
    content = make_mugs()
    content["images"][3]["group"] = "a"
    with pytest.raises(Net2VecError, match=r"instances\.json: image '\d\.jpg': the group is None"):
        CocoDataset([write(tmp_path, content)])


# What carries them


def test_views_subsets_and_masks_carry_groups(tmp_path: Path) -> None:
    dataset = BrodenDataset(write_directory(tmp_path / "a", FILMS))
    assert ListsBadImages(dataset).image_groups is dataset.image_groups
    assert load_packed_images(dataset).image_groups is dataset.image_groups
    subset = ImageSubset(dataset, [3, 4, 5], {})
    assert subset.image_groups.tolist() == [0, 1, 0]
    (tmp_path / "a/images/x/0.jpg").write_bytes(b"")
    screened = leave_out_bad_images(BrodenDataset(tmp_path / "a"))
    assert screened.image_groups.tolist() == [0, 1, 2, 1, 2]
    for load in (collect_concept_masks, load_concept_masks, load_concept_masks):
        masks = load(screened)
        np.testing.assert_array_equal(masks.image_groups, screened.image_groups)
        assert masks.image_groups.dtype == np.int32
    np.testing.assert_array_equal(masks.select(masks.catalog).image_groups, masks.image_groups)
    moved = jax.tree.map(lambda array: array, masks)
    np.testing.assert_array_equal(moved.image_groups, masks.image_groups)
    without = dataclasses.replace(masks, image_groups=None)
    assert jax.tree.map(lambda array: array, without).image_groups is None
