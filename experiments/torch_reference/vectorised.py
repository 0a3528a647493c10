"""The probes in PyTorch as fast as we can write them: what net2vec_jax must beat today.

All concepts at once, gradients in closed form, active entries as sparse matrices, pixels in parts
that fit in the processor's cache. The numbers are those of `segmentation` and `classification`,
which work as the original does. `torch.compile` was tried on the pixels and does not help on x86
cores: 42 to 46 µs per pair with it, 42 without. H heads, P (concept, image) pairs, K filters, grid
h × w, segmentation Y × X.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.thresholds import threshold_position
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.classification.training import ClassificationConfig
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import interpolation_matrix
from net2vec_jax.probes.segmentation.model import class_weights_of
from net2vec_jax.probes.segmentation.training import SegmentationConfig
from net2vec_jax.stats.overlap import Overlap

CHUNK = 32
"""Pairs whose pixels are computed at a time: few enough to stay in the processor's cache."""


def _upsampling(binary: BinaryActivations, masks: ConceptMasks) -> tuple[Tensor, Tensor]:
    """The matrices [Y, h] and [w, X]."""
    rows, columns = (
        torch.from_numpy(interpolation_matrix(*sizes))
        for sizes in zip(binary.grid, masks.segmentation_size, strict=True)
    )
    return rows, columns.T.contiguous()


class _Batch(NamedTuple):
    """Pairs of several heads.

    Attributes:
      pair: int64 [n].
      head: int64 [n].
      entries: sparse [n · h · w, H · K]: 1 where a filter of the pair's image is active.
    """

    pair: np.ndarray
    head: np.ndarray
    entries: Tensor

    @classmethod
    def of(
        cls, pair: np.ndarray, head: np.ndarray, heads: int, binary: BinaryActivations,
        masks: ConceptMasks,
    ) -> _Batch:  # fmt: skip
        """Look up the entries of the pairs' images."""
        listed, positions = binary.active_entries, math.prod(binary.grid)
        image = masks.pair_image[pair]
        count = listed.count[image].astype(np.int64)
        owner = np.repeat(np.arange(len(pair)), count)
        place = np.arange(len(owner)) + np.repeat(
            listed.first[image] - (np.cumsum(count) - count), count
        )
        row = owner * positions + listed.position[place]
        column = head[owner] * binary.filters + listed.filter[place]
        size = len(pair) * positions
        first = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            entries = torch.sparse_csr_tensor(
                torch.from_numpy(first.astype(np.int32)),
                torch.from_numpy(column.astype(np.int32)),
                torch.ones(len(column)),
                (size, heads * binary.filters),
            )
        return cls(pair, head, entries)


