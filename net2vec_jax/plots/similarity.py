"""How alike representations are: figures of `analysis.pair_comparison`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.similarity.network_similarity import shorten_names
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.changes import MEASURES, join_names
from net2vec_jax.plots.fonts import count_letters
from net2vec_jax.plots.paper_style import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    lay_out_panels,
    paper_style,
)
from net2vec_jax.plots.single_against_embedding import style_category

_CELL = 0.62
"""Side of a cell of a matrix with numbers, inches."""
_LETTER = 0.058
"""Width of a letter of 7 points, inches."""


def plot_distances(pairs: Sequence[PairComparison]) -> Figure:
    """Matrix of the distances D of all representations, its numbers in the cells.

    Args:
      pairs: comparisons of all pairs, by one measure.

    Returns:
      A figure as large as its cells.

    Raises:
      Net2VecError: there is no pair.
    """
    names = _list_names(pairs)
    values = _fill_matrix(names, pairs, [pair.distance for pair in pairs], diagonal=0.0)
    with paper_style():
        figure, (axes,) = _lay_out_matrices(names, 1)
        _draw_matrix(axes, names, values, colors="Blues", digits=None)
        axes.set_title(f"distance D: {MEASURES[pairs[0].measure]}", loc="left")
    return figure


def plot_associations(pairs: Sequence[PairComparison]) -> Figure:
    """Matrices of debiased CKA and of the rank correlation of similarities.

    Args:
      pairs: comparisons of all pairs.

    Returns:
      A figure of two matrices; a star says that the permutation test's p-value is below 0.05.

    Raises:
      Net2VecError: there is no pair.
    """
    names = _list_names(pairs)
    with paper_style():
        figure, panels = _lay_out_matrices(names, 2)
        for axes, title, found in zip(
            panels,
            ("debiased linear CKA", "rank correlation (RSA)"),
            ([p.cka for p in pairs], [p.rank_correlation for p in pairs]),
            strict=True,
        ):
            values = _fill_matrix(names, pairs, [a.value for a in found], diagonal=1.0)
            tested = _fill_matrix(names, pairs, [a.p_value for a in found], diagonal=1.0)
            _draw_matrix(
                axes, names, values, colors="Blues", digits=2, marked=tested < 0.05, limits=(0, 1)
            )
            axes.set_title(title, loc="left")
        panels[1].tick_params(labelleft=False)
        figure.supxlabel("* p < 0.05, concepts permuted", fontsize=7, color="#555555")
    return figure


def plot_category_distances(pairs: Sequence[PairComparison]) -> Figure:
    """Mean distance d_c of each category's concepts, a panel per pair.

    Args:
      pairs: comparisons, by one measure.

    Returns:
      A figure of two columns' width, or one for a single pair; whiskers are standard errors, and
      the number of concepts stands behind each bar.

    Raises:
      Net2VecError: there is no pair.
    """
    names = _list_names(pairs)
    short = dict(zip(names, shorten_names(names), strict=True))
    categories = order_categories([c for pair in pairs for c in pair.categories])
    one = len(pairs) == 1
    longest = max(count_letters(short[n]) for n in names)
    width = COLUMN_WIDTH if one else PAGE_WIDTH
    columns = 1 if one else 2 if longest > 18 or len(pairs) in (2, 4) else 3
    with paper_style():
        figure, panels = lay_out_panels(
            len(pairs), columns=columns, width=width,
            height=0.55 + 0.19 * len(categories),
        )  # fmt: skip
        for axes, pair in zip(panels, pairs, strict=True):
            means = pair.means
            for place, category in enumerate(categories):
                if category not in means.categories:
                    continue
                row = means.categories.index(category)
                axes.barh(
                    place, means.mean[row], 0.7, color=style_category(category)[0],
                    xerr=np.nan_to_num(means.error[row]),
                    error_kw={"elinewidth": 0.8, "capsize": 1.8, "ecolor": "#222222"},
                )  # fmt: skip
                end = means.mean[row] + np.nan_to_num(means.error[row])
                axes.annotate(
                    f"{means.count[row]}", (end, place), xytext=(4, 0),
                    textcoords="offset points", va="center", fontsize=6, color="#555555",
                )  # fmt: skip
            axes.margins(x=0.12)
            title = join_names(short[pair.first], short[pair.second], int(15 * width / columns))
            axes.set_title(title, loc="left", fontsize=7)
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(range(len(categories)), categories)
        panels[0].set_ylim(len(categories) - 0.5, -0.5)
        for axes in panels:
            axes.tick_params(axis="y", length=0)
        figure.supxlabel(f"{MEASURES[pairs[0].measure]} of a concept, mean ± s.e.", fontsize=8)
    return figure


def _list_names(pairs: Sequence[PairComparison]) -> list[str]:
    """Names of all representations, in their order.

    Raises:
      Net2VecError: there is no pair.
    """
    if not pairs:
        raise Net2VecError("there is no pair of representations to draw")
    return list(dict.fromkeys(itertools.chain(*((pair.first, pair.second) for pair in pairs))))


def _fill_matrix(
    names: Sequence[str], pairs: Sequence[PairComparison], values: Sequence[float], diagonal: float
) -> np.ndarray:
    """Symmetric, NaN where a pair was not compared."""
    matrix = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(matrix, diagonal)
    for pair, value in zip(pairs, values, strict=True):
        row, column = names.index(pair.first), names.index(pair.second)
        matrix[row, column] = matrix[column, row] = value
    return matrix


def _lay_out_matrices(names: Sequence[str], count: int) -> tuple[Figure, list[Axes]]:
    letters = _LETTER * max(map(count_letters, shorten_names(names)))
    side = _CELL * len(names)
    figure = Figure(
        figsize=(count * max(side, 1.5) + letters + 0.3 * count, side + letters + 0.75),
        layout="constrained",
    )
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def _draw_matrix(
    axes: Axes,
    names: Sequence[str],
    values: np.ndarray,
    *,
    colors: str,
    digits: int | None,
    marked: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    low, high = limits or (0.0, max(float(np.nanmax(values)), 1e-30))
    normalize = Normalize(low, high)
    axes.imshow(values, cmap=colors, norm=normalize, aspect="equal")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if np.isnan(value):
            text = "–"
        else:
            text = (
                _write_number(value) if digits is None else f"{value:.{digits}f}".replace("-", "−")
            )
        if marked is not None and marked[row, column]:
            text += "*"
        dark = not np.isnan(value) and normalize(value) > 0.55
        axes.text(
            column, row, text, ha="center", va="center", fontsize=6.5,
            color="white" if dark else "#222222",
        )  # fmt: skip
    short = shorten_names(names)
    axes.set_xticks(range(len(names)), short, rotation=90)
    axes.set_yticks(range(len(names)), short)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _write_number(value: float) -> str:
    """Three digits or more, without an exponent unless it is tiny."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
