"""How alike representations are, and which concepts they place differently.

The distances D and d_c are those of reference behaviour 8.6.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from net2vec_jax.analysis.category_means import order_categories
from net2vec_jax.analysis.similarity.network_similarity import (
    DistanceMeasure,
    order_by_change,
    shorten_names,
)
from net2vec_jax.analysis.similarity.pair_comparison import PairComparison
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.fonts import count_letters, shorten_wide
from net2vec_jax.plots.panels import add_category_legend, lay_out_panels, name_cells, write_cells
from net2vec_jax.plots.paper_style import COLUMN_WIDTH, PAGE_WIDTH, paper_style, style_category

MEASURES: dict[DistanceMeasure, str] = {
    "squared": "squared distance",
    "per_entry": "squared distance per entry",
    "row_normalized": "squared distance of normalised rows",
}
_MOST_NAMES = 130
"""More concepts than these stand in a cluster map without their names."""
_CELL = 0.62
"""Side of a cell of a matrix with numbers, inches."""
_LETTER = 0.058
"""Width of a letter of 7 points, inches."""


@paper_style()
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
    figure, (axes,) = _lay_out_matrices(names, 1)
    texts = np.vectorize(_write_number)(values)
    _draw_matrix(axes, names, values, texts, max(float(np.nanmax(values)), 1e-30))
    axes.set_title(f"distance D: {MEASURES[pairs[0].measure]}", loc="left")
    return figure


@paper_style()
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
    figure, panels = _lay_out_matrices(names, 2)
    for axes, title, found in zip(
        panels,
        ("debiased linear CKA", "rank correlation (RSA)"),
        ([p.cka for p in pairs], [p.rank_correlation for p in pairs]),
        strict=True,
    ):
        values = _fill_matrix(names, pairs, [a.value for a in found], diagonal=1.0)
        tested = _fill_matrix(names, pairs, [a.p_value for a in found], diagonal=1.0)
        texts = np.vectorize(lambda value: f"{value:.2f}".replace("-", "−"))(values)
        texts = np.where(np.isnan(values), "–", texts)
        _draw_matrix(axes, names, values, np.char.add(texts, np.where(tested < 0.05, "*", "")), 1)
        axes.set_title(title, loc="left")
    panels[1].tick_params(labelleft=False)
    figure.supxlabel("* p < 0.05, concepts permuted", fontsize=7, color="#555555")
    return figure


@paper_style()
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
    longest = max(count_letters(short[n]) for n in names)
    width = COLUMN_WIDTH if len(pairs) == 1 else PAGE_WIDTH
    columns = 1 if len(pairs) == 1 else 2 if longest > 18 or len(pairs) in (2, 4) else 3
    figure, panels = lay_out_panels(
        len(pairs), columns=columns, width=width, height=0.55 + 0.19 * len(categories)
    )
    for axes, pair in zip(panels, pairs, strict=True):
        means = pair.means
        bars = axes.barh(
            [categories.index(category) for category in means.categories], means.mean, 0.7,
            color=[style_category(category)[0] for category in means.categories],
            xerr=np.nan_to_num(means.error),
            error_kw={"elinewidth": 0.8, "capsize": 1.8, "ecolor": "#222222"},
        )  # fmt: skip
        counts = [str(count) for count in means.count]
        axes.bar_label(bars, counts, padding=4, fontsize=6, color="#555555")
        axes.margins(x=0.12)
        title = join_names(short[pair.first], short[pair.second], int(15 * width / columns))
        axes.set_title(title, loc="left", fontsize=7)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(categories)), categories)
    panels[0].set_ylim(len(categories) - 0.5, -0.5)
    figure.supxlabel(f"{MEASURES[pairs[0].measure]} of a concept, mean ± s.e.")
    return figure


@paper_style()
def plot_changes(pair: PairComparison, *, count: int = 12) -> Figure:
    """The concepts that two representations place most and least differently.

    Args:
      pair: the comparison.
      count: concepts of each kind; fewer if they would meet.

    Returns:
      A figure of two columns' width with a panel for each kind.
    """
    order = order_by_change(pair.distances).tolist()
    count = min(count, len(order) // 2)
    first, second = shorten_names([pair.first, pair.second])
    figure = Figure(figsize=(PAGE_WIDTH, 0.95 + 0.16 * count), layout="constrained")
    kinds = (("most changed", order[:count]), ("least changed", order[::-1][:count]))
    for axes, (title, chosen) in zip(figure.subplots(1, 2, sharex=True), kinds, strict=True):
        colors = [style_category(pair.categories[place])[0] for place in chosen]
        axes.barh(range(count), pair.distances[chosen], 0.7, color=colors)
        axes.set_yticks(range(count), [shorten_wide(pair.concepts[place]) for place in chosen])
        axes.set_ylim(count - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"{title}: {join_names(first, second, 36)}", loc="left")
    figure.supxlabel(f"{MEASURES[pair.measure]} of the concept")
    add_category_legend(figure, order_categories(pair.categories))
    return figure


@paper_style()
def plot_cluster_map(pair: PairComparison) -> Figure:
    """|G₁ − G₂| of all pairs of concepts, in the order of an average-linkage clustering.

    Args:
      pair: the comparison.

    Returns:
      A figure that grows with the concepts until their names would not be readable; a strip
      tells their categories.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage  # slow to import, and only needed here
    from scipy.spatial.distance import pdist

    difference = np.abs(pair.similarities[0] - pair.similarities[1])
    tree = dendrogram(linkage(pdist(difference), "average"), no_plot=True)
    order: list[int] = tree["leaves"]
    count = len(order)
    named = count <= _MOST_NAMES
    side = float(np.clip(0.072 * count, 2.4, 9.4)) if named else 6.0
    names = [shorten_wide(pair.concepts[place]) for place in order] if named else []
    letters = 0.045 * max(map(count_letters, names), default=0)
    figure = Figure(figsize=(side + letters + 1.7, side + letters + 1.0))
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.02, wspace=0, hspace=0)
    (_, _, above), (left, beside, axes) = figure.subplots(
        2, 3, width_ratios=(0.12, 0.02, 1), height_ratios=(0.02, 1),
        gridspec_kw={"wspace": 0, "hspace": 0},
    )  # fmt: skip
    image = axes.imshow(
        difference[np.ix_(order, order)], cmap="magma_r", vmin=0, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    name_cells(axes, names, names, rotation=90)
    axes.tick_params(left=False, labelleft=False, labelright=named, bottom=False)
    axes.tick_params(labelsize=min(6.5, 72 * 0.86 * side / count))
    strip = np.array([to_rgb(style_category(pair.categories[place])[0]) for place in order])
    beside.imshow(strip[:, None], aspect="auto", interpolation="nearest")
    above.imshow(strip[None], aspect="auto", interpolation="nearest")
    for depth, position in zip(tree["dcoord"], tree["icoord"], strict=True):
        left.plot(-np.array(depth), position, color="#555555", linewidth=0.5)
    left.set_ylim(10 * count, 0)
    left.margins(x=0.01)
    for other in set(figure.axes) - {axes}:
        other.set_axis_off()
    first, second = shorten_names([pair.first, pair.second])
    short = join_names(first, second, int(14 * side) - 25)
    figure.colorbar(
        image, ax=axes, location="bottom", shrink=0.5, aspect=30, pad=0.02,
        label=f"|difference of cosines|: {short}",
    )  # fmt: skip
    add_category_legend(figure, order_categories(pair.categories))
    return figure


def join_names(first: str, second: str, most: int) -> str:
    """Two names on one line, or on two if it had more than `most` letters."""
    line = f"{first} – {second}"
    return line if count_letters(line) <= most else f"{first} –\n{second}"


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
    axes: Axes, names: Sequence[str], values: np.ndarray, texts: np.ndarray, end: float
) -> None:
    """Draw a matrix in blues from 0 to `end`, with a text in each cell."""
    axes.imshow(values, cmap="Blues", vmin=0, vmax=end)
    write_cells(axes, texts, np.nan_to_num(values) > 0.55 * end)
    short = shorten_names(names)
    name_cells(axes, short, short, rotation=90)


def _write_number(value: float) -> str:
    """Three digits or more, without an exponent unless it is tiny; a dash for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