def train_segmentation_vectorised(
    heads: Heads, activations: BinaryActivations, masks: ConceptMasks, config: SegmentationConfig
) -> tuple[Float[np.ndarray, "H K"], Float[np.ndarray, "epochs H"], float]:
    """Train all heads at once, with the linear loss, in the order of the index.

    Args:
      heads: over all filters.
      activations: binary activations of all N images.
      masks: masks of the concepts.
      config: hyperparameters.

    Returns:
      Weights after the last epoch, the mean loss of every epoch while they change, and the seconds
      that the epochs took, without building the tensors.
    """
    images = masks.count_images()[0][heads.concept]
    order = np.argsort(-images, kind="stable")  # so that those with a batch left are the first
    train = ~masks.pair_is_val
    pairs = [np.flatnonzero(train & (masks.pair_concept == c)) for c in heads.concept[order]]
    rows, columns = _upsampling(activations, masks)
    positive, negative = (each[order] for each in class_weights_of(masks, heads)[0])
    steps = []
    for start in range(0, int(images.max()), config.batch_size):
        parts = [each[start : start + config.batch_size] for each in pairs]
        size = np.array([len(part) for part in parts])
        head = np.repeat(np.arange(len(heads)), size)
        batch = _Batch.of(np.concatenate(parts), head, len(heads), activations, masks)
        target = masks.unpack(batch.pair)
        # Where the loss is a·t·p + b·(1−t)·(1−p): a or −b, and the rest b for every other pixel.
        factor = np.where(target, positive[head, None, None], -negative[head, None, None])
        rest = negative[head] * (target[0].size - target.sum((1, 2)))
        turned = batch.entries.transpose(0, 1).to_sparse_csr()
        sizes = torch.from_numpy(size[size > 0].astype(np.float32))[:, None]
        tensors = (torch.from_numpy(each) for each in (factor, rest.astype(np.float32), head))
        steps.append((batch.entries, turned, sizes, *tensors))
    weights = torch.tensor(heads.initial_weights[order], dtype=torch.float32)
    momentum, losses = torch.zeros_like(weights), []
    begun = time.perf_counter()
    for _ in range(config.epochs):
        loss = torch.zeros(len(heads))
        for entries, turned, size, factor, rest, head in steps:
            scores = (entries @ weights.view(-1)).view(-1, *activations.grid)
            for start in range(0, len(scores), CHUNK):
                part = slice(start, start + CHUNK)
                p = (rows @ (scores[part] @ columns)).sigmoid_()
                weighted = factor[part] * p
                loss.index_add_(0, head[part], -weighted.sum((1, 2)) - rest[part])
                scores[part] = (rows.T @ p.sub_(1).mul_(weighted)) @ columns.T  # its gradient
            gradient = (turned @ scores.view(-1)).view_as(weights)
            some = slice(0, len(size))
            momentum[some].mul_(config.momentum).add_(gradient[some] / size)
            weights[some].sub_(momentum[some], alpha=config.learning_rate)
        losses.append(loss)
    seconds, back = time.perf_counter() - begun, np.argsort(order)
    return weights.numpy()[back], torch.stack(losses).numpy()[:, back] / images, seconds


def evaluate_segmentation_vectorised(
    weights: Float[np.ndarray, "H K"],
    heads: Heads,
    activations: BinaryActivations,
    masks: ConceptMasks,
) -> Overlap:
    """Pixels that each head and its concept share, and pixels of either; (train, val) int64 [2, H].

    Args:
      weights: of the heads.
      heads: over all filters.
      activations: binary activations of all N images.
      masks: masks of the concepts.
    """
    rows, columns = _upsampling(activations, masks)
    pairs = [np.flatnonzero(masks.pair_concept == concept) for concept in heads.concept]
    head = np.repeat(np.arange(len(heads)), [len(each) for each in pairs])
    batch = _Batch.of(np.concatenate(pairs), head, len(heads), activations, masks)
    scores = batch.entries @ torch.tensor(weights, dtype=torch.float32).view(-1)
    counts = np.zeros((2, 2, len(heads)), np.int64)
    for start, maps in enumerate(scores.view(-1, *activations.grid).split(CHUNK)):
        part = slice(start * CHUNK, (start + 1) * CHUNK)
        above = rows @ (maps @ columns) > 0
        target = torch.from_numpy(masks.unpack(batch.pair[part]))
        where = (masks.pair_is_val[batch.pair[part]].astype(int), head[part])
        for sums, pixels in zip(counts, (above & target, above | target), strict=True):
            np.add.at(sums, where, pixels.sum((1, 2)).numpy())
    return Overlap(*counts)


