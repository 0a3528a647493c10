"""Are formulas those of `compositional-explanations`, and how long does it take beside ours?

  python -m experiments.benchmark.formula_speed --run RUN

Both sides get the same bitmaps, what the first filters of a finished segmentation run mark on all
images, and the same masks of its concepts; the package searches one filter after the other. Ours
is timed from packed masks and bitmaps on.
Expected: equal scores by beam search; by optimal search equal ones, or ours slightly higher.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from experiments.benchmark.measurement import describe_machine, timed
from net2vec_jax.analysis.filters.formula_search import (
    Match,
    PixelKinds,
    SharedPixels,
    search_beam,
    search_optimal,
)
from net2vec_jax.core.console import run_script
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies.formulas import mark_by_filters


@dataclasses.dataclass(frozen=True)
class FormulaSpeedFlags:
    """Flags of the comparison.

    Attributes:
      run: a finished run of experiments.segmentation.
      filters: the first so many.
      length: concepts in a formula, at most.
      width: of the beam.
      searches: which are compared; the optimal one takes the package minutes per filter.
      images: only so many, evenly spread; all by default.
      rounds: how often ours is timed; the package once.
    """

    run: Path
    filters: int = 20
    length: int = 3
    width: int = 5
    searches: tuple[Literal["beam", "optimal"], ...] = ("beam", "optimal")
    images: int | None = None
    rounds: int = 3


def search_theirs(
    masks: ConceptMasks, bitmaps: np.ndarray, flags: FormulaSpeedFlags, *, optimal: bool
) -> np.ndarray:
    """Scores of the package's formulas, float64 [F]."""
    warnings.simplefilter("ignore")  # it names a module of SciPy that is moving
    beam, best, metrics = (
        importlib.import_module(f"compositional_explanations.{name}")
        for name in ("beam", "optimal", "metrics")
    )
    images, concepts = len(masks.is_val), len(masks.catalog)
    dense = np.zeros((concepts, images, int(np.prod(masks.segmentation_size))), bool)
    dense[masks.pair_concept, masks.pair_image] = masks.unpack(slice(None)).reshape(
        len(masks.pair_concept), -1
    )
    tensors = list(torch.from_numpy(dense))
    disjoint = torch.tensor([[not bool((a & b).any()) for a in tensors] for b in tensors])
    rows, size = masks.segmentation_size[0], (images, -1)
    marked = np.unpackbits(bitmaps, axis=2, count=rows, bitorder="little").astype(bool)
    scores = []
    with tempfile.TemporaryDirectory() as cache, contextlib.redirect_stdout(io.StringIO()):
        arguments: dict[str, Any] = {
            "masks": tensors, "disjoint_info": disjoint, "length": flags.length,
            "device": torch.device("cpu"), "cache_dir": cache,
        }  # fmt: skip
        for bitmap in torch.from_numpy(marked.reshape(len(marked), *size)):
            if optimal:
                found = best.compute_optimal_explanations(bitmaps=bitmap, **arguments)
            else:
                found = beam.compute_beam_explanations(
                    bitmaps=bitmap, beam_size=flags.width, **arguments
                )
            score = found and metrics.compute_iou_from_masks(
                formula=found, masks=tensors, bitmaps=bitmap
            )
            scores.append(score or 0.0)
    return np.array(scores)


def main(flags: FormulaSpeedFlags) -> None:
    """Time both sides and compare their scores."""
    torch.set_num_threads(int(describe_machine()["cores"]))
    run = FinishedRun(flags.run)
    sources = RunSources(run)
    masks = sources.masks
    binary = sources.activations.binary(read_thresholds(run.path))
    bitmaps = mark_by_filters(binary, range(flags.filters), masks)
    if flags.images:
        chosen = np.linspace(0, len(masks.is_val) - 1, flags.images).astype(int)
        masks, bitmaps = masks.select_images(chosen), bitmaps[:, chosen]
    print(f"{flags.filters} filters of {run.name}, {len(masks.catalog)} concepts, "
          f"{len(masks.is_val)} images, length {flags.length}; {describe_machine()}")  # fmt: skip
    for name in flags.searches:
        search = search_beam if name == "beam" else search_optimal

        def find(search: Any = search) -> list[Match]:
            shared = SharedPixels(PixelKinds(masks), bitmaps)
            return search(shared, length=flags.length, width=flags.width)

        found, first = timed(find)
        ours = float(np.median([timed(find)[1] for _ in range(flags.rounds)]))
        print(f"{name}: ours {ours:.2f} s (first call {first:.2f} s)", flush=True)
        scores, theirs = timed(
            lambda optimal=name == "optimal": search_theirs(masks, bitmaps, flags, optimal=optimal)
        )
        differ = np.array([match.iou for match in found]) - scores
        print(f"{name}: the package {theirs:.1f} s, {theirs / ours:.0f} times as long; scores "
              f"differ by {np.abs(differ).max():.2g} (ours higher for {np.sum(differ > 1e-12)}, "
              f"lower for {np.sum(differ < -1e-12)})")  # fmt: skip
    kinds, preparing = timed(lambda: PixelKinds(masks))
    counting = timed(lambda: SharedPixels(kinds, bitmaps))[1] / flags.filters
    marked = len(masks.packed) * np.prod(masks.segmentation_size)
    print(f"{kinds.kind.size:,} pixels of {kinds.size:,} kinds: {marked / preparing:.3g} of masks "
          f"sorted, {kinds.kind.size / counting:.3g} of bitmaps counted, per second")  # fmt: skip


if __name__ == "__main__":
    run_script(main)
