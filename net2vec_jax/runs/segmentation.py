"""The stages of a segmentation run; what a later stage needs is loaded from earlier ones' files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import CategoryChoice
from net2vec_jax.probes.heads import Heads, make_full_heads, make_subset_heads
from net2vec_jax.probes.segmentation.evaluation import SegmentationCounts, evaluate_segmentation
from net2vec_jax.probes.segmentation.training import SegmentationResult, train_segmentation
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.runs.embedding_store import load_tree, save_tree
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.segmentation_flags import PRESETS, SegmentationFlags
from net2vec_jax.stats.intervals import bootstrap_set_iou
from net2vec_jax.stats.metrics import choose_best_filters, iou, set_iou
from net2vec_jax.stats.overlap import Overlap


class SegmentationRun(LayerRun[SegmentationFlags]):
    """The stages of one run; what a later stage needs is loaded from the files of earlier ones."""

    table = "segmentation.csv"

    def resolved(self) -> dict[str, Any]:
        """The batch size that holds."""
        return {"batch_size": self.flags.training().batch_size}

    def category_choice(self) -> CategoryChoice:
        """The preset's."""
        return PRESETS[self.flags.preset].category_choice

    def find_shortages(self) -> dict[str, str]:
        """Concepts that are not in both splits."""
        return self.masks.find_missing()

    def finish(self) -> None:
        """Run every stage whose files are missing."""
        if not self.run.has("thresholds.csv"):
            with self.run.stage("thresholds"):
                self._collect_thresholds()
        if not self.run.has("concepts.csv"):
            self.write_concepts()
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
    def binary(self) -> BinaryActivations:
        """Binary activations of all images."""
        rows = self.run.read_table("thresholds.csv")
        thresholds = np.array([row["threshold"] for row in rows], np.float32)
        return collect_binary_activations(self.store.batches(), thresholds)

    @cached_property
    def full_heads(self) -> list[Heads]:
        """For every seed, a head per concept that has train and val images, over all filters."""
        key, filters = jax.random.key(self.flags.seed), self.store.shape[-1]
        keys = [key, *(jax.random.fold_in(key, seed) for seed in range(1, self.flags.seeds))]
        return [make_full_heads(self.masks, filters=filters, key=key) for key in keys]

    def _collect_thresholds(self) -> None:
        if len(self.store.shape) != 4:
            raise Net2VecError(
                f"layer {self.layer} has no spatial extent, its activations are "
                f"{self.store.shape}; the segmentation probe needs a "
                "convolutional layer; experiments.classification takes this one too"
            )
        batches = tqdm(self.store.batches(), "thresholds", unit="batch", leave=False, delay=2)
        thresholds = collect_thresholds(
            batches,
            self.store.values_per_filter,
            quantile=self.flags.quantile,
            method=self.flags.quantile_method,
        )
        self.run.write_table("thresholds.csv", ["filter", "threshold"], enumerate(thresholds))

    def _probe_single_filters(self) -> None:
        counts = probe_single_filters(self.binary, self.masks, progress=True)
        ious = iou(*counts)
        self.run.write_arrays(
            "single_filter.npz",
            {"concept": self.numbers(), "train_iou": ious[0], "val_iou": ious[1]},
        )
        best, train, val = choose_best_filters(ious)
        rows = [
            [*self.describe(place), best[place], train[place], val[place]]
            for place in self.full_heads[0].concept
        ]
        header = ["concept", "category", "best_filter", "train_iou", "val_iou"]
        self.run.write_table("single_filter.csv", header, rows)

    def _train(self) -> None:
        sizes, concepts = self.subset_sizes(), len(self.full_heads[0])
        parts = [_join(self.full_heads)]
        results = [self._train_heads(parts[0], "embeddings")]
        repeated = range(self.flags.seeds_of_subsets())
        if sizes:
            per_seed = np.split(results[0].weights, self.flags.seeds)
            subsets = [
                _join(make_subset_heads(self.full_heads[seed], per_seed[seed], sizes))
                for seed in repeated
            ]
            parts.append(_join(subsets))
            results.append(self._train_heads(parts[1], "filter subsets"))
        joined = _join(parts)
        all_filters = [self.store.shape[-1]] * self.flags.seeds
        tree = {
            "weights": np.concatenate([result.weights for result in results]),
            "initial_weights": joined.initial_weights,
            "loss": np.concatenate([result.loss for result in results], axis=1),
            "heads": {
                "concept": self.numbers()[joined.concept],
                "filters": np.repeat([*all_filters, *sizes * len(repeated)], concepts).astype(
                    np.int32
                ),
                "seed": np.repeat(
                    [*range(self.flags.seeds), *np.repeat(repeated, len(sizes))], concepts
                ).astype(np.int32),
                "is_full": np.arange(len(joined)) < len(parts[0]),
                "filter_mask": joined.filter_mask,
            },
        }
        with self.run.new_folder("embeddings") as folder:
            save_tree(folder, tree)

    def _train_heads(self, heads: Heads, name: str) -> SegmentationResult:
        return train_segmentation(
            heads,
            self.binary,
            self.masks,
            self.flags.training(),
            key=jax.random.key(self.flags.seed),
            progress=name,
        )

    def _evaluate(self) -> None:
        tree = load_tree(self.run / "embeddings")
        table = tree["heads"]
        places = {number: place for place, number in enumerate(self.numbers().tolist())}
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
        scores = [
            set_iou(_select(counts.overlap, split), counts.head[split], len(heads))
            for split in (~val, val)
        ]
        sizes = np.where(table["is_full"], "all", table["filters"].astype(str))
        named = [[*self.describe(c), size] for c, size in zip(concept, sizes, strict=True)]
        header = ["concept", "category", "filters"]
        if self.flags.seeds > 1:
            rows = [[*n, *v] for n, *v in zip(named, table["seed"], *scores, strict=True)]
            columns = ["seed", "train_iou", "val_iou"]
            self.run.write_table("segmentation_seeds.csv", [*header, *columns], rows)
        alpha = 1 - self.masks.train_coverage()[concept]
        rows = []
        for is_full in (True, False):
            block = np.flatnonzero(table["is_full"] == is_full)
            if not len(block):
                continue
            seeds = len(np.unique(table["seed"][block]))
            first = block[: len(block) // seeds]
            means = (values[block].reshape(seeds, -1).mean(axis=0) for values in scores)
            bounds = self._bound(counts, val, block, seeds)
            columns = zip(first, *means, *bounds, alpha[first], strict=True)
            rows += [[*named[head], *values] for head, *values in columns]
        columns = ["train_iou", "val_iou", "val_iou_low", "val_iou_high", "alpha"]
        self.run.write_table("segmentation.csv", [*header, *columns], rows)

    def _bound(
        self, counts: SegmentationCounts, val: np.ndarray, block: np.ndarray, seeds: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Intervals of the val IoU of consecutive heads, where the seeds follow each other."""
        inside = val & (counts.head >= block[0]) & (counts.head <= block[-1])
        overlap = _select(counts.overlap, inside)
        if seeds > 1:
            overlap = Overlap(*(values.reshape(seeds, -1) for values in overlap))
        group = (counts.head[inside] - block[0]).reshape(seeds, -1)[0]
        return bootstrap_set_iou(
            overlap,
            group,
            len(block) // seeds,
            key=jax.random.key(self.flags.seed),
            samples=self.flags.bootstrap_samples,
        )


def _select(overlap: Overlap, chosen: np.ndarray) -> Overlap:
    return Overlap(*(np.asarray(values)[chosen] for values in overlap))


def _join(parts: Sequence[Heads]) -> Heads:
    fields = [field.name for field in dataclasses.fields(Heads)]
    return Heads(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
