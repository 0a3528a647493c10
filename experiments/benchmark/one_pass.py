"""What does it take to keep what probes need of a network's layers from one pass?

    python -m experiments.benchmark.one_pass --out OUT

Activations are generated, a network's forward pass is left out: what is timed is the collector. Of
Broden's 63,305 images AlexNet's five layers hold 124 GB as float32; less than 1 % of that should be
written, in less than 6 GB of memory, at a time that grows with the images.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.benchmark.measurement import describe_machine
from experiments.benchmark.workers import read_peak_memory, reset_peak_memory
from net2vec_jax.activations.condensed import CondensedWriter, Kept
from net2vec_jax.core.console import open_console, run_script, tabulate, track
from net2vec_jax.core.result_files import make_folder, write_json

LAYERS = {
    "alexnet": {
        "conv1": (55, 55, 64),
        "conv2": (27, 27, 192),
        "conv3": (13, 13, 384),
        "conv4": (13, 13, 256),
        "conv5": (13, 13, 256),
    },
    "resnet50_layer1": {"layer1": (56, 56, 256)},
}
KEPT = (Kept(0.005), Kept())
"""Of every layer: the entries above the thresholds, and mean activations."""
BATCH, DRAWN = 32, 4
"""Images of a batch; batches that are drawn, and then scaled image by image."""


@dataclasses.dataclass(frozen=True)
class PassFlags:
    """Flags of the benchmark.

    Attributes:
      out: folder for one_pass.json and, while it is measured, for what is kept.
      images: of every measurement.
      layers: of which network.
      seed: of the drawn data.
    """

    out: Path
    images: tuple[int, ...] = (2_000, 6_000, 20_000)
    layers: Literal["alexnet", "resnet50_layer1"] = "alexnet"
    seed: int = 0


def draw_batches(
    shapes: dict[str, tuple[int, int, int]], images: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Rectified normal values, each image scaled by a log-normal number."""
    rng = np.random.default_rng(seed)
    drawn = [
        {
            layer: np.maximum(rng.standard_normal((BATCH, *shape), np.float32), 0)
            for layer, shape in shapes.items()
        }
        for _ in range(DRAWN)
    ]
    for number, start in enumerate(range(0, images, BATCH)):
        scale = rng.lognormal(0, 0.3, (min(BATCH, images - start), 1, 1, 1)).astype(np.float32)
        batch = drawn[number % DRAWN]
        yield {layer: values[: len(scale)] * scale for layer, values in batch.items()}


def measure_pass(flags: PassFlags, images: int) -> dict[str, float]:
    """Seconds of a core, memory and disk of a pass over so many images."""
    shapes, folder = LAYERS[flags.layers], flags.out / "kept"
    reset_peak_memory()
    writers = {
        layer: [CondensedWriter(folder / layer, {"layer": layer}, kept, images) for kept in KEPT]
        for layer in shapes
    }
    generating = collecting = first = 0.0
    start = time.process_time()
    batches = draw_batches(shapes, images, flags.seed)
    for batch in track(batches, f"{images:,} images", unit="batch", total=-(-images // BATCH)):
        drawn = time.process_time()
        generating += drawn - start
        for layer, values in batch.items():
            for writer in writers[layer]:
                writer.add(values, int(first))
        first += BATCH
        start = time.process_time()
        collecting += start - drawn
    for several in writers.values():
        for writer in several:
            writer.finish()
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    dense = 4 * images * sum(h * w * k for h, w, k in shapes.values())
    return {
        "images": images,
        "seconds_collecting": collecting,
        "seconds_finishing": time.process_time() - start,
        "seconds_generating": generating,
        "peak_memory_gb": (read_peak_memory() or 0) / 1e9,
        "disk_gb": written / 1e9,
        "dense_gb": dense / 1e9,
        "share_of_dense": written / dense,
    }


def main(flags: PassFlags) -> None:
    """Measure passes of all sizes, and write one_pass.json."""
    out = make_folder(flags.out)
    rows = []
    for images in flags.images:
        rows.append(measure_pass(flags, images))
        result = {"machine": describe_machine(), "layers": flags.layers, "passes": rows}
        write_json(out / "one_pass.json", result)
    table = [[f"{value:,.4g}" for value in row.values()] for row in rows]
    title = f"one pass over generated activations, {flags.layers}"
    open_console(least_width=120).print(tabulate(title, list(rows[0]), table, texts=0))


if __name__ == "__main__":
    run_script(main)
