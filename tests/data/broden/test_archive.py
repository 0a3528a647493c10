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
from rich.console import Console

from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden import archive as broden_archive
from net2vec_jax.data.broden.archive import RECORD_FILE, prepare_broden
from net2vec_jax.data.broden.counts import (
    RESOLUTIONS,
    CountCheck,
    ExpectedCounts,
    PublishedPixels,
    check_pixels,
    count_label_pixels,
    describe_differences,
    published_counts,
)
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.tables import read_table
from net2vec_jax.studies import prepare_broden as script


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
    assert counted == {**expected.pixels, **whole}
    assert pixels[0] == 0


def test_archive_becomes_a_directory_that_is_ready(
    tmp_path: Path, published: tuple[Path, ExpectedCounts]
) -> None:
    archive, expected = published
    prepared = prepare_broden(tmp_path / "data", 227, archive=archive, expected=expected)
    assert prepared.directory == tmp_path / "data/broden1_227"
    assert all(check.agrees for check in prepared.checks)
    assert (prepared.directory / "README.txt").exists()
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert left == {"broden1_227"}  # nothing else of the archive
    assert len(BrodenDataset(prepared.directory)) == expected.images
    shutil.move(archive, tmp_path / "gone.zip")
    try:
        again = prepare_broden(tmp_path / "data", 227, archive=archive, expected=expected)
    finally:
        shutil.move(tmp_path / "gone.zip", archive)
    assert again == prepared


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_script_prints_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, resolution: int
) -> None:
    expected = write_published_broden(tmp_path / "b", resolution=resolution, images=4)
    archive = zip_folder(tmp_path / "b", tmp_path / "b.zip", top=f"broden1_{resolution}")
    flags = ["--resolution", resolution, "--data-dir", tmp_path / "d", "--archive", archive]
    monkeypatch.setattr(sys, "argv", ["prepare_broden", *map(str, flags)])
    monkeypatch.setenv("COLUMNS", "120")

    def prepare(flags: script.PrepareFlags) -> None:
        script.main(flags, expected)

    run_script(prepare)
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
        run_script(script.main)
    assert stopped.value.code == 2
    table, shown = capsys.readouterr()
    assert "pixels of brown-c" in table and "differs" in table
    assert "images: 63305 expected, 8 found" in shown
    assert "labels: 1197 expected, 9 found" in shown
    assert "label number of person: 19 expected, 3 found" in shown
    assert "more. Download it again" in shown
    assert not (tmp_path / "d/broden1_227").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 9}, r"images: 9 expected, 8 found"),
        ({"labels": 10}, r"labels: 10 expected, 9 found"),
        ({"masked_labels": 5}, r"labels that mark pixels: 5 expected, 6 found"),
        (
            {"numbers": {"person": 19, "dotted": 300}},
            r"label numbers: 2 expected, 1 found; label number of person: 19 expected, 3 found",
        ),
        ({"train_share": 0.5}, r"train images: 4 expected, 6 found"),
        ({"whole_images": {"dotted": 3}}, r"pixels of dotted: 38307 expected, 25538 found"),
        ({"pixels": {"red-c": 5, "person": 7}}, r"red-c: 5 .*person: 7 "),
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


