"""Scores over all val images: what a head marks where its concept is absent counts, too.

Set IoU over a concept's own images (behaviour 5.10) leaves false alarms elsewhere free. Here
I, A and T are the pixels of an image that are predicted rightly, predicted, and of the concept,
0 where the concept is absent: IoU ΣI / Σ(A + T − I), precision ΣI / ΣA, recall ΣI / ΣT, F1
2ΣI / Σ(A + T), and average precision, which needs no level. N images, H heads, G embeddings,
p = h·w positions of the activation grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import SpatialActivations, StandardizedActivations
from net2vec_jax.core.console import track
from net2vec_jax.core.devices import (
    COPIED,
    DIVIDED,
    divide_evenly,
    fetch,
    make_mesh,
    place_copies,
    place_parts,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.head_shards import resolve_chunk_size
from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.interpolation import upsample_rows
from net2vec_jax.probes.scores import arrange_blocks
from net2vec_jax.probes.segmentation.grid_targets import bring_to_grid, mass_of_positions
from net2vec_jax.probes.segmentation.model import Geometry, geometry_of, sum_pixels
from net2vec_jax.probes.segmentation.score_maps import (
    DenseActivations,
    RealActivations,
    read_values,
)
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.stats.intervals import bootstrap_ratios

BINS = 512
"""Of a head's z, between its lowest and highest; z in one bin are ties."""
BLOCKS = 20
"""Of val images, for the interval of the average precision."""
IMAGES_PER_CALL = 64
"""On each device; a program's images are brought to the devices together."""
HEADS_AT_ONCE = 2048
"""Their histograms of all blocks take 350 MB."""
EMBEDDINGS_PER_BOOTSTRAP = 256
"""Their counts on 20,000 images take 160 MB."""


_Values = DenseActivations | RealActivations


