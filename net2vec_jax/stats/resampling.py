"""Redrawing and reweighing images: how sums over images, and ratios of them, vary by sample.

All groups are resampled at once, whatever their sizes: P entries in G groups, R ratios of every
group (two probes, or several seeds of one). `intervals` makes intervals of it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import pdtr

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.overlap import Overlap

SAMPLES_AT_ONCE = 64
"""Rows of the weight matrix: 64 for 60,000 images take 15 MB."""


class Redrawn(NamedTuple):
    """A weighted sum of ratios of sums, and how it varies when its images are redrawn.

    Attributes:
      estimate: float64 [G]; NaN for a group without images.
      error: standard error of `estimate` by the delta method, float64 [G].
      change: redrawn estimates less `estimate`, float32 [samples, G].
      redrawn_error: standard errors of the redrawn estimates, float32 [samples, G].
    """

    estimate: np.ndarray
    error: np.ndarray
    change: np.ndarray
    redrawn_error: np.ndarray


def redraw_ratios(
    numerator: np.ndarray,
    denominator: np.ndarray,
    coefficients: np.ndarray,
    group: np.ndarray,
    groups: int,
    *,
    pseudo_images: bool = False,
    key: Array,
    samples: int,
) -> Redrawn:
    """Redraw each group's images with replacement; every ratio sees the same images.

    The estimate of a group is Σ_r coefficient_r · Σ_p numerator_rp / Σ_p denominator_rp. A ratio
    whose denominators are all 0 is 0.

    Args:
      numerator: [R, P], nonnegative.
      denominator: [R, P], nonnegative.
      coefficients: [R].
      group: to which group each entry belongs, integers [P] in 0 … groups-1, ascending.
      groups: G.
      pseudo_images: whether half an image of ratio 0 and half of ratio 1, each as large as the mean
        image, join every group, also in the estimate; their weights are Γ(1/2) distributed.
      key: PRNG key.
      samples: how many times images are redrawn.
    """
    size = np.bincount(group, minlength=groups)
    start = np.cumsum(size) - size
    top, bottom = (
        sum_rows(np.asarray(x, np.float64), group, groups) for x in (numerator, denominator)
    )
    each = np.arange(len(group))
    pseudo = mean_size(denominator, group, groups, each) if pseudo_images else np.zeros_like(top)
    bottom = np.maximum(bottom + pseudo, 1e-20)  # two halves
    ratio = (top + pseudo / 2) / bottom  # [R, G]
    # An image's share of its group's denominator, and its distance from the group's ratio in
    # shares: of order 1/n, so that float32 is enough on the device, even for ratios near 1.
    share = np.asarray(denominator, np.float64) / bottom[:, group]
    residual = numerator / bottom[:, group] - ratio[:, group] * share
    ends = np.stack([-ratio, 1 - ratio]) * (pseudo / bottom)  # residuals of the pseudo-images
    small_sample = np.sqrt(size / np.maximum(size - 1, 1))
    influence, end_influence = coefficients @ residual, coefficients @ ends
    square = sum_rows(influence[None] ** 2, group, groups)[0] + (end_influence**2).sum(0) / 2
    entries, owners = _round_up(len(group), 512), _round_up(groups + 1, 64)
    change, redrawn_error = _redraw(
        key,
        _lengthen(np.concatenate([residual, share]).T, entries),
        jnp.asarray(coefficients, jnp.float32),
        _lengthen(ends.transpose(2, 0, 1), owners),
        _lengthen((pseudo / bottom).T, owners),
        _lengthen(group, entries, owners - 1, kind=np.int32),
        _lengthen(start[group], entries, kind=np.int32),
        _lengthen(size[group], entries, kind=np.int32),
        samples=samples,
    )
    change, redrawn_error = (np.asarray(each)[:, :groups] for each in (change, redrawn_error))
    estimate = np.where(size > 0, coefficients @ ratio, np.nan)
    error = small_sample * np.sqrt(square)
    small_sample = small_sample.astype(np.float32)
    return Redrawn(estimate, error, change, redrawn_error * small_sample)


def _round_up(count: int, least: int) -> int:
    """One of few lengths, for few programs: at most an eighth, or `least`, more."""
    step = max(least, (1 << count.bit_length()) // 16)
    return -(-count // step) * step


def _lengthen(
    values: np.ndarray, length: int, filling: int = 0, *, kind: type = np.float32
) -> Array:
    """`values` with further entries, on the device.

    Random numbers of an entry depend on its place, so that further entries change nothing.
    """
    more = [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1)
    return jnp.asarray(np.pad(values, more, constant_values=filling).astype(kind))


def sum_rows(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums [R, G] of each row of `values` [R, P] over the entries of each group, float64."""
    return np.stack([np.bincount(group, row, groups) for row in values])


