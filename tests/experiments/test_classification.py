"""The classification script end to end, on small images: tables, seeds, resuming, bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.networks.load import load_network
from net2vec_jax.probes.classification import scores
from net2vec_jax.probes.heads import ALL_FILTERS
from net2vec_jax.runs import classification as classification_run
from net2vec_jax.runs import files
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.flags import ClassificationFlags
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.studies import classification

NAMES = {1: "everywhere", 2: "bright", 3: "rare", 4: "outside-s"}
HEADER = "concept,category,filters,train_accuracy,val_accuracy,val_accuracy_low,val_accuracy_high"


def draw_example(index: int) -> LabelledImage:
    """64×64 noise; every other image is bright and says so; "rare" is on two images."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
    plane = np.ones((1, 32, 32), np.int32)
    if index % 2:
        image += 120
        plane[0, 4:9, 5:20] = 2
    if index in (3, 37):
        plane[0, :3, :3] = 3
    scenes = {"scene": (4,)} if index % 3 == 0 else {}
    split = "train" if index < 28 else "val"
    labels = ImageLabels({"object": plane}, scenes)
    return LabelledImage(f"small/{index}.jpg", split, image, labels)


@pytest.fixture(scope="module")
def dataset_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "small"
    write_broden(directory, map(draw_example, range(44)), NAMES)
    return directory


@pytest.fixture(scope="module")
def network():
    return load_network("efficientnet_lite0")


def make_flags(dataset: Path, out: Path, **changes) -> ClassificationFlags:
    flags = ClassificationFlags(
        dataset=str(dataset), network="efficientnet_lite0", layer=("block1",), out=out, epochs=8,
        filters=(1, 4), seeds=2, batch_size=8, bootstrap_samples=50,
    )  # fmt: skip
    return dataclasses.replace(flags, **changes)


def run(flags: ClassificationFlags, network) -> LayerRun:
    done = LayerRun(flags, BrodenDataset(flags.dataset), network)
    done.finish()
    return done


@pytest.fixture(scope="module")
def finished(dataset_directory: Path, network, tmp_path_factory) -> LayerRun:
    return run(make_flags(dataset_directory, tmp_path_factory.mktemp("run") / "out"), network)


def test_tables(finished: LayerRun) -> None:
    assert (finished.run / "classification.csv").read_text().splitlines()[0] == HEADER
    rows = finished.run.read_table("classification.csv")
    assert {row["concept"] for row in rows} == {"bright", "outside-s"}
    assert [row["filters"] for row in rows] == ["all", "all", "1", "1", "4", "4"]
    for row in rows:
        low, value, high = (float(row[f"val_accuracy{end}"]) for end in ("_low", "", "_high"))
        assert 0 <= low <= high <= 1
        assert 0 <= value <= 1
        same = [
            float(each["val_accuracy"])
            for each in finished.run.read_table("classification_seeds.csv")
            if (each["concept"], each["filters"]) == (row["concept"], row["filters"])
        ]
        assert len(same) == 2
        np.testing.assert_allclose(value, np.mean(same), atol=1e-12)
    bright = next(row for row in rows if row["concept"] == "bright")
    assert float(bright["val_accuracy"]) > 0.9


def test_logits_of_every_image_are_kept(finished: LayerRun) -> None:
    with np.load(finished.run / "classification_images.npz") as file:
        kept = dict(file)
    assert len({len(column) for column in kept.values()}) == 1
    bright = find_heads(finished, "bright")
    assert len(bright) == 2  # seeds
    chosen = np.isin(kept["head"], bright)
    correct = np.where(kept["shows"], kept["logit"] > 0, kept["logit"] < 0)[chosen]
    row = finished.run.read_table("classification.csv")[0]
    np.testing.assert_allclose(float(row["val_accuracy"]), correct.mean(), atol=1e-12)
    assert kept["shows"][chosen].mean() == 0.5


def find_heads(finished: LayerRun, concept: str) -> np.ndarray:
    """Rows of a concept's heads over all filters, by seed."""
    run = FinishedRun(finished.run.path)
    heads = run.trained.heads
    return np.flatnonzero(
        (heads.concept == run.concepts.index(concept)) & (heads.filters == ALL_FILTERS)
    )


def test_concepts_with_too_few_images_are_skipped_and_recorded(finished: LayerRun) -> None:
    skipped = json.loads((finished.run / "run.json").read_text())["skipped"]
    assert skipped.keys() == {"everywhere", "rare"}
    assert skipped["rare"] == (
        "1 train images with it, 1 val images with it; at least 5 are needed"
    )


@pytest.mark.parametrize(
    ("module", "stage"),
    [
        (classification_run, "train_classification_heads"),
        (files, "write_embeddings"),
        (classification_run, "evaluate_classification"),
        (scores, "bootstrap_accuracy"),
    ],
)
def test_a_stopped_run_resumes_with_the_same_numbers(
    module, stage: str, finished: LayerRun, network, tmp_path: Path, monkeypatch
) -> None:
    flags = dataclasses.replace(finished.flags, out=tmp_path / "out")

    def stop(*_, **__) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, stage, stop)
        with pytest.raises(KeyboardInterrupt):
            run(flags, network)
    assert not (flags.out / "classification.csv").exists()
    run(flags, network)
    for name in ("concepts.csv", "classification.csv", "classification_seeds.csv"):
        assert (flags.out / name).read_text() == (finished.run / name).read_text()


def test_fully_connected_layers_are_probed(finished: LayerRun, tmp_path: Path) -> None:
    flags = make_flags(
        finished.flags.dataset, tmp_path / "out", layer=("logits", "block2"), filters=(), seeds=1
    )
    classification.main(flags)
    assert (tmp_path / "out" / "logits" / "classification.csv").exists()
    assert (tmp_path / "out" / "block2" / "classification.csv").exists()
    assert not (tmp_path / "out" / "block2" / "classification_seeds.csv").exists()


def test_the_original_averages_over_batches(finished, network, tmp_path: Path) -> None:
    flags = dataclasses.replace(
        finished.flags, out=tmp_path / "out", preset="reference_code", preprocessing="own"
    )
    done = run(flags, network)
    with np.load(done.run / "classification_images.npz") as file:
        kept = dict(file)
    correct = np.stack(
        [
            np.where(kept["shows"], kept["logit"] > 0, kept["logit"] < 0)[kept["head"] == head]
            for head in find_heads(done, "outside-s")
        ]
    )
    assert correct.shape[1] % 8  # a last batch that is short
    batches = [correct[:, first : first + 8].mean(1) for first in range(0, correct.shape[1], 8)]
    row = done.run.read_table("classification.csv")[1]
    np.testing.assert_allclose(float(row["val_accuracy"]), np.mean(batches), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"minimum_images": 0}, "--minimum-images must be at least 1"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"minimum_images": 100}, "no concept has enough images.*at least 100 are needed"),
        ({"filters": (1, 500)}, "--filters must lie in 1 … 24"),
        ({"epochs": -1}, "must be at least 0"),
        ({"learning_rate": float("nan")}, "learning rate nan must be a finite number"),
        ({"quantile": 1.5}, "quantile must lie between 0 and 1"),
        ({"concepts": ("brght",)}, "did you mean 'bright'"),
    ],
)
def test_bad_flags_are_refused(finished, network, tmp_path: Path, changes, complaint) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        run(dataclasses.replace(finished.flags, out=tmp_path / "out", **changes), network)
