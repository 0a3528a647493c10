"""Flags of the classification probe."""

from __future__ import annotations

import dataclasses
from typing import Literal

from net2vec_jax.activations.pooled import Pooling
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.probes.classification.training import ClassificationConfig
from net2vec_jax.runs.layer_flags import LayerFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationFlags(LayerFlags):
    """Flags of the classification probe; the defaults are the published settings.

    Attributes:
      pooling: how a filter's activations become one number per image: "mean" or "max".
      epochs: passes over each concept's balanced train images.
      batch_size: images per step.
      learning_rate: of the first epochs.
      epochs_per_decay: the learning rate is divided by 10 whenever so many epochs have passed; 0
        keeps it.
      optimizer: "sgd" with momentum 0.9, or "adam".
      minimum_images: a concept needs so many images with it, and so many without, in either split.
    """

    pooling: Pooling = "mean"
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 0.1
    epochs_per_decay: int = 15
    optimizer: Literal["sgd", "adam"] = "sgd"
    minimum_images: int = 5

    def check(self) -> None:
        """Refuse flags that do not go together.

        Raises:
          Net2VecError: names the flags.
        """
        super().check()
        if self.minimum_images < 1:
            raise Net2VecError(f"--minimum-images must be at least 1, not {self.minimum_images}")
        self.training()

    def training(self) -> ClassificationConfig:
        """Hyperparameters of the training."""
        return ClassificationConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            epochs_per_decay=self.epochs_per_decay or None,
            optimizer=self.optimizer,
        )