@jax.jit(static_argnames=("samples",))
def _redraw(
    key: Array,
    residual_and_share: Float[Array, "P twice_R"],
    coefficients: Float[Array, " R"],
    ends: Float[Array, "G 2 R"],
    end_share: Float[Array, "G R"],
    group: Int[Array, " P"],
    start: Int[Array, " P"],
    size: Int[Array, " P"],
    *,
    samples: int,
) -> tuple[Float[Array, "samples G"], Float[Array, "samples G"]]:
    def sum_groups(values: Float[Array, "P ..."]) -> Float[Array, "G ..."]:
        return jax.ops.segment_sum(values, group, len(ends), indices_are_sorted=True)

    def one(key: Array) -> tuple[Float[Array, " G"], Float[Array, " G"]]:
        uniform = jax.random.uniform(key, group.shape)
        place = jnp.floor(uniform * size.astype(jnp.float32)).astype(jnp.int32)
        drawn = start + jnp.minimum(place, size - 1)  # a uniform just below 1 may round up
        both = residual_and_share[drawn]  # one gather and one sum are faster than two
        residuals, shares = jnp.split(both, 2, axis=1)
        total_residual, total = jnp.split(sum_groups(both), 2, axis=1)
        weight = draw_half_weights(jax.random.fold_in(key, 1), (len(ends), 2))
        total_residual += jnp.einsum("ge,ger->gr", weight, ends)
        total += weight.sum(1, keepdims=True) * end_share
        # A sample in which nothing is marked has ratio 0: its residuals add up to -ratio · 0.
        scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
        change = total_residual * scale
        influence = (residuals - change[group] * shares) * scale[group] @ coefficients
        end_change = (change * end_share)[:, None]
        end_influence = (ends - end_change) * scale[:, None] @ coefficients
        square = sum_groups(influence**2) + jnp.sum(weight * end_influence**2, axis=1)
        return change @ coefficients, jnp.sqrt(square)

    return jax.lax.map(one, jax.random.split(key, samples))


def draw_half_weights(key: Array, shape: tuple[int, ...]) -> Array:
    """Weights of half an image: Γ(1/2) distributed, as those of a whole one are exponentially."""
    return jax.random.normal(key, shape) ** 2 / 2


def reweigh_ratios(
    numerator: np.ndarray,
    denominator: np.ndarray,
    coefficients: np.ndarray,
    group: np.ndarray,
    groups: int,
    *,
    key: Array,
    samples: int,
) -> Float[np.ndarray, "samples G"]:
    """Bayesian bootstrap of a weighted sum of ratios of sums, with pseudo-images at both ends.

    Instead of being drawn 0, 1, 2 … times, an image has an exponentially distributed weight
    (Rubin 1981). Half an image of ratio 0 and half of ratio 1, as large as the mean image, join
    every group (Jeffreys' prior); their weights are Γ(1/2) distributed. Where a coefficient is
    negative they change places, so that a difference is pulled to -1 and 1.

    Args:
      numerator: [R, P], in 0 … denominator.
      denominator: [R, P].
      coefficients: [R].
      group: to which group each entry belongs, integers [P] in 0 … groups-1.
      groups: G.
      key: PRNG key.
      samples: how many times the images are weighted.

    Returns:
      Σ_r coefficient_r · ratio_r of every sample, float32.
    """
    unit, owner = np.arange(len(group)), np.arange(groups)
    size = mean_size(denominator, group, groups, unit)
    return _reweigh_with(
        numerator, denominator, coefficients, size, owner, group, unit, key=key, samples=samples
    )


