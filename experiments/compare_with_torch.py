"""How much faster are the probes than plain PyTorch? Both run in turn, in one process.

  python -m experiments.compare_with_torch --dataset DIR [--activations FILE.npy] [--out FILE]

Segmentation: ours trains all concepts at once; torch loops over them with every tensor cached in
memory before its clock starts. Same thresholds and initial weights; the weights must agree.
Single filters: ours counts all concepts of the dataset; torch, which upsamples label by label as
the original does, is timed on a few of them and scaled by the number of (concept, image) pairs.
Time: 1,402 images × 24 concepts × 112 filters, 30 epochs, 3 rounds take about 15 minutes on 2 CPU
cores, nearly all of it in torch; --concepts, --epochs and --rounds make it shorter.
Expected on 2 x86 cores: training about 9 times faster with 11 concepts and 7 times with 3, since
few concepts fill the steps less; single filters about 100 times.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import torch
from rich.console import Console
from tqdm import tqdm

from experiments.measurement import Measurement, describe_machine, print_measurements, timed
from experiments.reference_torch import (
    Cache,
    TorchSegmentation,
    probe_single_filters_torch,
    train_segmentation_torch,
)
from experiments.script import open_dataset, run_script
from experiments.torch_activations import collect_activations_torch
from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.quantiles import collect_thresholds
from net2vec_jax.data.broden import BrodenDataset
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.heads import make_full_heads
from net2vec_jax.probes.segmentation import (
    SegmentationConfig,
    train_segmentation,
)
from net2vec_jax.probes.segmentation_evaluation import evaluate_segmentation
from net2vec_jax.probes.single_filter import probe_single_filters

IMAGES_AT_ONCE = 64
WEIGHT_TOLERANCE = 1e-4
"""Largest difference of any weight; both compute in float32, which drifts by about 1e-6."""


@dataclasses.dataclass(frozen=True)
class ComparisonFlags:
    """Flags of the comparison.

    Attributes:
      dataset: a Broden directory, "scenes" (built in), or tfds:NAME (docs/tfds.md).
      activations: float32 [N, h, w, K] in a .npy file; by default torch computes those of
        EfficientNet-Lite0.
      layer: of EfficientNet-Lite0, "block0" to "block15"; without --activations.
      concepts: concepts that are trained, by name or number; all by default.
      single_filter_concepts: concepts that torch counts single filters for; by default the one with
        the fewest images.
      epochs: passes over each concept's train images.
      batch_size: images per step.
      learning_rate: of SGD with momentum 0.9.
      rounds: how often both are run, in turn; medians are printed.
      cache: what torch keeps in memory between epochs: all "tensors", the "masks", or "none".
      val_each_epoch: torch also runs the val images after each epoch, as the original does; its
        time is reported apart.
      quantile: fraction of a filter's activations above its threshold.
      seed: of the initial weights.
      torch_threads: threads of torch; by default torch's own choice.
      scenes: where the built-in dataset is drawn, if it is asked for.
      out: write the measurements to this JSON file.
    """

    dataset: str
    activations: Path | None = None
    layer: str = "block10"
    concepts: tuple[str, ...] = ()
    single_filter_concepts: tuple[str, ...] = ()
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-4
    rounds: int = 3
    cache: Cache = "tensors"
    val_each_epoch: bool = True
    quantile: float = 0.005
    seed: int = 0
    torch_threads: int | None = None
    scenes: Path = Path("runs/scenes")
    out: Path | None = None


def measure_segmentation(
    flags: ComparisonFlags, dataset: BrodenDataset, binary: BinaryActivations, masks: ConceptMasks
) -> tuple[list[Measurement], float]:
    """Training, and training with val; and the largest difference of any weight."""
    config = SegmentationConfig(
        epochs=flags.epochs, batch_size=flags.batch_size, learning_rate=flags.learning_rate
    )
    heads = make_full_heads(masks, filters=binary.filters, key=jax.random.key(flags.seed))
    if not len(heads):
        raise Net2VecError("none of the concepts has both train and val images")

    def ours() -> tuple[np.ndarray, float, float]:
        result, training = timed(lambda: train_segmentation(heads, binary, masks, config))
        _, evaluation = timed(lambda: evaluate_segmentation(result.weights, heads, binary, masks))
        return result.weights, training, training + evaluation

    def theirs() -> list[TorchSegmentation]:
        concepts = tqdm(heads.concept, "torch, segmentation", unit="concept", leave=False)
        return [
            train_segmentation_torch(
                binary, masks, concept, heads.initial_weights[head],
                epochs=flags.epochs, batch_size=flags.batch_size,
                learning_rate=flags.learning_rate, cache=flags.cache,
                evaluate_val_each_epoch=flags.val_each_epoch,
                dataset=dataset if flags.cache == "none" else None,
            )
            for head, concept in enumerate(concepts)
        ]  # fmt: skip

    _, *first = ours()
    ours_seconds: list[list[float]] = [[], []]
    torch_seconds: list[list[float]] = [[], []]
    difference = 0.0
    for _ in range(flags.rounds):
        weights, *seconds = ours()
        results = theirs()
        build = sum(result.build_seconds for result in results)
        training = sum(result.train_seconds for result in results)
        val = sum(result.val_seconds for result in results)
        for place, values in enumerate(zip(seconds, (training, training + val), strict=True)):
            ours_seconds[place].append(values[0])
            torch_seconds[place].append(values[1])
        difference = max(difference, np.abs(weights - [r.weights for r in results]).max())
    pairs = int(masks.count_images()[0][heads.concept].sum()) * flags.epochs
    cached = {
        "tensors": f"all tensors cached, built in {build:.1f} s before its clock starts",
        "masks": "masks cached, tensors built in every epoch",
        "none": "label planes decoded and tensors built in every epoch",
    }
    tasks = {
        "training": f"{len(heads)} concepts, {flags.epochs} epochs; torch: {cached[flags.cache]}"
    }
    if flags.val_each_epoch:
        tasks["training + val"] = (
            "ours evaluates at the end, torch after every epoch, as the original"
        )
    measured = [
        Measurement(task, pairs, ours_seconds[i], first[i], torch_seconds[i], pairs, note)
        for i, (task, note) in enumerate(tasks.items())
    ]
    return measured, float(difference)


def measure_single_filters(
    flags: ComparisonFlags, binary: BinaryActivations, masks: ConceptMasks
) -> tuple[Measurement, int]:
    """Single filters; and how many counts differ between the two (none should)."""
    images = np.bincount(masks.pair_concept, minlength=len(masks.catalog))
    if flags.single_filter_concepts:
        chosen = masks.catalog.select(flags.single_filter_concepts)
        numbers = [concept.number for concept in masks.catalog]
        concepts = [numbers.index(concept.number) for concept in chosen]
    else:
        concepts = [int(np.where(images > 0, images, images.max() + 1).argmin())]
    counts, first = timed(lambda: probe_single_filters(binary, masks))
    ours, theirs = [], []
    for _ in range(flags.rounds):
        ours.append(timed(lambda: probe_single_filters(binary, masks))[1])
        reference, seconds = timed(
            lambda: probe_single_filters_torch(binary, masks, concepts, progress=True)
        )
        theirs.append(seconds)
    differing = sum(
        int((mine[:, concepts] != other).sum())
        for mine, other in (
            (counts.intersection, reference.intersection),
            (counts.union, reference.union),
        )
    )
    pairs, torch_pairs = len(masks.pair_concept), int(images[concepts].sum())
    names = ", ".join(masks.catalog.concepts[place].name for place in concepts)
    note = (
        f"{len(masks.catalog)} concepts; torch goes label by label; it was timed on "
        f"{torch_pairs:,} pairs ({names}) and its time scaled to all {pairs:,}"
    )
    return Measurement("single filters", pairs, ours, first, theirs, torch_pairs, note), differing


def load_activations(flags: ComparisonFlags, dataset: BrodenDataset) -> np.ndarray:
    """float32 [N, h, w, K], from the file or by torch."""
    if flags.activations is None:
        return collect_activations_torch(dataset, layer=flags.layer, progress=True)
    if not flags.activations.is_file():
        raise Net2VecError(f"there is no file {flags.activations}")
    activations = np.load(flags.activations, mmap_mode="r")
    if activations.ndim != 4 or len(activations) != len(dataset):
        raise Net2VecError(
            f"{flags.activations} holds an array {activations.shape}; expected [N, h, w, K] of "
            f"the dataset's {len(dataset)} images"
        )
    return activations


def main(flags: ComparisonFlags) -> None:
    """Measure, print a table, write the JSON file; exit with 1 if the two sides disagree."""
    if flags.rounds < 1 or flags.epochs < 1:
        raise Net2VecError("--rounds and --epochs must be at least 1")
    if flags.torch_threads is not None:
        torch.set_num_threads(flags.torch_threads)
    dataset = open_dataset(flags.dataset, scenes_directory=flags.scenes)
    chosen = dataset.catalog.select(flags.concepts) if flags.concepts else dataset.catalog
    dataset.catalog.select(flags.single_filter_concepts)  # fails early on an unknown name
    activations = load_activations(flags, dataset)
    batches = np.array_split(activations, -(-len(activations) // IMAGES_AT_ONCE))
    values = activations[..., 0].size
    thresholds = collect_thresholds(batches, values, quantile=flags.quantile)
    binary = collect_binary_activations(batches, thresholds)
    masks = collect_concept_masks(dataset, progress=True)
    measured, difference = measure_segmentation(flags, dataset, binary, masks.select(chosen))
    single, differing = measure_single_filters(flags, binary, masks)
    measured.append(single)

    console = Console()
    print_measurements(console, measured)
    machine = describe_machine() | {
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{binary.filters} filters on {binary.grid}, masks {masks.segmentation_size}; "
        f"rounds: {flags.rounds}, medians; µs are per (concept, image) pair",
        f"largest difference of a weight: {difference:.1e} (limit {WEIGHT_TOLERANCE:.0e}); "
        f"single-filter counts that differ: {differing}",
    ]
    console.print("\n".join(lines), highlight=False)
    if flags.out is not None:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "settings": dataclasses.asdict(flags),
            "machine": machine,
            "results": [dataclasses.asdict(item) | item.summarise() for item in measured],
            "largest_weight_difference": difference,
            "differing_single_filter_counts": differing,
        }
        flags.out.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    if difference > WEIGHT_TOLERANCE or differing:
        print("error: the two sides disagree", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run_script(main, ComparisonFlags, __doc__.split("\n")[0])
