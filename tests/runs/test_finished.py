"""Finished runs are read back as they were written, and their sources opened again."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.probes.heads import ALL_FILTERS
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.files import read_embeddings, read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.flags import SegmentationFlags
from net2vec_jax.runs.notes import describe_sources
from net2vec_jax.runs.sources import RunSources, SourceFlags


def find_head(run: FinishedRun, place: int, seed: int, filters: int) -> int:
    heads = run.trained.heads
    found = (heads.concept == place) & (heads.seed == seed) & (heads.filters == filters)
    (row,) = np.flatnonzero(found)
    return int(row)


def test_a_segmentation_run_is_read_back(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    with (run.path / "segmentation.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["filters"] == "all"]
    assert run.concepts == tuple(row["concept"] for row in rows)
    assert run.name == "efficientnet_lite0/block10"
    np.testing.assert_array_equal(run.scores.full, [float(row["val_iou"]) for row in rows])
    assert run.scores.sizes.tolist() == [1, 5]
    heads, weights = run.trained.heads, run.trained.weights
    assert run.weights.shape == (2, len(run), run.filters)
    for seed in range(2):
        for place in range(5):
            chosen = find_head(run, place, seed, ALL_FILTERS)
            np.testing.assert_array_equal(run.weights[seed, place], weights[chosen])
    assert (heads.filter_mask.sum(axis=1)[heads.filters == 5] == 5).all()
    few = run.subset_weights(5)
    assert few.shape == (1, len(run), run.filters)
    assert ((few != 0).sum(axis=-1) <= 5).all()
    with pytest.raises(Net2VecError, match=r"no embeddings of 7 filters \(it has: 1, 5\)"):
        run.subset_weights(7)


def test_single_filters_are_those_of_the_concepts(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    train, val = run.single_ious
    for place, row in enumerate(run.read_table("single_filter.csv")):
        assert row["concept"] == run.concepts[place]
        if train[place].max() > 0:
            best = train[place].argmax()
            assert int(row["best_filter"]) == best
            np.testing.assert_allclose(val[place, best], float(row["val_iou"]))
        else:
            assert row["best_filter"] == ""
            assert float(row["val_iou"]) == 0


def test_a_classification_run_is_read_back(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "classification")
    weights = run.trained.weights
    assert run.weights.shape == (2, len(run), run.filters)
    np.testing.assert_array_equal(run.weights[1, 1], weights[find_head(run, 1, 1, ALL_FILTERS)])
    np.testing.assert_array_equal(run.subset_weights(5)[1, 1], weights[find_head(run, 1, 1, 5)])
    with pytest.raises(Net2VecError, match="no IoU of single filters"):
        _ = run.single_ious


def test_embeddings_of_orbax_first_interface_are_read(golden_dir: Path) -> None:
    trained = read_embeddings(golden_dir / "orbax_v0", np.array([7, 9]))
    np.testing.assert_array_equal(trained.weights, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(trained.heads.concept, [1, 0])
    np.testing.assert_array_equal(trained.heads.filter_mask, np.ones((2, 3), bool))
    np.testing.assert_array_equal(trained.loss, np.ones((1, 2)))


def test_sources_are_opened_from_a_finished_run(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    sources = RunSources(run)
    assert isinstance(sources.network.name, str)
    assert sources.activations.shape == (len(sources.dataset), 14, 14, run.filters)
    assert tuple(concept.name for concept in sources.masks.catalog) == run.concepts
    counts = np.stack(sources.masks.count_images())
    np.testing.assert_array_equal(counts, [run.train_images, run.val_images])


def test_a_moved_study_is_found_from_where_it_is(finished_study: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_study.parents[1], tmp_path / "moved")
    study = tmp_path / "moved" / "out" / "efficientnet_lite0"
    sources = RunSources(FinishedRun(study / "block4" / "segmentation"))
    assert sources.activations.condensed[0].directory.is_relative_to(tmp_path)
    assert Path(sources._find("dataset")).is_relative_to(tmp_path)


def test_what_is_not_the_runs_is_refused(finished_study: Path, tmp_path: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    data = tmp_path / "data"
    shutil.copytree(finished_study.parents[1] / "data", data)
    with (data / "label.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert BrodenDataset(data).fingerprint != run.origin["dataset"]
    with pytest.raises(Net2VecError, match="is not the dataset of the run"):
        _ = RunSources(run, SourceFlags(dataset=str(data))).dataset
    with pytest.raises(Net2VecError, match="holds no complete activations"):
        _ = RunSources(run, SourceFlags(activations=tmp_path)).activations


def test_a_run_from_before_sources_were_noted_says_what_to_give(
    finished_study: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    record = json.loads((path / "run.json").read_text())
    del record["sources"]
    (path / "run.json").write_text(json.dumps(record))
    with pytest.raises(Net2VecError, match="give it with --dataset"):
        _ = RunSources(FinishedRun(path)).dataset


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: shutil.rmtree(path), "no run directory: it does not exist"),
        (lambda path: (path / "run.json").unlink(), "no run directory: it has no run.json"),
        (lambda path: (path / "segmentation.csv").unlink(), "is unfinished"),
        (lambda path: (path / "run.json").write_text("{"), "run.json is damaged"),
        (lambda path: (path / "run.json").write_text("[]"), "run.json is damaged"),
        (lambda path: (path / "concepts.csv").unlink(), "concepts.csv is missing or damaged"),
    ],
)
def test_damaged_runs_are_refused(finished_study: Path, tmp_path: Path, change, complaint) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    change(path)
    with pytest.raises(Net2VecError, match=complaint):
        FinishedRun(path)


@pytest.mark.parametrize(("number", "age"), [(None, "older"), (1, "older"), (99, "newer")])
def test_a_run_of_another_format_says_what_to_do(
    finished_study: Path, tmp_path: Path, number: int | None, age: str
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    record = json.loads((path / "run.json").read_text())
    record["format"] = number
    if number is None:
        del record["format"]
    (path / "run.json").write_text(json.dumps(record))
    for open_it in (FinishedRun, lambda path: RunDirectory(path, record["origin"])):
        with pytest.raises(Net2VecError, match=f"an? {age} format .* once more, with a new --out"):
            open_it(path)


def test_a_folder_of_runs_names_them(finished_study: Path) -> None:
    with pytest.raises(Net2VecError, match=r"it holds block10/classification, block10/segm"):
        FinishedRun(finished_study)


def test_concepts_are_found_by_name_and_number(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    names = [run.concepts[3], str(run.numbers[1]), run.concepts[3]]
    assert run.find_concepts(names) == [3, 1]
    with pytest.raises(Net2VecError, match="unknown concept 'skyy'; did you mean 'sky'"):
        run.find_concepts(["skyy"])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _replace(path: Path, old: str, new: str, count: int = -1) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, count), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("single_filter.npz", _cut),
        ("single_filter.npz", lambda path: path.write_bytes(b"")),
        ("segmentation.csv", _cut),
        ("segmentation.csv", lambda path: path.write_bytes(b"")),
        ("segmentation.csv", lambda path: path.write_text("concept\n" + "x" * 200_000)),
        ("segmentation.csv", lambda path: _replace(path, "val_iou", "iou")),
        ("concepts.csv", _cut),
        ("concepts.csv", lambda path: _replace(path, "number", "label")),
        ("concepts.csv", lambda path: path.write_bytes(b"\xff\xfe\x00")),
        ("thresholds.csv", lambda path: _replace(path, "threshold", "t")),
        ("embeddings", lambda path: shutil.rmtree(path)),
    ],
)
def test_a_damaged_file_is_named(finished_study: Path, tmp_path: Path, name: str, change) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    change(path / name)
    with pytest.raises(Net2VecError, match=f"{name} is (missing or )?damaged"):
        run = FinishedRun(path)
        _ = run.scores, run.single_ious, run.weights, read_thresholds(run.path)


def test_concepts_of_one_name_are_refused(finished_study: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    for table in ("segmentation.csv", "concepts.csv"):
        _replace(path / table, "red-c,", "blue-c,")
    with pytest.raises(Net2VecError, match=r"several concepts called blue-c.* run the probe again"):
        FinishedRun(path)


def test_a_name_that_several_share_means_all_of_them(
    finished_study: Path, tmp_path: Path, rename_run: Callable[..., Path]
) -> None:
    original = finished_study / "block4" / "segmentation"
    numbers = dict(zip(FinishedRun(original).concepts, FinishedRun(original).numbers, strict=True))
    shared = {name: f"crane ({numbers[name]})" for name in ("sky", "grass")}
    run = FinishedRun(rename_run(original, tmp_path / "run", concepts=shared))
    places = run.find_concepts(["crane", str(numbers["sky"])])
    assert [run.concepts[place] for place in places] == list(shared.values())
    assert run.find_concepts([shared["grass"]]) == places[1:]


def test_code_that_only_the_run_names_is_not_run(finished_study: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef make(): pass\n", encoding="utf-8")
    record = json.loads((path / "run.json").read_text())
    for name, from_here in ((f"{code}:make", None), ("efficientnet_lite0", "../evil.py:make")):
        (tmp_path / "evil.py:make").touch()
        record["sources"]["network"] = {"name": name, "from_here": from_here}
        (path / "run.json").write_text(json.dumps(record))
        with pytest.raises(Net2VecError, match="its code is run only if you say so"):
            _ = RunSources(FinishedRun(path)).network
    assert not (tmp_path / "ran").exists()


def test_names_of_sources_hold_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("efficientnet_lite0", "photos", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "own.py").touch()

    def note(dataset: str, network: str, weights: str | None = None) -> dict:
        flags = SegmentationFlags(
            dataset=dataset, network=network, weights=weights, layer=("x",), out=Path("run")
        )
        noted = describe_sources(flags, object(), None)
        return {name: noted[name] for name in ("dataset", "network", "weights", "activations")}

    noted = note("photos", "efficientnet_lite0")
    assert noted["network"] == {"name": "efficientnet_lite0", "from_here": None}
    assert noted["dataset"] == {"name": str(tmp_path / "photos"), "from_here": "../photos"}
    assert noted["activations"]["from_here"] == "activations"
    noted = note("photos@320", "own.py:make", "weights.pth")
    assert noted["dataset"]["name"] == f"{tmp_path}/photos@320"
    assert noted["network"]["name"] == f"{tmp_path}/own.py:make"
    assert noted["weights"] == {"name": f"{tmp_path}/weights.pth", "from_here": "../weights.pth"}
    noted = note("coco:a.json:images,/b.json:images", "alexnet", "places365")
    assert noted["dataset"]["name"] == (
        f"coco:{tmp_path}/a.json:{tmp_path}/images,/b.json:{tmp_path}/images"
    )
    assert noted["weights"] == {"name": "places365", "from_here": None}
    assert note("tfds:pets", "package.module:make")["network"]["name"] == "package.module:make"
