"""A report shows what a finished run found, with pictures or without."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.report.gather import gather_content, gather_single_filters
from net2vec_jax.report.write import choose_detail, choose_percentiles, write_report
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import SourceFlags
from net2vec_jax.stats.metrics import NO_FILTER
from net2vec_jax.studies import report


def read_data(path: Path, name: str):
    page = path.read_text(encoding="utf-8")
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def written(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "deep" / "page.html"
    return write_report(finished_study / "block10" / "segmentation", out)


def test_a_page_says_what_the_tables_say(finished_study: Path, written: Path) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    data = read_data(written, "run-data")
    assert [concept["name"] for concept in data["concepts"]] == list(run.concepts)
    assert data["sizes"] == [1, 5, run.filters]
    table = {(row["concept"], row["filters"]): row for row in run.rows}
    single = {row["concept"]: row for row in run.read_table("single_filter.csv")}
    for concept in data["concepts"]:
        for place, size in enumerate(("1", "5", "all")):
            row = table[concept["name"], size]
            assert concept["score"][place] == float(row["val_iou"])
            assert concept["low"][place] == float(row["val_iou_low"])
        row = single[concept["name"]]
        overlaps = float(row["train_iou"]) > 0
        assert concept["best"] == (int(row["best_filter"]) if overlaps else None)
        assert concept["single"] == pytest.approx(float(row["val_iou"]) if overlaps else 0)
    weights = average_seeds(run.weights).vectors
    order = np.argsort(-np.abs(weights[3]), kind="stable")[:10]
    np.testing.assert_allclose([w for _, w in data["concepts"][3]["top"]], weights[3, order], 1e-5)
    assert data["unitWeights"] and "mean direction over the seeds" in written.read_text()
    assert [k for k, _ in data["concepts"][3]["top"]] == order.tolist()


def test_a_page_compares_under_the_rule_of_its_preset(
    finished_study: Path, converged_run: Path, written: Path, tmp_path: Path
) -> None:
    converged = write_report(converged_run, tmp_path / "page.html", filters_shown=2)
    for directory, page, rule in (
        (finished_study / "block10" / "segmentation", written, "above 0; of a single"),
        (converged_run, converged, "a level chosen on train images"),
    ):
        run = FinishedRun(directory)
        table = {row["concept"]: row for row in run.rows if row["filters"] == "all"}
        for concept in read_data(page, "run-data")["concepts"]:
            for name, value in concept["measures"].items():
                cell = table[concept["name"]][name]
                assert value == (pytest.approx(float(cell), rel=1e-5) if cell else None)
            assert "prior_val_iou" in concept["measures"]
        assert rule in page.read_text(encoding="utf-8")
        content = gather_content(run)
        counted = [place for place, name in enumerate(run.categories)
                   if name not in content.whole_image]  # fmt: skip
        means = {fact.label: fact.value for fact in content.comparison}
        prior = np.mean([float(table[run.concepts[place]]["prior_val_iou"]) for place in counted])
        assert means["location prior"] == f"{prior:.3f}"
        assert len(means) == 8


def test_pictures_are_of_the_run_and_images_are_shared(written: Path) -> None:
    pictures = read_data(written, "picture-data")
    concepts = read_data(written, "run-data")["concepts"]
    shown = [p for entry in pictures["concepts"].values() for p in entry]
    assert len(pictures["concepts"]) == len(concepts)
    assert all(0 <= p["image"] < len(pictures["images"]) <= 80 for p in shown)
    assert len(shown) > 2 * len(pictures["images"])  # they are drawn again and again
    assert len(set(pictures["images"])) == len(pictures["images"])
    assert pictures["filters"] and all(len(f) <= 4 for f in pictures["filters"].values())


def test_a_hundred_concepts_take_less_than_fifteen_megabytes(written: Path) -> None:
    pictures = read_data(written, "picture-data")
    concepts = len(pictures["concepts"])
    masks = sum(len(json.dumps(entry)) for entry in pictures["concepts"].values())
    image = max(map(len, pictures["images"]))
    rest = written.stat().st_size - masks - sum(map(len, pictures["images"]))
    # as if no image were shared: 100 concepts of 5 images, 400 filters of 1 that is not among them
    assert 100 / concepts * masks + (500 + 400) * image + rest < 15e6


def test_geometry_is_that_of_the_mean_over_seeds(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    content = gather_content(run)
    np.testing.assert_array_equal(content.geometry.vectors, average_seeds(run.weights).vectors)
    np.testing.assert_allclose(content.weights, content.geometry.vectors, atol=1e-7)
    assert content.unit_weights
    means = {fact.label: fact.value for fact in content.headline}
    masked = np.array([c not in ("scene", "texture") for c in run.categories])
    assert means["embedding, mean IoU"] == f"{run.scores.full[masked].mean():.3f}"
    assert content.curves.sufficient[0.8].shape == (len(run),)


@pytest.fixture
def silenced(finished_study: Path) -> FinishedRun:
    """The run as if no filter overlapped its third concept on train."""
    run = FinishedRun(finished_study / "block4" / "segmentation")
    run.single_ious = run.single_ious.copy()
    run.single_ious[0, 2] = 0
    return run


def test_a_concept_that_no_filter_overlaps_has_no_best_filter(silenced: FinishedRun) -> None:
    single = gather_single_filters(silenced)
    assert single is not None
    assert single.best[2] == NO_FILTER and single.score[2] == 0
    others = np.delete(np.arange(len(silenced)), 2)
    np.testing.assert_array_equal(
        single.best[others], silenced.single_ious[0][others].argmax(axis=1)
    )


def test_weights_of_one_seed_are_as_they_were_learnt(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    run.weights = run.weights[:1]
    run.seeds = 1
    content = gather_content(run)
    np.testing.assert_array_equal(content.weights, run.weights[0])
    assert not content.unit_weights


def test_a_page_of_the_classification_probe(finished_study: Path, tmp_path: Path) -> None:
    path = write_report(finished_study / "block4" / "classification", tmp_path / "page.html")
    run = FinishedRun(finished_study / "block4" / "classification")
    data = read_data(path, "run-data")
    assert (data["score"], data["chance"]) == ("accuracy", 0.5)
    assert data["concepts"][0]["score"][-1] == run.scores.full[0]
    assert data["concepts"][0]["single"] == run.scores.by_size[0, 0]
    chosen = np.abs(run.subset_weights(1)).argmax(axis=2)
    best = [one if one == other else None for one, other in chosen.T.tolist()]
    assert [concept["best"] for concept in data["concepts"]] == best
    assert None in best and set(best) != {None}
    assert read_data(path, "picture-data") is None
    assert "marks no pixels" in path.read_text(encoding="utf-8")


def test_without_images_the_page_says_how_to_give_them(
    finished_study: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_study / "block10" / "segmentation", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for source in ("dataset", "activations"):
        record["sources"][source] = {"name": str(tmp_path / "gone"), "from_here": None}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    path = write_report(tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    assert read_data(path, "picture-data") is None
    assert "--dataset" in path.read_text(encoding="utf-8")
    flags = SourceFlags(
        dataset=str(finished_study.parents[1] / "data"),
        activations=finished_study / "activations",
    )
    write_report(tmp_path / "run", sources=flags, pictures_per_concept=1, filters_shown=0)
    pictures = read_data(path, "picture-data")
    assert {len(shown) for shown in pictures["concepts"].values()} == {1}
    assert pictures["filters"] == {}


def test_flags_and_messages(
    finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run = finished_study / "block10" / "segmentation"
    out = tmp_path / "page.html"
    arguments = ["--run", str(run), "--out", str(out), "--pictures-per-concept", "0"]
    monkeypatch.setattr(sys, "argv", ["report", *arguments, "--filters-shown", "0"])
    run_script(report.main)
    printed = capsys.readouterr().out
    assert f"{out} ({out.stat().st_size / 1e6:.1f} MB)" in printed
    assert read_data(out, "picture-data") is None
    with pytest.raises(Net2VecError, match="--image-size is -1"):
        write_report(run, out, image_size=-1)
    with pytest.raises(Net2VecError, match="cannot be written"):
        write_report(run, tmp_path, pictures_per_concept=0, filters_shown=0)
    with pytest.raises(Net2VecError, match="it holds block10/"):
        write_report(finished_study)


def test_many_concepts_get_fewer_and_smaller_pictures() -> None:
    few, many = choose_detail(100), choose_detail(1200)
    assert few["pictures_per_concept"] == 5 and many["pictures_per_concept"] == 2
    assert many["image_size"] < few["image_size"] and many["filters_shown"] < few["filters_shown"]
    assert choose_percentiles(5) == (95, 75, 50, 25, 5)
    assert choose_percentiles(2) == (95, 5) and choose_percentiles(1) == (50,)
