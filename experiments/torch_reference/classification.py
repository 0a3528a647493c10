"""The classification probe in plain PyTorch, as the original code works (spec, section 6).

One concept after another, autograd on the weighted maps [B, K, h, w] before they are averaged, a
Python loop over epochs and batches. B images of a batch, K filters, grid h × w.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from net2vec_jax.probes.classification.groups import HeadGroups
from net2vec_jax.probes.classification.training import ClassificationConfig


@jax.jit
def _draw(groups_sampler, words: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = (len(words), len(place))
    group = jnp.broadcast_to(jnp.arange(len(words))[:, None], shape)
    words = jnp.broadcast_to(words[:, None], (*shape, words.shape[1]))
    return groups_sampler.draw(group, words, jnp.broadcast_to(place[None], shape))


def draw_all_images(
    groups: HeadGroups, key: jax.Array, epochs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The images of all epochs and whether they show the concept, each [epochs, groups, most]."""
    place = jnp.arange(int(groups.count.max()))
    drawn = [_draw(groups.sampler, groups.draw_words(key, e), place) for e in range(epochs)]
    images, shows = (
        np.stack([np.asarray(part) for part in side]) for side in zip(*drawn, strict=True)
    )
    return images, shows


def train_classification_torch(
    activations: Float[Tensor, "N K h w"],
    images: Int[np.ndarray, "epochs M"],
    shows: Bool[np.ndarray, "epochs M"],
    weights: Float[np.ndarray, " K"],
    bias: float,
    config: ClassificationConfig,
) -> tuple[np.ndarray, float]:
    """Train one concept's head on images in a given order.

    Args:
      activations: of all images, in memory.
      images: positions of each epoch's images, in the order in which they are seen.
      shows: whether each of them shows the concept.
      weights: initial weights.
      bias: initial bias.
      config: hyperparameters; the optimizer is SGD.

    Returns:
      Weights and bias after the last epoch.
    """
    weight = torch.tensor(weights, requires_grad=True)
    offset = torch.tensor([bias], dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.SGD([weight, offset], lr=config.learning_rate, momentum=config.momentum)
    loss_of = torch.nn.BCEWithLogitsLoss()
    targets = torch.from_numpy(shows.astype(np.float32))
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(epoch)
        for first in range(0, images.shape[1], config.batch_size):
            batch = slice(first, first + config.batch_size)
            maps = activations[torch.from_numpy(images[epoch, batch])]
            weighted = maps * weight[None, :, None, None]
            logits = weighted.mean(3).mean(2).sum(1) + offset
            optimizer.zero_grad()
            loss_of(logits, targets[epoch, batch]).backward()
            optimizer.step()
    return weight.detach().numpy(), float(offset.detach())
