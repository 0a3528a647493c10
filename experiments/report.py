"""One HTML page on a finished run: scores, concepts, filters, pictures and the embedding explorer.

  python -m experiments.report --run runs/quickstart/head

Writes RUN/report.html, one file that needs no server and asks for nothing outside itself: open it
in a browser, or send it to somebody. Pictures need the run's images and stored activations; if they
have moved, name them with --dataset and --activations. Without them the page has
all but the pictures.
Time: 118 concepts and 1,280 filters take about ten seconds on 2 CPU cores.
Expected: about 10 MB for 100 concepts; runs of many concepts get fewer and smaller pictures each.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.analysis.images.example_selection import PERCENTILES
from net2vec_jax.core.console import announce_left_out, run_script
from net2vec_jax.core.errors import Net2VecError, writing_error
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.report.gather import gather_content
from net2vec_jax.report.page.content import Pictures
from net2vec_jax.report.page.payload import find_serving_filters
from net2vec_jax.report.page.render import render_page
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_undirected, find_whole_images
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.concept_pictures import collect_concept_pictures, collect_filter_pictures

REPORT = "report.html"
FILTER_PICTURES = 4
"""Images of each filter that has pictures."""


@dataclasses.dataclass(frozen=True)
class Detail:
    """How much a page shows of each thing.

    Attributes:
      pictures_per_concept: images of each concept.
      filters_shown: filters that have pictures, those that serve most concepts.
      image_size: longest side of an image, pixels.
    """

    pictures_per_concept: int
    filters_shown: int
    image_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportFlags(SourceFlags):
    """Flags of the report.

    Attributes:
      run: directory of a finished run of either probe.
      out: file to write; by default report.html in the run's directory.
      pictures_per_concept: images of each concept, at even steps of the percentile of individual
        IoU; by default 5, fewer for more than 200 concepts; 0 for a page without pictures of
        concepts.
      filters_shown: filters that have pictures, those that serve most concepts; by default 400,
        fewer for more than 200 concepts.
      image_size: longest side of an image, pixels; by default 176, smaller for more than 600
        concepts.
    """

    run: Path
    out: Path | None = None
    pictures_per_concept: int | None = None
    filters_shown: int | None = None
    image_size: int | None = None


def choose_detail(concepts: int) -> Detail:
    """As much as keeps the page of so many concepts at a size that a browser opens at once."""
    if concepts <= 200:
        return Detail(5, 400, 176)
    if concepts <= 600:
        return Detail(3, 200, 160)
    return Detail(2, 100, 128)


def choose_percentiles(count: int) -> tuple[float, ...]:
    """`count` percentiles, best first; as many as other pictures have are the same as theirs."""
    usual: dict[int, Sequence[float]] = {1: (50,), len(PERCENTILES): PERCENTILES}
    steps = np.linspace(PERCENTILES[0], PERCENTILES[-1], count).round(1)
    return tuple(map(float, usual.get(count, steps)))


def collect_pictures(
    run: FinishedRun, sources: RunSources, filters: Sequence[int], detail: Detail
) -> Pictures:
    """Pictures of all concepts and of `filters`, with their images.

    Raises:
      Net2VecError: the run has no masks, or a source is not where it was.
    """
    concepts = {}
    if detail.pictures_per_concept:
        concepts = collect_concept_pictures(
            run,
            sources,
            range(len(run)),
            percentiles=choose_percentiles(detail.pictures_per_concept),
        )
    shown = list(filters)[: detail.filters_shown]
    of_filters = {}
    if shown:
        of_filters = collect_filter_pictures(run, sources, shown, count=FILTER_PICTURES)
    used = sorted(
        {
            picture.image
            for pictures in (*concepts.values(), *of_filters.values())
            for picture in pictures
        }
    )
    dataset: ConceptDataset = sources.dataset
    images = dict(zip(used, map_in_order(dataset.image, used), strict=True))
    names = {image: dataset.image_names[image] for image in used}
    return Pictures(images, names, concepts, of_filters)


def write_report(
    run_path: str | Path,
    out: str | Path | None = None,
    *,
    pictures_per_concept: int | None = None,
    filters_shown: int | None = None,
    image_size: int | None = None,
    sources: SourceFlags | None = None,
) -> Path:
    """Write the page of a finished run.

    Args:
      run_path: directory of the run.
      out: file to write; by default report.html in the run's directory.
      pictures_per_concept: images of each concept; see `choose_detail`.
      filters_shown: filters that have pictures.
      image_size: longest side of an image, pixels.
      sources: where the run's images and activations are, if they have moved.

    Returns:
      The file.

    Raises:
      Net2VecError: `run_path` is no finished run, a file of it is damaged, or a flag is out of
        range, or the file cannot be written.
    """
    run = FinishedRun(run_path)
    path = Path(out) if out is not None else run.path / REPORT
    make_folder(path.parent)
    given = {
        "pictures_per_concept": pictures_per_concept,
        "filters_shown": filters_shown,
        "image_size": image_size,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if value < 0:
            raise Net2VecError(f"--{name.replace('_', '-')} is {value}, but must be 0 or more")
    detail = dataclasses.replace(choose_detail(len(run)), **given)
    content = gather_content(run)
    remarks = []
    pictures = None
    if run.kind == "classification":
        remarks.append("The classification probe marks no pixels, so that there are no pictures.")
    elif detail.pictures_per_concept or detail.filters_shown:
        try:
            filters = find_serving_filters(content).tolist()
            pictures = collect_pictures(run, RunSources(run, sources), filters, detail)
        except Net2VecError as error:
            remarks.append(f"There are no pictures: {error}.")
            print(remarks[-1], file=sys.stderr)
    if run.seeds > 1:
        of_first = "" if pictures is None else "; masks and their IoU are those of the first seed"
        remarks.append(
            f"Scores are means over {run.seeds} seeds. An embedding is the mean direction over the "
            f"seeds, of length 1: its weights, neighbours and queries{of_first}."
        )
    content = dataclasses.replace(content, pictures=pictures, remarks=tuple(remarks))
    page = render_page(content, image_size=detail.image_size)
    try:
        with replacing(path) as partial:
            partial.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise writing_error(path, error) from error
    return path


def main(flags: ReportFlags) -> None:
    """Write the page, and say where it is and how large."""
    path = write_report(
        flags.run,
        flags.out,
        pictures_per_concept=flags.pictures_per_concept,
        filters_shown=flags.filters_shown,
        image_size=flags.image_size,
        sources=flags,
    )
    run = FinishedRun(flags.run)
    announce_untrained(run)
    if run.kind == "segmentation":
        whole_images = find_whole_images(run.concepts, run.categories)
        announce_left_out("concepts from the means at the top", whole_images, of=len(run))
    undirected = find_undirected(run.concepts, average_seeds(run.weights))
    announce_left_out("concepts from map, neighbours and queries", undirected, of=len(run))
    print(f"the report is {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")


if __name__ == "__main__":
    run_script(main, ReportFlags, __doc__.split("\n")[0])
