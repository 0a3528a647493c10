"""Linear centred kernel alignment (CKA) of two layers' responses to the same n things.

HSIC(X, Y) / √(HSIC(X, X) HSIC(Y, Y)) of X [n, K1] and Y [n, K2] (Kornblith et al. 2019). No matrix
[n, n] is made, and no copy of X or Y: rows are centred in parts, so n may be large.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from net2vec_jax.core.errors import Net2VecError

LEAST_ROWS = 4
"""Debiased CKA needs as many."""
_ROWS = 2048
"""Rows that are centred at a time."""


class KernelAlignment(NamedTuple):
    """Two estimates of linear CKA; NaN where X or Y are constant.

    Attributes:
      debiased: 0 on average for unrelated X and Y, and so at times negative (Song et al. 2012;
        Nguyen et al. 2021).
      plain: ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) of centred columns; far above 0 for unrelated X and Y
        unless n is much greater than K.
    """

    debiased: float
    plain: float


@dataclasses.dataclass(frozen=True, eq=False)
class Centred:
    """Responses whose columns have mean 0, scaled, which changes no CKA, to a greatest entry of 1.

    Attributes:
      values: as they were, [n, K].
      mean: of the columns, float64 [K].
      largest: greatest distance from the mean; infinite where that is all rounding.
    """

    values: np.ndarray
    mean: np.ndarray
    largest: float

    def rows(self, chosen: slice) -> Float[np.ndarray, "m K"]:
        """Some of the centred and scaled rows, float64."""
        centred = self.values[chosen] - self.mean
        centred /= self.largest
        return centred


def estimate_cka(
    first: Float[np.ndarray, "n K1"], second: Float[np.ndarray, "n K2"]
) -> KernelAlignment:
    """Both estimates of linear CKA, each at most 1.

    Examples:
      >>> responses = np.random.default_rng(0).normal(size=(50, 3))
      >>> turned = responses[:, [2, 0, 1]] * 5
      >>> round(estimate_cka(responses, turned).debiased, 6)
      1.0

    Args:
      first: X, for example embeddings of n concepts, or pooled activations of n images.
      second: Y.

    Raises:
      Net2VecError: not the same number of rows, or too few.
    """
    x, y = centre_pair(first, second)
    cross, own_x, own_y = (_sum_hsic(*pair) for pair in ((x, y), (x, x), (y, y)))
    return KernelAlignment(*map(_normalise, cross, own_x, own_y))


def centre_pair(
    first: Float[np.ndarray, "n K1"], second: Float[np.ndarray, "n K2"]
) -> tuple[Centred, Centred]:
    """Both, centred; what varies no more than by rounding is 0.

    Raises:
      Net2VecError: not the same number of rows, or too few.
    """
    pair = [np.asarray(values) for values in (first, second)]
    if any(values.ndim != 2 for values in pair) or len(pair[0]) != len(pair[1]):
        raise Net2VecError(f"responses {pair[0].shape} and {pair[1].shape} must be [n, K] of one n")
    if len(pair[0]) < LEAST_ROWS:
        raise Net2VecError(f"CKA needs {LEAST_ROWS} rows or more; there are {len(pair[0])}")
    return _centre(pair[0]), _centre(pair[1])


def _centre(values: np.ndarray) -> Centred:
    mean = values.mean(axis=0, dtype=np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    largest = np.maximum(high - mean, mean - low).max(initial=0)
    rounding = 1e-12 * np.maximum(np.abs(low), np.abs(high)).max(initial=0)
    return Centred(values, mean, float(largest) if largest > rounding else math.inf)


def _sum_hsic(x: Centred, y: Centred) -> tuple[float, float]:
    """n(n−3) HSIC(X, Y), debiased (Song et al. 2012, eq. 5), and (n−1)² HSIC(X, Y).

    Rows of a centred kernel add up to 0, so without the diagonal to what the diagonal lacks.
    """
    n = len(x.values)
    product = np.zeros((len(x.mean), len(y.mean)))
    diagonals = np.empty((2, n))
    for start in range(0, n, _ROWS):
        chosen = slice(start, start + _ROWS)
        left = x.rows(chosen)
        right = left if y is x else y.rows(chosen)
        product += left.T @ right
        for diagonal, rows in zip(diagonals, (left, right), strict=True):
            diagonal[chosen] = np.einsum("nk,nk->n", rows, rows)
    plain = float(np.vdot(product, product))
    both, sums = float(diagonals[0] @ diagonals[1]), float(diagonals.sum(axis=1).prod())
    return plain - n / (n - 2) * both + sums / ((n - 1) * (n - 2)), plain


def _normalise(cross: float, own_x: float, own_y: float) -> float:
    scale = math.sqrt(max(own_x, 0.0)) * math.sqrt(max(own_y, 0.0))
    return cross / scale if scale > 0 else math.nan
