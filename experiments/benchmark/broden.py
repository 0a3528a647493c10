"""The benchmark's stages on data of Broden's size, see `broden_size`."""

from __future__ import annotations

import time

import jax
import numpy as np

from experiments.benchmark.broden_size import ProblemSize, draw_problem
from experiments.benchmark.problem import timed_outcome
from experiments.benchmark.workers import Outcome
from net2vec_jax.core.console import use_all_devices
from net2vec_jax.core.devices import count_cores
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.probes.segmentation.training import (
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)


class BrodenSide:
    """A problem of a given size, drawn when the side is made."""

    def __init__(self, size: ProblemSize, seed: int, form: Form | None = None) -> None:
        """Draw the problem."""
        use_all_devices()
        self.form: Form | None = form
        self.activations, self.masks = draw_problem(size, seed)
        self.heads = make_segmentation_heads(
            self.masks, filters=size.filters, key=jax.random.key(seed)
        )
        images = self.masks.count_images()
        self.train_pairs = int(images[0][self.heads.concept].sum())
        self.pairs = int(np.add(*images)[self.heads.concept].sum())

    def describe(self) -> Outcome:
        """Sizes of the problem, for the report."""
        sizes = {
            "images": len(self.activations),
            "concepts": len(self.masks.catalog),
            "trained concepts": len(self.heads),
            "filters": self.activations.filters,
            "grid": list(self.activations.grid),
            "masks": list(self.masks.segmentation_size),
            "train pairs": self.train_pairs,
            "pairs": self.pairs,
            "devices": len(jax.devices()),
            "device kind": jax.devices()[0].device_kind,
        }
        return Outcome(0.0, 1.0, sizes)

    def train(self, epochs: int) -> Outcome:
        """All embeddings; the result is the seconds of every epoch.

        The first epoch's time holds putting the data on the devices and compilation, too.
        """
        ends = [time.perf_counter()]
        outcome = timed_outcome(
            self.train_pairs * epochs,
            lambda: train_segmentation_heads(
                self.heads, self.activations, self.masks,
                SegmentationConfig(epochs=epochs, form=self.form),
                on_epoch=lambda *_: ends.append(time.perf_counter()),
            ),
        )  # fmt: skip
        return Outcome(outcome.seconds, outcome.work, np.diff(ends))

    def evaluate(self) -> Outcome:
        """Overlap of all embeddings, here the initial ones, on all images of their concepts."""
        weights = self.heads.initial_weights
        outcome = timed_outcome(
            self.pairs,
            lambda: evaluate_segmentation(
                weights, self.heads, self.activations, self.masks, form=self.form
            ),
        )
        return Outcome(outcome.seconds, outcome.work)


class TorchBrodenSide(BrodenSide):
    """The same problem in PyTorch on the CPU: a few concepts in turn, tensors in memory."""

    def __init__(self, size: ProblemSize, seed: int) -> None:
        """Draw the problem."""
        jax.config.update("jax_platforms", "cpu")  # ours has the accelerator to itself
        super().__init__(size, seed)

    def train_few(self, epochs: int, concepts: int) -> Outcome:
        """Concepts of middling numbers of images; the time to build the tensors is left out."""
        import torch

        from experiments.torch_reference.segmentation import train_segmentation_torch

        torch.set_num_threads(count_cores())
        images = self.masks.count_images()[0][self.heads.concept]
        near = np.argsort(np.abs(images - 300), kind="stable")[:concepts]
        trained = [
            train_segmentation_torch(
                self.activations, self.masks, int(self.heads.concept[head]),
                self.heads.initial_weights[head], epochs=epochs,
            )
            for head in near
        ]  # fmt: skip
        seconds = sum(each.train_seconds for each in trained)
        return Outcome(seconds, float(images[near].sum() * epochs))
