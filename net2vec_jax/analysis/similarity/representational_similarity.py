"""Whether two representations are alike: CKA and rank correlation, with permutation tests.

Both are correlations of two symmetric matrices [n, n] without their diagonals: debiased linear CKA
(`kernel_alignment`) of the centred kernels X Xᵀ and Y Yᵀ, representational-similarity analysis of
the ranks of two similarity matrices (Kriegeskorte et al. 2008). Hence one test and one interval:
the rows are exchanged (Mantel 1967), or halved.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.analysis.similarity.kernel_alignment import LEAST_ROWS, centre_pair, linear_cka
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

    Returns:
      A number in [−1, 1]; NaN where all similarities of a matrix are equal.

    Raises:
      Net2VecError: similarities that are not of the same concepts.
    """
    ranks = _rank_pairs(first, second)
    return _correlate(*(_centre_pairs(values) for values in ranks))


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
    value = linear_cka(first, second)
    centred = [part.rows(slice(None)) for part in centre_pair(first, second)]
    kernels = [_without_diagonal(values @ values.T) for values in centred]
    halves_key, test_key = jax.random.split(key)
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = _draw_halves(halves_key, len(kernels[0]), samples)
        redrawn = _halved_cka(*kernels, halves)
    interval = _widen_halves(value, redrawn, halves, confidence)
    p_value = _permute(test_key, *(_double_centre(k) for k in kernels), permutations)
    return Association(value, *interval, p_value if np.isfinite(value) else float("nan"))


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
    ranks = _rank_pairs(first, second)
    halves_key, test_key = jax.random.split(key)
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = _draw_halves(halves_key, len(ranks[0]), samples)
        redrawn = _halved_correlation(*ranks, halves)
    interval = _widen_halves(value, redrawn, halves, confidence)
    p_value = _permute(test_key, *(_centre_pairs(values) for values in ranks), permutations)
    return Association(value, *interval, p_value if np.isfinite(value) else float("nan"))


def _without_diagonal(matrix: np.ndarray) -> np.ndarray:
    matrix = np.array(matrix, np.float64)
    np.fill_diagonal(matrix, 0)
    return matrix


def _rank_pairs(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Ranks of the pairs in (0, 1], symmetric, 0 on the diagonal; nearly equal ones tie."""
    from scipy.stats import rankdata  # slow to import, and only needed here

    check_similarities(np.asarray(first), np.asarray(second))
    upper = np.triu_indices(len(first), 1)
    ranks = []
    for similarities in (first, second):
        matrix = np.zeros(np.shape(similarities))
        pairs = np.round(np.asarray(similarities, np.float64)[upper], 12)
        matrix[upper] = rankdata(pairs) / len(pairs)
        ranks.append(matrix + matrix.T)
    return ranks


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


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    return float((first * second).sum() / scale) if scale > 0 else float("nan")


def _permute(key: Array, first: np.ndarray, second: np.ndarray, permutations: int) -> float:
    """P-value of Σ first ∘ second when rows and columns of the second are exchanged together."""
    if permutations < 1:
        raise Net2VecError(f"{permutations} permutations; at least one is needed")
    scaled = [
        jnp.asarray(matrix / max(np.linalg.norm(matrix), 1e-300), jnp.float32)
        for matrix in (first, second)
    ]
    observed, permuted = _permuted_products(key, *scaled, permutations=permutations)
    count = int((np.asarray(permuted) >= float(observed) - ROUNDING).sum())
    return (1 + count) / (1 + permutations)


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


def _draw_halves(key: Array, n: int, samples: int) -> np.ndarray:
    """Random halves of the rows, float64 [samples, n] of 0 and 1."""
    noise = np.asarray(jax.random.uniform(key, (samples, n)))
    halves = np.zeros((samples, n))
    np.put_along_axis(halves, np.argsort(noise, axis=1)[:, : n // 2], 1, axis=1)
    return halves


def _halved_cka(kernel: np.ndarray, other: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Debiased CKA of the rows of each half, [samples]."""
    m = halves[0].sum()
    rows = {name: halves @ matrix for name, matrix in (("x", kernel), ("y", other))}
    sums = {name: (halves * values).sum(axis=1) for name, values in rows.items()}

    def hsic(a: str, b: str, product: np.ndarray) -> np.ndarray:
        trace = ((halves @ product) * halves).sum(axis=1)
        cross = (halves * rows[a] * rows[b]).sum(axis=1)
        return trace + sums[a] * sums[b] / ((m - 1) * (m - 2)) - 2 / (m - 2) * cross

    own = hsic("x", "x", kernel**2) * hsic("y", "y", other**2)
    return hsic("x", "y", kernel * other) / np.sqrt(np.maximum(own, 0))


def _halved_correlation(first: np.ndarray, second: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Correlation of the pairs within each half, [samples]."""
    m = halves[0].sum()

    def average(matrix: np.ndarray) -> np.ndarray:
        return ((halves @ matrix) * halves).sum(axis=1) / (m * (m - 1))

    mean = average(first), average(second)
    spread = [
        average(matrix**2) - centre**2 for matrix, centre in zip((first, second), mean, strict=True)
    ]
    product = average(first * second) - mean[0] * mean[1]
    return product / np.sqrt(np.maximum(spread[0] * spread[1], 0))


def _widen_halves(
    value: float, redrawn: np.ndarray, halves: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Interval from values of halves, which vary about as much as values of fresh samples do.

    A bootstrap would pair a concept with its own copy, which is as alike in every representation.
    At 95 % these intervals covered the truth of simulated representations (5 common dimensions, 24
    and 100 concepts) in 91–96 % of the cases where it was 0.7, in 97–99 % where it was 0.2, and
    always where there was no relation.
    """
    if not 0 < confidence < 1:
        raise Net2VecError(f"confidence {confidence} must lie in (0, 1)")
    n, m = halves.shape[1], halves[0].sum()
    finite = redrawn[np.isfinite(redrawn)]
    if m < LEAST_ROWS or not np.isfinite(value) or len(finite) < 2:
        return float("nan"), float("nan")
    change = (finite - value) * np.sqrt(m / (n - m))
    low, high = value + np.quantile(change, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(max(low, -1)), float(min(high, 1))
