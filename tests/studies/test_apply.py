"""A run applied to photographs: the pixels that it was scored by, whatever the files are."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.bad_images import ImageSubset
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.images.photographs import find_photographs
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import apply
from net2vec_jax.studies.apply import ApplyFlags

CONCEPTS = ("sky", "tree", "blue-c")


@pytest.fixture(scope="module")
def run(finished_study: Path) -> Path:
    return finished_study / "block10" / "segmentation"


@pytest.fixture(scope="module")
def scenes(finished_study: Path) -> tuple[Path, ...]:
    """Files of the 80 images; label planes lie beside them."""
    return tuple(sorted((finished_study.parents[1] / "data" / "images").rglob("*.jpg")))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Five photographs of several sizes, kinds and folders, two of one name; three are bad."""
    folder, rng = tmp_path / "photographs", np.random.default_rng(0)
    (folder / "a" / "b").mkdir(parents=True)
    sizes = {"a/x.jpg": (50, 70), "a/b/x.jpg": (300, 120), "y.png": (224, 224), "z.webp": (9, 400)}
    for name, size in sizes.items():
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1]).save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(rng.integers(0, 256, (40, 90, 3), dtype=np.uint8)).save(
        folder / "turned.jpg", exif=turned
    )
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "a" / "cut.png").write_bytes((folder / "y.png").read_bytes()[:300])
    return folder


