"""Broden from an archive of the published shape: unpacked, counted, complete or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from published_broden import CATEGORIES, LABELS, write_published_broden, zip_folder

from experiments import prepare_broden as script
from experiments.script import run_script
from net2vec_jax.data import broden_archive
from net2vec_jax.data.broden import BrodenDataset
from net2vec_jax.data.broden_archive import RECORD_FILE, prepare_broden
from net2vec_jax.data.broden_counts import (
    BRODEN,
    RESOLUTIONS,
    CountCheck,
    ExpectedCounts,
    check_pixels,
    count_label_pixels,
)
from net2vec_jax.errors import Net2VecError


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExpectedCounts]:
    """The archive, and what it counts to."""
    folder = tmp_path_factory.mktemp("published")
    expected = write_published_broden(folder / "content")
    return zip_folder(folder / "content", folder / "b.zip", top="broden1_227"), expected


def test_a_directory_as_published_is_read(tmp_path: Path) -> None:
    expected = write_published_broden(tmp_path / "b")
    dataset = BrodenDataset(tmp_path / "b")
    assert dataset.categories == CATEGORIES
    assert len(dataset) == expected.images  # the row without data is dropped
    assert dataset.image_size == (227, 227)
    assert dataset.segmentation_size == (113, 113)
    assert {c.number: c.name for c in dataset.catalog} == {n: v[0] for n, v in LABELS.items()}
    assert dataset.labels(0).planes["part"].shape == (2, 113, 113)
    assert dict(dataset.labels(3).whole_image) == {"texture": (300, 301)}
    pixels = count_label_pixels(dataset)
    counted = {c.name: pixels[c.number] for c in dataset.catalog}
    area = 113 * 113
    whole = {name: images * area for name, images in expected.whole_images.items()}
    assert counted == {**expected.exact_pixels, **expected.pixels, **whole}
    assert pixels[0] == 0


def test_archive_becomes_a_directory_that_is_ready(
    tmp_path: Path, published: tuple[Path, ExpectedCounts]
) -> None:
    archive, expected = published
    prepared = prepare_broden(tmp_path / "data", 227, archive=archive, expected=expected)
    assert prepared.directory == tmp_path / "data/broden1_227"
    assert all(check.agrees for check in prepared.checks)
    assert not prepared.was_there
    assert (prepared.directory / "README.txt").exists()
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"broden1_227"}  # nothing else of the archive
    assert len(BrodenDataset(prepared.directory)) == expected.images
    shutil.move(archive, tmp_path / "gone.zip")
    try:
        again = prepare_broden(tmp_path / "data", 227, archive=archive, expected=expected)
    finally:
        shutil.move(tmp_path / "gone.zip", archive)
    assert again == dataclasses.replace(prepared, was_there=True)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_script_prints_the_table(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    resolution: int,
) -> None:
    expected = write_published_broden(tmp_path / "b", resolution=resolution, images=4)
    archive = zip_folder(tmp_path / "b", tmp_path / "b.zip", top=f"broden1_{resolution}")
    flags = ["--resolution", resolution, "--data-dir", tmp_path / "d", "--archive", archive]
    monkeypatch.setattr(sys, "argv", ["prepare_broden", *map(str, flags)])
    monkeypatch.setenv("COLUMNS", "120")
    run_script(lambda flags: script.main(flags, expected), script.PrepareFlags, "")
    shown = capsys.readouterr().out
    assert "pixels of wall, brick" in shown
    assert "differs" not in shown
    assert f"--dataset {tmp_path / 'd'}/broden1_{resolution}" in shown


def test_script_refuses_an_archive_that_counts_otherwise(
    tmp_path: Path,
    published: tuple[Path, ExpectedCounts],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    flags = ["--resolution", "227", "--data-dir", tmp_path / "d", "--archive", published[0]]
    monkeypatch.setattr(sys, "argv", ["prepare_broden", *map(str, flags)])
    with pytest.raises(SystemExit) as stopped:
        run_script(script.main, script.PrepareFlags, "")
    assert stopped.value.code == 2
    table, shown = capsys.readouterr()
    assert "pixels of brown-c" in table and "differs" in table
    assert "images: 63305 expected, 8 found" in shown
    assert "labels: 1197 expected, 9 found" in shown
    assert "pixels of brown-c: 185306464 expected, 0 found" in shown
    assert not (tmp_path / "d/broden1_227").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 9}, r"images: 9 expected, 8 found"),
        ({"labels": 10}, r"labels: 10 expected, 9 found"),
        ({"masked_labels": 5}, r"labels that mark pixels: 5 expected, 6 found"),
        ({"numbers": {"person": 19}}, r"label number of person: 19 expected, 3 found"),
        ({"train_share": 0.5}, r"train images: 4 expected, 6 found"),
        ({"whole_images": {"dotted": 3}}, r"pixels of dotted: 38307 expected, 25538 found"),
        ({"exact_pixels": {"red-c": 5}, "pixels": {"person": 7}}, r"red-c: 5 .*person: 7 "),
    ],
)
def test_every_count_that_differs_is_named(
    tmp_path: Path, published: tuple[Path, ExpectedCounts], change: dict, message: str
) -> None:
    archive, expected = published
    wrong = dataclasses.replace(expected, **change)
    with pytest.raises(Net2VecError, match=f"b.zip is not the published Broden.*{message}"):
        prepare_broden(tmp_path, 227, archive=archive, expected=wrong)
    assert not list(tmp_path.glob("broden1_227*/*"))
    prepared = prepare_broden(
        tmp_path, 227, archive=archive, expected=wrong, accept_differences=True
    )
    assert not all(check.agrees for check in prepared.checks)
    assert not all(check.agrees for check in prepare_broden(tmp_path, 227).checks)


def test_an_archive_of_another_resolution_is_refused(
    tmp_path: Path, published: tuple[Path, ExpectedCounts]
) -> None:
    archive, expected = published
    with pytest.raises(Net2VecError, match="image height: 224 expected, 227 found"):
        prepare_broden(tmp_path, 224, archive=archive, expected=expected)
    with pytest.raises(Net2VecError, match="224, 227, 384 pixels, not 256"):
        prepare_broden(tmp_path, 256, archive=archive)


def test_pixels_are_compared_in_proportion_at_other_sizes(tmp_path: Path) -> None:
    expected = write_published_broden(tmp_path / "b", resolution=224)
    dataset = BrodenDataset(tmp_path / "b")
    pixels = count_label_pixels(dataset)
    checks = check_pixels(dataset, dataclasses.replace(expected, plane_size=(113, 113)), pixels)
    black, dotted = checks[0], next(check for check in checks if "dotted" in check.name)
    assert black.expected == round(expected.exact_pixels["black-c"] * 112**2 / 113**2)
    assert black.tolerance == int(black.expected * 0.02)
    assert (dotted.expected, dotted.found, dotted.tolerance) == (2 * 112**2, 2 * 112**2, 0)


def test_tolerance_is_a_tenth_of_a_percent_and_none_for_colours(tmp_path: Path) -> None:
    expected = write_published_broden(tmp_path / "b")
    dataset = BrodenDataset(tmp_path / "b")
    pixels = count_label_pixels(dataset)
    person = expected.pixels["person"]
    for shift, agrees in ((person // 1000, True), (person // 1000 + 1, False)):
        moved = pixels + np.where(np.arange(len(pixels)) == 3, shift, 0)
        checks = {check.name: check for check in check_pixels(dataset, expected, moved)}
        assert checks["pixels of person"].agrees is agrees
    checks = {check.name: check for check in check_pixels(dataset, expected, pixels + 1)}
    assert not checks["pixels of black-c"].agrees
    assert not checks["pixels of dotted"].agrees


def test_published_numbers_hold_together() -> None:
    """Every pixel of the 63,305 images has one colour; the whole-image labels are scarcer."""
    area = 113 * 113
    colours = sum(BRODEN.exact_pixels.values())
    assert len(BRODEN.exact_pixels) == 11
    assert 0.85 < colours / (BRODEN.images * area) <= 1
    assert max(BRODEN.pixels.values()) < colours
    assert BRODEN.labels - BRODEN.masked_labels == 515


def test_a_directory_unpacked_by_hand_is_counted_and_stays_as_it_is(tmp_path: Path) -> None:
    expected = write_published_broden(tmp_path / "broden1_227")
    before = sorted(tmp_path.rglob("*"))
    prepared = prepare_broden(tmp_path, 227, expected=expected)
    assert (prepared.archive_sha256, prepared.was_there) == (None, True)
    assert sorted(tmp_path.rglob("*")) == before
    wrong = dataclasses.replace(expected, images=7)
    with pytest.raises(Net2VecError, match=r"broden1_227 is not the published.*images: 7"):
        prepare_broden(tmp_path, 227, expected=wrong)


def test_the_archive_is_downloaded_if_none_is_given(
    tmp_path: Path, published: tuple[Path, ExpectedCounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, expected = published

    def download(url: str, path: Path, **options: object) -> Path:
        assert url == "http://netdissect.csail.mit.edu/data/broden1_227.zip"
        assert options["checksum"] is None
        shutil.copy(archive, path)
        return path

    monkeypatch.setattr(broden_archive, "download_file", download)
    prepared = prepare_broden(tmp_path, 227, expected=expected)
    assert len(prepared.archive_sha256) == 64
    assert (tmp_path / "broden1_227.zip").exists()


def test_offline_the_message_says_where_to_put_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broden_archive, "ARCHIVE_ADDRESS", "http://127.0.0.1:9/broden.zip")
    with pytest.raises(Net2VecError, match=r"pass it as --archive, or put it at .*227\.zip"):
        prepare_broden(tmp_path, 227)


def test_a_damaged_record_is_named(tmp_path: Path, published: tuple[Path, ExpectedCounts]) -> None:
    archive, expected = published
    directory = prepare_broden(tmp_path, 227, archive=archive, expected=expected).directory
    whole = (directory / RECORD_FILE).read_text()
    for text in ("", "[]", "{}", whole[:-20], json.dumps({"checks": [{"name": 1}]})):
        (directory / RECORD_FILE).write_text(text)
        with pytest.raises(Net2VecError, match=r"prepared\.json is damaged.*remove it"):
            prepare_broden(tmp_path, 227)
    (directory / RECORD_FILE).unlink()
    assert prepare_broden(tmp_path, 227, expected=expected).was_there


def test_checks_agree_within_their_tolerance() -> None:
    assert CountCheck("a", 100, 101, 1).agrees
    assert not CountCheck("a", 100, 102, 1).agrees
    assert str(CountCheck("a", 100, 102, 1)) == "a: 100 (± 1) expected, 102 found"