class ScoreInterval(NamedTuple):
    """A score in [0, 1] of G embeddings with its 95 % interval; NaN where it is 0 / 0.

    Attributes:
      value: float64 [G].
      low: float64 [G].
      high: float64 [G].
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AllImageScores:
    """Scores of G embeddings over all val images, in the order of `HeadScores`.

    Pixels are summed over an embedding's repetitions before the ratios are taken; the average
    precision is the mean of theirs.

    Attributes:
      concept: int32 [G], position in the catalog.
      filters: int32 [G], number of filters, or `heads.ALL_FILTERS`.
      iou: set IoU; NaN where nothing is marked and the concept has no pixel.
      precision: share of the marked pixels that are the concept's; NaN where nothing is marked.
      recall: share of the concept's pixels that are marked; NaN where it has none.
      f1: harmonic mean of both, 2ΣI / Σ(A + T); NaN where the IoU is.
      average_precision: see `average_precision`; NaN where the concept has no pixel.
    """

    concept: np.ndarray
    filters: np.ndarray
    iou: ScoreInterval
    precision: ScoreInterval
    recall: ScoreInterval
    f1: ScoreInterval
    average_precision: ScoreInterval

    def __len__(self) -> int:
        return len(self.concept)


def count_marked_pixels(
    weights: Float[np.ndarray, "H K"],
    level: Float[np.ndarray, " H"],
    activations: SpatialActivations,
    segmentation_size: tuple[int, int],
    images: Int[np.ndarray, " n"],
    *,
    progress: str = "",
) -> Int[np.ndarray, "n H"]:
    """Count the pixels that every head marks on each image, whether it shows the concept or not.

    A head marks a pixel where the upsampled Σ_k w_k x_k is above its level, strictly, as in
    `evaluate_segmentation`. Weights [0, …, 1, …, 0] with level 0.5 make a head of a single filter;
    its precision and recall are P(C|F) and P(F|C).

    Args:
      weights: embeddings of the heads.
      level: of every head.
      activations: of N images.
      segmentation_size: (Y, X) of the pixels.
      images: which images, each in 0 … N-1.
      progress: name of a progress bar; none is shown by default.

    Returns:
      Pixels, int32, each in 0 … Y·X.

    Examples:
      >>> values = np.array([[[1.0]], [[-1.0]]], np.float32)  # 2 images, 1 position, 1 filter
      >>> activations = StandardizedActivations(values, (1, 1))
      >>> weights, level = np.ones((1, 1), np.float32), np.zeros(1)
      >>> count_marked_pixels(weights, level, activations, (2, 3), np.array([0, 1])).tolist()
      [[6], [0]]
    """
    return _scan_images(weights, level, activations, segmentation_size, images, progress)[0]


def score_all_images(
    heads: Heads,
    weights: Float[np.ndarray, "H K"],
    level: Float[np.ndarray, " H"],
    overlaps: ImageOverlaps,
    activations: SpatialActivations,
    masks: ConceptMasks,
    *,
    key: Array,
    bootstrap_samples: int = 1000,
    cluster: Int[np.ndarray, " N"] | None = None,
    progress: str = "",
) -> AllImageScores:
    """Score every embedding over all val images, whether they show its concept or not.

    Intervals of the ratios are those of `bootstrap_ratios`, for which the same images are drawn for
    all heads; that of the average precision is `jackknife_average_precision`'s.

    Args:
      heads: H heads.
      weights: their embeddings.
      level: a head marks the pixels where Σ_k w_k x_k is above its level, strictly.
      overlaps: of their predictions with their concepts, see `evaluate_segmentation`.
      activations: of all N images.
      masks: masks of the concepts.
      key: PRNG key of the bootstrap, and of which images share a block of the jackknife.
      bootstrap_samples: how often the val images are redrawn.
      cluster: film, patient or scene of each image; images of one are never torn apart. None:
        every image by itself.
      progress: name of a progress bar; none is shown by default.

    Raises:
      Net2VecError: there is no head or no val image, or activations, masks and clusters are not of
        the same images.
    """
    geometry_of(activations, masks)
    images = np.flatnonzero(masks.is_val)
    if not len(heads) or not len(images):
        raise Net2VecError(f"{len(heads)} heads and {len(images)} val images: nothing to score")
    if cluster is not None and len(cluster) != len(masks.is_val):
        raise Net2VecError(f"clusters of {len(cluster)} images, but masks of {len(masks.is_val)}")
    unit = np.arange(len(images)) if cluster is None else np.asarray(cluster)[images]
    unit = np.unique(unit, return_inverse=True)[1]
    block_key, bootstrap_key = jax.random.split(key)
    blocks = _deal_blocks(unit, block_key)
    parts = []
    for rows in arrange_blocks(heads, [heads.filters == ALL_FILTERS, heads.filters != ALL_FILTERS]):
        for some in np.array_split(rows, -(-rows.size // HEADS_AT_ONCE), axis=1):
            chosen = some.ravel()
            entries = _Entries.of(chosen, heads, overlaps, masks, images)
            marked, lowest, highest = _scan_images(
                weights[chosen], level[chosen], activations, masks.segmentation_size, images,
                progress,
            )  # fmt: skip
            histograms = _collect_histograms(
                weights[chosen], lowest, highest, entries, activations, masks, images, blocks,
                progress,
            )  # fmt: skip
            by_repetition = [x.reshape(-1, *some.shape, BINS).swapaxes(0, 1) for x in histograms]
            scores = [
                *_score_pixels(marked, entries, some.shape, unit, bootstrap_key, bootstrap_samples),
                jackknife_average_precision(*by_repetition),
            ]
            parts.append(AllImageScores(heads.concept[some[0]], heads.filters[some[0]], *scores))
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


class _Entries(NamedTuple):
    """(head, image) entries of val images that show the head's concept, by image."""

    head: np.ndarray  # place among the heads, int64 [Q]
    image: np.ndarray  # place among the val images, ascending
    pair: np.ndarray  # of the masks
    intersection: np.ndarray  # pixels
    marked: np.ndarray
    area: np.ndarray

    @classmethod
    def of(
        cls,
        chosen: np.ndarray,
        heads: Heads,
        overlaps: ImageOverlaps,
        masks: ConceptMasks,
        images: np.ndarray,
    ) -> _Entries:
        place = np.full(len(heads), -1)
        place[chosen] = np.arange(len(chosen))
        kept = np.flatnonzero(overlaps.is_val & (place[overlaps.head] >= 0))
        kept = kept[np.argsort(overlaps.image[kept], kind="stable")]
        head, image = overlaps.head[kept], overlaps.image[kept]

        def number(concept: np.ndarray, image: np.ndarray) -> np.ndarray:
            return concept.astype(np.int64) * len(masks.is_val) + image

        pair = np.searchsorted(
            number(masks.pair_concept, masks.pair_image), number(heads.concept[head], image)
        )
        area, shared = masks.area[pair], overlaps.intersection[kept].astype(np.int64)
        marked = overlaps.union[kept] + shared - area
        return cls(place[head], np.searchsorted(images, image), pair, shared, marked, area)


