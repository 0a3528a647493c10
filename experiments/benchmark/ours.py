"""The benchmark's stages by this package."""

from __future__ import annotations

import collections
import dataclasses
from functools import cached_property

import jax
import numpy as np

from experiments.benchmark.problem import (
    IMAGES_AT_ONCE,
    NETWORK,
    PREPROCESSING,
    Settings,
    Side,
    timed_outcome,
)
from experiments.benchmark.workers import Outcome
from net2vec_jax.activations.binary import collect_binary_activations
from net2vec_jax.activations.compute import compute_activations
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.core.console import use_all_devices
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.open import open_dataset
from net2vec_jax.networks.load import LoadedNetwork, load_network
from net2vec_jax.probes.classification.training import train_classification_heads
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.training import train_segmentation_heads
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.stats.metrics import choose_best_filters, iou, set_iou
from net2vec_jax.stats.overlap import Overlap


class OurSide(Side):
    """The package."""

    def __init__(self, settings: Settings) -> None:
        """Open dataset and network."""
        use_all_devices()
        super().__init__(settings)
        self._loaded: LoadedNetwork = load_network(NETWORK)

    def describe(self) -> Outcome:
        """Sizes of the problem, for the report."""
        sizes = {
            "images": len(self.dataset),
            "concepts": len(self.masks.catalog),
            "trained concepts": len(self.heads),
            "filters": self.binary.filters,
            "grid": list(self.binary.grid),
            "masks": list(self.masks.segmentation_size),
            "train pairs": self.count_pairs(val=False),
            "pairs": self.count_pairs(),
            "devices": len(jax.devices()),
            "device kind": jax.devices()[0].device_kind,
        }
        return Outcome(0.0, 1.0, sizes)

    def decoding(self) -> Outcome:
        """All photographs and all labels, once, in threads; the labels packed."""

        def decode() -> None:
            collections.deque(map_in_order(self.dataset.image, range(len(self.dataset))), maxlen=0)
            collect_concept_masks(self.dataset)

        return timed_outcome(len(self.dataset), decode)

    def activate(self) -> Outcome:
        """Forward passes up to the layer, from the photographs' files."""
        outcome = timed_outcome(len(self.dataset), lambda: self._collect(self.dataset))
        np.save(self.settings.folder / "activations.npy", outcome.result)
        return dataclasses.replace(outcome, result=None)

    def _collect(self, dataset: ConceptDataset) -> np.ndarray:
        preprocess = self._loaded.preprocessing(PREPROCESSING)
        batches = compute_activations(
            self._loaded.network, dataset, [self.settings.layer], preprocess=preprocess
        )
        return np.concatenate([batch[self.settings.layer] for batch in batches])

    def quantiles(self) -> Outcome:
        """Exact thresholds."""
        batches, values = self.batches, self.activations[..., 0].size
        return timed_outcome(self.activations.size, lambda: collect_thresholds(batches, values))

    def single_filters(self) -> Outcome:
        """Every filter with every concept."""
        binary, masks = self.binary, self.masks
        work = len(masks.pair_image) * binary.filters
        outcome = timed_outcome(work, lambda: probe_single_filters(binary, masks))
        few = self.heads.concept[self.few()]
        counts = [values[:, few] for values in outcome.result]
        return dataclasses.replace(outcome, result=np.stack(counts))

    def segmentation(self) -> Outcome:
        """Embeddings of all concepts at once, from packed data in memory."""
        heads, binary, masks = self.heads, self.binary, self.masks
        config = self.settings.segmentation()
        outcome = timed_outcome(
            self.count_pairs(val=False) * config.epochs,
            lambda: train_segmentation_heads(heads, binary, masks, config),
        )
        return dataclasses.replace(outcome, result=outcome.result.weights)

    def segmentation_from_files(self) -> Outcome:
        """The same from the label files: decoding once, training, evaluation on all images."""
        config = self.settings.segmentation()
        heads, binary = self.heads, self.binary

        def train() -> np.ndarray:
            masks = collect_concept_masks(self.dataset)
            weights = train_segmentation_heads(heads, binary, masks, config).weights
            evaluate_segmentation(weights, heads, binary, masks, form=config.form)
            return weights

        return timed_outcome(self.count_pairs() * config.epochs, train)

    def evaluation(self) -> Outcome:
        """Overlap of all embeddings on all images; the initial weights will do."""
        heads, binary, masks = self.heads, self.binary, self.masks

        def evaluate() -> np.ndarray:
            counts = evaluate_segmentation(
                heads.initial_weights, heads, binary, masks, form=self.settings.form
            )
            val = masks.pair_is_val[counts.pair]
            overlap = Overlap(*(values[val] for values in counts.overlap))
            return set_iou(overlap, counts.head[val], len(heads))[self.few()]

        return timed_outcome(self.count_pairs(), evaluate)

    def classification(self) -> Outcome:
        """All classification embeddings at once."""
        groups, config = self.groups, self.settings.classification()
        key = jax.random.key(self.settings.seed)
        outcome = timed_outcome(
            int(groups.count.sum()) * config.epochs,
            lambda: train_classification_heads(
                self.classification_heads,
                self.pooled,
                groups,
                lambda epoch: groups.draw_words(key, epoch),
                config,
            ),
        )
        return dataclasses.replace(outcome, result=outcome.result.weights)

    @cached_property
    def pooled(self) -> np.ndarray:
        """Pooled activations."""
        return collect_pooled_activations(self.batches)

    def whole(self) -> Outcome:
        """From files to the table of IoUs: nothing of an earlier stage is used."""
        config = self.settings.segmentation()

        def run() -> None:
            scenes = self.settings.folder / "scenes"
            dataset = open_dataset(self.settings.dataset, scenes_directory=scenes)
            activations = self._collect(dataset)
            batches = np.array_split(activations, -(-len(activations) // IMAGES_AT_ONCE))
            thresholds = collect_thresholds(batches, activations[..., 0].size)
            binary = collect_binary_activations(batches, thresholds)
            masks = collect_concept_masks(dataset)
            choose_best_filters(iou(*probe_single_filters(binary, masks)))
            weights = train_segmentation_heads(self.heads, binary, masks, config).weights
            counts = evaluate_segmentation(weights, self.heads, binary, masks, form=config.form)
            set_iou(counts.overlap, counts.head, len(self.heads))

        return timed_outcome(1, run)