def _reweigh_with(
    numerator: np.ndarray,
    denominator: np.ndarray,
    coefficients: np.ndarray,
    size: np.ndarray,
    owner: np.ndarray,
    group: np.ndarray,
    unit: np.ndarray,
    *,
    key: Array,
    samples: int,
) -> Float[np.ndarray, "samples G"]:
    """`reweigh_ratios` with pseudo-images of sizes [R, G]; groups of one owner share them."""
    entries, groups = _round_up(len(group), 512), _round_up(len(owner) + 1, 64)
    sample = _reweigh(
        key,
        _lengthen(np.concatenate([numerator, denominator]).T, entries),
        jnp.asarray(coefficients, jnp.float32),
        _lengthen(size.T, groups, 1),
        _lengthen(owner, groups, kind=np.int32),
        _lengthen(group, entries, groups - 1, kind=np.int32),
        _lengthen(unit, entries, kind=np.int32),
        samples=samples,
    )
    return np.asarray(sample)[:, : len(owner)]


@jax.jit(static_argnames=("samples",))
def _reweigh(
    key: Array,
    values: Float[Array, "P twice_R"],
    coefficients: Float[Array, " R"],
    size: Float[Array, "G R"],
    owner: Int[Array, " G"],
    group: Int[Array, " P"],
    unit: Int[Array, " P"],
    *,
    samples: int,
) -> Float[Array, "samples G"]:
    def one(key: Array) -> Float[Array, " G"]:
        image_key, pseudo_key = jax.random.split(key)
        weight = jax.random.exponential(image_key, unit.shape)[unit]  # at least one a unit
        sums = jax.ops.segment_sum(weight[:, None] * values, group, len(size))
        numerator, denominator = jnp.split(sums, 2, axis=1)
        pseudo = draw_half_weights(pseudo_key, (len(owner), 2))[owner]
        full = jnp.where(coefficients > 0, pseudo[:, 1:], pseudo[:, :1])
        both = pseudo.sum(1, keepdims=True)
        return (numerator + full * size) / (denominator + both * size) @ coefficients

    return jax.lax.map(one, jax.random.split(key, samples))


