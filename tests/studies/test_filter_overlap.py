"""Shared filters of finished runs: tables, summary and figures from one command."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds, normalise_embeddings
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.studies import filter_overlap
from net2vec_jax.studies.filter_overlap import OverlapFlags, name_layers
from net2vec_jax.studies.layer_overlap import average_repetitions, choose_concepts

LAYERS = ("block4", "block10")


@pytest.fixture(scope="module")
def flags(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> OverlapFlags:
    return OverlapFlags(
        runs=tuple(finished_study / layer / "segmentation" for layer in LAYERS),
        classification_runs=(finished_study / "block10" / "classification",),
        filters=(5, 5000),
        rankings=("absolute", "positive"),
        permutations=50,
        out=tmp_path_factory.mktemp("filter_overlap") / "out",
    )


@pytest.fixture(scope="module")
def written(flags: OverlapFlags) -> Path:
    filter_overlap.main(flags)
    assert flags.out is not None
    return flags.out


def test_filters_and_concepts_tell_the_same(written: Path, flags: OverlapFlags) -> None:
    filters, concepts = read_table(written / "filters.csv"), read_table(written / "concepts.csv")
    served = {
        (row["layer"], row["source"], row["filter"], name)
        for row in filters
        for name in row["names"].split("; ")
        if name
    }
    assert served == {
        (row["layer"], row["source"], number, row["concept"])
        for row in concepts
        for number in row["filters"].split("; ")
        if number
    }
    sources = {row["source"] for row in filters}  # no layer has 5,000 filters
    assert sources == {"single", "top 5", "top 5 positive"}
    for layer, run in zip(LAYERS, map(FinishedRun, flags.runs), strict=True):
        single = [row for row in filters if (row["layer"], row["source"]) == (layer, "single")]
        assert len(single) == run.filters
    assert not {row["category"] for row in concepts} & {"scene", "texture"}


def test_best_filters_are_those_of_the_run(written: Path, flags: OverlapFlags) -> None:
    run = FinishedRun(flags.runs[1])
    known = {row["concept"]: row for row in run.read_table("single_filter.csv")}
    rows = [
        row
        for row in read_table(written / "concepts.csv")
        if (row["layer"], row["source"]) == ("block10", "single")
    ]
    assert len(rows) > 20
    for row in rows:
        best = known[row["concept"]]
        expected = best["best_filter"] if float(best["train_iou"]) > 0 else ""
        assert row["filters"] == expected


def test_top_filters_are_those_that_embeddings_of_few_filters_have(
    finished_study: Path,
) -> None:
    path = finished_study / "block4" / "segmentation"
    answer = filter_overlap.filter_overlap(
        OverlapFlags(runs=(path,), filters=(5,), repetition=0, permutations=5,
                     include_whole_images=True)
    )  # fmt: skip
    run = FinishedRun(path)
    few = dict(zip(run.concepts, run.subset_weights(5)[0] != 0, strict=True))
    rows = answer.tables["concepts"].to_dict("records")
    assert len(rows) == 2 * len(run)
    for row in rows:
        if row["source"] == "top 5":
            numbers = [int(number) for number in row["filters"].split("; ")]
            assert numbers == np.flatnonzero(few[row["concept"]]).tolist()


def test_embeddings_are_mean_directions_over_repetitions(flags: OverlapFlags) -> None:
    run = FinishedRun(flags.runs[0])
    run.weights = run.weights.copy()
    run.weights[1] *= 1000  # a long repetition counts as much as a short one
    run.weights[:, 0] = 0
    run.weights[1, 1] = -run.weights[0, 1]
    chosen = choose_concepts(run, include_whole_images=True).weights
    unit, expected = normalise_embeddings(chosen), average_seeds(run.weights)
    np.testing.assert_allclose(unit.vectors, expected.vectors, atol=1e-6)
    assert not chosen[:2].any() and chosen[2:].any(axis=1).all()
    length = np.linalg.norm(run.weights, axis=-1).mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(chosen, axis=-1)[2:], length[2:], rtol=1e-5)
    one = average_repetitions(run.weights[:1])
    np.testing.assert_array_equal(one, run.weights[0])


def test_correlations_are_those_of_the_weights(written: Path, flags: OverlapFlags) -> None:
    rows = read_table(written / "weight_correlations.csv")
    run = FinishedRun(flags.runs[1])
    weights = average_repetitions(run.weights)
    found = [
        row
        for row in rows
        if row["layer"] == "block10" and row["kind"] == "single-filter IoU on val, by concept"
    ]
    for row in found[::5]:
        place = run.concepts.index(row["row"])
        iou = run.single_ious[1, place]
        expected = np.corrcoef(weights[place], iou)[0, 1] if iou.any() else np.nan
        np.testing.assert_allclose(float(row["r"]), expected, atol=1e-6)
    other = FinishedRun(flags.classification_runs[0])
    classification = [
        row for row in rows if row["kind"] == "classification weights, by concept"
    ]  # fmt: skip
    assert {row["layer"] for row in classification} == {"block10"}
    assert {row["row"] for row in classification} == set(other.concepts) & {
        row["row"] for row in found
    }
    name = classification[0]["row"]
    sides = (
        weights[run.concepts.index(name)],
        average_repetitions(other.weights)[other.concepts.index(name)],
    )
    assert float(classification[0]["r"]) == pytest.approx(np.corrcoef(*sides)[0, 1], abs=1e-5)
    by_filter = [row for row in rows if row["kind"] == "classification weights, by filter"]
    assert len(by_filter) == run.filters


def test_summary_and_figures(written: Path) -> None:
    summary = json.loads((written / "summary.json").read_text(encoding="utf-8"))
    assert tuple(summary) == LAYERS
    filters = read_table(written / "filters.csv")
    for layer in LAYERS:
        overlap = summary[layer]["overlap"]["top 5"]
        several = sum(
            int(row["categories"]) > 1
            for row in filters
            if (row["layer"], row["source"]) == (layer, "top 5")
        )
        assert overlap["found"]["filters_of_several_categories"] == several
        for null in ("by_chance", "by_chance_popularity_kept"):
            assert overlap[null]["samples"] == 50
        rows = [
            row
            for row in read_table(written / "shared_filters.csv")
            if (row["layer"], row["source"]) == (layer, "top 5")
        ]
        kept = overlap["by_chance_popularity_kept"]["p_value"]
        assert [float(row["p_value_popularity_kept"]) for row in rows] == pytest.approx(
            [kept[one][other] for one in range(len(kept)) for other in range(one, len(kept))
             if kept[one][other] is not None]
        )  # fmt: skip
        listed = sum(int(row["concepts"]) * (int(row["concepts"]) - 1) // 2 for row in filters
                     if (row["layer"], row["source"]) == (layer, "top 5"))  # fmt: skip
        assert sum(int(row["shared_filters"]) for row in rows) == listed
        most = summary[layer]["filters_of_most_categories"]["top 5"][0]
        row = next(r for r in filters if (r["layer"], r["source"]) == (layer, "top 5"))
        assert str(most["filter"]) == row["filter"]
    assert "probe_correlation" not in summary["block4"]
    assert summary["block10"]["probe_correlation"]["by_filter"]["known"] > 0
    assert "relative_to" not in summary["block4"]["weight_spread"]
    relative = summary["block10"]["weight_spread"]["relative_to"]["block4"]["difference"]["all"]
    own, base = (
        summary[layer]["weight_spread"]["standard_deviation"]["all"]["mean"]
        for layer in ("block10", "block4")
    )
    assert relative["mean"] == pytest.approx(own - base)
    figures = {path.name for path in (written / "figures").iterdir()}
    for name in (
        "concepts_per_filter", "concepts_per_filter_top_5", "categories_per_filter_top_5_positive",
        "category_overlap", "category_overlap_popularity_kept", "shared_filters",
        "weight_iou_correlations", "weights_against_ious", "weight_spread", "probe_correlations",
    ):  # fmt: skip
        assert {f"{name}.png", f"{name}.pdf"} <= figures


def test_results_lie_in_the_first_run_by_default(
    finished_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", run)
    filter_overlap.main(OverlapFlags(runs=(run,), filters=(), permutations=5))
    assert (run / "filter_overlap" / "summary.json").is_file()
    assert str(run / "filter_overlap" / "figures") in capsys.readouterr().out.replace("\n", "")
    assert not (run / "filter_overlap" / "figures" / "shared_filters.png").exists()


def test_layers_are_named_apart(finished_study: Path, tmp_path: Path) -> None:
    runs = [FinishedRun(finished_study / layer / "segmentation") for layer in LAYERS]
    assert name_layers(runs) == ["block4", "block10"]
    copied = tmp_path / "copy"
    shutil.copytree(runs[0].path, copied)
    assert name_layers([runs[0], FinishedRun(copied)])[1] == f"block4 ({copied.resolve()})"
    record = json.loads((copied / "run.json").read_text())
    record["origin"]["dataset_name"] = "elsewhere/photographs"
    (copied / "run.json").write_text(json.dumps(record))
    assert name_layers([runs[0], FinishedRun(copied)])[1] == "block4 (photographs)"
    record["origin"]["network"] = "another"
    (copied / "run.json").write_text(json.dumps(record))
    assert name_layers([runs[0], FinishedRun(copied)])[1] == "another/block4"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"runs": ()}, "--runs is empty"),
        ({"filters": (0,)}, "--filters 0: take at least 1"),
        ({"repetition": 2}, "2 repetitions, counted from 0; not 2"),
        ({"permutations": 0}, "at least 1"),
        ({"runs": (Path("block10/classification"),)}, "no IoU of single filters"),
        ({"classification_runs": (Path("block10/segmentation"),)}, "belongs to --runs"),
        ({"runs": (Path("block4/segmentation"),)}, "no run of --runs is on the same layer"),
        ({"runs": (Path("block4/segmentation"),) * 2}, "is given twice"),
        ({"classification_runs": (Path("block10/classification"),) * 2}, "give one of them"),
    ],
)  # fmt: skip
def test_bad_flags_are_refused(
    finished_study: Path, flags: OverlapFlags, tmp_path: Path, changes, complaint: str
) -> None:
    changes = {
        name: tuple(finished_study / x if isinstance(x, Path) else x for x in value)
        if isinstance(value, tuple)
        else value
        for name, value in changes.items()
    }
    with pytest.raises(Net2VecError, match=complaint):
        filter_overlap.main(dataclasses.replace(flags, out=tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(
    flags: OverlapFlags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setattr(filter_overlap, "filter_overlap", None)
    with pytest.raises(Net2VecError, match="out cannot be written"):
        filter_overlap.main(dataclasses.replace(flags, out=tmp_path / "out"))


def test_only_scenes_are_refused(finished_study: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", run)
    rows = read_table(run / "segmentation.csv")
    with (run / "segmentation.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"category": "scene"} for row in rows)
    with pytest.raises(Net2VecError, match="--include-whole-images"):
        filter_overlap.main(OverlapFlags(runs=(run,), out=tmp_path / "out"))
