"""Do concepts share filters, and do weights follow single filters? (reference spec 8.3, 8.5)

  python -m experiments.filter_overlap --runs RUN [RUN ...] [--classification-runs RUN ...]

Reads finished runs of experiments.segmentation, one per layer, and counts for every filter the
concepts that it serves: as their best single filter, and as one of the F filters of largest weight
in their embeddings; beside it what independent choices would give, by permutations. Correlates
weights with the IoUs of single filters and, where runs of experiments.classification on the same
layers are given, with the weights of the other probe.
filters.csv has a row per filter, those that serve most categories first; concepts.csv says with
whom a concept shares its filters; weight_correlations.csv has every r, p- and q-value; summary.json
the numbers of the figures, which lie in figures/.
Time: half a minute for two layers of 100 concepts on 2 CPU cores.
Expected: filters are shared, also between categories, several times more often than by chance for
few filters, less for many. Then some filters are in much demand and others idle, so that fewer
filters than by chance may serve several categories although more are shared. Weights go with
single-filter IoUs (r = 0.75 for the paper's person).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained
from net2vec_jax.studies.overlap_analysis import (
    SINGLE,
    LayerAnalysis,
    OverlapFlags,
    analyse_layer,
    choose_concepts,
)
from net2vec_jax.studies.overlap_tables import (
    tabulate_correlations,
    tabulate_overlap,
    write_results,
)


def name_layers(runs: list[FinishedRun]) -> list[str]:
    """Names of the runs' layers, each once: as short as tells them apart.

    Raises:
      Net2VecError: a run is given twice.
    """
    paths = [str(run.path.resolve()) for run in runs]
    if len(set(paths)) < len(paths):
        raise Net2VecError(f"{Counter(paths).most_common(1)[0][0]} is given twice")
    datasets = [f" ({Path(str(run.origin.get('dataset_name', ''))).name})" for run in runs]
    whole = [run.name for run in runs]
    short = [run.layer for run in runs] if len({run.network for run in runs}) == 1 else whole
    for ending in ([""] * len(runs), datasets, [f" ({path})" for path in paths]):
        names = [name + end for name, end in zip(short, ending, strict=True)]
        if len(set(names)) == len(names):
            break
    return names


def match_classification(run: FinishedRun, others: list[FinishedRun]) -> FinishedRun | None:
    """The run of the classification probe on the same layer of the same weights, if there is one.

    Raises:
      Net2VecError: there are several.
    """
    same = [
        other
        for other in others
        if (other.name, other.origin["weights"]) == (run.name, run.origin["weights"])
    ]
    if len(same) > 1:
        raise Net2VecError(
            f"several of --classification-runs are on {run.name}: "
            f"{', '.join(str(other.path) for other in same)}; give one of them"
        )
    return same[0] if same else None


def main(flags: OverlapFlags) -> None:
    """Count, correlate, draw, and say where everything is."""
    if any(size < 1 for size in flags.filters):
        raise Net2VecError(f"--filters {min(flags.filters)}: take at least 1 filter")
    if flags.permutations < 1:
        raise Net2VecError(f"--permutations must be at least 1, not {flags.permutations}")
    runs = [FinishedRun(path) for path in flags.runs]
    if not runs:
        raise Net2VecError("--runs is empty; give finished runs of experiments.segmentation")
    for run in runs:
        if run.kind != "segmentation":
            raise Net2VecError(
                f"{run.path} is a run of the classification probe, which has no IoU of single "
                "filters; it belongs to --classification-runs"
            )
    names = name_layers(runs)
    others = [FinishedRun(path) for path in flags.classification_runs]
    for other in others:
        if other.kind != "classification":
            raise Net2VecError(f"{other.path} is no run of experiments.classification; it belongs "
                               "to --runs")  # fmt: skip
    matched = [match_classification(run, others) for run in runs]
    idle = [str(other.path) for other in others if other not in matched]
    if idle:
        raise Net2VecError(
            f"no run of --runs is on the same layer, with the same weights, as {', '.join(idle)}"
        )
    chosen = {
        name: (choose_concepts(run, flags), other and choose_concepts(other, flags))
        for name, run, other in zip(names, runs, matched, strict=True)
    }
    out = make_folder(flags.out or runs[0].path / "filter_overlap")
    layers = {name: analyse_layer(*both, flags) for name, both in chosen.items()}
    write_results(out, layers)
    draw_figures(out / "figures", layers)
    for table in (tabulate_overlap(layers), tabulate_correlations(layers)):
        open_console().print(table)
    for run in (*runs, *others):
        announce_untrained(run)
    for name, layer in layers.items():
        for part, reasons in layer.left_out.items():
            announce_left_out(
                f"concepts of {name} from {part}", reasons, of=len(layer.concepts.run)
            )
    print(f"tables and summary.json are in {out}, figures in {out / 'figures'}")


def draw_figures(folder: Path, layers: dict[str, LayerAnalysis]) -> None:
    """Figures of every source of memberships, and of the weights, as PNG and PDF."""
    # Imported here: the tables need no plotting library.
    from net2vec_jax.plots.correlations import (
        plot_probe_correlations,
        plot_weight_iou_correlations,
        plot_weight_spread,
        plot_weights_against_ious,
    )
    from net2vec_jax.plots.overlap import (
        plot_categories_per_filter,
        plot_category_overlap,
        plot_concepts_per_filter,
        plot_shared_filters,
    )
    from net2vec_jax.plots.paper_style import save_figure

    figures = {}
    for source in dict.fromkeys(source for layer in layers.values() for source in layer.overlaps):
        chosen = {
            name: layer.overlaps[source]
            for name, layer in layers.items()
            if source in layer.overlaps
        }
        ending = "" if source == SINGLE else f"_{source.replace(' ', '_')}"
        figures[f"concepts_per_filter{ending}"] = plot_concepts_per_filter(chosen)
        figures[f"categories_per_filter{ending}"] = plot_categories_per_filter(chosen)
        figures[f"category_overlap{ending}"] = plot_category_overlap(chosen)
    by_size = {name: layer.by_size for name, layer in layers.items() if layer.by_size}
    if by_size:
        figures["shared_filters"] = plot_shared_filters(by_size)
    figures["weight_iou_correlations"] = plot_weight_iou_correlations(
        {
            name: (layer.weight_iou["val"], layer.concepts.categories)
            for name, layer in layers.items()
        }
    )
    known = {
        name: (
            layer.concepts.weights,
            layer.concepts.single_ious[1],
            layer.weight_iou["val"],
            layer.concepts.names,
        )
        for name, layer in layers.items()
        if np.isfinite(layer.weight_iou["val"].r).any()
    }
    if known:
        figures["weights_against_ious"] = plot_weights_against_ious(known)
    figures["weight_spread"] = plot_weight_spread(
        {name: layer.spread for name, layer in layers.items()}
    )
    probes = {name: layer.probes for name, layer in layers.items() if layer.probes}
    if probes:
        figures["probe_correlations"] = plot_probe_correlations(probes)
    for name, figure in figures.items():
        save_figure(figure, folder / name)


if __name__ == "__main__":
    run_script(main, OverlapFlags, __doc__.split("\n")[0])
