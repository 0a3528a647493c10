"""Studies, pictures, maximised activations and the report of a run of both responses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.inversion.maximisation import DESCENT, Maximisation
from net2vec_jax.report.write import write_report
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.runs.study import StudyFlags, finish_study
from net2vec_jax.studies import filter_overlap, pictures
from net2vec_jax.studies.direction_responses import find_directions, measure_real_images
from net2vec_jax.studies.maximise_activation import maximise_concepts, write_results
from net2vec_jax.studies.single_vs_embedding import single_vs_embedding

FILTERS = 112


@pytest.fixture(scope="module")
def flags(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyFlags:
    return StudyFlags(
        dataset=str(finished_study.parents[1] / "data"),
        layers=("efficientnet_lite0/block10",),
        out=tmp_path_factory.mktemp("both") / "out",
        responses="both",
        concepts=("sky", "blue-c", "tree", "grass"),
        filters=(1, 150, 5000),
        segmentation_epochs=2,
        segmentation_batch_size=8,
        classification_epochs=2,
        untrained=False,
        bootstrap_samples=20,
    )


@pytest.fixture(scope="module")
def tables(flags: StudyFlags) -> dict[str, pd.DataFrame]:
    return single_vs_embedding(finish_study(flags)).tables


@pytest.fixture(scope="module")
def run(flags: StudyFlags, tables: dict) -> FinishedRun:
    return FinishedRun(flags.out / "efficientnet_lite0" / "block10" / "segmentation")


def test_the_study_names_filters_of_either_side(run: FinishedRun, tables: dict) -> None:
    best = tables["single_vs_embedding"]["best_filter"].tolist()
    assert best == run.read_column("single_filter.csv", "best_filter")
    assert set(best) <= set(run.filter_names) and any(name.startswith("-") for name in best)
    assert run.filters == 2 * FILTERS and run.scores.sizes.tolist() == [1, 150]
    rivals = tables["single_vs_embedding_rivals"].query("rival == 'single_same_rule'")
    assert rivals["filter"].between(0, FILTERS - 1).all()
    assert set(rivals["sign"]) <= {1, -1}


def test_shared_filters_are_named(run: FinishedRun, flags: StudyFlags) -> None:
    classification = run.path.with_name("classification")
    asked = filter_overlap.OverlapFlags(
        runs=(run.path,), classification_runs=(classification,), filters=(5,), permutations=5
    )
    answer = filter_overlap.filter_overlap(asked)
    assert set(answer.tables["filters"]["filter"]) == set(run.filter_names)
    listed = answer.tables["concepts"].set_index(["concept", "source"])["filters"]
    best = dict(zip(run.concepts, run.read_column("single_filter.csv", "best_filter"), strict=True))
    assert {concept: listed[concept, "single"] for concept in best} == best
    json.dumps(answer.summary)


def test_pictures_are_of_the_filter_that_is_named(run: FinishedRun, tmp_path: Path) -> None:
    values = np.concatenate(list(RunSources(run).activations.stored.batches()))
    pictures.main(
        pictures.PictureFlags(run=run.path, concepts=("sky",), filters=("-7", "+7"), out=tmp_path)
    )
    assert {"filter_-007.png", "filter_+007.png"} <= {path.name for path in tmp_path.iterdir()}
    rows = read_table(tmp_path / "filter_pictures.csv")
    thresholds = dict(zip(run.filter_names, run.probe.thresholds, strict=True))
    for name, extreme in (("-7", -values.min(axis=(1, 2))), ("+7", values.max(axis=(1, 2)))):
        shown = [row for row in rows if row["filter"] == name]
        assert shown
        for row in shown:
            assert float(row["maximum"]) == pytest.approx(extreme[int(row["index"]), 7])
            assert float(row["threshold"]) == pytest.approx(thresholds[name])
    with pytest.raises(Net2VecError, match=r"224 filters, \+0 … -111; there is none 7"):
        pictures.main(pictures.PictureFlags(run=run.path, filters=("7",), out=tmp_path))


def test_an_image_is_made_for_the_low_side(run: FinishedRun, tmp_path: Path) -> None:
    places = [p for p, name in enumerate(run.filter_names[[*map(np.argmax, run.single_ious[0])]])
              if name.startswith("-")][:1]  # fmt: skip
    sources, directions = RunSources(run), find_directions(run, places)
    config = Maximisation(descent=DESCENT.with_steps(24), candidates=2)
    made = maximise_concepts(run, sources.network, directions, seeds=1, size=32, config=config)
    real = measure_real_images(sources, directions)
    values = np.concatenate(list(sources.activations.stored.batches()))
    channel = int(directions.filters[0]) - FILTERS
    np.testing.assert_allclose(
        real.highest[1, 0], -values[..., channel].min(axis=(1, 2)), rtol=1e-5
    )
    # by column: the direction that is measured, then the one that the image was made for
    assert made.mean[0, 1, 1, 0] > max(0, np.median(real.mean[1, 0]))
    write_results(tmp_path, run, made, real)
    (row,) = [row for row in read_table(tmp_path / "activations.csv") if row["filter"]]
    assert row["filter"] == f"-{channel}"


def test_the_page_writes_names(run: FinishedRun, tmp_path: Path) -> None:
    page = write_report(run.path, tmp_path / "report.html", filters_shown=2)
    text = page.read_text(encoding="utf-8")
    start = text.index(">", text.index('id="run-data"')) + 1
    shown = json.loads(text[start : text.index("</script>", start)])
    assert shown["filterNames"][:2] == ["+0", "+1"] and shown["filterNames"][FILTERS] == "−0"
    best = run.read_column("single_filter.csv", "best_filter")
    of_page = [shown["filterNames"][concept["best"]] for concept in shown["concepts"]]
    assert [name.replace("−", "-") for name in of_page] == best
    rows = [row for row in run.rows if row["filters"] == "all"]
    for concept, row in zip(shown["concepts"], rows, strict=True):
        name = shown["filterNames"][int(concept["measures"]["single_same_rule_filter"])]
        sign = {"1": "+", "-1": "−"}[row["single_same_rule_sign"]]
        assert name == sign + row["single_same_rule_filter"]


def test_other_responses_and_converged_are_refused(flags: StudyFlags, run: FinishedRun) -> None:
    with pytest.raises(Net2VecError, match="responses: 'both' there, 'positive' now"):
        finish_study(dataclasses.replace(flags, responses="positive", filters=(1, 150)))
    with pytest.raises(Net2VecError, match="no use with the preset converged"):
        finish_study(dataclasses.replace(flags, preset="converged", out=flags.out / "other"))
