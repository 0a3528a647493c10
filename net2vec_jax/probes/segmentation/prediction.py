"""What embeddings and single filters predict on chosen images: masks and heat maps of pixels.

The same operations as the probes count with, so that pixels counted in these masks are the probes'
counts: z = upsample(Σ_k w_k 1[A_k > T_k]) > 0 for embeddings (reference behaviour 5.2, 5.10), and
upsample(1[A_k > T_k]) > 0.5 for a filter (behaviour 4). n pairs of (head or filter, image).
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float, Int

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.standardized import SpatialActivations
from net2vec_jax.probes.interpolation import interpolation_matrix, upsample_rows
from net2vec_jax.probes.segmentation.model import Geometry, score_pixels
from net2vec_jax.probes.segmentation.score_maps import (
    ArrangedActivations,
    SparseActivations,
    arrange_activations,
    score_maps,
)
from net2vec_jax.probes.single_filters.prediction import predict_pixels

CHUNK_SIZE = 64


class PixelSummary(NamedTuple):
    """What embeddings mark on n images, pixels counted as `evaluate_segmentation` counts them.

    Attributes:
      marked: pixels of [Y, X] where z is above the embedding's level, int32 [n, C].
      mean: mean over the pixels of σ(z − level), float32 [n, C].
      maximum: its maximum, float32 [n, C].
      packed: the masks, uint8 [n, C, Y, ceil(X / 8)], `numpy.packbits` of each row; None where they
        were not asked for.
    """

    marked: np.ndarray
    mean: np.ndarray
    maximum: np.ndarray
    packed: np.ndarray | None


class Prediction(NamedTuple):
    """What embeddings predict on n images.

    Attributes:
      mask: bool [n, Y, X], where z is above the head's level.
      probability: float32 [n, Y, X], σ(z − level) in [0, 1]: above 0.5 in the mask.
    """

    mask: Bool[np.ndarray, "n Y X"]
    probability: Float[np.ndarray, "n Y X"]


def predict_embeddings(
    weights: Float[np.ndarray, "H K"],
    head: Int[np.ndarray, " n"],
    image: Int[np.ndarray, " n"],
    activations: SpatialActivations,
    segmentation_size: tuple[int, int],
    level: Float[np.ndarray, " H"] | None = None,
) -> Prediction:
    """What embeddings predict, as `evaluate_segmentation` counts it.

    Args:
      weights: embeddings.
      head: row of the weights, for each pair.
      image: index into the activations, for each pair.
      activations: binary activations.
      segmentation_size: (Y, X).
      level: a pixel is predicted above the head's level, see `evaluate_segmentation`; by default
        above 0.
    """
    chunks, kept = chunk_pairs(head, image)
    (h, w), (rows, width) = activations.grid, segmentation_size
    z = _score_chunks(
        jnp.asarray(weights, jnp.float32),
        *chunks,
        jax.tree.map(jnp.asarray, arrange_activations(activations)),
        geometry=Geometry((h, w), (rows, width)),
    )
    z = np.asarray(z.reshape(-1, *z.shape[2:])[:kept])
    if level is not None:
        z = z - np.asarray(level, np.float32)[head][:, None, None]
    return Prediction(z > 0, scipy.special.expit(z))


def score_grids(
    weights: Float[np.ndarray, "C K"], activations: SpatialActivations
) -> Float[np.ndarray, "n C h w"]:
    """Scores Σ_k w_k x_k of every embedding on every image, on the activation grid.

    Args:
      weights: embeddings.
      activations: binary activations of n images.
    """
    count = len(activations)
    head, image = np.tile(np.arange(len(weights)), count), np.repeat(np.arange(count), len(weights))
    scores = score_pairs(weights, head, image, activations)
    return scores.reshape(count, len(weights), *activations.grid)


def score_pairs(
    weights: Float[np.ndarray, "H K"],
    head: Int[np.ndarray, " n"],
    image: Int[np.ndarray, " n"],
    activations: SpatialActivations,
) -> Float[np.ndarray, "n p"]:
    """Scores Σ_k w_k x_k of n (head, image) pairs at every position y·w + x of the grid.

    Args:
      weights: embeddings.
      head: row of the weights, for each pair.
      image: index into the activations, for each pair.
      activations: of N images.
    """
    chunks, kept = chunk_pairs(head, image)
    arranged = arrange_activations(activations)
    if isinstance(arranged, SparseActivations):  # batches of a stream then share their programs
        length = len(arranged.position)
        padding = (0, (1 << (length - 1).bit_length()) - length)
        position, filter_ = (np.pad(values, padding) for values in arranged[:2])
        arranged = arranged._replace(position=position, filter=filter_)
    scores = _score_grid_chunks(
        jnp.asarray(weights, jnp.float32),
        *chunks,
        jax.tree.map(jnp.asarray, arranged),
        positions=math.prod(activations.grid),
    )
    return np.asarray(scores).reshape(-1, scores.shape[-1])[:kept]


@partial(jax.jit, static_argnames=("positions",))
def _score_grid_chunks(
    weights: Float[Array, "H K"],
    head: Int[Array, "chunks c"],
    image: Int[Array, "chunks c"],
    activations: ArrangedActivations,
    *,
    positions: int,
) -> Float[Array, "chunks c positions"]:
    def score(chunk: tuple[Array, Array]) -> Array:
        return score_maps(weights, *chunk, activations, positions)

    return jax.lax.map(score, (head, image))


def predict_pixels_of(
    scores: Float[np.ndarray, "C h w"], size: tuple[int, int]
) -> tuple[Bool[np.ndarray, "C Y X"], Float[np.ndarray, "C Y X"]]:
    """Masks z > 0 and probabilities σ(z) of an image's pixels, z upsampled (behaviours 5.2, Q-4).

    In numpy, so that photographs of many sizes compile nothing.

    Args:
      scores: of an image on the activation grid.
      size: (Y, X) of the pixels.
    """
    rows, columns = map(_interpolation, scores.shape[1:], size)
    z = rows @ (scores @ columns.T)
    return z > 0, scipy.special.expit(z)


def mark_pixels(scores: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Bool[np.ndarray, "Y X"]:
    """The mask of `predict_pixels_of`, of one concept; only what may be marked is upsampled.

    Args:
      scores: float32 [h, w] on the activation grid, less the level.
      size: (Y, X).
    """
    mask = np.zeros(size, bool)
    rows, columns = map(_interpolation, scores.shape, size)
    above = scores > 0
    # A pixel is a blend of four positions, of which one must be above 0.
    y, x = (
        np.flatnonzero(matrix[:, above.any(axis=axis)].any(axis=1))
        for axis, matrix in ((1, rows), (0, columns))
    )
    if len(y) and len(x):
        part = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
        mask[part] = rows[part[0]] @ (scores @ columns[part[1]].T) > 0
    return mask


_interpolation = lru_cache(maxsize=64)(interpolation_matrix)


def summarise_pixels(
    scores: Float[np.ndarray, "n C h w"],
    level: Float[np.ndarray, " C"],
    segmentation_size: tuple[int, int],
    *,
    keep_masks: bool = False,
) -> PixelSummary:
    """What C embeddings mark on n images, at the size at which a run counts pixels.

    Args:
      scores: on the activation grid, see `score_grids`.
      level: of each embedding: a pixel is marked above it, strictly.
      segmentation_size: (Y, X).
      keep_masks: return the masks too.
    """
    found = _summarise(
        jnp.asarray(scores), jnp.asarray(level, jnp.float32), size=tuple(segmentation_size),
        keep_masks=keep_masks,
    )  # fmt: skip
    return PixelSummary(*jax.tree.map(np.asarray, found))


@partial(jax.jit, static_argnames=("size", "keep_masks"))
def _summarise(
    scores: Float[Array, "n C h w"], level: Float[Array, " C"], *, size: tuple[int, int],
    keep_masks: bool,
) -> tuple[Array, Array, Array, Array | None]:  # fmt: skip
    def summarise(scores: Float[Array, "C h w"]) -> tuple[Array, Array, Array, Array | None]:
        z = upsample_rows(scores.transpose(1, 0, 2), size)  # [Y, C, X]
        above = z > level[None, :, None]
        probability = jax.nn.sigmoid(z - level[None, :, None])
        packed = jnp.packbits(above.transpose(1, 0, 2), axis=-1) if keep_masks else None
        marked = above.sum((0, 2), dtype=jnp.int32)
        return marked, probability.mean((0, 2)), probability.max((0, 2)), packed

    return jax.lax.map(summarise, scores)


def predict_filters(
    filter_: Int[np.ndarray, " n"],
    image: Int[np.ndarray, " n"],
    activations: BinaryActivations,
    segmentation_size: tuple[int, int],
) -> Bool[np.ndarray, "n Y X"]:
    """Where single filters fire, as `probe_single_filters` counts it.

    Args:
      filter_: number of the filter, for each pair.
      image: index into the activations, for each pair.
      activations: binary activations.
      segmentation_size: (Y, X).
    """
    chunks, kept = chunk_pairs(filter_, image)
    size = (segmentation_size[0], segmentation_size[1])
    masks = [
        np.asarray(_threshold(activations.maps(images, filters), size=size))
        for filters, images in zip(*map(np.asarray, chunks), strict=True)
    ]
    return np.concatenate([np.zeros((0, *size), bool), *masks])[:kept]


def chunk_pairs(first: np.ndarray, image: np.ndarray) -> tuple[tuple[Array, Array], int]:
    """Pairs in chunks of one size, the last one filled up with its last pair; and their number."""
    count = len(image)
    place = np.minimum(np.arange(-(-count // CHUNK_SIZE) * CHUNK_SIZE), max(count - 1, 0))
    place = place.reshape(-1, CHUNK_SIZE)

    def lay(values: np.ndarray) -> Array:
        return jnp.asarray(np.asarray(values)[place] if count else place, jnp.int32)

    return (lay(first), lay(image)), count


@partial(jax.jit, static_argnames=("geometry",))
def _score_chunks(
    weights: Float[Array, "H K"],
    head: Int[Array, "chunks c"],
    image: Int[Array, "chunks c"],
    activations: ArrangedActivations,
    *,
    geometry: Geometry,
) -> Float[Array, "chunks c Y X"]:
    def score(chunk: tuple[Array, Array]) -> Array:
        return score_pixels(weights, *chunk, activations, geometry).transpose(1, 0, 2)

    return jax.lax.map(score, (head, image))


@partial(jax.jit, static_argnames=("size",))
def _threshold(maps: Bool[Array, "c h w"], *, size: tuple[int, int]) -> Bool[Array, "c Y X"]:
    return predict_pixels(maps, size).transpose(1, 0, 2)