def read_scores(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_masks(out: Path, name: str, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool [C, Y, X]; what has no file marks nothing."""
    masks, known = np.zeros((len(numbers), *size), bool), numbers.tolist()
    for path in (out / "masks" / name).glob("*_*.png"):
        if (number := int(path.name[:4])) in known:
            with Image.open(path) as image:
                assert image.mode == "P"
                masks[known.index(number)] = np.asarray(image)
    return masks


def assert_stored_counts(
    run: Path, out: Path, masks: ConceptMasks, names: tuple[str, ...], step: int = 1
) -> None:
    """Intersections and unions of the masks in `out`, of every `step`-th image, are the run's."""
    finished = FinishedRun(run)
    place, overlaps = finished.full_overlaps(0)
    applied = overlaps.image % step == 0
    place, overlaps = place[applied], overlaps.select_entries(applied)
    marked = np.stack(
        [read_masks(out, name, finished.numbers, masks.segmentation_size) for name in names[::step]]
    )[overlaps.image // step, place]
    number = np.array([concept.number for concept in masks.catalog])
    known = number[masks.pair_concept] * len(names) + masks.pair_image
    pair = np.searchsorted(known, finished.numbers[place] * len(names) + overlaps.image)
    truth = masks.unpack(pair)
    assert len(truth) > 50 and overlaps.is_val.any()
    np.testing.assert_array_equal((marked & truth).sum((1, 2)), overlaps.intersection)
    np.testing.assert_array_equal((marked | truth).sum((1, 2)), overlaps.union)


@pytest.mark.parametrize("preset", ["paper", "converged"])
def test_masks_of_the_run_s_images_are_those_that_were_counted(
    preset: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue("run" if preset == "paper" else "converged_run")
    sources = RunSources(FinishedRun(path))
    names, step = tuple(sources.dataset.image_names), 4 if preset == "paper" else 2
    images = tuple(sources.dataset.directory / "images" / name for name in names[::step])
    apply.main(ApplyFlags(run=path, images=images, out=tmp_path, size="segmentation"))
    names = tuple(Path(name).name for name in names)
    assert_stored_counts(path, tmp_path, sources.masks, names, step)
    (first, *_), size = read_scores(tmp_path), sources.masks.segmentation_size
    (mask, *_) = read_masks(tmp_path, first["photograph"], sources.run.numbers, size)
    assert float(first["share"]) == pytest.approx(mask.mean())
    assert (float(first["maximum_probability"]) > 0.5) == mask.any()


def test_masks_of_camvid_are_those_that_were_counted(camvid: BrodenDataset, tmp_path: Path) -> None:
    kept = np.flatnonzero(np.arange(len(camvid)) % 60 == 0)
    dataset = ImageSubset(camvid, kept.tolist(), {})
    network = n2v.load_network("efficientnet_lite0")
    layer = n2v.collect_activations(network, dataset, "block10")
    probe = n2v.train_segmentation(layer, dataset, epochs=1, bootstrap_samples=20, untrained=False)
    path = probe.save(tmp_path / "run")
    images = camvid.directory / "images"
    files = tuple(images / name for name in dataset.image_names)
    root = images / Path(dataset.image_names[0]).parent
    flags = ApplyFlags(run=path, images=files, out=tmp_path / "out", size="segmentation")
    apply.main(flags)
    names = tuple(Path(images, name).relative_to(root).as_posix() for name in dataset.image_names)
    assert_stored_counts(path, flags.out, collect_concept_masks(dataset), names)


def test_photographs_are_marked_as_predict_marks_them(
    run: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    apply.main(
        ApplyFlags(run=run, images=(photographs,), out=out, concepts=CONCEPTS,
                   write=("masks", "heatmaps", "overlays", "sheets"))
    )  # fmt: skip
    error = capsys.readouterr().err
    assert "left out: 3 of 8 photographs" in error and "empty.jpg" in error
    with (out / "unreadable.csv").open(encoding="utf-8") as file:
        assert [row["photograph"] for row in csv.DictReader(file)] == [
            "a/cut.png", "empty.jpg", "text.jpg"
        ]  # fmt: skip
    finished, probe = FinishedRun(run), n2v.load_probe(run)
    numbers = finished.numbers[finished.find_concepts(CONCEPTS)]
    rows = read_scores(out)
    names = list(dict.fromkeys(row["photograph"] for row in rows))
    assert names == ["a/b/x.jpg", "a/x.jpg", "turned.jpg", "y.png", "z.webp"]
    for name in names:
        with Image.open(photographs / name) as image:
            shown = np.asarray(image.convert("RGB"))
        if name == "turned.jpg":
            shown = np.rot90(shown, -1)
            assert shown.shape[:2] == (90, 40)
        predicted = probe.predict([shown], list(CONCEPTS))
        found = read_masks(out, name, numbers, shown.shape[:2])
        assert (found != predicted.masks[0]).mean() < 1e-3
        for number, probability in zip(numbers, predicted.probabilities[0], strict=True):
            (path,) = (out / "heatmaps" / name).glob(f"{number:04d}_*.png")
            with Image.open(path) as image:
                np.testing.assert_allclose(np.asarray(image) / 255, probability, atol=0.0021)
    assert {path.suffix for path in (out / "overlays").rglob("*_*")} == {".jpg"}
    found = {row["concept"] for row in rows if float(row["share"]) > 0}
    assert len(list((out / "sheets").glob("*.png"))) == len(found)


def test_a_stopped_run_goes_on(
    run: Path, scenes: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ApplyFlags(run=run, images=scenes[:30], out=tmp_path / "out", concepts=CONCEPTS)
    apply.main(dataclasses.replace(flags, out=tmp_path / "once"))
    monkeypatch.setattr(apply, "BLOCK", 12)
    write, read, seen = apply._Application.write_block, apply.PhotographFiles.image, []

    def stop_after_it(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    def note(files: apply.PhotographFiles, index: int) -> np.ndarray:
        seen.append(files.image_names[index])
        return read(files, index)

    with monkeypatch.context() as patch:
        patch.setattr(apply._Application, "write_block", stop_after_it)
        with pytest.raises(KeyboardInterrupt):
            apply.main(flags)
    assert not (flags.out / "scores.csv").exists()
    monkeypatch.setattr(apply.PhotographFiles, "image", note)
    apply.main(flags)
    assert len(seen) == 30 - 12
    assert_same_files(tmp_path / "once", flags.out)
    before = len(seen)
    apply.main(flags)
    assert len(seen) == before
    with pytest.raises(Net2VecError, match="another run"):
        apply.main(dataclasses.replace(flags, concepts=("sky",)))


def assert_same_files(one: Path, other: Path) -> None:
    files = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*")
         if path.suffix in (".png", ".csv")}
        for out in (one, other)
    ]  # fmt: skip
    assert files[0] == files[1]


def test_photographs_that_changed_are_marked_anew(
    run: Path, photographs: Path, tmp_path: Path
) -> None:
    flags = ApplyFlags(run=run, images=(photographs,), out=tmp_path / "out", concepts=CONCEPTS)
    apply.main(flags)
    (photographs / "empty.jpg").write_bytes((photographs / "a/x.jpg").read_bytes())
    (photographs / "y.png").unlink()
    (photographs / "z.webp").write_bytes((photographs / "a/b/x.jpg").read_bytes())
    apply.main(flags)
    by_name: dict[str, list[str]] = {}
    for row in read_scores(flags.out):
        by_name.setdefault(row["photograph"], []).append(row["mean_probability"])
    assert list(by_name) == ["a/b/x.jpg", "a/x.jpg", "empty.jpg", "turned.jpg", "z.webp"]
    for copy, of in (("empty.jpg", "a/x.jpg"), ("z.webp", "a/b/x.jpg")):
        np.testing.assert_allclose(
            np.array(by_name[copy], float), np.array(by_name[of], float), rtol=1e-5
        )


def test_the_classification_probe_says_what_is_there(
    run: Path, photographs: Path, tmp_path: Path
) -> None:
    other = run.parent / "classification"
    classifier = n2v.load_probe(other)
    assert isinstance(classifier, n2v.ClassificationProbe)
    told = [name for name in CONCEPTS if name in classifier.concepts]
    assert told
    images = (photographs / "y.png", photographs / "a" / "x.jpg")
    apply.main(
        ApplyFlags(run=run, images=images, out=tmp_path / "both", concepts=CONCEPTS,
                   classification=other)
    )  # fmt: skip
    apply.main(ApplyFlags(run=other, images=images, out=tmp_path / "alone", concepts=(*told,)))
    with Image.open(photographs / "y.png") as image:
        expected = classifier.predict([np.asarray(image)], told)
    both, alone = (
        [row for row in read_scores(tmp_path / out)
         if row["photograph"] == "y.png" and row["concept"] in told]
        for out in ("both", "alone")
    )  # fmt: skip
    for rows in (both, alone):
        assert [row["concept"] for row in rows] == list(expected.concepts)
        probability = [float(row["shown_probability"]) for row in rows]
        np.testing.assert_allclose(probability, expected.probabilities[0], atol=1e-5)
        assert [row["shown"] == "1" for row in rows] == expected.shows[0].tolist()
    assert not (tmp_path / "alone" / "masks").exists()


def test_what_cannot_be_done_is_refused(
    run: Path, photographs: Path, tmp_path: Path, rename_run: Callable
) -> None:
    flags = ApplyFlags(run=run, images=(photographs / "empty.jpg",), out=tmp_path / "out")
    with pytest.raises(Net2VecError, match="none of 1 photographs"):
        apply.main(flags)
    with pytest.raises(Net2VecError, match="is missing"):
        apply.main(dataclasses.replace(flags, images=(tmp_path / "nowhere",)))
    with pytest.raises(Net2VecError, match="unknown concept"):
        apply.main(dataclasses.replace(flags, concepts=("zeppelin",)))
    other = run.parent / "classification"
    with pytest.raises(Net2VecError, match="marks no pixels"):
        apply.main(dataclasses.replace(flags, run=other, write=("overlays",)))


def test_names_do_not_collide_and_stay_inside(tmp_path: Path) -> None:
    for name in ("p/x.jpg", "q/x.jpg", "q/out/old.png", "q/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    given = [tmp_path / "p", tmp_path / "q", tmp_path / "q" / ".." / "p" / "x.jpg"]
    found = find_photographs(given, outside=tmp_path / "q" / "out")
    assert [photograph.name for photograph in found] == ["p/x.jpg", "q/x.jpg"]
