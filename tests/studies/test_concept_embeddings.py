"""Tables are those of the run's embeddings, and answers those of the library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds, find_nearest_concepts
from net2vec_jax.analysis.geometry.concept_queries import answer_query
from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.studies import concept_embeddings
from net2vec_jax.studies.concept_embeddings import EmbeddingFlags

FIGURES = ("map_pca", "map_tsne", "tree", "nearest_categories", "stability", "spectrum")


@pytest.fixture(scope="module", params=["segmentation", "classification"])
def written(
    request: pytest.FixtureRequest, finished_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddingFlags:
    out = tmp_path_factory.mktemp(request.param)
    flags = EmbeddingFlags(
        run=finished_study / "block10" / request.param, out=out, count=3, clusters=4
    )
    concept_embeddings.main(flags)
    return flags


def test_tables_are_of_the_runs_embeddings(written: EmbeddingFlags) -> None:
    run = FinishedRun(written.run)
    unit = average_seeds(run.weights)
    rows = read_table(written.out / "neighbours.csv")
    nearest = find_nearest_concepts(unit, 3)
    expected = [
        (run.concepts[place], str(rank), run.concepts[other], f"{cosine:.5f}")
        for place in range(len(run))
        for rank, (other, cosine) in enumerate(nearest.row(place), 1)
    ]
    columns = ("concept", "rank", "neighbour")
    assert expected == [
        (*(row[name] for name in columns), f"{float(row['cosine']):.5f}") for row in rows
    ]
    category = dict(zip(run.concepts, run.categories, strict=True))
    assert all(category[row["neighbour"]] == row["neighbour_category"] for row in rows)
    for name in ("map", "similarity", "stability"):
        table = read_table(written.out / f"{name}.csv")
        assert tuple(row["concept"] for row in table) == run.concepts
    fractions = read_table(written.out / "nearest_categories.csv")
    totals: dict[str, float] = {}
    for row in fractions:
        totals[row["category"]] = totals.get(row["category"], 0) + float(row["fraction"])
    np.testing.assert_allclose(list(totals.values()), 1, rtol=1e-5)
    assert set(totals) == set(run.categories)


def test_the_tree_can_be_read_back(written: EmbeddingFlags) -> None:
    run = FinishedRun(written.run)
    leaves = read_table(written.out / "clusters.csv")
    assert sorted(row["concept"] for row in leaves) == sorted(run.concepts)
    clusters = [int(row["cluster"]) for row in leaves]
    assert clusters == sorted(clusters)
    assert clusters[-1] == 4
    members = {row["node"]: {row["concept"]} for row in leaves}
    unit = average_seeds(run.weights)
    for row in read_table(written.out / "linkage.csv"):
        left, right = members[row["left"]], members[row["right"]]
        members[row["node"]] = left | right
        assert len(left | right) == int(row["concepts"])
        places = [[run.concepts.index(name) for name in side] for side in (left, right)]
        mean = (1 - unit.cosines()[np.ix_(*places)]).mean()
        np.testing.assert_allclose(float(row["distance"]), mean, rtol=1e-5)


def test_figures_and_summary_are_written(written: EmbeddingFlags) -> None:
    run = FinishedRun(written.run)
    for name in FIGURES:
        assert (written.out / "figures" / f"{name}.png").is_file()
        assert (written.out / "figures" / f"{name}.pdf").is_file()
    summary = json.loads((written.out / "summary.json").read_text())
    assert summary["probe"] == run.kind
    assert summary["concepts"] == len(run)
    assert summary["masked"] == []
    assert len(summary["spectrum"]) == 10
    assert summary["stability"]["neighbours"] == 5
    overlap = np.mean([float(row["overlap"]) for row in read_table(written.out / "stability.csv")])
    np.testing.assert_allclose(summary["stability"]["overlap"]["all"]["mean"], overlap, rtol=1e-5)
    most = summary["similarity"]["max"]["most"]
    cosines = [
        float(row["max_absolute_cosine"]) for row in read_table(written.out / "similarity.csv")
    ]
    np.testing.assert_allclose(most[0]["score"], max(cosines), rtol=1e-5)


def test_queries_are_answered_and_nothing_is_written(finished_study: Path, tmp_path: Path) -> None:
    """Nor are matplotlib or scikit-learn needed."""
    path = finished_study / "block4" / "segmentation"
    run = FinishedRun(path)
    script = (
        "import runpy, sys; runpy.run_module('experiments.concept_embeddings', None, '__main__');"
        "assert not {'matplotlib', 'sklearn'} & set(sys.modules), 'heavy'"
    )
    command = [sys.executable, "-c", script, "--run", str(path)]
    command += ["--query", "grass + blue - green", "- red + 2 * 'sky'", "--count", "3"]
    command += ["--neighbours", "road", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not (tmp_path / "out").exists()
    unit = average_seeds(run.weights)
    answer = answer_query("grass + blue-c - green-c", unit, run.concepts, count=3)
    lines = [line.split() for line in done.stdout.splitlines()]
    for place, score in zip(answer.concept, answer.score, strict=True):
        expected = [*run.concepts[place].split(), run.categories[place], f"{score:.3f}"]
        assert any(line[: len(expected)] == expected for line in lines)
    road = find_nearest_concepts(unit, 1).row(run.concepts.index("road"))[0]
    after = done.stdout.split("nearest to road")[1]
    assert run.concepts[road[0]] in after
    assert f"{road[1]:.3f}" in after


def test_one_bad_query_answers_none(finished_study: Path, capsys: pytest.CaptureFixture) -> None:
    flags = EmbeddingFlags(run=finished_study / "block4" / "segmentation", query=("sky", "grasss"))
    with pytest.raises(Net2VecError, match="unknown concept 'grasss'; did you mean 'grass'"):
        concept_embeddings.main(flags)
    assert capsys.readouterr().out == ""


def test_categories_restrict_the_concepts(finished_study: Path, tmp_path: Path) -> None:
    flags = EmbeddingFlags(
        run=finished_study / "block4" / "segmentation", categories=("color",), out=tmp_path
    )
    concept_embeddings.main(flags)
    run = FinishedRun(flags.run)
    colors = [n for n, c in zip(run.concepts, run.categories, strict=True) if c == "color"]
    assert [row["concept"] for row in read_table(tmp_path / "map.csv")] == colors
    with pytest.raises(Net2VecError, match="unknown category 'colour'; did you mean 'color'"):
        concept_embeddings.main(EmbeddingFlags(run=flags.run, categories=("colour",)))


def test_activation_probabilities_are_those_of_the_concepts_images(
    finished_study: Path, tmp_path: Path
) -> None:
    flags = EmbeddingFlags(
        run=finished_study / "block10" / "classification",
        embeddings="activation_probabilities",
        split="val",
        out=tmp_path,
    )
    concept_embeddings.main(flags)
    run = FinishedRun(flags.run)
    with np.load(tmp_path / "activation_statistics.npz") as file:
        found = dict(file)
    assert found["concept"].tolist() == list(run.concepts)
    assert found["split"] == "val"
    np.testing.assert_array_equal(found["images"], run.val_images)
    assert found["probability"].shape == (len(run), run.filters)
    assert found["alpha"].shape == (run.filters,)
    assert ((found["probability"] >= 0) & (found["probability"] <= 1)).all()
    nearest = find_nearest_concepts(average_seeds(found["probability"][None]), 1)
    first = read_table(tmp_path / "neighbours.csv")[0]
    assert first["neighbour"] == run.concepts[nearest.concept[0, 0]]
    assert not (tmp_path / "stability.csv").exists()
    assert (tmp_path / "figures" / "filter_alphas.png").is_file()
    assert json.loads((tmp_path / "summary.json").read_text())["settings"]["split"] == "val"


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ({"count": 0}, "--count is 0"),
        ({"clusters": -1}, "--clusters is -1"),
        ({"perplexity": 0.0}, "--perplexity is 0.0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**32}, "--seed is 4294967296"),
    ],
)
def test_bad_flags_are_refused(flag: dict, complaint: str) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        EmbeddingFlags(run=Path("run"), **flag)


def test_bad_flags_are_one_message_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["concept_embeddings", "--run", "run", "--seed", "-1"])
    with pytest.raises(SystemExit) as ended:
        run_script(concept_embeddings.main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("--seed is -1; it must be 0") == 1


def test_a_folder_that_cannot_be_written_is_refused_first(
    finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setattr(concept_embeddings, "concept_embeddings", None)
    flags = EmbeddingFlags(run=finished_study / "block4" / "segmentation", out=tmp_path / "out")
    with pytest.raises(Net2VecError, match="out cannot be written"):
        concept_embeddings.main(flags)
