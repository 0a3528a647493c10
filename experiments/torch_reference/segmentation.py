"""The probes in plain PyTorch, as the original code works: what net2vec_jax is measured against.

Written from the reference behaviour 2, 4 and 5: one concept after another, dense 0/1 float
maps [B, K, h, w], autograd, a Python loop over epochs and batches of consecutive images. Nothing in
net2vec_jax imports this module. B images of a batch, K filters, grid h × w, segmentation Y × X.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.stats.metrics import iou
from net2vec_jax.stats.overlap import Overlap

Cache = Literal["tensors", "masks", "none"]
"""What is kept in memory between epochs, see `train_segmentation_torch`."""


@dataclasses.dataclass(frozen=True, eq=False)
class TorchSegmentation:
    """One concept's embedding and what it took.

    Attributes:
      weights: float32 [K], after the last epoch.
      train_loss: float64 [epochs], mean over the train images while the weights change (behaviour
        5.7).
      val_loss: float64 [epochs], NaN unless val was run after each epoch.
      val_iou: float64 [epochs], set IoU, NaN likewise.
      build_seconds: building the tensors, once, with cache="tensors"; otherwise 0, because the
        time is part of every epoch.
      train_seconds: all epochs on the train images.
      val_seconds: all epochs on the val images.
    """

    weights: np.ndarray
    train_loss: np.ndarray
    val_loss: np.ndarray
    val_iou: np.ndarray
    build_seconds: float
    train_seconds: float
    val_seconds: float


class _Batches:
    """Batches (activations [B, K, h, w], target [B, Y, X]) of pairs, built when iterated over.

    With a dataset they are built as the original does it: files are decoded one after the other,
    and lists of float64 arrays handed to torch.Tensor.
    """

    def __init__(
        self,
        pairs: np.ndarray,
        activations: BinaryActivations,
        masks: ConceptMasks,
        batch_size: int,
        dataset: ConceptDataset | None = None,
    ) -> None:
        """Masks are decoded from the files of `dataset`, if there is one."""
        self._pairs, self._activations, self._masks = pairs, activations, masks
        self._batch_size, self._dataset = batch_size, dataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self._pairs), self._batch_size):
            pairs = self._pairs[start : start + self._batch_size]
            images = self._masks.pair_image[pairs]
            active = self._activations.unpack(images).transpose(0, 3, 1, 2)
            if self._dataset is None:
                yield to_tensor(active), to_tensor(self._masks.unpack(pairs))
            else:
                concept = self._masks.catalog.concepts[self._masks.pair_concept[pairs[0]]]
                targets = [read_mask(self._dataset, i, concept.number) for i in images]
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Creating a tensor from a list of numpy")
                    target = torch.Tensor([target.astype(float) for target in targets])
                yield to_tensor(active), target


def to_tensor(bits: np.ndarray) -> Tensor:
    """0/1 as a contiguous float32 tensor."""
    return torch.from_numpy(bits.astype(np.float32, order="C"))


def read_mask(dataset: ConceptDataset, image: int, number: int) -> np.ndarray:
    """bool [Y, X]: where the concept is marked on the image, in any category; decodes its files."""
    labels = dataset.labels(image)
    if any(number in listed for listed in labels.whole_image.values()):
        return np.ones(dataset.segmentation_size, bool)
    found = [(planes == number).any(axis=0) for planes in labels.planes.values()]
    return np.any([np.zeros(dataset.segmentation_size, bool), *found], axis=0)


def predict(
    weights: Float[Tensor, " K"], active: Float[Tensor, "B K h w"], size: tuple[int, int]
) -> Float[Tensor, "B Y X"]:
    """p = σ(upsample(Σ_k w_k 1[A_k > T_k])), no bias (behaviour 5.2)."""
    scores = torch.einsum("bkyx,k->byx", active, weights)  # the fastest of the plain ways
    upsampled = F.interpolate(scores[:, None], size, mode="bilinear", align_corners=True)
    return torch.sigmoid(upsampled[:, 0])


def linear_loss(
    prediction: Float[Tensor, "B Y X"],
    target: Float[Tensor, "B Y X"],
    positive: float,
    negative: float,
) -> Float[Tensor, ""]:
    """−(1/B) Σ [positive·t·p + negative·(1−t)·(1−p)], summed over the pixels (behaviour 5.5)."""
    shared = positive * target * prediction + negative * (1 - target) * (1 - prediction)
    return -shared.sum() / len(target)


def train_segmentation_torch(
    activations: BinaryActivations,
    masks: ConceptMasks,
    concept: int,
    initial_weights: Float[np.ndarray, " K"],
    *,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    momentum: float = 0.9,
    evaluate_val_each_epoch: bool = False,
    cache: Cache = "tensors",
    dataset: ConceptDataset | None = None,
) -> TorchSegmentation:
    """Train the embedding of one concept (behaviour 5).

    Args:
      activations: binary activations of all N images.
      masks: masks of the concepts, the union over categories for cache="none".
      concept: the concept's position in the masks' catalog.
      initial_weights: float32 [K].
      epochs: passes over the concept's train images, in index order.
      batch_size: images per step.
      learning_rate: of SGD.
      momentum: of SGD, dampening 0.
      evaluate_val_each_epoch: run the val images after each epoch, as the original does to log
        their loss and IoU; its time is kept apart.
      cache: "tensors" builds every batch's float32 tensors once; "masks" builds them in each epoch
        from bits in memory; "none" decodes the label planes of every image again in each epoch, as
        the original does (all of an image's planes; the original leaves out other categories).
      dataset: the images that `masks` was made from; needed for cache="none".

    Raises:
      Net2VecError: the concept has no train image, or cache="none" without a dataset.
    """
    if (cache == "none") != (dataset is not None):
        raise Net2VecError("a dataset is needed with cache='none', and only then")
    mine = masks.pair_concept == concept
    train_pairs, val_pairs = (np.flatnonzero(mine & (masks.pair_is_val == s)) for s in (0, 1))
    if not len(train_pairs):
        name = masks.catalog.concepts[concept].name
        raise Net2VecError(f"concept {name!r} has no train image")
    train: Iterable = _Batches(train_pairs, activations, masks, batch_size, dataset)
    val: Iterable = _Batches(val_pairs, activations, masks, batch_size, dataset)
    start = time.perf_counter()
    if cache == "tensors":
        train = list(train)
        val = list(val) if evaluate_val_each_epoch else []
    build_seconds = time.perf_counter() - start if cache == "tensors" else 0.0
    alpha = float(1 - masks.train_coverage()[concept])
    positive, negative = (1.0, 1.0) if alpha == 0 else (alpha, 1 - alpha)
    weights = torch.tensor(np.asarray(initial_weights), dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=learning_rate, momentum=momentum)
    train_loss, val_loss, val_iou = (np.full(epochs, np.nan) for _ in range(3))
    train_seconds = val_seconds = 0.0
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for active, target in train:
            optimizer.zero_grad()
            prediction = predict(weights, active, masks.segmentation_size)
            loss = linear_loss(prediction, target, positive, negative)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(target)
        train_loss[epoch] = total / len(train_pairs)
        train_seconds += time.perf_counter() - start
        if evaluate_val_each_epoch and len(val_pairs):
            start = time.perf_counter()
            val_loss[epoch], val_iou[epoch] = _evaluate(weights, val, positive, negative)
            val_seconds += time.perf_counter() - start
    return TorchSegmentation(
        weights.detach().numpy(), train_loss, val_loss, val_iou,
        build_seconds, train_seconds, val_seconds,
    )  # fmt: skip


@torch.no_grad()
def _evaluate(
    weights: Tensor, batches: Iterable, positive: float, negative: float
) -> tuple[float, float]:
    """Mean loss and set IoU of one embedding on its images."""
    images, sums = 0, np.zeros(3)
    for active, target in batches:
        prediction = predict(weights, active, target.shape[1:])
        loss = linear_loss(prediction, target, positive, negative)
        marked = (prediction > 0.5).float()
        shared = (marked * target).sum(dtype=torch.float64).item()
        union = torch.clamp(marked + target, max=1).sum(dtype=torch.float64).item()
        sums += loss.item() * len(target), shared, union
        images += len(target)
    return sums[0] / images, float(iou(sums[1], sums[2]))


def evaluate_segmentation_torch(
    weights: Float[np.ndarray, " K"],
    activations: BinaryActivations,
    masks: ConceptMasks,
    concept: int,
    *,
    batch_size: int = 64,
    dataset: ConceptDataset | None = None,
) -> float:
    """Set IoU of one embedding on the val images of its concept (behaviour 5.10).

    The original evaluates all the concept's images, and takes the splits apart afterwards; so does
    this, in the order train, val.

    Args:
      weights: the embedding.
      activations: binary activations of all N images.
      masks: masks of the concepts.
      concept: the concept's position in the masks' catalog.
      batch_size: images at a time.
      dataset: decode the masks from its files, as the original; by default they are `masks`.
    """
    tensor, found = torch.tensor(weights, dtype=torch.float32), 0.0
    for val in (False, True):
        pairs = np.flatnonzero((masks.pair_concept == concept) & (masks.pair_is_val == val))
        batches = _Batches(pairs, activations, masks, batch_size, dataset)
        found = _evaluate(tensor, batches, 1.0, 1.0)[1]
    return found


@torch.no_grad()
def probe_single_filters_torch(
    activations: BinaryActivations,
    masks: ConceptMasks,
    concepts: Sequence[int],
    *,
    batch_size: int = 16,
    dataset: ConceptDataset | None = None,
    progress: bool = False,
) -> Overlap:
    """Count the overlap of every filter with some concepts, label by label (behaviour 4).

    The maps of all filters are upsampled anew for each concept, as the original does.

    Args:
      activations: binary activations of all N images.
      masks: masks of C concepts.
      concepts: positions in the masks' catalog.
      batch_size: images upsampled at a time, as the original's default.
      dataset: decode the masks from its files, as the original; by default they are `masks`.
      progress: show a progress bar.

    Returns:
      Pixel counts [2, len(concepts), K], in the order of `concepts`.
    """
    counts = np.zeros((2, 2, len(concepts), activations.filters), np.int64)
    for place, concept in enumerate(tqdm(concepts, "torch", disable=not progress, leave=False)):
        pairs = np.flatnonzero(masks.pair_concept == concept)
        batches = _Batches(pairs, activations, masks, batch_size)
        for start, (active, target) in zip(range(0, len(pairs), batch_size), batches, strict=True):
            upsampled = F.interpolate(
                active, masks.segmentation_size, mode="bilinear", align_corners=True
            )
            marked = (upsampled > 0.5).float()
            shared = (marked * target[:, None]).sum((2, 3))  # [B, K]; whole numbers below 2²⁴
            union = torch.clamp(marked + target[:, None], max=1).sum((2, 3))
            is_val = masks.pair_is_val[pairs[start : start + batch_size]].astype(int)
            for sums, values in zip(counts, (shared, union), strict=True):
                np.add.at(sums[:, place], is_val, values.numpy().astype(np.int64))
    return Overlap(*counts)