def probe_single_filters_vectorised(activations: BinaryActivations, masks: ConceptMasks) -> Overlap:
    """Pixel counts of every filter and concept, int64 [2, C, K], image by image.

    An image's active filters are upsampled once, and one product counts them with all its masks.
    """
    rows, columns = _upsampling(activations, masks)
    shape = (2, len(masks.catalog), activations.filters)
    shared, marked = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    order = np.argsort(masks.pair_image, kind="stable")
    first = np.searchsorted(masks.pair_image[order], np.arange(len(activations) + 1))
    for image in range(len(activations)):
        pairs = order[first[image] : first[image + 1]]
        maps = activations.unpack(slice(image, image + 1))[0].reshape(-1, activations.filters)
        filters = np.flatnonzero(maps.any(0))
        if not len(pairs) or not len(filters):
            continue
        maps = torch.from_numpy(maps[:, filters].T.astype(np.float32)).view(-1, *activations.grid)
        predicted = (rows @ maps @ columns > 0.5).float().flatten(1)
        target = torch.from_numpy(masks.unpack(pairs).astype(np.float32)).flatten(1)
        where = np.ix_(masks.is_val[[image]].astype(int), masks.pair_concept[pairs], filters)
        shared[where] += (target @ predicted.T).numpy().astype(np.int64)
        marked[where] += predicted.sum(1).numpy().astype(np.int64)
    area = np.zeros(shape[:2], np.int64)
    np.add.at(area, (masks.pair_is_val.astype(int), masks.pair_concept), masks.area)
    return Overlap(shared, area[:, :, None] + marked - shared)


def collect_thresholds_vectorised(
    activations: Float[np.ndarray, "N h w K"], *, quantile: float = 0.005
) -> Float[np.ndarray, " K"]:
    """Exact thresholds: the largest values of all filters at once, see `collect_thresholds`."""
    columns = torch.from_numpy(activations.reshape(-1, activations.shape[-1])).T.contiguous()
    count = columns.shape[1]
    rank = min(max(threshold_position(quantile) * count + 0.5, 1.0), float(count))
    lower = math.floor(rank)
    top = torch.topk(columns, count - lower + 1, dim=1).values.double()  # descending
    below, above = top[:, -1], top[:, max(top.shape[1] - 2, 0)]
    return (below + (rank - lower) * (above - below)).float().numpy()


def train_classification_vectorised(
    pooled: Float[np.ndarray, "N K"],
    images: Int[np.ndarray, "epochs H M"],
    shows: Bool[np.ndarray, "epochs H M"],
    count: Int[np.ndarray, " H"],
    weights: Float[np.ndarray, "H K"],
    bias: Float[np.ndarray, " H"],
    config: ClassificationConfig,
) -> Float[np.ndarray, "H K"]:
    """Train all heads at once on images in a given order, with SGD.

    Args:
      pooled: mean activations of all images.
      images: of every epoch, in the order in which a head sees them.
      shows: whether each of them shows the head's concept.
      count: how many of the M are a head's.
      weights: initial.
      bias: initial.
      config: hyperparameters.

    Returns:
      Weights after the last epoch.
    """
    order = np.argsort(-count, kind="stable")
    values = torch.from_numpy(np.pad(pooled, ((0, 0), (0, 1)), constant_values=1))  # 1 for the bias
    image = torch.from_numpy(images[:, order].astype(np.int64))
    target = torch.from_numpy(shows[:, order].astype(np.float32))
    heads = torch.from_numpy(np.concatenate([weights, bias[:, None]], 1)[order].astype(np.float32))
    momentum, batch = torch.zeros_like(heads), config.batch_size
    left = torch.from_numpy(count[order])[:, None] - torch.arange(images.shape[2])
    there = (left > 0).float()
    steps = []
    for start in range(0, images.shape[2], batch):
        some = slice(0, int((count > start).sum())), slice(start, start + batch)
        steps.append((some, there[some] / there[some].sum(1, keepdim=True)))
    for epoch in range(config.epochs):
        for some, share in steps:
            chosen, own, past = values[image[epoch][some]], heads[some[0]], momentum[some[0]]
            logits = torch.bmm(chosen, own[:, :, None])[:, :, 0]
            error = (torch.sigmoid(logits) - target[epoch][some]) * share
            past.mul_(config.momentum).add_(torch.bmm(error[:, None], chosen)[:, 0])
            own.sub_(past, alpha=config.rate(epoch))
    return heads.numpy()[np.argsort(order), :-1]
