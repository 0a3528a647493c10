"""One HTML page on a finished run: scores, concepts, filters, pictures and the embedding explorer.

The page itself is made by `net2vec_jax.report`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.core.console import announce_left_out
from net2vec_jax.report.write import write_report
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import announce_untrained, find_undirected, find_whole_images
from net2vec_jax.runs.sources import SourceFlags


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


def main(flags: ReportFlags) -> None:
    """Write the page, and say where it is and how large."""
    run = FinishedRun(flags.run)
    path = write_report(
        run,
        flags.out,
        pictures_per_concept=flags.pictures_per_concept,
        filters_shown=flags.filters_shown,
        image_size=flags.image_size,
        sources=flags,
    )
    announce_untrained(run)
    if run.kind == "segmentation":
        whole_images = find_whole_images(run.concepts, run.categories)
        announce_left_out("concepts from the means at the top", whole_images, of=len(run))
    undirected = find_undirected(run.concepts, average_seeds(run.weights))
    announce_left_out("concepts from map, neighbours and queries", undirected, of=len(run))
    print(f"the report is {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
