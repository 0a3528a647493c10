"""The benchmark's stages in PyTorch and numpy, as the original does them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import torch

from experiments.benchmark.problem import PREPROCESSING, Settings, Side, timed_outcome
from experiments.benchmark.workers import Outcome
from experiments.torch_reference.activations import collect_activations_torch
from experiments.torch_reference.classification import (
    draw_all_images,
    train_classification_torch,
)
from experiments.torch_reference.quantiles import collect_thresholds_by_sketch
from experiments.torch_reference.segmentation import (
    evaluate_segmentation_torch,
    probe_single_filters_torch,
    train_segmentation_torch,
)
from net2vec_jax.core.devices import count_cores


class TorchSide(Side):
    """PyTorch and numpy, as the original does it."""

    def __init__(self, settings: Settings) -> None:
        """Open the dataset; torch runs on the CPU, in as many threads as there are cores."""
        jax.config.update("jax_platforms", "cpu")  # ours has the accelerator to itself
        super().__init__(settings)
        torch.set_num_threads(count_cores())

    def describe(self) -> Outcome:
        """Versions, for the report."""
        return Outcome(
            0.0, 1.0, {"torch": torch.__version__, "torch threads": torch.get_num_threads()}
        )

    def decoding(self) -> Outcome:
        """All photographs and labels, one after the other, and which image shows what."""

        def decode() -> None:
            shown = np.zeros((len(self.dataset), self.dataset.catalog.largest_number + 1), bool)
            for image in range(len(self.dataset)):
                self.dataset.image(image)
                labels = self.dataset.labels(image)
                for planes in labels.planes.values():
                    shown[image, np.unique(planes)] = True
                for numbers in labels.whole_image.values():
                    shown[image, list(numbers)] = True

        return timed_outcome(len(self.dataset), decode)

    def activate(self) -> Outcome:
        """Forward passes through the whole network, with a hook."""

        def collect() -> np.ndarray:
            return collect_activations_torch(
                self.dataset,
                layer=self.settings.layer,
                preprocessing=PREPROCESSING,
                whole_network=True,
            )

        outcome = timed_outcome(len(self.dataset), collect)
        difference = np.abs(outcome.result - self.activations).max() / outcome.result.std()
        return dataclasses.replace(outcome, result=float(difference))

    def quantiles(self) -> Outcome:
        """Thresholds by the streaming sketch."""
        batches = self.batches
        return timed_outcome(self.activations.size, lambda: collect_thresholds_by_sketch(batches))

    def single_filters(self) -> Outcome:
        """Label by label, masks decoded from their files; few concepts."""
        concepts = self.heads.concept[self.few()].tolist()
        binary, masks = self.binary, self.masks
        outcome = timed_outcome(
            int(np.isin(masks.pair_concept, concepts).sum()) * binary.filters,
            lambda: probe_single_filters_torch(binary, masks, concepts, dataset=self.dataset),
        )
        return dataclasses.replace(outcome, result=np.stack(outcome.result))

    def segmentation(self) -> Outcome:
        """Concept by concept, every tensor in memory; the time to build them is left out."""
        config = self.settings.segmentation()
        trained = [
            train_segmentation_torch(
                self.binary, self.masks, concept, self.heads.initial_weights[head],
                epochs=config.epochs, batch_size=config.batch_size,
                learning_rate=config.learning_rate,
            )
            for head, concept in enumerate(self.heads.concept)
        ]  # fmt: skip
        return Outcome(
            sum(each.train_seconds for each in trained),
            self.count_pairs(val=False) * config.epochs,
            np.stack([each.weights for each in trained]),
        )

    def segmentation_from_files(self) -> Outcome:
        """The same with files decoded and tensors built in every epoch, and val run after each.

        Few concepts, two epochs.
        """
        config = self.settings.segmentation()
        epochs = min(config.epochs, 2)
        places = self.few()

        def train() -> None:
            for head in places:
                train_segmentation_torch(
                    self.binary, self.masks, self.heads.concept[head],
                    self.heads.initial_weights[head], epochs=epochs,
                    batch_size=config.batch_size, learning_rate=config.learning_rate,
                    cache="none", dataset=self.dataset, evaluate_val_each_epoch=True,
                )  # fmt: skip

        return timed_outcome(self.count_pairs(places) * epochs, train)

    def evaluation(self) -> Outcome:
        """Concept by concept, masks decoded from their files; few concepts."""
        places = self.few()

        def evaluate() -> np.ndarray:
            found = [
                evaluate_segmentation_torch(
                    self.heads.initial_weights[head], self.binary, self.masks,
                    self.heads.concept[head], dataset=self.dataset,
                )
                for head in places
            ]  # fmt: skip
            return np.array(found)

        return timed_outcome(self.count_pairs(places), evaluate)

    def classification(self) -> Outcome:
        """Concept by concept, activations in memory, the images that ours draws."""

        groups, config = self.groups, self.settings.classification()
        key = jax.random.key(self.settings.seed)
        maps = torch.from_numpy(np.ascontiguousarray(self.activations.transpose(0, 3, 1, 2)))
        heads = self.classification_heads
        images, shows = draw_all_images(groups, key, config.epochs)

        def train() -> np.ndarray:
            trained = [
                train_classification_torch(
                    maps, images[:, g, :count], shows[:, g, :count],
                    heads.initial_weights[g], float(heads.initial_bias[g]), config,
                )[0]
                for g, count in enumerate(groups.count)
            ]  # fmt: skip
            return np.stack(trained)

        return timed_outcome(int(groups.count.sum()) * config.epochs, train)
