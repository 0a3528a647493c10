"""Net2Vec in three minutes: one filter or several, on images drawn here and a network from PyPI."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.table import Table
from rich.text import Text

from net2vec_jax.core.console import announce_left_out, open_console, tabulate
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.concepts import CATEGORIES, WHOLE_IMAGE_CATEGORIES
from net2vec_jax.data.open import open_scenes
from net2vec_jax.networks.choice import open_network
from net2vec_jax.runs.activations import fit_subset_sizes
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.flags import SegmentationFlags
from net2vec_jax.runs.layer import LayerRun, collect_missing_layers, prepare_runs
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.predictions import single_scores

NETWORK = "efficientnet_lite0"
LAYERS = ("block10", "head")
CONVERGED_FOLDER = "converged"
"""Folder in OUT of the runs of the preset `converged`."""
BATCH_SIZE = 16
"""A quarter of the preset `paper`'s: many concepts have under 64 train images and would take few
steps."""
FILTER_COUNTS = (1, 3, 10, 30, 100)
"""Embeddings of so many filters are trained too, for the curves of the report."""


@dataclasses.dataclass(frozen=True)
class QuickstartFlags:
    """Flags of the quickstart.

    Attributes:
      out: where data and results go; an unfinished run in it is resumed.
      images: how many scenes are drawn.
      epochs: passes over each concept's train images with the preset paper.
      network: name in the zoo, or FILE.py:FUNCTION of your own (docs/own_models.md), whose code is
        run.
      layers: layers to probe; by default block10 and head of EfficientNet-Lite0, or the last two
        worth probing of another network.
    """

    out: Path = Path("runs/quickstart")
    images: int = 800
    epochs: int = 30
    network: str = NETWORK
    layers: tuple[str, ...] = ()


class QuickstartRuns(NamedTuple):
    """The finished runs of the quickstart.

    Attributes:
      paper: every layer, as the paper has it, in OUT/LAYER.
      converged: the first layer, with embeddings at their optimum, in OUT/converged/LAYER.
    """

    paper: list[FinishedRun]
    converged: FinishedRun


def probe_scenes(flags: QuickstartFlags) -> QuickstartRuns:
    """Draw scenes, and probe all concepts in every layer; in the first with `converged` as well.

    That preset takes two more minutes on 2 CPU cores for a layer of a thousand filters.
    """
    dataset = open_scenes(make_folder(flags.out) / SCENES_FOLDER, images=flags.images)
    loaded = open_network(flags.network)
    layers = flags.layers or (LAYERS if loaded.name == NETWORK else loaded.probing_layers[-2:])

    def plan(layer: str, folder: Path, **settings: Any) -> LayerRun:
        chosen = SegmentationFlags(
            dataset="scenes",
            network=flags.network,
            layer=(layer,),
            out=folder / loaded.network.resolve_layer(layer),
            activations=flags.out / "activations",
            untrained=False,  # a second pass over the images takes more than three minutes have
            **settings,
        )
        return LayerRun(chosen, dataset, loaded)

    paper = [
        plan(
            layer,
            flags.out,
            filters=fit_subset_sizes(FILTER_COUNTS, loaded, layer, dataset),
            epochs=flags.epochs,
            batch_size=BATCH_SIZE,
        )
        for layer in layers
    ]
    converged = plan(layers[0], flags.out / CONVERGED_FOLDER, preset="converged")
    runs = [*paper, converged]
    prepare_runs(runs)
    print(f"activations of {len(dataset)} images …")
    collect_missing_layers(runs)
    for run in runs:
        print(f"probing {run.layer_name}, preset {run.flags.preset} …")
        run.finish()
    return QuickstartRuns(
        [FinishedRun(run.run.path) for run in paper], FinishedRun(converged.run.path)
    )


def read_measure(run: FinishedRun, column: str) -> Float[np.ndarray, " C"]:
    """A column of segmentation.csv, of the embeddings of all filters; NaN where a cell is empty."""
    return np.array([float(row[column] or "nan") for row in run.rows if row["filters"] == "all"])


def tabulate_categories(
    title: str, runs: Sequence[FinishedRun], singles: Sequence[Float[np.ndarray, " C"]]
) -> Table:
    """Mean val IoU of the best single filter, the location prior and the embedding.

    Whole-image concepts are left out: marking everything is right on all images that count.

    Args:
      title: says how they are compared.
      runs: one per layer.
      singles: val set IoU of each concept's best single filter, for every run.

    Returns:
      A row per layer and category, and one of all; the last columns count the concepts whose
      embedding is better than the filter, and than the prior.
    """
    columns = ("layer", "category", "filter", "prior", "embedding", "> filter", "> prior")
    table = tabulate(title, columns, (), texts=2)
    for run, single in zip(runs, singles, strict=True):
        prior, embedding = read_measure(run, "prior_val_iou"), run.scores.full
        category = np.array(run.categories)
        with_masks = [name for name in CATEGORIES if name not in WHOLE_IMAGE_CATEGORIES]
        groups = {name: category == name for name in with_masks}
        groups["all"] = np.isin(category, with_masks)
        for name, group in groups.items():
            if group.any():
                means = (f"{values[group].mean():.3f}" for values in (single, prior, embedding))
                wins = ((embedding > rival)[group].sum() for rival in (single, prior))
                counts = (f"{count} of {group.sum()}" for count in wins)
                table.add_row(run.layer, name, *means, *counts)
        table.add_section()
    return table


def tabulate_gains(run: FinishedRun, count: int = 10) -> Table:
    """The concepts that gain most from combining filters, under the embeddings' own rule.

    Whole-image concepts are left out; a filter with a minus marks where it is low.
    """
    single, embedding = read_measure(run, "single_same_rule_val_iou"), run.scores.full
    filter_, sign = (read_measure(run, f"single_same_rule_{x}") for x in ("filter", "sign"))
    gain = embedding - single
    rows = []
    for place in np.argsort(-gain, kind="stable"):
        if run.categories[place] not in WHOLE_IMAGE_CATEGORIES:
            best = "none"
            if not np.isnan(filter_[place]):
                best = f"{'−' if sign[place] < 0 else ''}filter {filter_[place]:.0f}"
            scores = (f"{single[place]:.3f} ({best})", f"{embedding[place]:.3f}")
            names = (run.concepts[place], run.categories[place], run.layer)
            rows.append((*names, *scores, f"{gain[place]:+.3f}"))
    return tabulate(
        "Concepts that gain most from combining filters, under one rule",
        ("concept", "category", "layer", "best single filter", "embedding", "gain"),
        rows[:count],
        texts=3,
    )


def draw_figures(
    run: FinishedRun, single: Float[np.ndarray, " C"], out: Path, title: str
) -> list[Path]:
    """Draw the embeddings' IoU against the best single filters', as PNG and PDF.

    Whole-image concepts are left out.

    Args:
      run: of the C concepts.
      single: val set IoU of each concept's best single filter.
      out: path without its ending.
      title: of the figure.
    """
    # Imported here: the probe itself needs no plotting library.
    from net2vec_jax.plots.paper_style import write_figure
    from net2vec_jax.plots.single_against_embedding import plot_single_against_embedding

    shown = ~np.isin(run.categories, sorted(WHOLE_IMAGE_CATEGORIES))
    figure = plot_single_against_embedding(
        single[shown],
        run.scores.full[shown],
        np.array(run.categories)[shown].tolist(),
        names=np.array(run.concepts)[shown].tolist(),
        title=title,
    )
    paths = [out.with_suffix(f".{kind}") for kind in ("png", "pdf")]
    for path in paths:
        write_figure(figure, path, dpi=150)
    return paths


def main(flags: QuickstartFlags) -> None:
    """Draw, port, probe, and show."""
    console = open_console()
    paper, converged = probe_scenes(flags)
    papers = [single_scores(run) for run in paper]
    same_rule = read_measure(converged, "single_same_rule_val_iou")
    console.print(
        tabulate_categories(
            "As the paper compares (preset paper): the best single filter marks where its "
            "upsampled map exceeds 0.5, the embedding where it exceeds 0",
            paper,
            papers,
        ),
        tabulate_categories(
            "Under one rule (preset converged): best single filter and embedding both mark above a "
            "level that is chosen on train",
            [converged],
            [same_rule],
        ),
        "Set IoU on the val split, mean over concepts. The prior marks the same region on every "
        "image: where the concept mostly is on train images.\n",
        tabulate_gains(converged),
    )
    whole_images = find_whole_images(paper[0].concepts, paper[0].categories)
    announce_left_out("concepts from tables and figures", whole_images)
    network = paper[0].network
    name = f"{'EfficientNet-Lite0' if network == NETWORK else network}, {paper[0].layer}"
    figures = [
        draw_figures(run, single, flags.out / f"single_against_embedding{end}", f"{name}: {how}")[0]
        for run, single, end, how in (
            (converged, same_rule, "", "one rule, preset converged"),
            (paper[0], papers[0], "_paper", "the paper's comparison"),
        )
    ]
    from net2vec_jax.report.write import write_report  # here, since the probe needs no plots

    console.print("writing the reports …")
    reports = [write_report(run) for run in paper]
    console.print(
        f"results are in {flags.out}, the figures are {figures[0]} and {figures[1]}",
        soft_wrap=True,
    )
    links = [Text(str(path), f"link {path.absolute().as_uri()}") for path in reports]
    console.print(Text("open in a browser: ") + Text(" and ").join(links), soft_wrap=True)
