"""What does a local embedding cost? Seconds per head and memory, on generated data.

    python -m experiments.benchmark.local_heads

Binary activations and masks are drawn with Broden's statistics; 100,000 heads should be trained in
less than 4 GB on two cores. Compilation and each head's IoU with its own mask are included, and in
the memory the data.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from experiments.benchmark.broden_size import ProblemSize, draw_problem
from experiments.benchmark.workers import read_peak_memory, reset_peak_memory
from net2vec_jax.core.console import run_script
from net2vec_jax.probes.segmentation.local import train_local
from net2vec_jax.probes.segmentation.training import SegmentationConfig


@dataclasses.dataclass(frozen=True)
class LocalHeadsFlags:
    """Flags of the benchmark.

    Attributes:
      heads: how many are trained, of each number of filters.
      filters: K; on 14 × 14 places up to 512 of them, beyond on 7 × 7.
      epochs: steps of every head.
      heads_at_once: heads of a block; by default what the library chooses.
    """

    heads: tuple[int, ...] = (10_000, 100_000)
    filters: tuple[int, ...] = (112, 512, 2048)
    epochs: int = 30
    heads_at_once: int | None = None


def main(flags: LocalHeadsFlags) -> None:
    """Measure and print all sizes."""
    config = SegmentationConfig(epochs=flags.epochs)
    for filters in flags.filters:
        grid = (14, 14) if filters <= 512 else (7, 7)
        images = max(flags.heads) // 16 + 100  # about 18 masks an image
        size = ProblemSize(images, filters, grid=grid, segmentation_size=(112, 112))
        activations, masks = draw_problem(size)
        order = np.random.default_rng(0).permutation(len(masks.pair_image))
        for heads in flags.heads:
            pairs, starts = order[:heads], (time.perf_counter(), time.process_time())
            reset_peak_memory()
            train_local(activations, masks, pairs, config, heads_at_once=flags.heads_at_once)
            seconds, cores = time.perf_counter() - starts[0], time.process_time() - starts[1]
            memory, head = (read_peak_memory() or 0) / 1e9, 1e6 / len(pairs)
            print(
                f"{len(pairs):,} heads of {filters}: {seconds:.1f} s, {head * seconds:.0f} µs a "
                f"head, of the processor {head * cores:.0f} µs, {memory:.2f} GB"
            )


if __name__ == "__main__":
    run_script(main)