def mean_size(
    denominator: np.ndarray, group: np.ndarray, groups: int, unit: np.ndarray
) -> Float[np.ndarray, "R G"]:
    """Mean denominator [R, P] of the units that have one, which is a pseudo-image's; 1 if none."""
    sums = sum_rows(denominator, group, groups)
    units = int(unit.max(initial=-1)) + 1
    count = []
    for row in denominator:
        there = np.unique((np.asarray(group, np.int64) * units + unit)[row > 0])
        count.append(np.bincount(there // max(units, 1), minlength=groups))
    return np.where(sums > 0, sums / np.maximum(count, 1), 1)


def reweigh_means(
    values: np.ndarray,
    group: np.ndarray,
    groups: int,
    stratum: np.ndarray,
    *,
    cluster: np.ndarray | None = None,
    key: Array,
    samples: int,
) -> Float[np.ndarray, "samples G"]:
    """Bayesian bootstrap of each group's mean, with half a pseudo-image at either end.

    The strata of a group keep their shares, by which its pseudo-images are spread over them; images
    of one cluster of a group have one weight. As S means are taken from n images, their distances
    from the mean are too small by about √((n - S)/n), for which they are corrected.

    Args:
      values: of each image, in [0, 1], [P].
      group: to which group each image belongs, integers [P] in 0 … groups-1.
      groups: G.
      stratum: to which stratum of its group, integers [P] from 0.
      cluster: to which cluster, integers [P] from 0. None: one image each.
      key: PRNG key.
      samples: how many times the images are weighted.

    Returns:
      float32 in [0, 1]; NaN for a group without images.
    """
    strata = int(stratum.max(initial=0)) + 1
    cell, cells = np.asarray(group, np.int64) * strata + stratum, groups * strata
    count = np.bincount(cell, minlength=cells).reshape(groups, strata)
    with np.errstate(invalid="ignore"):
        part = (count / count.sum(1, keepdims=True)).astype(np.float32)
    unit, ones = number_clusters(group, cluster), np.ones((1, len(values)))
    size = mean_size(ones, cell, cells, unit) * np.where(count > 0, part, 1).reshape(1, cells)
    means = _reweigh_with(
        np.asarray(values)[None], ones, np.ones(1), size,
        np.repeat(np.arange(groups), strata), cell, unit, key=key, samples=samples,
    ).reshape(samples, groups, strata)  # fmt: skip
    means = np.einsum("sgt,gt->sg", means, part)
    units = np.bincount(np.unique(np.stack([group, stratum, unit]), axis=1)[0], minlength=groups)
    free = np.maximum(units - (count > 0).sum(1), 1)
    centre = means.mean(0)
    spread = np.sqrt(np.maximum(units, 1) / free).astype(np.float32)
    return np.clip(centre + spread * (means - centre), 0, 1)


def flip_sums(
    values: np.ndarray, group: np.ndarray, groups: int, *, key: Array, samples: int
) -> Float[np.ndarray, "samples G"]:
    """Sums over each group of `values` [P] whose signs are drawn anew in every sample."""
    arrays = jnp.asarray(values, jnp.float32), jnp.asarray(group, jnp.int32)
    return np.asarray(_flip(key, *arrays, groups=groups, samples=samples))


@jax.jit(static_argnames=("groups", "samples"))
def _flip(
    key: Array, values: Float[Array, " P"], group: Int[Array, " P"], *, groups: int, samples: int
) -> Float[Array, "samples G"]:
    def one(key: Array) -> Float[Array, " G"]:
        sign = jax.random.rademacher(key, values.shape, values.dtype)
        return jax.ops.segment_sum(sign * values, group, groups)

    return jax.lax.map(one, jax.random.split(key, samples))


def redraw_columns(
    numerator: np.ndarray, denominator: np.ndarray, *, key: Array, samples: int
) -> Redrawn:
    """Redraw N images that H ratios share, with the pseudo-images of `redraw_ratios`.

    An image is drawn 0, 1, 2 … times, Poisson distributed with mean 1, so that the sums of all
    ratios are matrix products.

    Args:
      numerator: [N, H], in 0 … denominator.
      denominator: [N, H].
      key: PRNG key; the same one draws the same images for other ratios.
      samples: how many times images are redrawn.
    """
    total = denominator.sum(0, dtype=np.float64)
    pseudo = np.where(total > 0, total / np.maximum((denominator > 0).sum(0), 1), 1)
    bottom = total + pseudo
    ratio = (numerator.sum(0, dtype=np.float64) + pseudo / 2) / bottom
    share = denominator / bottom
    residual = numerator / bottom - ratio * share
    ends = np.stack([-ratio, 1 - ratio]) * (pseudo / bottom)
    error = np.sqrt(np.einsum("nh,nh->h", residual, residual) + (ends**2).sum(0) / 2)
    arrays = [jnp.asarray(x, jnp.float32) for x in (residual, share, ends, (pseudo / bottom)[None])]
    keys = jax.random.split(key, -(-samples // SAMPLES_AT_ONCE))
    parts = [np.asarray(_redraw_columns(each, *arrays)) for each in keys]
    change, redrawn_error = np.concatenate(parts, axis=1)[:, :samples]
    return Redrawn(ratio, error, change, redrawn_error)


@jax.jit
def _redraw_columns(
    key: Array,
    residual: Float[Array, "N H"],
    share: Float[Array, "N H"],
    ends: Float[Array, "2 H"],
    end_share: Float[Array, "1 H"],
) -> Float[Array, "2 samples H"]:
    uniform = jax.random.uniform(key, (SAMPLES_AT_ONCE, len(residual)))
    times = jnp.searchsorted(jnp.asarray(pdtr(np.arange(9), 1), jnp.float32), uniform)
    weight = draw_half_weights(jax.random.fold_in(key, 1), (SAMPLES_AT_ONCE, 2))

    def add(values: Float[Array, "N H"]) -> Float[Array, "samples H"]:
        return jnp.matmul(times.astype(jnp.float32), values, precision=jax.lax.Precision.HIGHEST)

    total = add(share) + weight.sum(1, keepdims=True) * end_share
    change = (add(residual) + weight @ ends) / total
    end_influence = ends[None] - (change * end_share)[:, None]  # [samples, 2, H]
    square = add(residual**2) - 2 * change * add(residual * share) + change**2 * add(share**2)
    square += jnp.sum(weight[..., None] * end_influence**2, axis=1)
    return jnp.stack([change, jnp.sqrt(jnp.maximum(square, 0)) / total])


def number_clusters(group: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Number of each entry's (group, cluster) pair, ascending with both; its own if None."""
    if cluster is None:
        return np.arange(len(group))
    pair = np.asarray(group, np.int64) * (int(cluster.max(initial=0)) + 1) + cluster
    return np.unique(pair, return_inverse=True)[1]


def sum_clusters(
    values: list[np.ndarray], group: np.ndarray, cluster: np.ndarray | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Sums [R, U] of each array [R, P] over the clusters of each group, and their groups [U].

    The clusters of a group are its units of resampling; each image is one where there are none.
    """
    if cluster is None:
        return values, np.asarray(group)
    unit = number_clusters(group, cluster)
    units = int(unit.max(initial=-1)) + 1
    owner = np.zeros(units, np.int64)
    owner[unit] = group
    return [sum_rows(rows, unit, units) for rows in values], owner


def mean_seeds(correct: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean over seeds [P] of outcomes [P] or [S, P], float64; refuses what is not per image."""
    rows = np.atleast_2d(np.asarray(correct, np.float64))
    if rows.ndim != 2 or rows.shape[1] != len(group):
        raise Net2VecError(f"outcomes {np.shape(correct)} do not fit {len(group)} group numbers")
    return rows.mean(0)


def check_clusters(cluster: np.ndarray | None, entries: int) -> None:
    """Refuse cluster numbers that are not one per entry, or negative."""
    if cluster is not None and (np.shape(cluster) != (entries,) or cluster.min(initial=0) < 0):
        raise Net2VecError(
            f"clusters {np.shape(cluster)} do not fit {entries} entries, or some are negative: "
            "give each entry the number, from 0, of its film, patient or scene"
        )


def check_groups(
    group: np.ndarray, groups: int, stratum: np.ndarray | None
) -> tuple[np.ndarray, int, np.ndarray]:
    """The same as arrays, one stratum where there is none; refuses numbers out of range."""
    group = np.asarray(group)
    stratum = np.zeros(len(group), int) if stratum is None else np.asarray(stratum).astype(int)
    inside = len(group) == 0 or (group.min() >= 0 and group.max() < groups)
    if not inside or stratum.shape != group.shape or stratum.min(initial=0) < 0:
        raise Net2VecError(
            f"groups must lie in 0 … {groups - 1} and strata, one per image, start at 0"
        )
    return group, groups, stratum


def check_overlap(overlap: Overlap, group: np.ndarray, groups: int) -> list[np.ndarray]:
    """Intersections and unions as [S, P]; refuses other shapes and groups out of order."""
    check_groups(group, groups, None)
    if (np.diff(group) < 0).any():
        raise Net2VecError("the entries of the groups must be sorted: group must not descend")
    rows = [np.atleast_2d(np.asarray(values, np.float64)) for values in overlap]
    if rows[0].shape != rows[1].shape or rows[0].ndim != 2 or rows[0].shape[1] != len(group):
        shapes = " and ".join(str(np.shape(values)) for values in overlap)
        raise Net2VecError(f"intersections and unions {shapes} do not fit {len(group)} groups")
    return rows
