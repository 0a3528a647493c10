"""Many tests at once: which of a thousand concepts to believe.

Of a thousand true null hypotheses, fifty have p-values below 0.05; the false discovery rate is the
expected fraction of such among all that are rejected.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True, eq=False)
class FalseDiscoveries:
    """Which of many tests to believe.

    Attributes:
      q_value: adjusted p-values, float64, NaN where the p-value is.
      rejected: bool, true where the null hypothesis is rejected; false for a NaN.
    """

    q_value: np.ndarray
    rejected: np.ndarray


def control_false_discoveries(
    p_values: np.ndarray,
    *,
    rate: float = 0.05,
    dependent: bool = False,
    family: np.ndarray | None = None,
) -> FalseDiscoveries:
    """Reject as many null hypotheses as the false discovery rate allows.

    Benjamini and Hochberg's procedure (1995), for tests that are independent or positively
    dependent. Tests of which one expects different things belong to different families: sure
    discoveries of one kind would otherwise pay for false ones of another (Efron 2008).

    Examples:
      >>> p_values = np.array([0.001, 0.001, 0.001, 0.03, 0.9])
      >>> control_false_discoveries(p_values).rejected.tolist()
      [True, True, True, True, False]
      >>> family = np.array(["scene", "scene", "scene", "object", "object"])
      >>> control_false_discoveries(p_values, family=family).rejected.tolist()
      [True, True, True, False, False]

    Args:
      p_values: of any shape, in [0, 1]; NaNs are ignored, as if not tested.
      rate: expected fraction of false ones among the rejected, in (0, 1).
      dependent: whether tests may depend on each other in any way: Benjamini and Yekutieli's
        procedure (2001), stricter by about log(number of tests).
      family: to which family each test belongs, of the shape of `p_values`; the rate is held in
        each by itself. None: all are one.

    Raises:
      Net2VecError: a p-value outside [0, 1], a rate outside (0, 1), or families of another shape.
    """
    from scipy.stats import false_discovery_control  # slow to import, and only needed here

    p_values = np.asarray(p_values, np.float64)
    tested = ~np.isnan(p_values)
    chosen = p_values[tested]
    if not 0 < rate < 1 or ((chosen < 0) | (chosen > 1)).any():
        raise Net2VecError(f"p-values must lie in [0, 1] and the rate {rate} in (0, 1)")
    families = np.zeros(p_values.shape) if family is None else np.asarray(family)
    if families.shape != p_values.shape:
        raise Net2VecError(f"families {families.shape} do not fit p-values {p_values.shape}")
    q_value = np.full(p_values.shape, np.nan)
    for each in np.unique(families[tested]):
        member = tested & (families == each)
        q_value[member] = false_discovery_control(
            p_values[member], method="by" if dependent else "bh"
        )
    return FalseDiscoveries(q_value, tested & (np.nan_to_num(q_value, nan=1.0) <= rate))
