"""What should a (concept, image) pair cost in training, and what does it cost?"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
import scipy.optimize

from experiments.benchmark.broden_size import ProblemSize, draw_problem
from experiments.benchmark.measurement import describe_machine
from net2vec_jax.activations.binary import entries_per_block
from net2vec_jax.core.console import open_console, tabulate, track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder, write_json
from net2vec_jax.probes.head_shards import PAIRS_ON_ACCELERATORS, resolve_chunk_size
from net2vec_jax.probes.interpolation import interpolation_matrix
from net2vec_jax.probes.segmentation.model import Geometry
from net2vec_jax.probes.segmentation.training import (
    SegmentationConfig,
    make_segmentation_heads,
    train_segmentation_heads,
)

PARTS = ("pair", "entries", "rows", "pixels")
"""What a pair's time is made of on a CPU, see `count_work`."""


@dataclasses.dataclass(frozen=True)
class CostFlags:
    """Flags of the cost model.

    Attributes:
      out: folder for cost_model.json and the figure.
      images: of every problem.
      epochs: that are timed, besides one that compiles.
      seed: of the drawn data.
    """

    out: Path
    images: int = 1500
    epochs: int = 6
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """Published rates of a machine."""

    name: str
    bandwidth: float  # bytes per second of its memory
    operations: float  # float32 operations per second, outside tensor cores
    start_seconds: float = 4e-6  # to start one program on it
    programs: int = 25  # that a chunk of pairs consists of
    efficiency: float = 0.6  # share of the rates that such programs reach


H100 = Accelerator("H100 SXM", 3.35e12, 67e12)


def name_of(size: ProblemSize) -> str:
    """Grid, mask size, filters, density."""
    return (
        f"{size.grid[0]}→{size.segmentation_size[0]}, {size.filters} filters, "
        f"{100 * size.density:g} %"
    )


def count_work(size: ProblemSize, entries: float) -> dict[str, float]:
    """What one pair needs, forward and backward, in the form for CPUs.

    Args:
      size: of the problem.
      entries: active entries per image that are read, padding included.

    Returns:
      pair: 1; entries: gathered and scattered, twice; rows: multiplications on rows of the grid
      (columns upsampled and back, rows of pixels near a row of the grid summed); pixels.
    """
    (height, width), (rows, columns) = size.grid, size.segmentation_size
    near = (interpolation_matrix(height, rows) > 0).sum(axis=0).max()
    return {
        "pair": 1.0,
        "entries": 2 * entries,
        "rows": float(height * columns * (2 * width + near)),
        "pixels": float(rows * columns),
    }


def predict_accelerator(size: ProblemSize, machine: Accelerator) -> dict[str, float]:
    """Seconds per pair on paper, in the dense form; the bounds and their sum.

    Bytes: bits are unpacked to float32 and read again, forward and backward; a pixel's score, its
    gradient and the loss are written and read once each. Operations: matrix products, and about 40
    per pixel. Starting a chunk's programs is shared by its pairs. All chunks are taken to be full,
    which those of steps in which few concepts take part are not.
    """
    (height, width), (rows, columns) = size.grid, size.segmentation_size
    active, pixels = height * width * size.filters, rows * columns
    moved = 2 * active * (1 / 8 + 4 + 4) + pixels * (3 * 8 + 1 / 8)
    products = 2 * active + 2 * (height * width * columns + rows * height * columns)
    operations = 2 * products + 40 * pixels
    memory = moved / (machine.bandwidth * machine.efficiency)
    arithmetic = operations / (machine.operations * machine.efficiency)
    start = machine.programs * machine.start_seconds / PAIRS_ON_ACCELERATORS
    return {
        "memory": memory,
        "arithmetic": arithmetic,
        "start": start,
        "total": max(memory, arithmetic) + start,
    }


def fit_costs(work: list[dict[str, float]], seconds: list[float]) -> dict[str, float]:
    """Cost of each part, none negative: least squares of the problems' relative errors."""
    if len(work) < len(PARTS):
        raise Net2VecError(f"{len(PARTS)} problems are needed at least, not {len(work)}")
    shares = (
        np.array([[each[part] for part in PARTS] for each in work]) / np.array(seconds)[:, None]
    )
    scale = shares.max(axis=0)
    costs, _ = scipy.optimize.nnls(shares / scale, np.ones(len(work)))
    return dict(zip(PARTS, (costs / scale).tolist(), strict=True))