def _score_pixels(
    marked: np.ndarray,
    entries: _Entries,
    shape: tuple[int, ...],
    unit: np.ndarray,
    key: Array,
    samples: int,
) -> list[ScoreInterval]:
    """Set IoU, precision, recall and F1 of heads [S, G] from their counts on each image."""
    where = (entries.image, entries.head)
    shared, area = np.zeros_like(marked), np.zeros_like(marked)
    # On its own images the counts are those of `overlaps`, to the last pixel.
    shared[where], area[where], marked[where] = entries.intersection, entries.area, entries.marked
    shared, area, marked = (
        x.reshape(len(x), *shape).sum(1, dtype=np.float32) for x in (shared, area, marked)
    )  # [N, G]
    bounds, sums = [], []
    for start in range(0, shape[1], EMBEDDINGS_PER_BOOTSTRAP):
        part = slice(start, start + EMBEDDINGS_PER_BOOTSTRAP)
        i, t, a = shared[:, part], area[:, part], marked[:, part]
        top, bottom = [i, i, i, 2 * i], [a + t - i, a, t, a + t]
        bounds.append(
            np.stack(bootstrap_ratios(top, bottom, cluster=unit, key=key, samples=samples))
        )
        sums.append([[x.sum(0, dtype=np.float64) for x in each] for each in (top, bottom)])
    top, bottom = np.concatenate(sums, axis=-1)  # [4, G] each
    empty = bottom == 0
    value = np.where(empty, np.nan, top / np.where(empty, 1, bottom))
    low, high = np.where(empty, np.nan, np.concatenate(bounds, axis=-1))
    return [ScoreInterval(*each) for each in zip(value, low, high, strict=True)]


def average_precision(
    positive: Float[np.ndarray, "*H B"], total: Float[np.ndarray, "*H B"]
) -> Float[np.ndarray, "*H"]:
    """Average precision Σ_i (R_i − R_{i−1}) P_i over B bins of scores, the highest first.

    R_i and P_i are recall and precision at the lower end of bin i: scores of one bin are ties.

    Args:
      positive: weight of the positive examples in each bin, the bins ascending by score.
      total: weight of all examples.

    Returns:
      In [0, 1]; NaN where there is no positive example.

    Examples:
      >>> float(average_precision(np.array([0.0, 1, 0, 1]), np.array([2.0, 1, 1, 1])))
      0.8333333333333333
    """
    above, right = (np.cumsum(x[..., ::-1], axis=-1, dtype=np.float64) for x in (total, positive))
    # Weights are rounded: one in a full mask may exceed that of the position.
    precision = np.divide(
        right, np.maximum(above, right), out=np.zeros_like(above), where=right > 0
    )
    found = right[..., -1]
    weighted = np.sum(positive[..., ::-1] * precision, axis=-1)
    return np.divide(weighted, found, out=np.full_like(found, np.nan), where=found > 0)


def jackknife_average_precision(
    positive: Float[np.ndarray, "S b G B"], total: Float[np.ndarray, "S b G B"]
) -> ScoreInterval:
    """Mean average precision over S repetitions, with a jackknife interval over b blocks of images.

    Each block is left out once; the standard error on the scale logit AP is multiplied by Student's
    t with as many degrees of freedom as blocks that show the concept, less one. With one such block
    nothing is known, and the interval is [0, 1]; it has no width if no block makes a difference. At
    95 % it covered the truth in 90–99 % of simulated cases (50 to 2,000 images of which 3 to 50 %
    show the concept, AP of 0.007 to 0.6; on the scale asin √AP, 84–100 %).

    Args:
      positive: histograms of the positive examples, see `average_precision`.
      total: histograms of all examples.
    """

    positives, totals = (x.sum(1, dtype=np.float64) for x in (positive, total))
    value = average_precision(positives, totals).mean(0)
    blocks = positive.shape[1]
    shown = np.sum(positive[0].any(-1), axis=0)
    without = [
        average_precision(positives - positive[:, block], totals - total[:, block]).mean(0)
        for block in range(blocks)
    ]
    with np.errstate(invalid="ignore"):  # a concept on the images of one block is without any
        error = np.sqrt((blocks - 1) * _logit(np.stack(without)).var(0))
        half = scipy.stats.t.ppf(0.975, np.maximum(shown - 1, 1)) * error
        low, high = (scipy.special.expit(_logit(value) + side * half) for side in (-1, 1))
    low, high = np.where(shown > 1, low, 0), np.where(shown > 1, high, 1)
    # The clipped logit of 0 or 1 falls short of it.
    return ScoreInterval(value, np.minimum(low, value), np.maximum(high, value))


