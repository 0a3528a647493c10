"""Redrawing images: how sums over images, and ratios of them, vary from sample to sample.

All groups are redrawn at once, whatever their sizes: P entries in G groups of consecutive entries,
R ratios of every group (two probes, or several seeds of one). `intervals` makes intervals of it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.overlap import Overlap


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
      key: PRNG key.
      samples: how many times images are redrawn.
    """
    size = np.bincount(group, minlength=groups)
    start = np.cumsum(size) - size
    sums = np.stack(
        [sum_rows(np.asarray(x, np.float64), group, groups) for x in (numerator, denominator)]
    )
    ratio = sums[0] / np.maximum(sums[1], 1e-20)  # [R, G]
    # An image's share of its group's denominator, and its distance from the group's ratio in
    # shares: of order 1/n, so that float32 is enough on the device, even for ratios near 1.
    share = np.asarray(denominator, np.float64) / np.maximum(sums[1], 1e-20)[:, group]
    residual = numerator / np.maximum(sums[1], 1e-20)[:, group] - ratio[:, group] * share
    small_sample = np.sqrt(size / np.maximum(size - 1, 1))
    influence = np.asarray(coefficients, np.float64) @ residual
    error = small_sample * np.sqrt(sum_rows(influence[None] ** 2, group, groups)[0])
    change, redrawn_error = _redraw(
        key,
        jnp.asarray(np.concatenate([residual, share]).T, jnp.float32),
        jnp.asarray(coefficients, jnp.float32),
        jnp.asarray(group, jnp.int32),
        jnp.asarray(start[group], jnp.int32),
        jnp.asarray(size[group], jnp.int32),
        groups=groups,
        samples=samples,
    )
    estimate = np.where(size > 0, np.asarray(coefficients) @ ratio, np.nan)
    small_sample = small_sample.astype(np.float32)
    return Redrawn(estimate, error, np.asarray(change), np.asarray(redrawn_error) * small_sample)


def sum_rows(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sums [R, G] of each row of `values` [R, P] over the entries of each group, float64."""
    return np.stack([np.bincount(group, row, groups) for row in values])


@jax.jit(static_argnames=("groups", "samples"))
def _redraw(
    key: Array,
    residual_and_share: Float[Array, "P twice_R"],
    coefficients: Float[Array, " R"],
    group: Int[Array, " P"],
    start: Int[Array, " P"],
    size: Int[Array, " P"],
    *,
    groups: int,
    samples: int,
) -> tuple[Float[Array, "samples G"], Float[Array, "samples G"]]:
    def sum_groups(values: Float[Array, "P ..."]) -> Float[Array, "G ..."]:
        return jax.ops.segment_sum(values, group, groups, indices_are_sorted=True)

    def one(key: Array) -> tuple[Float[Array, " G"], Float[Array, " G"]]:
        uniform = jax.random.uniform(key, group.shape)
        place = jnp.floor(uniform * size.astype(jnp.float32)).astype(jnp.int32)
        drawn = start + jnp.minimum(place, size - 1)  # a uniform just below 1 may round up
        both = residual_and_share[drawn]  # one gather and one sum are faster than two
        residuals, shares = jnp.split(both, 2, axis=1)
        total_residual, total = jnp.split(sum_groups(both), 2, axis=1)
        # A sample in which nothing is marked has ratio 0: its residuals add up to -ratio · 0.
        scale = jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
        change = total_residual * scale
        influence = (residuals - change[group] * shares) * scale[group] @ coefficients
        return change @ coefficients, jnp.sqrt(sum_groups(influence**2))

    return jax.lax.map(one, jax.random.split(key, samples))


def reweigh_means(
    values: np.ndarray,
    group: np.ndarray,
    groups: int,
    stratum: np.ndarray,
    *,
    key: Array,
    samples: int,
) -> Float[np.ndarray, "samples G"]:
    """Bayesian bootstrap of each group's accuracy, with two half pseudo-images in every stratum.

    Instead of being drawn 0, 1, 2 … times, an image has an exponentially distributed weight
    (Rubin 1981), half an image a Γ(1/2) distributed one. One pseudo-image is wrong (0), one right
    (1). The strata of a group keep their shares.

    Args:
      values: how far each image is classified rightly, in [0, 1], [P].
      group: to which group each image belongs, integers [P] in 0 … groups-1.
      groups: G.
      stratum: to which stratum of its group, integers [P] from 0.
      key: PRNG key.
      samples: how many times the images are weighted.

    Returns:
      float32; NaN for a group without images.
    """
    strata = int(stratum.max(initial=0)) + 1
    cell = np.asarray(group, np.int64) * strata + stratum
    count = np.bincount(cell, minlength=groups * strata).reshape(groups, strata)
    with np.errstate(invalid="ignore"):
        part = count / count.sum(1, keepdims=True)
    means = _reweigh(
        key,
        jnp.asarray(values, jnp.float32),
        jnp.asarray(cell, jnp.int32),
        jnp.asarray(part, jnp.float32),
        samples=samples,
    )
    return np.asarray(means)


@jax.jit(static_argnames=("samples",))
def _reweigh(
    key: Array,
    values: Float[Array, " P"],
    cell: Int[Array, " P"],
    part: Float[Array, "G strata"],
    *,
    samples: int,
) -> Float[Array, "samples G"]:
    def one(key: Array) -> Float[Array, " G"]:
        image_key, pseudo_key = jax.random.split(key)
        weight = jax.random.exponential(image_key, values.shape)
        sums = jax.ops.segment_sum(jnp.stack([weight, weight * values], 1), cell, part.size)
        extra = jax.random.normal(pseudo_key, (part.size, 2)) ** 2 / 2  # Γ(1/2) distributed
        means = (sums[:, 1] + extra[:, 1]) / (sums[:, 0] + extra.sum(1))
        return jnp.sum(part * means.reshape(part.shape), axis=1)

    return jax.lax.map(one, jax.random.split(key, samples))


def mean_seeds(correct: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean over seeds [P] of outcomes [P] or [S, P], float64; refuses what is not per image."""
    rows = np.atleast_2d(np.asarray(correct, np.float64))
    if rows.ndim != 2 or rows.shape[1] != len(group):
        raise Net2VecError(f"outcomes {np.shape(correct)} do not fit {len(group)} group numbers")
    return rows.mean(0)


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
