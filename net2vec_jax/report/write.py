"""Write the HTML page of a finished run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.analysis.images.example_selection import PERCENTILES
from net2vec_jax.core.errors import Net2VecError, writing_error
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.networks.loaded import LoadedNetwork
from net2vec_jax.report.formulas import gather_formulas
from net2vec_jax.report.gather import gather_content
from net2vec_jax.report.local import gather_local
from net2vec_jax.report.page.content import Pictures
from net2vec_jax.report.page.payload import find_serving_filters
from net2vec_jax.report.page.render import render_page
from net2vec_jax.report.use import gather_use
from net2vec_jax.runs.concept_pictures import collect_concept_pictures, collect_filter_pictures
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources, SourceFlags

REPORT = "report.html"
FILTER_PICTURES = 4
"""Images of each filter that has pictures."""


def write_report(
    run: str | Path | FinishedRun,
    out: str | Path | None = None,
    *,
    pictures_per_concept: int | None = None,
    filters_shown: int | None = None,
    image_size: int | None = None,
    sources: SourceFlags | None = None,
    dataset: ConceptDataset | None = None,
    network: LoadedNetwork | None = None,
) -> Path:
    """Write the page of a finished run: one file that needs no server and no other file.

    Args:
      run: a finished run of either probe, or its directory.
      out: file to write; by default report.html in the run's directory.
      pictures_per_concept: images of each concept; by default 5, fewer for many concepts.
      filters_shown: filters that have pictures; by default 400, fewer for many concepts.
      image_size: longest side of an image, pixels; by default 176, smaller for many concepts.
      sources: where the run's images and activations are, if they have moved. Without them the
        page has no pictures and says why.
      dataset: the run's, where it cannot be opened from where it was, such as one of arrays.
      network: the run's, likewise, such as a model of your own.

    Returns:
      The file.

    Raises:
      Net2VecError: `run` is no finished run, a file of it is damaged, a number is negative, or the
        file cannot be written.

    Examples:
      >>> write_report("runs/quickstart/block10")  # doctest: +SKIP
    """
    if not isinstance(run, FinishedRun):
        run = FinishedRun(run)
    path = Path(out) if out is not None else run.path / REPORT
    make_folder(path.parent)
    detail = choose_detail(len(run))
    for name, value in (
        ("pictures_per_concept", pictures_per_concept),
        ("filters_shown", filters_shown),
        ("image_size", image_size),
    ):
        if value is not None and value < 0:
            raise Net2VecError(f"--{name.replace('_', '-')} is {value}, but must be 0 or more")
        detail[name] = detail[name] if value is None else value
    per_concept, filters_shown = detail["pictures_per_concept"], detail["filters_shown"]
    content = gather_content(run)
    remarks, pictures, opened = [], None, None
    if run.kind == "classification":
        remarks.append("The classification probe marks no pixels, so that there are no pictures.")
    elif per_concept or filters_shown:
        shown = find_serving_filters(content)[:filters_shown].tolist()
        try:
            opened = RunSources(run, sources, dataset=dataset, network=network)
            pictures = collect_pictures(run, opened, per_concept, shown)
        except Net2VecError as error:
            remarks.append(f"There are no pictures: {error}.")
            print(remarks[-1], file=sys.stderr)
    if run.seeds > 1:
        of_first = "" if pictures is None else "; masks and their IoU are those of the first seed"
        remarks.append(
            f"Scores are means over {run.seeds} seeds. An embedding is the mean direction over the "
            f"seeds, of length 1: its weights, neighbours and queries{of_first}."
        )
    read_image = opened.dataset.image if opened and pictures else None
    content = dataclasses.replace(
        content, pictures=pictures, remarks=tuple(remarks),
        use=gather_use(run, read_image), local=gather_local(run, pictures=read_image is not None),
        formulas=gather_formulas(run),
    )  # fmt: skip
    page = render_page(content, image_size=detail["image_size"])
    try:
        with replacing(path) as partial:
            partial.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise writing_error(path, error) from error
    return path


def choose_detail(concepts: int) -> dict[str, int]:
    """As much as keeps the page of so many concepts at a size that a browser opens at once."""
    if concepts <= 200:
        return {"pictures_per_concept": 5, "filters_shown": 400, "image_size": 176}
    if concepts <= 600:
        return {"pictures_per_concept": 3, "filters_shown": 200, "image_size": 160}
    return {"pictures_per_concept": 2, "filters_shown": 100, "image_size": 128}


def choose_percentiles(count: int) -> tuple[float, ...]:
    """`count` percentiles, best first; as many as other pictures have are the same as theirs."""
    usual: dict[int, Sequence[float]] = {1: (50,), len(PERCENTILES): PERCENTILES}
    steps = np.linspace(PERCENTILES[0], PERCENTILES[-1], count).round(1)
    return tuple(map(float, usual.get(count, steps)))


def collect_pictures(
    run: FinishedRun, sources: RunSources, per_concept: int, filters: Sequence[int]
) -> Pictures:
    """Pictures of all concepts, so many of each, and of `filters`, with their images.

    Raises:
      Net2VecError: the run has no masks, or a source is not where it was.
    """
    concepts, of_filters = {}, {}
    if per_concept:
        percentiles = choose_percentiles(per_concept)
        concepts = collect_concept_pictures(run, sources, range(len(run)), percentiles=percentiles)
    if filters:
        of_filters = collect_filter_pictures(run, sources, filters, count=FILTER_PICTURES)
    everything = (*concepts.values(), *of_filters.values())
    used = sorted({picture.image for pictures in everything for picture in pictures})
    dataset = sources.dataset
    images = dict(zip(used, map_in_order(dataset.image, used), strict=True))
    return Pictures(images, {n: dataset.image_names[n] for n in used}, concepts, of_filters)
