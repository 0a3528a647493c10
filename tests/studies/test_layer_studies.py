"""Studies of several layers: both probes, figures and summaries from one command."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.runs import activations as layer_activations
from net2vec_jax.runs.study import StudyFlags, parse_layers
from net2vec_jax.studies import how_many_filters, single_vs_embedding

NAMES = {1: "left", 2: "bright", 3: "outside-s"}


def draw_example(index: int) -> LabelledImage:
    """64×64 noise; every other image has a bright patch, every third is a scene."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
    plane = np.zeros((1, 32, 32), np.int32)
    if index % 5:
        plane[0, :, :10] = 1
        image[:, :20] //= 2
    if index % 2:
        image[16:40, 24:56] += 130
        plane[0, 8:20, 12:28] = 2
    scenes = {"scene": (3,)} if index % 3 == 0 else {}
    split = "train" if index < 36 else "val"
    labels = ImageLabels({"object": plane}, scenes)
    return LabelledImage(f"small/{index}.jpg", split, image, labels)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFlags:
    root = tmp_path_factory.mktemp("study")
    write_broden(root / "data", map(draw_example, range(72)), NAMES)
    flags = StudyFlags(
        dataset=str(root / "data"),
        layers=("efficientnet_lite0/block1", "efficientnet_lite0/_blocks.2"),
        out=root / "out",
        filters=(1, 4, 500),
        seeds=2,
        segmentation_epochs=3,
        classification_epochs=4,
        bootstrap_samples=50,
        untrained=False,
    )
    how_many_filters.main(flags)
    return flags


def test_runs_figures_and_summary_are_written(study: StudyFlags) -> None:
    for layer in ("block1", "block2"):
        folder = study.out / "efficientnet_lite0" / layer
        assert (folder / "segmentation" / "segmentation.csv").is_file()
        assert (folder / "classification" / "classification.csv").is_file()
    summary = json.loads((study.out / "summary.json").read_text())["how_many_filters"]
    assert summary.keys() == {"block1", "block2"}
    counts = summary["block1"]["segmentation"]
    assert counts["filters"] == [1, 4, 24]  # a layer of 24 filters cannot have 500
    assert counts["concepts"][0] == 2  # a scene's mask is the whole image
    assert summary["block1"]["classification"]["concepts"][0] == 3
    whole_images = [n for n, reason in counts["left_out"].items() if "whole images" in reason]
    assert whole_images == [NAMES[3]]
    assert len(counts["left_out"]) == 1 + counts["concepts_not_above_chance"]
    figures = {path.name for path in (study.out / "figures").iterdir()}
    for probe in ("segmentation", "classification"):
        assert {f"{probe}_against_filters.png", f"{probe}_against_filters.pdf"} <= figures
        for layer in ("block1", "block2"):
            has_learnt = summary[layer][probe]["concepts_above_chance"] > 0
            assert (f"{probe}_concepts_{layer}.png" in figures) == has_learnt