def _logit(share: np.ndarray) -> np.ndarray:
    return scipy.special.logit(np.clip(share, 1e-9, 1 - 1e-9))


def _deal_blocks(unit: Int[np.ndarray, " N"], key: Array) -> list[np.ndarray]:
    """Up to `BLOCKS` blocks of about equally many images; those of one unit stay together.

    Args:
      unit: of each image, from 0 without gaps.
      key: of the order in which units of equal sizes are dealt.
    """
    size = np.bincount(unit)
    order = np.asarray(jax.random.permutation(key, len(size)))
    block = np.zeros(len(size), np.int64)
    for number, places in enumerate(divide_evenly(size[order], min(BLOCKS, len(size)))):
        block[order[places]] = number
    return [np.flatnonzero(block[unit] == number) for number in range(block.max() + 1)]


def _divide_calls(
    parts: Sequence[Int[np.ndarray, " m"]], devices: int
) -> list[tuple[int, int, Int[np.ndarray, "D n"]]]:
    """(part, how many images, these images divided over the devices) of every call.

    All calls have the same shape; those with fewer images repeat their last.
    """
    longest = -(-max(map(len, parts)) // devices)
    size = devices * -(-longest // -(-longest // IMAGES_PER_CALL))
    return [
        (number, len(some), np.pad(some, (0, size - len(some)), "edge").reshape(devices, -1))
        for number, part in enumerate(parts)
        for some in np.split(part, range(size, len(part), size))
    ]


def _scan_images(
    weights: np.ndarray,
    level: np.ndarray,
    activations: SpatialActivations,
    segmentation_size: tuple[int, int],
    images: np.ndarray,
    progress: str,
) -> tuple[Int[np.ndarray, "n H"], Float[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """Pixels that heads mark on images, and their lowest and highest z there on the grid."""
    mesh = make_mesh()
    (h, w), (rows, width) = activations.grid, segmentation_size
    copied = place_copies(mesh, (np.asarray(weights, np.float32), np.asarray(level, np.float32)))
    marked, lowest, highest = [], [], []
    for _, real, chosen in track(_divide_calls([images], mesh.size), progress, unit="call"):
        placed = _place(activations, chosen, mesh)
        scan = _scan_on_devices(
            *copied, placed, mesh=mesh, geometry=Geometry((h, w), (rows, width))
        )
        of_call, low, high = fetch(scan)
        marked.append(of_call.reshape(-1, len(weights))[:real])
        lowest.append(low)
        highest.append(high)
    return np.concatenate(marked), np.min(lowest, axis=(0, 1)), np.max(highest, axis=(0, 1))


def _place(activations: SpatialActivations, images: Int[np.ndarray, "D n"], mesh: Mesh) -> _Values:
    if isinstance(activations, StandardizedActivations):
        return RealActivations(place_parts(mesh, lambda d: activations.values[images[d]]))
    return DenseActivations(place_parts(mesh, lambda d: activations.packed[images[d]]))


@partial(jax.jit, static_argnames=("mesh", "geometry"))
def _scan_on_devices(
    weights: Float[Array, "H K"],
    level: Float[Array, " H"],
    values: _Values,
    *,
    mesh: Mesh,
    geometry: Geometry,
) -> tuple[Int[Array, "D n H"], Float[Array, "D H"], Float[Array, "D H"]]:
    def on_device(weights: Array, level: Array, values: _Values) -> tuple[Array, Array, Array]:
        values = jax.tree.map(lambda x: x[0], values)

        def scan(image: Array) -> tuple[Array, Array, Array]:
            z = _score_positions(weights, values, image)
            return _count_above(z, level, geometry), z.min(0), z.max(0)

        marked, lowest, highest = jax.lax.map(scan, jnp.arange(len(values[0])))
        return marked[None], lowest.min(0)[None], highest.max(0)[None]

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(COPIED, COPIED, DIVIDED), out_specs=DIVIDED, check_vma=False
    )(weights, level, values)


def _score_positions(
    weights: Float[Array, "H K"], values: _Values, image: Array
) -> Float[Array, "p H"]:
    """z = Σ_k w_k x_k of all heads at every position of an image's grid."""
    x = read_values(values, image[None], weights.shape[1])[0]
    return jnp.einsum("pk,hk->ph", x, weights, precision=jax.lax.Precision.HIGHEST)


def _count_above(
    z: Float[Array, "p H"], level: Float[Array, " H"], geometry: Geometry
) -> Int[Array, " H"]:
    """Pixels at which the upsampled z of each head is above its level."""
    heads = len(level)
    at_once = min(resolve_chunk_size(None, geometry, 0), heads)
    padding = -heads % at_once
    maps = jnp.pad(z, ((0, 0), (0, padding))).reshape(*geometry.grid, -1, at_once)
    levels = jnp.pad(level, (0, padding)).reshape(-1, at_once)

    def count(some: tuple[Array, Array]) -> Array:
        maps, level = some
        above = upsample_rows(maps, geometry.segmentation_size) > level[None, :, None]
        return sum_pixels(above.astype(jnp.float32))

    counts = jax.lax.map(count, (maps.transpose(2, 0, 3, 1), levels))
    return counts.reshape(-1)[:heads].astype(jnp.int32)


def _collect_histograms(
    weights: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    entries: _Entries,
    activations: SpatialActivations,
    masks: ConceptMasks,
    images: np.ndarray,
    blocks: Sequence[np.ndarray],
    progress: str,
) -> np.ndarray:
    """Weight of positive and of all positions by block, head and bin of z, float32 [2, b, H, B]."""
    mesh = make_mesh()
    ranges = (lowest, np.maximum(highest - lowest, 1e-30))
    mass = mass_of_positions(activations.grid, masks.segmentation_size)
    copied = place_copies(mesh, (np.asarray(weights, np.float32), *ranges, mass))
    histograms = np.zeros((2, len(blocks), len(weights), BINS), np.float32)
    count = np.bincount(entries.image, minlength=len(images))
    first, most = np.cumsum(count) - count, max(int(count.max()), 1)
    for block, real, chosen in track(_divide_calls(blocks, mesh.size), progress, unit="call"):
        kept = np.arange(chosen.size).reshape(chosen.shape) < real
        slot = np.arange(most)
        there = (slot < count[chosen][..., None]) & kept[..., None]  # [D, n, most]
        entry = np.where(there, first[chosen][..., None] + slot, 0)
        head = np.zeros(there.shape, np.int32)
        target = np.zeros((*there.shape, len(mass)), np.float32)
        head[there] = entries.head[entry[there]]
        pairs, inverse = np.unique(entries.pair[entry[there]], return_inverse=True)
        target[there] = bring_to_grid(masks, pairs, activations.grid)[inverse]
        parts = [
            place_parts(mesh, lambda d, x=x: x[d]) for x in (kept.astype(np.float32), head, target)
        ]
        found = _bin_on_devices(
            *copied, _place(activations, images[chosen], mesh), *parts, mesh=mesh
        )
        histograms[:, block] += fetch(found).sum(0).reshape(2, -1, BINS)
    return histograms


@partial(jax.jit, static_argnames=("mesh",))
def _bin_on_devices(
    weights: Float[Array, "H K"],
    lowest: Float[Array, " H"],
    width: Float[Array, " H"],
    mass: Float[Array, " p"],
    values: _Values,
    kept: Float[Array, "D n"],
    head: Int[Array, "D n most"],
    target: Float[Array, "D n most p"],
    *,
    mesh: Mesh,
) -> Float[Array, "D 2 cells"]:
    def on_device(
        weights: Array, lowest: Array, width: Array, mass: Array, *divided: object
    ) -> Array:
        values, kept, head, target = jax.tree.map(lambda x: x[0], divided)

        def add_image(sums: tuple[Array, Array], image: Array) -> tuple[tuple, None]:
            positive, total = sums
            z = _score_positions(weights, values, image)
            place = (z - lowest[None]) / width[None] * BINS
            bin_ = jnp.clip(place.astype(jnp.int32), 0, BINS - 1)
            cell = jnp.arange(len(lowest), dtype=jnp.int32)[None] * BINS + bin_  # [p, H]
            weight = jnp.broadcast_to((mass * kept[image])[:, None], cell.shape)
            total = total.at[cell].add(weight)
            positive = positive.at[cell[:, head[image]]].add(target[image].T)
            return (positive, total), None

        zeros = jnp.zeros(len(lowest) * BINS)
        sums, _ = jax.lax.scan(add_image, (zeros, zeros), jnp.arange(len(kept)))
        return jnp.stack(sums)[None]

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(*4 * [COPIED], *4 * [DIVIDED]), out_specs=DIVIDED,
        check_vma=False,
    )(weights, lowest, width, mass, values, kept, head, target)  # fmt: skip
