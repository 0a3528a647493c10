"""Which files of a folder dataset are read, and what is said of the others."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.bad_images import leave_out_bad_images
from net2vec_jax.data.folder import files as folder_files
from net2vec_jax.data.folder.dataset import FolderDataset, is_image_folder
from net2vec_jax.data.images.files import IMAGE_FORMATS

PIXELS = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)


def make_folder(root: Path, names: list[str], masks: str = "masks") -> Path:
    """Photographs of these names, each with a mask whose upper half is a cup."""
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 1
    for name in names:
        for folder, pixels, suffix in (("images", PIXELS, ".jpg"), (masks, mask, ".png")):
            path = root / folder / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "concepts.csv").write_text("number,name,category\n1,cup,object\n2,rim,part\n")
    return root


@pytest.mark.parametrize("suffix", [".gif", ".npy", ".tif", ".mat", ".jpg"])
@pytest.mark.parametrize("layer", ["masks", "masks_part"])
def test_masks_that_are_no_png_are_named(tmp_path: Path, layer: str, suffix: str) -> None:
    make_folder(tmp_path, ["a/0", "a/1"])
    path = tmp_path / layer / f"a/2{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"anything")
    with pytest.raises(Net2VecError, match=rf"{layer}: .*PNG.*a/2\{suffix}"):
        FolderDataset(tmp_path)


def test_what_tools_and_systems_leave_is_passed_over(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a/0", "a/1"])
    for name in (
        "images/a/0.json", "images/a/._0.jpg", "images/Thumbs.db", "images/__MACOSX/9.jpg",
        "images/README.md", "masks/a/0.json", "masks/a/0.npy", "masks/a/.DS_Store",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"anything")
    dataset = FolderDataset(tmp_path)
    assert sorted(dataset.image_names) == ["a/0.jpg", "a/1.jpg"]
    assert dataset.notices == ()


def test_photographs_of_other_kinds_are_named(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1", "2"])
    (tmp_path / "images/2.jpg").rename(tmp_path / "images/2.cr3")
    (tmp_path / "images/alone.cr3").write_bytes(b"raw")
    with pytest.raises(Net2VecError, match=r"images: .*2\.cr3; .*save them as JPEG or PNG"):
        FolderDataset(tmp_path)
    (tmp_path / "masks/2.png").unlink()
    (notice,) = FolderDataset(tmp_path).notices
    assert "(2: " in notice
    assert "2.cr3, alone.cr3" in notice


def test_a_heic_photograph_without_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path, ["0", "1"])
    (tmp_path / "images/1.jpg").rename(tmp_path / "images/1.HEIC")
    monkeypatch.setattr(folder_files, "IMAGE_FORMATS", ("JPEG", "PNG"))
    monkeypatch.setattr(folder_files, "IMAGE_SUFFIXES", (".jpg", ".png"))
    with pytest.raises(Net2VecError, match=r"1\.HEIC.*net2vec_jax\[heic\]"):
        FolderDataset(tmp_path)


@pytest.mark.skipif("HEIF" not in IMAGE_FORMATS, reason="pillow-heif is not installed")
def test_heic_photographs_are_read(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1"])
    (tmp_path / "images/1.jpg").unlink()
    Image.new("RGB", (60, 40), (200, 10, 10)).save(tmp_path / "images/1.heic", format="HEIF")
    dataset = FolderDataset(tmp_path, resolution=16)
    red = dataset.image(dataset.image_names.index("1.heic"))
    np.testing.assert_allclose(red.reshape(-1, 3), [[200, 10, 10]] * 256, atol=4)  # it is lossy


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF"])
def test_photographs_are_read_by_content(tmp_path: Path, kind: str) -> None:
    if kind not in IMAGE_FORMATS:
        pytest.skip(f"this Pillow does not read {kind}")
    make_folder(tmp_path, ["0", "1"])
    Image.new("RGB", (60, 40), (200, 10, 10)).save(tmp_path / "images/1.jpg", format=kind)
    dataset = FolderDataset(tmp_path, resolution=16)
    red = dataset.image(dataset.image_names.index("1.jpg"))
    np.testing.assert_allclose(red.reshape(-1, 3), [[200, 10, 10]] * 256, atol=8)  # lossy kinds


@pytest.mark.parametrize(
    ("rename", "advice"),
    [("{}_mask", "take '_mask' off the ends"), ("seg_{}", "take 'seg_' off the beginnings")],
)
def test_masks_of_other_names_say_what_to_rename(tmp_path: Path, rename: str, advice: str) -> None:
    make_folder(tmp_path, ["0", "1", "11"])
    for path in list((tmp_path / "masks").iterdir()):
        path.rename(path.with_stem(rename.format(path.stem)))
    with pytest.raises(Net2VecError, match=advice):
        FolderDataset(tmp_path)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1"], masks="labels")
    with pytest.raises(Net2VecError, match="no folder masks/, but labels/: rename it"):
        FolderDataset(tmp_path)
    (tmp_path / "concepts.csv").rename(tmp_path / "concepts.csv.txt")
    with pytest.raises(Net2VecError, match=r"concepts\.csv is missing \(there is concepts\.csv\.t"):
        FolderDataset(tmp_path)
    assert is_image_folder(tmp_path)
    (tmp_path / "label.csv").touch()
    assert not is_image_folder(tmp_path)  # a Broden directory without its index


def test_folders_of_splits_are_the_split(tmp_path: Path) -> None:
    names = ["train/0", "train/1", "train/2", "valid/3", "valid/0"]
    dataset = FolderDataset(make_folder(tmp_path, names))
    assert {name for name, val in zip(dataset.image_names, dataset.is_val, strict=True) if val} == {
        "valid/3.jpg",
        "valid/0.jpg",
    }
    assert "splits.csv" in dataset.notices[0]
    (tmp_path / "splits.csv").write_text(
        "image,split\n" + "".join(f"{name}.jpg,train\n" for name in names)
    )
    other = FolderDataset(tmp_path)
    assert not other.is_val.any()
    assert other.notices == ()
    assert other.fingerprint != dataset.fingerprint


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_names_in_either_form_of_unicode_are_one(
    tmp_path: Path, on_disk: str, in_table: str
) -> None:
    names = ["Küche/é", "b"]
    make_folder(tmp_path, [unicodedata.normalize(on_disk, name) for name in names])
    (tmp_path / "image_labels.csv").write_text(
        unicodedata.normalize(in_table, "image,concepts\nKüche/é.jpg,rim\n"), encoding="utf-8"
    )
    dataset = FolderDataset(tmp_path, resolution=16)
    assert set(dataset.image_names) == {"Küche/é.jpg", "b.jpg"}
    labels = dataset.labels(dataset.image_names.index("Küche/é.jpg"))
    assert labels.whole_image == {"part": (2,)}
    assert set(labels.planes) == {"object"}
    assert dataset.image(0).shape == (16, 16, 3)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")])
    with pytest.raises(Net2VecError, match=r"two files are called é\.jpg but for .*Unicode"):
        FolderDataset(tmp_path)


@pytest.mark.parametrize("name", ["mask_part/0.png", "split.csv", "train.txt", "labels.csv.txt"])
def test_tables_and_folders_of_other_names_are_said(tmp_path: Path, name: str) -> None:
    make_folder(tmp_path, ["0", "1"])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"anything")
    (tmp_path / "README.md").write_text("about")
    (notice,) = FolderDataset(tmp_path).notices
    assert f"{name.split('/')[0]}" in notice
    assert "README" not in notice
    assert "masks_NAME/" in notice
    assert "splits.csv" in notice


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", ["0", "1"])
    make_folder(tmp_path / "here", ["2"])
    for kind in ("images", "masks"):
        (tmp_path / "here" / kind / "linked").symlink_to(tmp_path / "elsewhere" / kind)
        (tmp_path / "here" / kind / "up").symlink_to(tmp_path / "here" / kind)
    dataset = FolderDataset(tmp_path / "here", resolution=16)
    assert set(dataset.image_names) == {"2.jpg", "linked/0.jpg", "linked/1.jpg"}
    assert set(dataset.labels(0).planes) == {"object"}


def test_links_to_nothing_may_be_left_out(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1", "2"])
    (tmp_path / "images/1.jpg").unlink()
    (tmp_path / "images/1.jpg").symlink_to(tmp_path / "nowhere")
    dataset = leave_out_bad_images(FolderDataset(tmp_path, resolution=16, allow_missing=True))
    assert set(dataset.image_names) == {"0.jpg", "2.jpg"}


def test_boxes_in_texts_are_no_masks(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1"])
    (tmp_path / "masks").rename(tmp_path / "labels")
    for path in (tmp_path / "labels").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(Net2VecError, match="labels/ holds no PNG file"):
        FolderDataset(tmp_path)


def test_number_0_in_image_labels_is_what_the_table_calls_0(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0", "1"])
    (tmp_path / "concepts.csv").write_text("number,name,category\n0,indoors,scene\n1,cup,object\n")
    (tmp_path / "image_labels.csv").write_text("image,concepts\n1.jpg,0\n")
    dataset = FolderDataset(tmp_path, resolution=16)
    labels = dataset.labels(dataset.image_names.index("1.jpg"))
    assert labels.whole_image == {"scene": (dataset.catalog.find("indoors")[0],)}
