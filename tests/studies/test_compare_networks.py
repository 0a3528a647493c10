"""Comparing finished runs: tables, figures, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from wordnet_writer import write_wordnet

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.studies import compare_networks
from net2vec_jax.studies.compare_networks import CompareFlags, compare_all
from net2vec_jax.studies.representations import collect_representations, open_runs

BLOCK4, BLOCK10 = (f"efficientnet_lite0/{layer}/segmentation" for layer in ("block4", "block10"))


@pytest.fixture(scope="module")
def runs(finished_study: Path) -> tuple[Path, ...]:
    return tuple(finished_study / layer / "segmentation" for layer in ("block4", "block10"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, runs: tuple[Path, ...]) -> Path:
    """Random vectors of all one-word names but one."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("words") / "words.txt"
    names = [name for name in FinishedRun(runs[0]).concepts if " " not in name]
    marks = ("-c", "-s")
    rows = [
        f"{name[:-2] if name.endswith(marks) else name} {' '.join(map(str, rng.normal(size=8)))}\n"
        for name in names[1:]
    ]
    path.write_text("".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, runs: tuple[Path, ...], words: Path) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    compare_networks.main(
        CompareFlags(runs, word_vectors=words, permutations=49, compare_activations=True, out=out)
    )
    return out


def test_distances_are_those_of_the_runs_embeddings(out: Path, runs: tuple[Path, ...]) -> None:
    rows = [r for r in read_table(out / "concept_distances.csv") if r["second"] == BLOCK10]
    opened = [FinishedRun(run) for run in runs]
    similarities = []
    for run in opened:
        weights = run.weights.astype(np.float64)
        mean = (weights / np.linalg.norm(weights, axis=-1, keepdims=True)).mean(axis=0)
        chosen = mean[[run.concepts.index(row["concept"]) for row in rows]]
        unit = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        similarities.append(unit @ unit.T)
    expected = ((similarities[0] - similarities[1]) ** 2).sum(axis=1)
    found = np.array([float(row["distance"]) for row in rows])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    by_category = {
        row["category"]: row
        for row in read_table(out / "distances.csv")
        if row["second"] == BLOCK10
    }
    assert int(by_category["all"]["concepts"]) == len(rows)
    np.testing.assert_allclose(float(by_category["all"]["mean"]), found.mean())
    chosen = found[[row["category"] == "part" for row in rows]]
    part = by_category["part"]
    np.testing.assert_allclose(float(part["stderr"]), chosen.std(ddof=1) / len(chosen) ** 0.5)
    similarity = next(row for row in read_table(out / "similarity.csv") if row["second"] == BLOCK10)
    np.testing.assert_allclose(float(similarity["distance"]), found.sum())


def test_all_pairs_are_in_all_tables(out: Path, runs: tuple[Path, ...]) -> None:
    pairs = [(BLOCK4, BLOCK10), (BLOCK4, "word vectors"), (BLOCK10, "word vectors")]
    for name in ("distances", "concept_distances", "similarity", "neighbours"):
        found = dict.fromkeys(
            (row["first"], row["second"]) for row in read_table(out / f"{name}.csv")
        )
        assert list(found) == pairs
    for row in read_table(out / "similarity.csv"):
        for name in ("cka", "rsa"):
            assert float(row[f"{name}_low"]) <= float(row[f"{name}_high"]) <= 1
            assert 1 / 50 <= float(row[f"{name}_p"]) <= 1
    for row in read_table(out / "neighbours.csv"):
        lists = [set(row[f"{which}_nearest"].split("; ")) for which in ("first", "second")]
        assert row["concept"] not in lists[0] | lists[1]
        assert float(row["overlap"]) == len(lists[0] & lists[1]) / 5
    summary = json.loads((out / "summary.json").read_text())
    missing = summary["representations"][2]["missing"]
    assert FinishedRun(runs[0]).concepts[0] in missing
    assert summary["representations"][0]["distance_per_entry_between_seeds"] > 0
    assert summary["pairs"][0]["neighbours"]["chance"] == 5 / (summary["pairs"][0]["concepts"] - 1)
    assert summary["activations"][0]["images"] == 80
    assert 0 < summary["activations"][0]["cka"] < 1
    names = {path.name for path in (out / "figures").iterdir()}
    for figure in ("distances", "cka_and_rsa", "distances_by_category"):
        assert {f"{figure}.png", f"{figure}.pdf"} <= names
    assert sum(name.startswith("difference_") for name in names) == 6
    assert sum(name.startswith("changed_concepts_") for name in names) == 6