def test_pixels_are_compared_with_what_was_published_at_that_size(tmp_path: Path) -> None:
    """At the size of the table all of it, exactly; elsewhere what is known there."""
    expected = write_published_broden(tmp_path / "b")
    dataset = BrodenDataset(tmp_path / "b")
    pixels = count_label_pixels(dataset)

    def check(shift: int = 0, **change: object) -> dict[str, CountCheck]:
        moved = pixels + np.where(np.arange(len(pixels)) == 3, shift, 0)  # the person's
        checks = check_pixels(dataset, dataclasses.replace(expected, **change), moved)
        return {check.name: check for check in checks}

    exact = check()
    assert len(exact) == len(expected.pixels) + len(expected.whole_images)
    assert all(check.agrees and not check.tolerance for check in exact.values())
    assert not check(shift=1)["pixels of person"].agrees

    person = expected.pixels["person"]
    published = {
        "red-c": PublishedPixels(expected.pixels["red-c"]),
        "person": PublishedPixels(person, 0.001),
    }
    # The table is of another size, but some pixels were published at this one.
    other = {
        "plane_size": (112, 112),
        "pixels": {"person": 5},
        "other_sizes": {(113, 113): published},
    }
    known = {f"pixels of {name}" for name in ("red-c", "person", *expected.whole_images)}
    assert set(check(**other)) == known
    assert all(check.agrees for check in check(person // 1000, **other).values())
    assert not check(person // 1000 + 1, **other)["pixels of person"].agrees
    assert not check(**other | {"whole_images": {"dotted": 3}})["pixels of dotted"].agrees

    # Nothing was published at this size: in proportion, of the labels that were at another.
    table = {"person": round(person * (56 * 56) / (113 * 113)), "head": 7}
    scaled = {"plane_size": (56, 56), "pixels": table, "other_sizes": {(7, 7): published}}
    assert set(check(**scaled)) == known - {"pixels of red-c"}
    for shift, agrees in ((0, True), (person // 60, True), (person // 40, False)):
        assert check(shift, **scaled)["pixels of person"].agrees is agrees
    dotted = check(**scaled)["pixels of dotted"]
    assert (dotted.expected, dotted.found, dotted.tolerance) == (2 * 113**2, 2 * 113**2, 0)


def test_published_numbers_hold_together() -> None:
    """A pixel has at most one colour; two sizes of 31 labels are nearly in proportion."""
    broden = published_counts()
    colours = {name: n for name, n in broden.pixels.items() if name.endswith("-c")}
    assert len(colours) == 11
    assert sorted(broden.numbers[name] for name in colours) == list(range(1, 12))
    assert 0.999 < sum(colours.values()) / (broden.images * 112**2) <= 1
    assert len(broden.numbers) == len(set(broden.numbers.values())) == 683
    assert set(broden.numbers) == {*broden.pixels, *broden.whole_images}
    assert not set(broden.pixels) & set(broden.whole_images)
    assert broden.labels - broden.masked_labels == 515
    (published,) = broden.other_sizes.values()
    assert len(published) == 31
    for name, (count, tolerance) in published.items():
        assert abs(broden.pixels[name] / (count * 112**2 / 113**2) - 1) < 0.008
        assert (tolerance == 0) == (name in colours)
    # Spec 1.10 and 9.2.
    numbers = {"person": 19, "chair": 36, "car": 38, "dog": 93, "train": 185, "sheep": 243}
    assert numbers.items() <= broden.numbers.items()
    images = {"dotted": 234, "banded": 205, "cobwebbed": 120, "street-s": 2241, "park-s": 94}
    assert images.items() <= broden.whole_images.items()


def test_the_published_table_agrees_with_its_sources(shared_dir: Path) -> None:
    """The pixels that NetDissect's results state, and the tables of the archive."""
    published = shared_dir / "broden_published"
    if not published.is_dir():
        pytest.skip(f"the tables of the published Broden are absent: {published}")
    truth: dict[int, set[int]] = {}
    for _, row in read_table(published / "broden224_truth_pixels_112.csv", ("pixels_at_112",))[1]:
        truth.setdefault(int(row["number"]), set()).add(int(row["pixels_at_112"]))
    # Scenes of number 0, which mark nothing.
    assert truth.pop(0) == {1987 * 112**2}
    broden = published_counts()
    ours = broden.pixels | {name: n * 112**2 for name, n in broden.whole_images.items()}
    assert {broden.numbers[name]: {count} for name, count in ours.items()} == truth
    for category in ("scene", "texture"):
        for _, row in read_table(published / f"c_{category}.csv", ("name", "frequency"))[1]:
            if row["name"] in broden.whole_images:
                assert broden.whole_images[row["name"]] == int(row["frequency"])


def test_a_long_list_of_counts_shows_all_that_differ(capsys: pytest.CaptureFixture) -> None:
    checks = [CountCheck(f"label {n}", n, n + (n % 100 == 99)) for n in range(700)]
    Console(width=100).print(script.tabulate_checks(checks))
    shown = capsys.readouterr().out
    assert [line.split()[-4] for line in shown.splitlines() if "differs" in line] == [
        f"{n + 1}" for n in range(99, 700, 100)
    ]
    assert shown.count("agrees") == 50
    assert "and 643 more, which agree" in shown
    wrong = [CountCheck(f"label {n}", n, n + 1) for n in range(70)]
    assert describe_differences(wrong).endswith("label 49: 49 expected, 50 found; and 20 more")


def test_a_directory_unpacked_by_hand_is_counted_and_stays_as_it_is(tmp_path: Path) -> None:
    expected = write_published_broden(tmp_path / "broden1_227")
    before = sorted(tmp_path.rglob("*"))
    prepared = prepare_broden(tmp_path, 227, expected=expected)
    assert prepared.archive_sha256 is None
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
    assert prepare_broden(tmp_path, 227, expected=expected).directory.exists()


def test_checks_agree_within_their_tolerance() -> None:
    assert CountCheck("a", 100, 101, 1).agrees
    assert not CountCheck("a", 100, 102, 1).agrees
    assert str(CountCheck("a", 100, 102, 1)) == "a: 100 (± 1) expected, 102 found"