def predict(work: dict[str, float], costs: dict[str, float]) -> float:
    """Seconds per pair."""
    return sum(work[part] * costs[part] for part in PARTS)


def measure(size: ProblemSize, flags: CostFlags) -> tuple[dict[str, float], float]:
    """The work of a pair, and its seconds: those of the fastest epoch."""
    activations, masks = draw_problem(size, flags.seed)
    count = activations.active_entries.count
    # Lists are read in blocks, as many as the longest of a chunk has.
    geometry = Geometry(size.grid, size.segmentation_size)
    at_once = resolve_chunk_size(None, geometry, size.filters)
    chunk = [count[start : start + at_once].max() for start in range(0, len(count), at_once)]
    block = entries_per_block(count.sum(), len(count))
    entries = float(np.mean(-(-np.array(chunk) // block) * block))
    heads = make_segmentation_heads(masks, filters=size.filters, key=jax.random.key(flags.seed))
    pairs = int(masks.count_images()[0][heads.concept].sum())
    ends: list[float] = []
    train_segmentation_heads(
        heads, activations, masks, SegmentationConfig(epochs=1 + flags.epochs),
        on_epoch=lambda *_: ends.append(time.perf_counter()),
    )  # fmt: skip
    return count_work(size, entries), float(np.diff(ends).min()) / pairs


def main(flags: CostFlags) -> None:
    """Measure, predict, print, write the figure."""
    if flags.images < 100 or flags.epochs < 1:
        raise Net2VecError("--images must be at least 100 and --epochs at least 1")
    make_folder(flags.out)
    base = ProblemSize(flags.images, 112, 0.005, 0.2, (14, 14), (112, 112))
    vary = dataclasses.replace
    fitted = [
        base,
        vary(base, density=0.02),
        vary(base, segmentation_size=(56, 56)),
        vary(base, grid=(28, 28), filters=40),
        vary(base, segmentation_size=(192, 192)),
    ]
    others = [
        vary(base, filters=256, grid=(13, 13), segmentation_size=(113, 113)),
        vary(base, filters=1280, grid=(7, 7)),
        vary(base, filters=512, segmentation_size=(192, 192)),
        vary(base, filters=64, grid=(56, 56)),
        vary(base, grid=(7, 7), segmentation_size=(56, 56)),
        vary(base, density=0.01),
    ]
    measured = {size: measure(size, flags) for size in track([*fitted, *others], "problems")}
    costs = fit_costs([measured[size][0] for size in fitted], [measured[s][1] for s in fitted])
    columns = ("problem", "predicted µs", "measured µs", *(f"{p} %" for p in PARTS), "H100 µs")
    table = tabulate(None, columns, (), no_wrap=True, pad_edge=False, collapse_padding=True)
    rows = []
    for size, (work, seconds) in measured.items():
        total = predict(work, costs)
        row = {
            "problem": name_of(size),
            "fitted": size in fitted,
            "predicted": total,
            "measured": seconds,
            "shares": {part: 100 * work[part] * costs[part] / total for part in PARTS},
            H100.name: predict_accelerator(size, H100),
        }
        rows.append(row)
        table.add_row(
            row["problem"] + (" (fitted)" if row["fitted"] else ""),
            *(f"{1e6 * value:.2f}" for value in (total, seconds)),
            *(f"{share:.0f}" for share in row["shares"].values()),
            f"{1e6 * row[H100.name]['total']:.2f}",
        )
    console = open_console(least_width=120)
    console.print(table)
    unit = ", ".join(f"{part} {1e9 * cost:.3g}" for part, cost in costs.items())
    console.print(f"nanoseconds on all devices together: {unit}", highlight=False)
    machine = describe_machine()
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
    content = {"machine": machine, "costs_seconds": costs, "problems": rows}
    write_json(flags.out / "cost_model.json", content)
    shown = [row for row in rows if not row["fitted"]]
    from net2vec_jax.plots.paper_style import write_figure
    from net2vec_jax.plots.speed import plot_prediction

    figure = plot_prediction(
        [row["problem"] for row in shown],
        [1e6 * row["predicted"] for row in shown],
        [1e6 * row["measured"] for row in shown],
    )
    write_figure(figure, flags.out / "cost_model.png", dpi=160)
