"""How many filters does a concept need? Scores against the number of filters (paper, section 4.1).

  python -m experiments.how_many_filters --dataset DIR --out OUT \\
      --layers efficientnet_lite0/block10 efficientnet_lite0/head --seeds 5

Trains, for both probes, embeddings of all filters and of the F filters of largest weight, and
counts with how many filters a concept reaches 80 and 90 % of its full score (reference spec 8.2).
Figures lie in OUT/figures, their numbers in OUT/summary.json, the fits and counts of every concept
in OUT/how_many_filters.csv, the runs beside them.
Time: 1,402 images × 24 concepts, two layers, 9 subset sizes, 5 seeds take about 9 minutes on 2 CPU
cores, nearly all of it for segmentation; --subset-seeds 5 takes five times as long.
Expected: mean scores rise with the logarithm of the number of filters. A concept that 30 epochs of
the linear loss do not teach (its full score is near 0) is reached by few filters or by one.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from net2vec_jax.analysis.filters.filter_counts import (
    ALL_FRACTIONS,
    FRACTIONS,
    FilterCounts,
    count_filters,
)
from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.result_files import write_table
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.study import LayerResults, StudyFlags, run_study, write_summary

CONCEPTS = "how_many_filters.csv"


@dataclasses.dataclass(frozen=True, eq=False)
class CountedConcepts:
    """What is counted of a layer's concepts.

    Attributes:
      counts: how many filters they need.
      names: of the concepts.
      categories: of the concepts.
      left_out: why other concepts are not counted, by name.
    """

    counts: FilterCounts
    names: tuple[str, ...]
    categories: tuple[str, ...]
    left_out: dict[str, str]

    @property
    def unlearnt(self) -> dict[str, str]:
        """Why concepts have no part in medians and curves, by name."""
        return {
            self.names[place]: "the score with all filters is not above chance"
            for place in np.flatnonzero(~self.counts.has_learnt)
        }


def count_layer(result: LayerResults) -> dict[str, CountedConcepts]:
    """How many filters the concepts of a layer need, by probe.

    Segmentation leaves out scenes and textures, whose masks are whole images (spec 8).
    """
    counted = {}
    for probe, run, column, chance in (
        ("segmentation", result.segmentation, "val_iou", 0.0),
        ("classification", result.classification, "val_accuracy", 0.5),
    ):
        scores = run.scores(column)
        left_out = {}
        if probe == "segmentation":
            left_out = find_whole_images(scores.concepts, scores.categories)
        kept = np.array([concept not in left_out for concept in scores.concepts], bool)
        names, categories = (
            tuple(value for value, keep in zip(values, kept, strict=True) if keep)
            for values in (scores.concepts, scores.categories)
        )
        counts = count_filters(
            scores.by_size[kept],
            scores.sizes,
            scores.full[kept],
            categories,
            filters=result.filters,
            chance=chance,
            fractions=ALL_FRACTIONS,
        )
        counted[probe] = CountedConcepts(counts, names, categories, left_out)
    return counted


def write_concepts(path: Path, counted: dict[str, dict[str, CountedConcepts]]) -> None:
    """A row per layer, probe and concept: its logarithmic fit, and how many filters it needs."""
    header = ["layer", "probe", "concept", "category", "full_score", "above_chance"]
    header += ["slope_per_ln_filter", "intercept", "explained_variance"]
    header += [f"filters_for_{fraction:.0%}" for fraction in ALL_FRACTIONS]
    rows = [
        [layer, probe, *row]
        for layer, probes in counted.items()
        for probe, concepts in probes.items()
        for row in zip(
            concepts.names,
            concepts.categories,
            concepts.counts.scores[:, -1],
            concepts.counts.has_learnt.astype(int),
            concepts.counts.fit.slope,
            concepts.counts.fit.intercept,
            concepts.counts.fit.explained,
            *(concepts.counts.counts[fraction] for fraction in ALL_FRACTIONS),
            strict=True,
        )
    ]
    write_table(path, header, rows)


def tabulate(counted: dict[str, dict[str, CountedConcepts]]) -> Table:
    """Median number of filters that a concept needs."""
    table = Table(title="Filters that a concept needs (median)", box=box.SIMPLE_HEAD)
    for column in ("layer", "probe", "concepts above chance"):
        table.add_column(column)
    for fraction in FRACTIONS:
        table.add_column(f"for {fraction:.0%} of the full score", justify="right")
    for layer, probes in counted.items():
        for probe, concepts in probes.items():
            counts = concepts.counts
            learnt = counts.has_learnt
            medians = [
                f"{np.median(counts.counts[fraction][learnt]):.0f} of {counts.sizes[-1]}"
                if learnt.any()
                else "–"
                for fraction in FRACTIONS
            ]
            table.add_row(layer, probe, f"{learnt.sum()} of {len(learnt)}", *medians)
    return table


def main(flags: StudyFlags) -> None:
    """Run what is missing, count, draw, and say where everything is."""
    results = run_study(flags)
    counted = {result.name: count_layer(result) for result in results}
    summary = {
        layer: {
            probe: concepts.counts.summary() | {"left_out": concepts.left_out | concepts.unlearnt}
            for probe, concepts in probes.items()
        }
        for layer, probes in counted.items()
    }
    written = write_summary(flags.out, "how_many_filters", summary)
    write_concepts(flags.out / CONCEPTS, counted)
    draw_figures(flags, counted)
    open_console().print(tabulate(counted))
    whole_images = {
        name: reason
        for probes in counted.values()
        for name, reason in probes["segmentation"].left_out.items()
    }
    announce_left_out("concepts from all that is counted of segmentation", whole_images)
    for layer, probes in counted.items():
        for probe, concepts in probes.items():
            kind = f"concepts from medians and curves of {layer}, {probe}"
            announce_left_out(kind, concepts.unlearnt, of=len(concepts.names))
    print(
        f"figures are in {flags.out / 'figures'}, their numbers in {written}, "
        f"those of every concept in {flags.out / CONCEPTS}"
    )


def draw_figures(flags: StudyFlags, counted: dict[str, dict[str, CountedConcepts]]) -> None:
    """Figures of both probes, and of each layer's concepts, as PNG and PDF."""
    # Imported here: the probes themselves need no plotting library.
    from net2vec_jax.plots.filter_counts import (
        plot_concept_curves,
        plot_score_against_filters,
        plot_sufficient_filters,
    )
    from net2vec_jax.plots.paper_style import save_figure

    labels = {"segmentation": "set IoU on val", "classification": "accuracy on val"}
    folder = flags.out / "figures"
    for probe, label in labels.items():
        layers = {layer: probes[probe].counts for layer, probes in counted.items()}
        chance = 0.5 if probe == "classification" else None
        figure = plot_score_against_filters(layers, score=label, chance=chance)
        save_figure(figure, folder / f"{probe}_against_filters")
        if any(counts.has_learnt.any() for counts in layers.values()):
            for relative, ending in ((False, "filters"), (True, "fraction_of_filters")):
                figure = plot_sufficient_filters(layers, fractions=FRACTIONS, relative=relative)
                save_figure(figure, folder / f"{probe}_sufficient_{ending}")
        for layer, counts in layers.items():
            if counts.has_learnt.any():
                names = counted[layer][probe].names
                figure = plot_concept_curves(counts, names, score=label, chance=chance)
                save_figure(figure, folder / f"{probe}_concepts_{layer.replace('/', '_')}")


if __name__ == "__main__":
    run_script(main, StudyFlags, __doc__.split("\n")[0])
