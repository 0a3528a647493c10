"""Which classes use which concepts, and what becomes of logits if concepts change."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from net2vec_jax.analysis.use.results import ConceptUse
from net2vec_jax.plots.fonts import count_letters, shorten
from net2vec_jax.plots.panels import add_legend, name_cells, write_cells
from net2vec_jax.plots.paper_style import EMBEDDING_STYLE, PAGE_WIDTH, paper_style

_CELL = (0.46, 0.24)
"""Width and height of a cell, inches."""
_LETTER = 0.058
"""Width of a letter of 7 points, inches."""
_MOST_NAMES = 26
_AXES = {
    "add": "direction added, standard deviations of the responses",
    "silence": "most important filters silenced",
}


@paper_style()
def plot_matrix(use: ConceptUse) -> Figure:
    """Matrix of derivatives, concepts × classes; a star where the class uses the concept.

    Args:
      use: of C concepts and Y classes.

    Returns:
      A figure as large as its cells.
    """
    values, used = use.matrix("derivative"), use.matrix("used") > 0
    rows, columns = ([shorten(name, _MOST_NAMES) for name in names]
                     for names in (use.concepts, use.classes))  # fmt: skip
    beside, above = (_LETTER * max(map(count_letters, names)) for names in (rows, columns))
    figure = Figure(
        figsize=(_CELL[0] * len(columns) + beside + 1.0, _CELL[1] * len(rows) + above + 0.8),
        layout="constrained",
    )
    axes = figure.subplots()
    reach = max(float(np.abs(values).max()), 1e-9)
    axes.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    numbers = np.vectorize(lambda value: f"{value:.2g}".replace("-", "−"))(values)
    texts = np.char.add(numbers, np.where(used, "*", ""))
    write_cells(axes, texts, np.abs(values) > 0.6 * reach, bold=used)
    name_cells(axes, rows, columns, rotation=90)
    figure.suptitle("change of the logit per standard deviation of the concept", x=0.02, ha="left")
    figure.supxlabel(
        "* more than exchanged scores and random directions (FDR 5 %)", fontsize=6.5,
        color="#555555", x=0.02, ha="left",
    )  # fmt: skip
    return figure


@paper_style()
def plot_curves(use: ConceptUse, intervention: str) -> Figure:
    """Change of the logit of each concept's class against the strength of an intervention.

    Args:
      use: with interventions.
      intervention: "add" or "silence".

    Returns:
      A panel per concept; the band is the range of random directions, or filters, and whiskers are
      95 % intervals over the images that show the concept. A dashed line is of images without it.
    """
    columns = min(4, len(use.concepts))
    count = -(-len(use.concepts) // columns)
    figure = Figure(figsize=(PAGE_WIDTH * columns / 4 + 0.3, 1.45 * count + 0.75),
                    layout="constrained")  # fmt: skip
    panels = figure.subplots(count, columns, squeeze=False)
    color, marker = EMBEDDING_STYLE
    shown, hidden = (use.of_main_class(intervention, part) for part in ("with", "without"))
    for axes, concept in zip(panels.flat, use.concepts, strict=False):
        rows, others = (_curve(table, concept) for table in (shown, hidden))
        x = rows["strength"].to_numpy(float)
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.fill_between(x, rows["random_low"], rows["random_high"], color="#999999", alpha=0.35,
                          linewidth=0, label="random")  # fmt: skip
        error = np.abs(rows[["change_low", "change_high"]].to_numpy().T - rows["change"].to_numpy())
        axes.errorbar(x, rows["change"], error, color=color, marker=marker, elinewidth=0.7,
                      label="concept, images with it")  # fmt: skip
        axes.plot(others["strength"], others["change"], color=color, linestyle="--",
                  label="concept, images without it")  # fmt: skip
        if intervention == "silence" and len(x):
            axes.set_xscale("log")
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()
        title = shorten(concept, 20)
        if use.main_class(concept) != concept:
            title += f" → {shorten(use.main_class(concept), 20)}"
        axes.set_title(title, loc="left", fontsize=7)
    for axes in panels.flat[len(use.concepts) :]:
        axes.set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    add_legend(figure, handles, labels)
    figure.supxlabel(_AXES[intervention], fontsize=8)
    figure.supylabel("change of the logit", fontsize=8)
    return figure


def _curve(table: pd.DataFrame, concept: str) -> pd.DataFrame:
    """A concept's rows by strength; where strengths have both signs, with a row of no change."""
    rows = table.query("concept == @concept")
    strengths = rows["strength"].to_numpy(float)
    if strengths.min(initial=0) < 0 < strengths.max(initial=0):
        columns = ["strength", "change", "change_low", "change_high", "random_low", "random_high"]
        zero = pd.DataFrame({column: [0.0] for column in columns})
        rows = pd.concat([rows.filter(items=columns), zero])
    return rows.sort_values(by="strength")
