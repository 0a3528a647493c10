"""The stages of a segmentation run; what a later stage needs is loaded from earlier ones' files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.embedding_store import load_tree, save_tree
from experiments.layer_activations import collect_layers, describe_origin
from experiments.run_directory import RUN_FILE, RunDirectory
from experiments.segmentation_flags import PRESETS, SegmentationFlags
from net2vec_jax.activations.arrays import ExternalActivations
from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.quantiles import collect_thresholds
from net2vec_jax.activations.store import ActivationStore
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.metrics import choose_best_filters, iou, set_iou
from net2vec_jax.networks.zoo import LoadedNetwork
from net2vec_jax.probes.heads import Heads, make_full_heads, make_subset_heads
from net2vec_jax.probes.overlap import Overlap
from net2vec_jax.probes.segmentation import SegmentationResult, train_segmentation
from net2vec_jax.probes.segmentation_evaluation import evaluate_segmentation
from net2vec_jax.probes.single_filter import probe_single_filters
from net2vec_jax.uncertainty import bootstrap_set_iou


class SegmentationRun:
    """The stages of one run; what a later stage needs is loaded from the files of earlier ones.

    Attributes:
      flags: of the run.
      dataset: the images and their labels.
      probed: the network, or activations computed elsewhere.
      layer: the layer's name in the network.
      run: the run directory.
    """

    def __init__(
        self,
        flags: SegmentationFlags,
        dataset: ConceptDataset,
        probed: LoadedNetwork | ExternalActivations,
    ) -> None:
        """Open the run directory of a single layer.

        Unknown layers and concepts, and an array of another number of images, are refused before
        any work.
        """
        flags.check()
        self.flags, self.dataset, self.probed = flags, dataset, probed
        self.origin = describe_origin(flags, dataset, probed)
        self.layer = self.origin["layer"]
        self.catalog: ConceptCatalog = (
            dataset.catalog.select(flags.concepts) if flags.concepts else dataset.catalog
        )
        self.training = flags.training()
        identity: dict[str, Any] = {
            **dataclasses.asdict(flags),
            **self.origin,
            "dataset_name": dataset.name,
            "batch_size": self.training.batch_size,
        }
        # Where things lie and how fast they are computed does not change the results.
        for name in ("out", "activations", "activation_array", "images_per_batch"):
            del identity[name]
        self.run = RunDirectory(flags.out, identity)

    @property
    def activations_directory(self) -> Path:
        """Folder of the layer's stored activations."""
        return (self.flags.activations or self.run / "activations") / self.layer

    def finish(self) -> None:
        """Run every stage whose files are missing."""
        if not self.run.has("thresholds.csv"):
            with self.run.stage("thresholds"):
                self._collect_thresholds()
        if not self.run.has("concepts.csv"):
            self._write_concepts()
        if not self.run.has("single_filter.csv"):
            with self.run.stage("single_filter"):
                self._probe_single_filters()
        if not self.run.has("embeddings"):
            with self.run.stage("training"):
                self._train()
        if not self.run.has("segmentation.csv"):
            with self.run.stage("evaluation"):
                self._evaluate()

    @cached_property
    def store(self) -> ActivationStore | ExternalActivations:
        """The layer's activations, collected if need be."""
        if isinstance(self.probed, ExternalActivations):
            return self.probed
        if not self.activations_directory.exists():
            with self.run.stage("activations"):
                collect_layers([self])
        store = ActivationStore(self.activations_directory)
        store.check_origin(self.origin)
        return store

    @cached_property
    def masks(self) -> ConceptMasks:
        """Masks of the chosen concepts."""
        with self.run.stage("labels"):
            choice = PRESETS[self.flags.preset].category_choice
            masks = collect_concept_masks(self.dataset, category_choice=choice, progress=True)
        return masks.select(self.catalog)

    @cached_property
    def binary(self) -> BinaryActivations:
        """Binary activations of all images."""
        rows = self.run.read_table("thresholds.csv")
        thresholds = np.array([row["threshold"] for row in rows], np.float32)
        return collect_binary_activations(self.store.batches(), thresholds)

    @cached_property
    def full_heads(self) -> Heads:
        """One head per concept that has train and val images, over all filters."""
        key = jax.random.key(self.flags.seed)
        return make_full_heads(self.masks, filters=self.store.shape[-1], key=key)

    def _collect_thresholds(self) -> None:
        if len(self.store.shape) != 4:
            raise Net2VecError(
                f"layer {self.layer} has no spatial extent, its activations are "
                f"{self.store.shape}; the segmentation probe needs a convolutional layer"
            )
        batches = tqdm(self.store.batches(), "thresholds", unit="batch", leave=False, delay=2)
        thresholds = collect_thresholds(
            batches,
            self.store.values_per_filter,
            quantile=self.flags.quantile,
            method=self.flags.quantile_method,
        )
        self.run.write_table("thresholds.csv", ["filter", "threshold"], enumerate(thresholds))

    def _write_concepts(self) -> None:
        train, val = self.masks.count_images()
        missing = {
            concept.name: "no train image" if not train[place] else "no val image"
            for place, concept in enumerate(self.catalog)
            if not (train[place] and val[place])
        }
        self.run.record_skipped(missing)
        if len(missing) == len(self.catalog):
            raise Net2VecError("no concept has both train and val images; nothing can be trained")
        header = ["number", "name", "category", "train_images", "val_images", "train_coverage"]
        columns = zip(self.catalog, train, val, self.masks.train_coverage(), strict=True)
        rows = [[c.number, c.name, c.primary_category, *counts] for c, *counts in columns]
        self.run.write_table("concepts.csv", header, rows)

    def _describe(self, place: int) -> list[str]:
        concept = self.catalog.concepts[place]
        return [concept.name, concept.primary_category]

    def _probe_single_filters(self) -> None:
        counts = probe_single_filters(self.binary, self.masks, progress=True)
        ious = iou(*counts)
        numbers = np.array([concept.number for concept in self.catalog])
        self.run.write_arrays(
            "single_filter.npz", {"concept": numbers, "train_iou": ious[0], "val_iou": ious[1]}
        )
        best, train, val = choose_best_filters(ious)
        rows = [
            [*self._describe(place), best[place], train[place], val[place]]
            for place in self.full_heads.concept
        ]
        header = ["concept", "category", "best_filter", "train_iou", "val_iou"]
        self.run.write_table("single_filter.csv", header, rows)

    def _train(self) -> None:
        filters = self.store.shape[-1]
        sizes = sorted(set(self.flags.filters))
        if sizes and not 1 <= sizes[0] <= sizes[-1] <= filters:
            raise Net2VecError(f"--filters must lie in 1 … {filters}, not {sizes}")
        heads = [self.full_heads]
        results = [self._train_heads(self.full_heads, "embeddings")]
        if sizes:
            heads += make_subset_heads(self.full_heads, results[0].weights, sizes)
            results.append(self._train_heads(_join(heads[1:]), "filter subsets"))
        joined = _join(heads)
        counted = ["all"] * len(heads[0]) + [n for n in sizes for _ in range(len(heads[0]))]
        numbers = np.array([concept.number for concept in self.catalog], np.int32)
        tree = {
            "weights": np.concatenate([result.weights for result in results]),
            "initial_weights": joined.initial_weights,
            "loss": np.concatenate([result.loss for result in results], axis=1),
            "heads": {
                "concept": numbers[joined.concept],
                "filters": np.array([filters if n == "all" else n for n in counted], np.int32),
                "is_full": np.array([n == "all" for n in counted]),
                "filter_mask": joined.filter_mask,
            },
        }
        with self.run.new_folder("embeddings") as folder:
            save_tree(folder, tree)

    def _train_heads(self, heads: Heads, name: str) -> SegmentationResult:
        with tqdm(total=self.training.epochs, desc=name, unit="epoch", leave=False, delay=1) as bar:

            def show(_: int, weights: jax.Array) -> None:
                weights.block_until_ready()  # or the bar would run ahead of the device
                bar.update()

            key = jax.random.key(self.flags.seed)
            return train_segmentation(
                heads, self.binary, self.masks, self.training, key=key, on_epoch=show
            )

    def _evaluate(self) -> None:
        tree = load_tree(self.run / "embeddings")
        table = tree["heads"]
        places = {concept.number: place for place, concept in enumerate(self.catalog)}
        concept = np.array([places[number] for number in table["concept"].tolist()], np.int32)
        heads = Heads(concept, table["filter_mask"], tree["initial_weights"])
        counts = evaluate_segmentation(
            tree["weights"], heads, self.binary, self.masks, progress=True
        )
        val = self.masks.pair_is_val[counts.pair]
        self.run.write_arrays(
            "segmentation_images.npz",
            {
                "head": counts.head,
                "image": self.masks.pair_image[counts.pair],
                "intersection": counts.overlap.intersection,
                "union": counts.overlap.union,
                "is_val": val,
            },
        )

        def part(chosen: np.ndarray) -> tuple[Overlap, np.ndarray, int]:
            return Overlap(*(x[chosen] for x in counts.overlap)), counts.head[chosen], len(heads)

        train_iou, val_iou = set_iou(*part(~val)), set_iou(*part(val))
        low, high = bootstrap_set_iou(
            *part(val), key=jax.random.key(self.flags.seed), samples=self.flags.bootstrap_samples
        )
        alpha = 1 - self.masks.train_coverage()[concept]
        rows = [
            [
                *self._describe(concept[head]),
                "all" if table["is_full"][head] else table["filters"][head],
                train_iou[head], val_iou[head], low[head], high[head], alpha[head],
            ]
            for head in range(len(heads))
        ]  # fmt: skip
        header = ["concept", "category", "filters", "train_iou", "val_iou"]
        header += ["val_iou_low", "val_iou_high", "alpha"]
        self.run.write_table("segmentation.csv", header, rows)


def open_layers(
    flags: SegmentationFlags, dataset: ConceptDataset, loaded: LoadedNetwork
) -> list[SegmentationRun]:
    """One run per layer: in the directory OUT if there is one layer, in OUT/LAYER if several.

    Raises:
      Net2VecError: a layer is unknown, or a directory cannot be used.
    """
    layers = tuple(dict.fromkeys(map(loaded.network.resolve_layer, flags.layer)))
    if len(layers) > 1 and (flags.out / RUN_FILE).exists():
        raise Net2VecError(
            f"{flags.out} is the run directory of a single layer; choose another for several"
        )
    return [
        SegmentationRun(
            dataclasses.replace(
                flags, layer=(layer,), out=flags.out / layer if len(layers) > 1 else flags.out
            ),
            dataset,
            loaded,
        )
        for layer in layers
    ]


def _join(parts: Sequence[Heads]) -> Heads:
    fields = [field.name for field in dataclasses.fields(Heads)]
    return Heads(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
