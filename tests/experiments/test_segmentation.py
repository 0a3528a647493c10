"""The segmentation script end to end, on small images: tables, resuming, and refusing bad input."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from net2vec_jax.activations import condensed
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.activations.store import ActivationStore
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.core.console import run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data import open as open_module
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.open import open_scenes
from net2vec_jax.data.scenes.draw import draw_scene
from net2vec_jax.networks.load import load_network
from net2vec_jax.probes.segmentation import scores
from net2vec_jax.runs import activations as layer_activations
from net2vec_jax.runs import embedding_training, files, rivals
from net2vec_jax.runs import layer as layer_run
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.flags import SegmentationFlags
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import segmentation

HEADERS = {
    "concepts.csv": "number,name,category,train_images,val_images,train_coverage",
    "thresholds.csv": "filter,threshold",
    "single_filter.csv": "concept,category,best_filter,train_iou,val_iou",
    "segmentation.csv": (
        "concept,category,filters,train_iou,val_iou,val_iou_low,val_iou_high,alpha,"
        "single_same_rule_filter,single_same_rule_sign,"
        + "".join(
            f"{name},{name}_low,{name}_high,"
            for name in (
                "single_same_rule_val_iou",
                "prior_val_iou",
                "control_val_iou",
                "untrained_val_iou",
            )
        )
        + "everything_val_iou,"
        + "".join(
            f"{name},{name}_low,{name}_high,"
            for name in (
                "val_iou_all_images",
                "val_average_precision",
                "val_precision",
                "val_recall",
                "val_f1",
            )
        )
        + "decision_threshold,loss_share,l2,effective_images"
    ),
}
NAMES = {1: "left", 2: "bright", 3: "rare", 4: "outside-s"}


def draw_example(index: int) -> LabelledImage:
    """64×64 noise with a bright patch; "rare" is on val images only."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 120, (64, 64, 3), dtype=np.uint8)
    top, left = 2 * rng.integers(0, 16, 2)
    image[top : top + 24, left : left + 24] += 120
    plane = np.zeros((1, 32, 32), np.int32)
    plane[0, :, :10] = 1
    plane[0, top // 2 : top // 2 + 12, left // 2 : left // 2 + 12] = 2
    split = "train" if index < 8 else "val"
    if split == "val":
        plane[0, -3:, -3:] = 3
    labels = ImageLabels({"object": plane}, {"scene": (4,)})
    return LabelledImage(f"small/{index}.jpg", split, image, labels)


@pytest.fixture(scope="module")
def dataset_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data") / "small"
    write_broden(directory, map(draw_example, range(12)), NAMES)
    return directory


@pytest.fixture(scope="module")
def network():
    return load_network("efficientnet_lite0")


def make_flags(dataset: Path, out: Path, **changes) -> SegmentationFlags:
    flags = SegmentationFlags(
        dataset=str(dataset), network="efficientnet_lite0", layer=("block1",), out=out, epochs=3,
        images_per_batch=8, filters=(1, 4), quantile=0.05, learning_rate=1e-3,
        bootstrap_samples=50, untrained=False,
    )  # fmt: skip
    return dataclasses.replace(flags, **changes)


def run(flags: SegmentationFlags, network) -> LayerRun:
    done = LayerRun(flags, BrodenDataset(flags.dataset), network)
    done.finish()
    return done


@pytest.fixture(scope="module")
def finished(dataset_directory: Path, network, tmp_path_factory) -> LayerRun:
    return run(make_flags(dataset_directory, tmp_path_factory.mktemp("run") / "out"), network)


def read_results(directory: Path) -> dict[str, str]:
    return {name: (directory / name).read_text() for name in HEADERS}


def test_tables_have_the_documented_columns(finished: LayerRun) -> None:
    for name, header in HEADERS.items():
        assert (finished.run / name).read_text().splitlines()[0] == header, name
    rows = finished.run.read_table("segmentation.csv")
    assert {row["filters"] for row in rows} == {"all", "1", "4"}
    for row in rows:
        low, value, high = (float(row[f"val_iou{end}"]) for end in ("_low", "", "_high"))
        assert 0 <= low <= high <= 1
        assert 0 <= value <= 1
    thresholds = finished.run.read_table("thresholds.csv")
    assert [int(row["filter"]) for row in thresholds] == list(range(finished.layer.filters))


def test_concept_without_train_image_is_skipped_and_recorded(finished: LayerRun) -> None:
    listed = {row["name"]: row for row in finished.run.read_table("concepts.csv")}
    assert listed["rare"]["train_images"] == "0"
    assert "rare" not in {row["concept"] for row in finished.run.read_table("segmentation.csv")}
    assert '"rare": "no train image"' in (finished.run / "run.json").read_text()


STAGES = (
    (layer_activations, "store_activations"),
    (layer_run, "open_condensed"),
    (layer_run, "decode_masks"),
    (embedding_training, "probe_single_filters"),
    (embedding_training, "train_segmentation_heads"),
    (files, "write_embeddings"),
    (rivals, "fit_location_prior"),
    (files, "write_rivals"),
    (embedding_training, "evaluate_segmentation"),
    (scores, "bootstrap_set_iou"),
)


@pytest.mark.parametrize("stages", [STAGES, STAGES[4:5]], ids=["all", "training"])
def test_a_run_stopped_at_any_stage_resumes_with_the_same_numbers(
    stages: tuple, finished: LayerRun, network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is stopped at one stage after the other; each time it goes on behind the last."""
    flags = dataclasses.replace(finished.flags, out=tmp_path / "out")

    def stop(*_, **__) -> None:
        raise KeyboardInterrupt

    for module, stage in stages:
        with monkeypatch.context() as patch:
            patch.setattr(module, stage, stop)
            with pytest.raises(KeyboardInterrupt):
                run(flags, network)
    resumed = run(flags, network)
    assert read_results(resumed.run.path) == read_results(finished.run.path)


def test_finished_stages_are_not_computed_again(
    finished: LayerRun, network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.run.path, tmp_path / "out")
    monkeypatch.delattr(BrodenDataset, "image")  # nor is an image read
    monkeypatch.delattr(layer_run, "collect_wanted")
    monkeypatch.delattr(layer_run, "open_condensed")
    monkeypatch.delattr(embedding_training, "train_segmentation_heads")
    run(dataclasses.replace(finished.flags, out=tmp_path / "out"), network)


def test_another_configuration_is_refused(finished: LayerRun, network) -> None:
    before = read_results(finished.run.path)
    with pytest.raises(Net2VecError, match=r"another run \(seed: 0 there, 7 now\)"):
        run(dataclasses.replace(finished.flags, seed=7), network)
    assert read_results(finished.run.path) == before


def test_where_decoded_data_is_kept_does_not_change_the_run(
    finished: LayerRun, network, tmp_path: Path
) -> None:
    kept = Path(finished.flags.dataset) / ".net2vec_jax"
    assert {path.name.split("-")[0] for path in kept.iterdir()} == {"images", "masks"}
    before = read_results(finished.run.path)
    run(dataclasses.replace(finished.flags, cache_data=False), network)  # not refused
    copied = tmp_path / "data"
    shutil.copytree(finished.flags.dataset, copied, ignore=shutil.ignore_patterns(".net2vec_jax"))
    anew = make_flags(copied, tmp_path / "out", cache_data=False)
    assert read_results(run(anew, network).run.path) == before
    assert not (copied / ".net2vec_jax").exists()


def test_a_directory_with_other_contents_is_refused(
    dataset_directory: Path, network, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(Net2VecError, match=r"no run wrote \(thesis\.tex\)"):
        run(make_flags(dataset_directory, tmp_path), network)


def test_activations_of_another_origin_are_not_reused(
    finished: LayerRun, network, tmp_path: Path
) -> None:
    flags = dataclasses.replace(
        finished.flags, out=tmp_path / "out", activations=finished.run / "activations",
        preprocessing="imagenet",
    )  # fmt: skip
    with pytest.raises(Net2VecError, match="another preprocessing: 'own', not 'imagenet'"):
        run(flags, network)


def test_activations_of_another_type_are_not_reused(
    finished: LayerRun, network, tmp_path: Path
) -> None:
    flags = dataclasses.replace(
        finished.flags, out=tmp_path / "out", activations=finished.run / "activations",
        dtype="bfloat16",
    )  # fmt: skip
    with pytest.raises(Net2VecError, match="another dtype: 'float32', not 'bfloat16'"):
        run(flags, network)
    with pytest.raises(Net2VecError, match="dtype: 'float32' there, 'bfloat16' now"):
        run(dataclasses.replace(flags, out=finished.run.path), network)


@pytest.mark.parametrize("channels_first", [False, True])
def test_array_computed_elsewhere_gives_the_same_numbers(
    channels_first: bool, finished: LayerRun, tmp_path: Path
) -> None:
    values = np.concatenate(list(finished.layer.batches()))
    stored = values.transpose(0, 3, 1, 2) if channels_first else values
    np.save(tmp_path / "block1.npy", np.ascontiguousarray(stored))
    flags = dataclasses.replace(
        finished.flags, network=None, layer=(), activation_array=tmp_path / "block1.npy",
        channels_first=channels_first, out=tmp_path / "out",
    )  # fmt: skip
    segmentation.main(flags)
    assert read_results(flags.out) == read_results(finished.run.path)
    identity = json.loads((flags.out / "run.json").read_text())["origin"]
    assert (identity["network"], identity["layer"]) == ("array", "block1")
    assert not (flags.out / "activations").exists()
    if channels_first:
        return
    for file in ("single_filter.csv", "segmentation.csv"):  # an unfinished run resumes
        (flags.out / file).unlink()
    (tmp_path / "block1.npy").rename(tmp_path / "moved.npy")
    moved = dataclasses.replace(
        flags, layer=("block1",), activation_array=tmp_path / "moved.npy"
    )  # fmt: skip
    segmentation.main(moved)
    assert read_results(flags.out) == read_results(finished.run.path)
    np.save(tmp_path / "moved.npy", stored + 1)
    with pytest.raises(Net2VecError, match=r"another run \(array:"):
        segmentation.main(moved)


def test_array_of_another_number_of_images(
    dataset_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "five.npy", np.zeros((5, 2, 2, 3), np.float32))
    flags = SegmentationFlags(
        dataset=str(dataset_directory), activation_array=tmp_path / "five.npy",
        out=tmp_path / "out",
    )  # fmt: skip
    with pytest.raises(Net2VecError, match="of 5 images, but the dataset has 12"):
        segmentation.main(flags)
    assert not flags.out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": None}, "--network is missing; give --network and --layer, or --activation"),
        ({"layer": ()}, "--layer is missing"),
        ({"channels_first": True}, "--channels-first is about an --activation-array"),
        ({"activation_array": Path("a.npy"), "layer": ("a", "b")}, "is of one layer, .* names 2"),
        ({"activation_array": Path("a.npy"), "weights": "w.pth"}, "--weights has no effect"),
        ({"activation_array": Path("a.npy"), "dtype": "bfloat16"}, "--dtype has no effect"),
    ],
)
def test_flags_that_do_not_go_together(changes: dict, message: str, tmp_path: Path) -> None:
    flags = dataclasses.replace(make_flags(tmp_path, tmp_path / "out"), **changes)
    with pytest.raises(Net2VecError, match=message):
        segmentation.main(flags)
    assert not flags.out.exists()


def test_several_layers_in_one_pass_equal_one_by_one(
    finished: LayerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    collect = layer_activations.compute_activations

    def count(network, dataset, layers, **options):
        passes.append(layers)
        return collect(network, dataset, layers, **options)

    monkeypatch.setattr(layer_activations, "compute_activations", count)
    flags = dataclasses.replace(
        finished.flags, layer=("block1", "block0", "_blocks.1"), out=tmp_path / "out", filters=(),
        untrained=True,
    )  # fmt: skip
    segmentation.main(flags)
    assert passes == 2 * [["block1", "block0"]]  # the network, and before its training
    assert sorted(path.name for path in flags.out.iterdir()) == ["block0", "block1"]
    thresholds = [
        (path / "thresholds.csv").read_text() for path in (flags.out / "block1", finished.run.path)
    ]
    # deeper programs may be fused otherwise
    for one, other in zip(*(csv.DictReader(text.splitlines()) for text in thresholds), strict=True):
        assert float(one["threshold"]) == pytest.approx(float(other["threshold"]), rel=1e-4)
    scores = csv.DictReader((flags.out / "block0/segmentation.csv").read_text().splitlines())
    assert all(0 <= float(row["untrained_val_iou"]) <= 1 for row in scores)
    segmentation.main(flags)  # nothing is computed again
    assert len(passes) == 2
    with pytest.raises(Net2VecError, match="run directory of a single layer"):
        segmentation.main(dataclasses.replace(flags, out=finished.run.path))


def test_layers_without_spatial_extent_are_refused_before_any_work(
    finished: LayerRun, tmp_path: Path
) -> None:
    flags = dataclasses.replace(finished.flags, layer=("block1", "logits"), out=tmp_path / "out")
    with pytest.raises(Net2VecError, match="logits has no spatial extent"):
        segmentation.main(flags)
    assert not (flags.out / "block1" / "activations").exists()


def test_seeds_share_activations_but_not_those_before_training(
    finished: LayerRun, network, tmp_path: Path
) -> None:
    for seed in (0, 1):
        changes = {"out": tmp_path / f"out{seed}", "activations": tmp_path / "shared", "seed": seed}
        run(
            dataclasses.replace(finished.flags, **changes, untrained=True, filters=(), epochs=1),
            network,
        )
    stored = (tmp_path / "shared").glob(f"untrained/*/block1.top_{finished.flags.quantile}_hazen")
    assert sorted(path.parent.name for path in stored) == ["seed_0", "seed_1"]


def list_folders(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def test_only_what_is_needed_is_kept(finished: LayerRun) -> None:
    folder = finished.run / "activations"
    assert list_folders(folder) == ["block1.mean", f"block1.top_{finished.flags.quantile}_hazen"]
    layer = RunSources(FinishedRun(finished.run.path)).activations
    whole = np.concatenate(list(layer.batches()))
    thresholds = layer.thresholds(quantile=finished.flags.quantile)
    np.testing.assert_array_equal(layer.binary(thresholds).unpack(), whole > thresholds)
    np.testing.assert_array_equal(
        layer.binary(thresholds, np.array([7, 2])).unpack(), whole[[7, 2]] > thresholds
    )
    assert layer.thresholds(quantile=0.3).shape == thresholds.shape  # computed again
    np.testing.assert_array_equal(layer.pooled(), collect_pooled_activations([whole]))
    for pooling in ("mean", "max"):
        np.testing.assert_array_equal(
            layer.pooled(pooling, thresholds=thresholds),
            collect_pooled_activations([whole], pooling=pooling, thresholds=thresholds),
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_are_kept_if_asked_for(
    dtype: str, finished: LayerRun, network, tmp_path: Path
) -> None:
    flags = dataclasses.replace(finished.flags, keep_activations=dtype, out=tmp_path / "out")
    kept = run(flags, network)
    name = "block1" if dtype == "float32" else "block1.bfloat16"
    assert list_folders(tmp_path / "out" / "activations") == [name]
    layer = RunSources(FinishedRun(tmp_path / "out")).activations
    values, expected = (np.concatenate(list(one.batches())) for one in (layer, finished.layer))
    assert values.dtype == np.float32
    rounded = np.array(jnp.asarray(expected, dtype), np.float32)
    np.testing.assert_array_equal(values, rounded)
    assert layer.condensed == ()
    if dtype == "float32":
        assert read_results(kept.run.path) == read_results(finished.run.path)
    else:
        thresholds = [float(row["threshold"]) for row in kept.run.read_table("thresholds.csv")]
        np.testing.assert_array_equal(
            np.float32(thresholds),
            collect_thresholds([rounded], rounded[..., 0].size, quantile=flags.quantile),
        )
        with pytest.raises(Net2VecError, match="stored_as: 'bfloat16' there, None now"):
            run(dataclasses.replace(flags, keep_activations=None), network)


def test_values_of_a_finished_run_can_be_kept_later(
    finished: LayerRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.run.path, tmp_path / "out")
    monkeypatch.delattr(embedding_training, "train_segmentation_heads")
    flags = dataclasses.replace(finished.flags, out=tmp_path / "out", keep_activations="float32")
    segmentation.main(flags)
    layer = RunSources(FinishedRun(tmp_path / "out")).activations
    assert isinstance(layer.stored, ActivationStore)
    for one, other in zip(layer.batches(), finished.layer.batches(), strict=False):
        np.testing.assert_array_equal(one[:4], other[:4])


def test_a_pass_that_is_stopped_goes_on_where_it_was(
    finished: LayerRun, network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = dataclasses.replace(finished.flags, images_per_batch=2)
    run(dataclasses.replace(flags, out=tmp_path / "whole"), network)
    add, images = condensed.CondensedWriter.add, []

    def stop_sometimes(writer, batch, first: int) -> None:
        images.append(first)
        if len(images) in (5, 10):
            raise KeyboardInterrupt
        add(writer, batch, first)

    monkeypatch.setattr(condensed, "SECONDS_PER_NOTE", 0)
    monkeypatch.setattr(condensed, "SHARE_OF_TIME", float("inf"))
    monkeypatch.setattr(condensed.CondensedWriter, "add", stop_sometimes)
    flags = dataclasses.replace(flags, out=tmp_path / "parts")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(flags, network)
    resumed = run(flags, network)
    assert (images[5], images[10]) == (4, 8)
    assert read_results(resumed.run.path) == read_results(tmp_path / "whole")
    for path in (tmp_path / "whole" / "activations").rglob("*.npy"):
        other = tmp_path / "parts" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()


def test_results_of_a_concept_do_not_depend_on_the_others(
    finished: LayerRun, network, tmp_path: Path
) -> None:
    flags = dataclasses.replace(finished.flags, out=tmp_path / "out", concepts=("bright",))
    alone = run(flags, network).run.read_table("segmentation.csv")
    together = [
        row for row in finished.run.read_table("segmentation.csv") if row["concept"] == "bright"
    ]
    for one, other in zip(alone, together, strict=True):
        assert one["filters"] == other["filters"]
        # weights agree to about 1e-7; a pixel at the decision boundary may flip
        assert float(one["val_iou"]) == pytest.approx(float(other["val_iou"]), abs=1e-3)


def test_reference_code_differs_from_paper_where_it_should(
    dataset_directory: Path, tmp_path: Path
) -> None:
    paper = make_flags(dataset_directory, tmp_path)
    legacy = dataclasses.replace(paper, preset="reference_code")
    assert paper.training().batch_size == 64
    assert legacy.training().batch_size == 16
    assert legacy.training().legacy_single_image_scale
    assert (paper.resolve_preprocessing(), legacy.resolve_preprocessing()) == (
        "own",
        "reference_code",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--network": "efficientnet"}, "unknown network 'efficientnet'; did you mean"),
        ({"--layer": "block99"}, "unknown layer 'block99'; did you mean"),
        ({"--concepts": "brigt"}, "unknown concept 'brigt'; did you mean 'bright'"),
        ({"--dataset": "nowhere"}, "there is no dataset 'nowhere'"),
        ({"--weights": "missing.pth"}, "missing.pth"),
        ({"--filters": "1000"}, "--filters must lie in 1"),
        ({"--quantile": "2"}, "quantile must lie between 0 and 1"),
    ],
)
def test_bad_arguments_exit_with_one_message(
    changes: dict[str, str], message: str, dataset_directory: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    arguments = {
        "--dataset": str(dataset_directory), "--network": "efficientnet_lite0",
        "--layer": "block1", "--out": str(tmp_path / "out"),
    } | changes  # fmt: skip
    flat = [text for pair in arguments.items() for text in pair]
    monkeypatch.setattr(sys, "argv", ["segmentation", *flat])
    with pytest.raises(SystemExit) as stopped:
        run_script(segmentation.main)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]


def test_scenes_are_drawn_inside_the_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(open_module, "draw_scenes", lambda images: map(draw_scene, range(8)))
    with pytest.raises(Net2VecError, match="holds 8 scenes, not 800"):
        segmentation.main(
            SegmentationFlags(
                dataset="scenes",
                network="efficientnet_lite0",
                layer=("block1",),
                out=tmp_path / "out",
            )
        )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # what is drawn first does not make the directory somebody else's
    assert RunDirectory(tmp_path / "out", {}).has("scenes", "run.json")


def test_scenes_of_another_number_are_refused(tmp_path: Path) -> None:
    open_scenes(tmp_path / "scenes", images=3)
    assert len(open_scenes(tmp_path / "scenes", images=3)) == 3
    with pytest.raises(Net2VecError, match="holds 3 scenes, not 4"):
        open_scenes(tmp_path / "scenes", images=4)


def test_csv_tables_parse_with_the_standard_reader(finished: LayerRun) -> None:
    for name, header in HEADERS.items():
        with (finished.run / name).open(newline="") as file:
            rows = list(csv.reader(file))
        assert {len(row) for row in rows} == {len(header.split(","))}


def test_seeds_are_averaged_and_told_apart(finished: LayerRun, network, tmp_path: Path) -> None:
    flags = dataclasses.replace(
        finished.flags, out=tmp_path / "out", seeds=3, subset_seeds=2, filters=(1, 4)
    )
    done = run(flags, network)
    rows = done.run.read_table("segmentation.csv")
    by_seed = done.run.read_table("segmentation_seeds.csv")
    first = [row for row in by_seed if row["seed"] == "0" and row["filters"] == "all"]
    before = [row for row in finished.run.read_table("segmentation.csv") if row["filters"] == "all"]
    assert [row["val_iou"] for row in first] == [row["val_iou"] for row in before]
    for row in rows:
        same = [
            float(each["val_iou"])
            for each in by_seed
            if (each["concept"], each["filters"]) == (row["concept"], row["filters"])
        ]
        assert len(same) == (3 if row["filters"] == "all" else 2)
        np.testing.assert_allclose(float(row["val_iou"]), np.mean(same), atol=1e-12)
        assert float(row["val_iou_low"]) <= float(row["val_iou_high"])
    with pytest.raises(Net2VecError, match="subset-seeds must lie in 1 … --seeds, which is 3"):
        dataclasses.replace(flags, subset_seeds=4).check()