def test_every_concept_has_its_fit_and_counts(study: StudyFlags) -> None:
    with (study.out / "how_many_filters.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + 3)
    summary = json.loads((study.out / "summary.json").read_text())["how_many_filters"]
    for probe in ("segmentation", "classification"):
        chosen = [row for row in rows if (row["layer"], row["probe"]) == ("block2", probe)]
        assert np.mean([float(row["full_score"]) for row in chosen]) == pytest.approx(
            summary["block2"][probe]["mean"][-1]
        )
        for fraction in (50, 90):
            needed = [
                row[f"filters_for_{fraction}%"] for row in chosen if row["above_chance"] == "1"
            ]
            counted = summary["block2"][probe]["sufficient"][str(fraction / 100)]
            assert {
                size: count for size, count in counted["concepts_by_filters"].items() if count
            } == {size: needed.count(size) for size in needed}


def test_single_filters_are_compared_on_the_same_runs(
    study: StudyFlags, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delattr(layer_activations, "compute_activations")  # all there already
    single_vs_embedding.main(study)
    assert "Best single filter and embedding" in capsys.readouterr().out
    with (study.out / "single_vs_embedding.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3
    for row in rows:
        difference = float(row["val_iou"]) - float(row["single_val_iou"])
        np.testing.assert_allclose(float(row["difference"]), difference, atol=1e-6)
        low, high = float(row["difference_low"]), float(row["difference_high"])
        assert low <= high
        assert 0 < float(row["p_value"]) <= float(row["q_value"]) <= 1
        assert row["differs"] in "01"
        is_whole = row["concept"] == NAMES[3]
        assert row["family"] == ("whole images" if is_whole else "masks")
        for name in ("single", "single_chosen_on_train", "embedding"):
            assert row[f"{name}_detects"] in ([""] if is_whole else ["0", "1"])
    bright = next(row for row in rows if row["concept"] == "bright")
    folder = study.out / "efficientnet_lite0" / "block1" / "segmentation"
    with (folder / "single_filter.csv").open(encoding="utf-8") as file:
        single = {row["concept"]: row for row in csv.DictReader(file)}
    assert bright["best_filter"] == single["bright"]["best_filter"]
    assert float(bright["single_val_iou"]) == float(single["bright"]["val_iou"])
    summary = json.loads((study.out / "summary.json").read_text())
    assert summary.keys() == {"how_many_filters", "single_vs_embedding"}
    found = summary["single_vs_embedding"]["block2"]["segmentation"]
    assert found["concepts"] == 2
    assert {family: tests["concepts"] for family, tests in found["tests"].items()} == {
        "masks": 2, "whole images": 1,
    }  # fmt: skip
    for name in ("single", "single_chosen_on_train", "embedding"):
        detected = [row[f"{name}_detects"] for row in rows if row["layer"] == "block2"]
        assert detected.count("1") == found["unique_detectors"][name]
    check_same_rule(study, summary["single_vs_embedding"])
    check_accuracies(study, summary["single_vs_embedding"])
    figures = {path.name for path in (study.out / "figures").iterdir()}
    assert {"unique_detectors.pdf", "classification_by_category.png"} <= figures
    for name in (
        "segmentation_by_layer", "segmentation_histograms", "segmentation_mean_improvement",
        "segmentation_same_rule_by_concept", "segmentation_same_rule_by_layer",
        "segmentation_rivals",
        "classification_by_layer", "classification_histograms", "classification_at_least_as_good",
        "classification_exceptions",
    ):  # fmt: skip
        assert {f"{name}.png", f"{name}.pdf"} <= figures


def check_same_rule(study: StudyFlags, summary: dict) -> None:
    rows = read_table(study.out / "single_vs_embedding_rivals.csv")
    assert len(rows) == 2 * 3 * 3  # layers, rivals, concepts
    strata = read_table(study.out / "single_vs_embedding_strata.csv")
    for layer, found in summary.items():
        same_rule = found["segmentation_same_rule"]
        assert same_rule.keys() == {"single_same_rule", "prior", "control"}
        for rival, families in same_rule.items():
            mine = [
                float(row["rival_val_iou"])
                for row in rows
                if (row["layer"], row["rival"], row["family"]) == (layer, rival, "masks")
            ]
            assert families["masks"]["rival_mean"] == pytest.approx(np.mean(mine))
            assert families["masks"]["concepts"] == 2
            for by in ("train_coverage", "train_images"):
                thirds = [s for s in strata if (s["layer"], s["stratum"]) == (layer, by)]
                assert sorted(float(third[rival]) for third in thirds) == pytest.approx(
                    sorted(mine), abs=1e-6
                )  # two concepts, each a third by itself


def check_accuracies(study: StudyFlags, summary: dict) -> None:
    rows = read_table(study.out / "single_vs_embedding_accuracy.csv")
    assert len(rows) == 2 * 3
    for layer, found in summary.items():
        folder = study.out / "efficientnet_lite0" / layer / "classification"
        scores = {
            (row["concept"], row["filters"]): float(row["val_accuracy"])
            for row in read_table(folder / "classification.csv")
        }
        for row in rows:
            if row["layer"] != layer:
                continue
            assert float(row["val_accuracy"]) == pytest.approx(scores[row["concept"], "all"])
            single, both = float(row["single_val_accuracy"]), float(row["val_accuracy"])
            assert single == pytest.approx(scores[row["concept"], "1"])
            assert float(row["difference"]) == pytest.approx(both - single, abs=1e-6)
            low, high = float(row["difference_low"]), float(row["difference_high"])
            assert low <= both - single + 1e-6 and both - single - 1e-6 <= high
        assert found["classification"]["tests"]["concepts"] == 3


def test_layers_are_grouped_by_network() -> None:
    layers = ("a/x", "b/y", "a/z", "own/net.py:make/w")
    assert parse_layers(layers) == {"a": ["x", "z"], "b": ["y"], "own/net.py:make": ["w"]}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layers": ("block1",)}, "write NETWORK/LAYER"),
        ({"layers": ()}, "--layers is empty"),
        ({"layers": ("efficientnet_lite0/block99",)}, "unknown layer 'block99'"),
        ({"weights": ("resnet18=x",)}, "NETWORK=WEIGHTS for a network of --layers"),
        ({"weights": ("efficientnet_lite0",)}, "NETWORK=WEIGHTS"),
    ],
)
def test_bad_flags_are_refused(study: StudyFlags, tmp_path: Path, changes, complaint) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        how_many_filters.main(dataclasses.replace(study, out=tmp_path / "out", **changes))
