"""Net2Vec in three minutes: one filter or several, on images drawn here and a network from PyPI."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from net2vec_jax.analysis.filters.filter_overlap import NO_FILTER
from net2vec_jax.core.console import announce_left_out, open_console, tabulate
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.concepts import CATEGORIES, WHOLE_IMAGE_CATEGORIES
from net2vec_jax.data.open import open_scenes
from net2vec_jax.networks.choice import open_network
from net2vec_jax.runs.activations import fit_subset_sizes
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.layer import collect_missing_layers, prepare_runs
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.predictions import best_filters, single_scores
from net2vec_jax.runs.segmentation import SegmentationRun
from net2vec_jax.runs.segmentation_flags import SegmentationFlags

NETWORK = "efficientnet_lite0"
LAYERS = ("block10", "head")
BATCH_SIZE = 16
"""A quarter of the preset's: many concepts have under 64 train images and would take few steps."""
FILTER_COUNTS = (1, 3, 10, 30, 100)
"""Embeddings of so many filters are trained too, for the curves of the report."""


@dataclasses.dataclass(frozen=True)
class QuickstartFlags:
    """Flags of the quickstart.

    Attributes:
      out: where data and results go; an unfinished run in it is resumed.
      images: how many scenes are drawn.
      epochs: passes over each concept's train images.
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


def probe_scenes(flags: QuickstartFlags) -> list[FinishedRun]:
    """Draw scenes, and train and evaluate embeddings of all concepts in every layer.

    Returns:
      The finished run of each layer, in OUT/LAYER.
    """
    dataset = open_scenes(make_folder(flags.out) / SCENES_FOLDER, images=flags.images)
    loaded = open_network(flags.network)
    layers = flags.layers or (LAYERS if loaded.name == NETWORK else loaded.probing_layers[-2:])
    runs = [
        SegmentationRun(
            SegmentationFlags(
                dataset="scenes",
                network=flags.network,
                layer=(layer,),
                out=flags.out / loaded.network.resolve_layer(layer),
                filters=fit_subset_sizes(FILTER_COUNTS, loaded, layer, dataset),
                epochs=flags.epochs,
                batch_size=BATCH_SIZE,
                activations=flags.out / "activations",
            ),
            dataset,
            loaded,
        )
        for layer in layers
    ]
    prepare_runs(runs)
    print(f"activations of {len(dataset)} images …")
    collect_missing_layers(runs)
    for run in runs:
        print(f"probing {run.layer} …")
        run.finish()
    return [FinishedRun(run.run.path) for run in runs]


def tabulate_categories(runs: Sequence[FinishedRun]) -> Table:
    """Mean val IoU per layer and category."""
    columns = ("layer", "category", "concepts", "best single filter", "embedding")
    title = "Set IoU on the val split, mean over the concepts of a category"
    table = tabulate(title, (*columns, "embedding wins"), (), texts=2)
    for run in runs:
        single, embedding = single_scores(run), run.scores.full
        for category in CATEGORIES:
            places = np.flatnonzero(np.array(run.categories) == category)
            if len(places):
                means = (f"{values[places].mean():.3f}" for values in (single, embedding))
                wins = int((embedding > single)[places].sum())
                count = len(places)
                table.add_row(run.layer, category, str(count), *means, f"{wins} of {count}")
        table.add_section()
    return table


def tabulate_gains(runs: Sequence[FinishedRun], count: int = 10) -> Table:
    """The concepts that gain most from combining filters; whole-image concepts left out."""
    rows = []
    for run in runs:
        best, single, embedding = best_filters(run), single_scores(run), run.scores.full
        for place, category in enumerate(run.categories):
            if category not in WHOLE_IMAGE_CATEGORIES:
                filter_ = "none" if best[place] == NO_FILTER else f"filter {best[place]}"
                scores = (f"{single[place]:.3f} ({filter_})", f"{embedding[place]:.3f}")
                gain = embedding[place] - single[place]
                rows.append((gain, run.concepts[place], category, run.layer, *scores))
    rows.sort(key=lambda row: -row[0])
    return tabulate(
        "Concepts that gain most from combining filters",
        ("concept", "category", "layer", "best single filter", "embedding", "gain"),
        [(*cells, f"+{gain:.3f}") for gain, *cells in rows[:count]],
        texts=3,
    )


def draw_figures(run: FinishedRun, out: Path, network: str) -> list[Path]:
    """Draw the embeddings' IoU against the best single filters', as PNG and PDF."""
    # Imported here: the probe itself needs no plotting library.
    from net2vec_jax.plots.paper_style import write_figure
    from net2vec_jax.plots.single_against_embedding import plot_single_against_embedding

    whole_images = find_whole_images(run.concepts, run.categories)
    figure = plot_single_against_embedding(
        single_scores(run),
        run.scores.full,
        run.categories,
        names=["" if concept in whole_images else concept for concept in run.concepts],
        title=f"{network}, {run.layer}: {len(run)} concepts",
    )
    paths = [out / f"single_against_embedding.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        write_figure(figure, path, dpi=150)
    return paths


def main(flags: QuickstartFlags) -> None:
    """Draw, port, probe, and show."""
    console = open_console()
    runs = probe_scenes(flags)
    console.print(tabulate_categories(runs), tabulate_gains(runs))
    whole_images = find_whole_images(runs[0].concepts, runs[0].categories)
    announce_left_out("concepts from those that gain most", whole_images)
    network = runs[0].network
    title = "EfficientNet-Lite0" if network == NETWORK else network
    figures = draw_figures(runs[0], flags.out, title)
    from net2vec_jax.report.write import write_report  # here, since the probe needs no plots

    console.print("writing the reports …")
    reports = [write_report(run) for run in runs]
    console.print(f"results are in {flags.out}, the figure is {figures[0]}", soft_wrap=True)
    links = [Text(str(path), f"link {path.absolute().as_uri()}") for path in reports]
    console.print(Text("open in a browser: ") + Text(" and ").join(links), soft_wrap=True)
