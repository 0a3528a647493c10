"""The stages of a classification run; what a later stage needs is loaded from earlier files."""

from __future__ import annotations

from functools import cached_property

import jax
import numpy as np
from tqdm import tqdm

from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.probes.classification.groups import (
    ClassificationGroups,
    ClassificationScores,
    evaluate_classification,
    find_shortages,
    make_full_classification_heads,
    make_groups,
    make_subset_classification_heads,
)
from net2vec_jax.probes.classification.model import ClassificationHeads
from net2vec_jax.probes.classification.training import ClassificationResult, train_classification
from net2vec_jax.runs.classification_flags import ClassificationFlags
from net2vec_jax.runs.embedding_store import load_tree, save_tree
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.stats.intervals import bootstrap_accuracy
from net2vec_jax.stats.metrics import mean_over_batches


class ClassificationRun(LayerRun[ClassificationFlags]):
    """The stages of one run; what a later stage needs is loaded from the files of earlier ones."""

    table = "classification.csv"

    def find_shortages(self) -> dict[str, str]:
        """Concepts with too few images with or without them."""
        shortages = find_shortages(self.masks, self.flags.minimum_images)
        return {self.catalog.concepts[place].name: why for place, why in shortages.items()}

    def finish(self) -> None:
        """Run every stage whose files are missing."""
        if not self.run.has("concepts.csv"):
            self.write_concepts()
        if not self.run.has("embeddings"):
            with self.run.stage("training"):
                self._train()
        if not self.run.has("classification.csv"):
            with self.run.stage("evaluation"):
                self._evaluate()

    @cached_property
    def pooled(self) -> np.ndarray:
        """Pooled activations of all images."""
        with self.run.stage("pooling"):
            batches = tqdm(self.store.batches(), "pooling", unit="batch", leave=False, delay=2)
            return collect_pooled_activations(batches, pooling=self.flags.pooling)

    @cached_property
    def groups(self) -> ClassificationGroups:
        """The concepts with enough images, in every repetition."""
        return make_groups(self.masks, seeds=self.flags.seeds, minimum=self.flags.minimum_images)

    @property
    def key(self) -> jax.Array:
        """PRNG key of the run."""
        return jax.random.key(self.flags.seed)

    def _train(self) -> None:
        sizes = self.subset_sizes()
        filters = self.store.shape[-1]
        full = make_full_classification_heads(self.groups, filters=filters, key=self.key)
        results = [self._train_heads(full, "embeddings")]
        heads = [full]
        if sizes:
            heads.append(make_subset_classification_heads(full, results[0].weights, sizes))
            results.append(self._train_heads(heads[1], "filter subsets"))
        tree = {
            "weights": np.concatenate([result.weights for result in results], axis=1),
            "bias": np.concatenate([result.bias for result in results], axis=1),
            "loss": np.concatenate([result.loss for result in results], axis=2),
            "train_accuracy": np.concatenate([result.accuracy for result in results], axis=2),
            "heads": {
                "concept": self.groups.number.astype(np.int32),
                "seed": self.groups.seed,
                "filters": np.array([filters, *sizes], np.int32),
                "is_full": np.arange(1 + len(sizes)) == 0,
                "filter_mask": np.concatenate([each.filter_mask for each in heads], axis=1),
            },
        }
        with self.run.new_folder("embeddings") as folder:
            save_tree(folder, tree)

    def _train_heads(self, heads: ClassificationHeads, name: str) -> ClassificationResult:
        with tqdm(total=self.flags.epochs, desc=name, unit="epoch", leave=False, delay=1) as bar:

            def show(_: int, weights: jax.Array) -> None:
                weights.block_until_ready()  # or the bar would run ahead of the device
                bar.update()

            groups, key = self.groups, self.key
            return train_classification(
                heads,
                self.pooled,
                groups.sampler,
                groups.count,
                lambda epoch: groups.draw_words(key, epoch),
                self.flags.training(),
                on_epoch=show,
            )

    def _evaluate(self) -> None:
        tree = load_tree(self.run / "embeddings")
        scores = evaluate_classification(
            self.groups, tree["weights"], tree["bias"], self.pooled, self.masks, key=self.key
        )
        self.run.write_arrays(
            "classification_images.npz",
            {
                "concept": self.numbers()[scores.concept],
                "image": scores.image,
                "shows": scores.shows,
                "filters": tree["heads"]["filters"],
                "logits": scores.logits,
            },
        )
        seeds = self.groups.seeds
        concept = self.groups.concept[::seeds]
        # [seeds, heads, concepts]
        train = tree["train_accuracy"][-1].reshape(len(concept), seeds, -1).transpose(1, 2, 0)
        val = self._val_accuracy(scores, concept)
        low, high = self._bound(scores, concept)
        sizes = ["all", *map(str, tree["heads"]["filters"][1:].tolist())]
        header = ["concept", "category", "filters"]
        columns = ["train_accuracy", "val_accuracy", "val_accuracy_low", "val_accuracy_high"]
        if seeds > 1:
            rows = [
                [*self.describe(c), size, seed, train[seed, head, place], val[seed, head, place]]
                for head, size in enumerate(sizes)
                for seed in range(seeds)
                for place, c in enumerate(concept)
            ]
            self.run.write_table("classification_seeds.csv", [*header, "seed", *columns[:2]], rows)
        values = np.stack([train.mean(0), val.mean(0), low, high], axis=-1)
        rows = [
            [*self.describe(c), size, *values[head, place]]
            for head, size in enumerate(sizes)
            for place, c in enumerate(concept)
        ]
        self.run.write_table("classification.csv", [*header, *columns], rows)

    def _val_accuracy(self, scores: ClassificationScores, concept: np.ndarray) -> np.ndarray:
        """[seeds, heads, concepts]; the original's mean over batches in its preset (spec Q-10)."""
        parts = [scores.correct[:, :, scores.concept == c].astype(np.float64) for c in concept]
        if self.flags.preset == "reference_code":
            size = self.flags.batch_size
            return np.stack([mean_over_batches(part, size) for part in parts], axis=-1)
        return np.stack([part.mean(-1) for part in parts], axis=-1)

    def _bound(
        self, scores: ClassificationScores, concept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the val accuracy, each [heads, concepts]; as many images of either kind."""
        group = np.searchsorted(concept, scores.concept)
        bounds = [
            bootstrap_accuracy(
                scores.correct[:, head],
                group,
                len(concept),
                stratum=scores.shows.astype(np.int32),
                key=self.key,
                samples=self.flags.bootstrap_samples,
            )
            for head in range(scores.logits.shape[1])
        ]
        low, high = (np.stack(side) for side in zip(*bounds, strict=True))
        return low, high
