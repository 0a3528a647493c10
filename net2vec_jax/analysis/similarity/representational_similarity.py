"""Whether two representations are alike: CKA and rank correlation, with permutation tests.

Both are correlations of two symmetric matrices [n, n] without their diagonals: debiased linear CKA
(`kernel_alignment`) of the centred kernels X Xᵀ and Y Yᵀ, representational-similarity analysis of
the ranks of two similarity matrices (Kriegeskorte et al. 2008). Hence one test and one interval:
the rows are exchanged (Mantel 1967), or halved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.analysis.similarity.kernel_alignment import LEAST_ROWS, centre_pair, estimate_cka
from net2vec_jax.analysis.similarity.network_similarity import check_similarities
from net2vec_jax.core.errors import Net2VecError

ROUNDING = 1e-5
"""Permuted values less than this below the observed one count as equal; they are float32."""


@dataclasses.dataclass(frozen=True, eq=False)
class Association:
    """How alike two representations are, and how sure that is.

    Attributes:
      value: of the statistic, at most 1; NaN where it is undefined.
      low: lower end of its interval; NaN below 8 rows.
      high: upper end.
      p_value: of the hypothesis that the rows of one are in no order relative to the other's,
        against a greater value; (1 + permuted values ≥ value) / (1 + permutations).
    """

    value: float
    low: float
    high: float
    p_value: float


def correlate_ranks(first: Float[np.ndarray, "n n"], second: Float[np.ndarray, "n n"]) -> float:
    """Spearman's correlation of the upper triangles of two similarity matrices; equal ones tie.

    Examples:
      >>> similarities = np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.5], [0.2, 0.5, 1.0]])
      >>> round(correlate_ranks(similarities, similarities**3), 6)
      1.0

    Returns:
      A number in [−1, 1]; NaN where all similarities of a matrix are equal.

    Raises:
      Net2VecError: similarities that are not of the same concepts.
    """
    one, other = (_centre_pairs(ranks) for ranks in _rank_pairs(first, second))
    scale = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / scale) if scale > 0 else float("nan")


def assess_cka(
    first: Float[np.ndarray, "n K1"],
    second: Float[np.ndarray, "n K2"],
    *,
    key: Array,
    permutations: int = 1000,
    samples: int = 1000,
    confidence: float = 0.95,
) -> Association:
    """Debiased linear CKA with a permutation test over rows and a half-sampling interval.

    Makes matrices [n, n]; meant for embeddings of concepts.

    Args:
      first: X.
      second: Y.
      key: PRNG key.
      permutations: of the test.
      samples: half samples of the interval.
      confidence: nominal coverage of the interval, in (0, 1).

    Raises:
      Net2VecError: not the same number of rows, or fewer than four.
    """
    value = estimate_cka(first, second).debiased
    halves_key, test_key = jax.random.split(key)
    centred = [part.rows(slice(None)) for part in centre_pair(first, second)]
    first, second = (_without_diagonal(values @ values.T) for values in centred)
    low, high = _halve(halves_key, value, first, second, _sum_halved_hsic, samples, confidence)
    products = _double_centre(first), _double_centre(second)
    return Association(value, low, high, _permute(test_key, value, *products, permutations))


def assess_rank_correlation(
    first: Float[np.ndarray, "n n"],
    second: Float[np.ndarray, "n n"],
    *,
    key: Array,
    permutations: int = 1000,
    samples: int = 1000,
    confidence: float = 0.95,
) -> Association:
    """Rank correlation of similarities, with Mantel's test and a half-sampling interval.

    Args:
      first: similarities in one representation.
      second: similarities of the same concepts in the other.
      key: PRNG key.
      permutations: of the test.
      samples: half samples of the interval; they keep the ranks among all pairs.
      confidence: nominal coverage of the interval, in (0, 1).

    Raises:
      Net2VecError: similarities that are not of the same concepts.
    """
    value = correlate_ranks(first, second)
    halves_key, test_key = jax.random.split(key)
    first, second = _rank_pairs(first, second)
    low, high = _halve(
        halves_key, value, first, second, _average_halved_products, samples, confidence
    )
    products = _centre_pairs(first), _centre_pairs(second)
    return Association(value, low, high, _permute(test_key, value, *products, permutations))


def _without_diagonal(matrix: np.ndarray) -> np.ndarray:
    matrix = np.array(matrix, np.float64)
    np.fill_diagonal(matrix, 0)
    return matrix


def _rank_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the pairs in (0, 1], symmetric, 0 on the diagonal; nearly equal ones tie."""
    from scipy.spatial.distance import squareform  # slow to import, and only needed here
    from scipy.stats import rankdata

    check_similarities(np.asarray(first), np.asarray(second))

    def rank(similarities: np.ndarray) -> np.ndarray:
        pairs = squareform(np.asarray(similarities, np.float64), checks=False)
        return squareform(rankdata(np.round(pairs, 12)) / len(pairs))

    return rank(first), rank(second)