def test_activations_that_are_gone_lose_nothing(
    runs: tuple[Path, ...], finished_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(runs[0], moved, ignore=shutil.ignore_patterns("activations"))
    record = json.loads((moved / "run.json").read_text())
    record["sources"]["activations"] = {"name": str(tmp_path / "gone"), "from_here": None}
    (moved / "run.json").write_text(json.dumps(record))
    chosen = (moved, runs[1], finished_study / "block4" / "classification")
    compare_networks.main(
        CompareFlags(chosen, permutations=9, compare_activations=True, out=tmp_path / "out")
    )
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if str(tmp_path / "gone") in line]
    assert line.startswith(f"no comparison with the activations of {BLOCK4}: ")
    assert len(read_table(tmp_path / "out" / "similarity.csv")) == 3
    # The classification run's activations are of the same layer, and are there.
    (compared,) = json.loads((tmp_path / "out" / "summary.json").read_text())["activations"]
    assert (compared["first"], compared["second"]) == (
        BLOCK10, "efficientnet_lite0/block4/classification"
    )  # fmt: skip


def test_a_run_and_its_copy_are_the_same_representation(
    runs: tuple[Path, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[0], copy)
    compare_networks.main(CompareFlags((copy, runs[0]), permutations=49, concepts=("sky",)))
    (row,) = read_table(copy / "compare_networks" / "similarity.csv")  # where it goes by default
    assert row["first"].startswith(BLOCK4) and row["second"].startswith(BLOCK4)
    assert row["first"] != row["second"]
    np.testing.assert_allclose(float(row["distance"]), 0, atol=1e-20)
    for name in ("cka", "rsa", "neighbour_overlap"):
        np.testing.assert_allclose(float(row[name]), 1)
    assert float(row["cka_p"]) == float(row["rsa_p"]) == 1 / 50
    printed = capsys.readouterr().out
    assert "sky" in printed and "100%" in printed


def test_pairwise_uses_what_two_have(runs: tuple[Path, ...], words: Path, tmp_path: Path) -> None:
    lexicon = write_wordnet(tmp_path / "wordnet")
    synsets = [f"{name}=entity.n.01" for name in FinishedRun(runs[0]).concepts[:7]]
    compared = collect_representations(
        open_runs(runs[:1]), wordnet=lexicon, word_vectors=words, synsets=synsets
    )
    flags = CompareFlags(runs[:1], permutations=9, distance="per_entry")
    common, own = (
        [
            len(pair.concepts)
            for pair in compare_all(dataclasses.replace(flags, pairwise=pairwise), compared)
        ]
        for pairwise in (False, True)
    )
    assert len(set(common)) == 1
    assert own[1] > own[0] > common[0]
    assert compared.entries["wordnet"][FinishedRun(runs[0]).concepts[0]] == "entity.n.01"


def test_runs_of_one_name_are_told_apart(finished_study: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name / "block4" for name in ("a", "b")]
    for path in paths:
        shutil.copytree(finished_study / "block4" / "classification", path)
    other = finished_study / "block10" / "segmentation"
    name = "efficientnet_lite0/block4/classification"
    assert list(open_runs([*paths, other])) == [f"{name} (a)", f"{name} (b)", BLOCK10]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"runs": ()}, "--runs is empty"),
        ({"number": 1}, "two or more representations"),
        ({"twice": True}, "was given twice"),
        ({"permutations": 0}, "1 or more"),
        ({"concepts": ("unicorn",)}, "no run has a concept called unicorn"),
        ({"synsets": ("unicorn=x.n.01",)}, "--synsets names unicorn"),
        ({"word_vectors": Path("missing.txt")}, "there is no file"),
        ({"wordnet": Path("missing")}, "there is no folder"),
    ],
)
def test_bad_flags_are_refused(runs: tuple[Path, ...], tmp_path: Path, changes, complaint) -> None:
    chosen = runs[: changes.pop("number", 2)]
    if changes.pop("twice", False):
        chosen = (runs[0], runs[0].parent / "." / runs[0].name)
    flags = CompareFlags(chosen, out=tmp_path / "out")
    with pytest.raises(Net2VecError, match=complaint):
        compare_networks.main(dataclasses.replace(flags, **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(
    runs: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    monkeypatch.setattr(compare_networks, "compare_networks", None)
    with pytest.raises(Net2VecError, match="out cannot be written"):
        compare_networks.main(CompareFlags(runs, out=tmp_path / "out"))