def _centre_pairs(matrix: np.ndarray) -> np.ndarray:
    """Less the mean over pairs; the diagonal stays 0."""
    n = len(matrix)
    return _without_diagonal(matrix - matrix.sum() / (n * (n - 1)))


def _double_centre(kernel: np.ndarray) -> np.ndarray:
    """Rows and columns without a diagonal that add up to 0 (Székely and Rizzo 2014)."""
    n = len(kernel)
    rows = kernel.sum(axis=1)
    centred = kernel - (rows[:, None] + rows[None, :]) / (n - 2)
    return _without_diagonal(centred + rows.sum() / ((n - 1) * (n - 2)))


def _permute(
    key: Array, value: float, first: np.ndarray, second: np.ndarray, permutations: int
) -> float:
    """P-value of Σ first ∘ second when rows and columns of the second are exchanged together.

    NaN where the statistic's `value` is.
    """
    if permutations < 1:
        raise Net2VecError(f"{permutations} permutations; at least one is needed")
    scaled = [
        jnp.asarray(matrix / max(np.linalg.norm(matrix), 1e-300), jnp.float32)
        for matrix in (first, second)
    ]
    observed, permuted = _permuted_products(key, *scaled, permutations=permutations)
    count = int((np.asarray(permuted) >= float(observed) - ROUNDING).sum())
    return (1 + count) / (1 + permutations) if np.isfinite(value) else float("nan")


@jax.jit(static_argnames=("permutations",))
def _permuted_products(
    key: Array, first: Float[Array, "n n"], second: Float[Array, "n n"], *, permutations: int
) -> tuple[Float[Array, ""], Float[Array, " permutations"]]:
    def product(order: Array) -> Float[Array, ""]:
        exchanged = second[order].T[order]  # symmetric: rows are gathered faster than columns
        return (first * exchanged).sum(axis=1).sum()

    def one(key: Array) -> Float[Array, ""]:
        return product(jax.random.permutation(key, len(first)))

    keys = jax.random.split(key, permutations)
    return product(jnp.arange(len(first))), jax.lax.map(one, keys)


def _halve(
    key: Array,
    value: float,
    first: np.ndarray,
    second: np.ndarray,
    multiply: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    samples: int,
    confidence: float,
) -> tuple[float, float]:
    """Interval from random halves of the rows, whose values vary about as fresh samples' do.

    A bootstrap would pair a concept with its own copy, which is as alike in every representation.
    At 95 % these intervals covered the truth of simulated representations (5 common dimensions, 24
    and 100 concepts) in 91–96 % of the cases where it was 0.7, in 97–99 % where it was 0.2, and
    always where there was no relation.

    Args:
      key: PRNG key.
      value: of the statistic, over all rows.
      first: matrix [n, n] without a diagonal.
      second: likewise.
      multiply: inner product of two matrices in each half; the statistic is their cosine.
      samples: number of halves.
      confidence: nominal coverage, in (0, 1).

    Returns:
      (low, high); NaN below 8 rows, or where the value is NaN.
    """
    if not 0 < confidence < 1:
        raise Net2VecError(f"confidence {confidence} must lie in (0, 1)")
    n = len(first)
    m = n // 2
    noise = np.asarray(jax.random.uniform(key, (samples, n)))
    halves = np.zeros((samples, n))
    np.put_along_axis(halves, np.argsort(noise, axis=1)[:, :m], 1, axis=1)
    if m < LEAST_ROWS or not np.isfinite(value):
        return float("nan"), float("nan")
    own = multiply(first, first, halves) * multiply(second, second, halves)
    with np.errstate(divide="ignore", invalid="ignore"):
        redrawn = multiply(first, second, halves) / np.sqrt(np.maximum(own, 0))
    finite = redrawn[np.isfinite(redrawn)]
    if len(finite) < 2:
        return float("nan"), float("nan")
    change = (finite - value) * np.sqrt(m / (n - m))
    low, high = value + np.quantile(change, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(max(low, -1)), float(min(high, 1))


def _sum_halved_hsic(first: np.ndarray, second: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Debiased HSIC of the rows of each half, up to a common factor, [samples]."""
    m = halves[0].sum()
    rows = halves @ first, halves @ second
    sums = [(halves * values).sum(axis=1) for values in rows]
    trace = ((halves @ (first * second)) * halves).sum(axis=1)
    cross = (halves * rows[0] * rows[1]).sum(axis=1)
    return trace + sums[0] * sums[1] / ((m - 1) * (m - 2)) - 2 / (m - 2) * cross


def _average_halved_products(
    first: np.ndarray, second: np.ndarray, halves: np.ndarray
) -> np.ndarray:
    """Covariance over the pairs within each half, [samples]."""
    m = halves[0].sum()
    product, one, other = (
        ((halves @ matrix) * halves).sum(axis=1) / (m * (m - 1))
        for matrix in (first * second, first, second)
    )
    return product - one * other
