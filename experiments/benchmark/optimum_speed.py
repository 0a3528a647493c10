"""What does the preset `converged` cost, beside `paper`, scikit-learn, and at Broden's size?

  python -m experiments.benchmark.optimum_speed --dataset BRODEN_DIR [--network NAME] [--layer NAME]

Three tables: the stages of both presets' training on the dataset; scikit-learn's LogisticRegression
of one concept after another on the same activations, targets and penalties, and how far its losses
are from ours; and the training on drawn activations of a twentieth and a tenth of Broden's images,
with what the whole would take: steps × pairs, as time grows. CPU seconds are of all cores together.
Expected on 2 x86 cores: see docs/performance.md. Time: 3 minutes.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments.benchmark.broden_size import BRODEN_IMAGES, ProblemSize, draw_masks
from experiments.benchmark.measurement import describe_machine
from net2vec_jax.activations.layer import collect_activations
from net2vec_jax.activations.standardized import (
    StandardizedActivations,
    collect_standardized_activations,
    measure_scale,
)
from net2vec_jax.core.console import open_console, run_script, tabulate
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.data.open import open_dataset
from net2vec_jax.networks.load import load_network
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.decision import choose_levels
from net2vec_jax.probes.segmentation.grid_targets import bring_to_grid, mass_of_positions
from net2vec_jax.probes.segmentation.image_blocks import Entries, train_entries
from net2vec_jax.probes.segmentation.optimum import OptimumConfig, OptimumResult, train_to_optimum
from net2vec_jax.probes.segmentation.penalties import choose_penalties
from net2vec_jax.probes.segmentation.training import (
    make_segmentation_heads,
    train_segmentation_heads,
)

R = TypeVar("R")
SHARES = (0.05, 0.1)


@dataclasses.dataclass(frozen=True)
class OptimumFlags:
    """Flags of the benchmark.

    Attributes:
      dataset: as of experiments.segmentation.
      network: name in the zoo.
      layer: of the network.
      sklearn_concepts: scikit-learn fits so many concepts, evenly over all; the time is scaled.
    """

    dataset: str
    network: str = "efficientnet_lite0"
    layer: str = "block10"
    sklearn_concepts: int = 6


@dataclasses.dataclass(frozen=True)
class Seconds:
    """What a function took, the first time and once more."""

    first: float
    wall: float
    cpu: float

    def row(self, name: str) -> list[str]:
        """For a table."""
        return [name, f"{self.first:.2f}", f"{self.wall:.2f}", f"{self.cpu:.2f}"]


def measure(function: Callable[[], R]) -> tuple[R, Seconds]:
    """The function's result, and its seconds."""
    start = time.perf_counter()
    function()
    first = time.perf_counter() - start
    start, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, Seconds(first, time.perf_counter() - start, time.process_time() - cpu)


def fit_one_by_one(
    activations: StandardizedActivations,
    masks: ConceptMasks,
    entries: Entries,
    result: OptimumResult,
    heads: np.ndarray,
) -> tuple[float, float]:
    """Seconds of scikit-learn for these heads, and the largest difference of its penalised loss."""
    mass = mass_of_positions(activations.grid, masks.segmentation_size)
    pixels = math.prod(masks.segmentation_size)
    seconds, difference = 0.0, 0.0
    for head in heads:
        mine = entries.select(entries.head == head)
        marked = bring_to_grid(masks, mine.pair, activations.grid).reshape(-1) / pixels
        x = activations.values[mine.image].reshape(len(marked), -1)
        x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
        rest = np.tile(mass / pixels, len(mine.pair)) - marked
        model = LogisticRegression(
            C=1 / float(result.l2[head]), fit_intercept=False, tol=1e-5, max_iter=2000
        )
        start = time.perf_counter()
        model.fit(
            np.concatenate([x, x]),
            np.repeat([1, 0], len(x)),
            sample_weight=np.maximum(np.concatenate([marked, rest]), 0),
        )
        seconds += time.perf_counter() - start
        both = np.append(result.weights[head], result.bias[head])
        losses = []
        for weights in (both, model.coef_[0]):
            z = x.astype(np.float64) @ weights
            loss = np.sum((marked + rest) * np.logaddexp(0, z) - marked * z)
            losses.append((loss + result.l2[head] / 2 * weights @ weights) / len(mine.pair))
        difference = max(difference, losses[0] - losses[1])
    return seconds, difference


def draw_broden(share: float) -> tuple[StandardizedActivations, ConceptMasks]:
    """AlexNet's conv5 of a share of Broden's images: neighbours alike, filters correlated."""
    size = ProblemSize(images=round(share * BRODEN_IMAGES))
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(64, size.filters)).astype(np.float32) / 8
    values = np.empty((size.images, math.prod(size.grid), size.filters), np.float32)
    for part in np.array_split(values, max(size.images // 256, 1)):
        part[:] = rng.normal(size=(*part.shape[:2], 64)).astype(np.float32) @ mix
        part += rng.normal(size=part.shape).astype(np.float32)
    return StandardizedActivations(values, size.grid), draw_masks(rng, size)


def main(flags: OptimumFlags) -> None:
    """Measure and print."""
    config, key = OptimumConfig(), jax.random.key(0)
    dataset = open_dataset(flags.dataset)
    layer = collect_activations(load_network(flags.network), dataset, flags.layer)
    masks = decode_masks(dataset, "union", cache=False)
    heads = make_segmentation_heads(masks, filters=layer.filters, key=key)
    scale = measure_scale(layer.batches(), ~masks.is_val)
    activations = collect_standardized_activations(layer.batches(), scale, len(layer))
    binary = layer.binary()
    entries = train_entries(heads, masks)
    console = open_console(least_width=100)
    console.print(" · ".join(f"{name} {value}" for name, value in describe_machine().items()))
    _, paper = measure(lambda: train_segmentation_heads(heads, binary, masks))
    l2, choosing = measure(
        lambda: choose_penalties(heads, activations, masks, entries, config, key=key)
    )
    result, training = measure(
        lambda: train_to_optimum(heads, activations, masks, entries, l2, config)
    )
    _, cutting = measure(lambda: choose_levels(result.weights, entries, activations, masks))
    parts = (choosing, training, cutting)
    whole = Seconds(*(sum(getattr(p, n) for p in parts) for n in ("first", "wall", "cpu")))
    console.print(
        tabulate(
            f"{len(heads)} concepts, {len(entries.head)} pairs, {flags.network}/{flags.layer}",
            ("stage", "first call s", "s", "CPU s"),
            [
                paper.row("paper, 30 epochs"),
                choosing.row("converged: penalties"),
                training.row("converged: optimum"),
                cutting.row("converged: levels"),
                whole.row("converged"),
                ["ratio", *(f"{getattr(whole, n) / getattr(paper, n):.2f}×"
                            for n in ("first", "wall", "cpu"))],
            ],
            texts=1,
        )
    )  # fmt: skip
    share = float(np.mean(result.loss_share >= 0.99))
    console.print(
        f"loss share of at least 0.99: {share:.1%} of the heads, smallest "
        f"{result.loss_share.min():.4f}; steps: median {np.median(result.steps):.0f}, most "
        f"{result.steps.max()}"
    )
    some = np.unique(np.linspace(0, len(heads) - 1, flags.sklearn_concepts).astype(int))
    exact = train_to_optimum(
        heads, activations, masks, entries, l2, dataclasses.replace(config, loss_share=0.9999)
    )
    seconds, difference = fit_one_by_one(activations, masks, entries, exact, some)
    console.print(
        f"scikit-learn: {seconds * len(heads) / len(some):.0f} s for {len(heads)} concepts (scaled "
        f"from {len(some)}), ours {training.wall:.1f} s; our loss is above its by at most "
        f"{difference:.1e}"
    )
    rows = []
    for share in SHARES:
        activations, masks = draw_broden(share)
        train, val = masks.count_images()
        kept = np.flatnonzero((train > 0) & (val > 0))
        heads = Heads.of(kept, np.zeros((len(kept), activations.filters), np.float32))
        entries = train_entries(heads, masks)
        start, cpu = time.perf_counter(), time.process_time()
        l2 = choose_penalties(heads, activations, masks, entries, config, key=key)
        choosing = time.perf_counter() - start
        result = train_to_optimum(heads, activations, masks, entries, l2, config)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        rows.append((share, len(entries.head), int(result.steps.max()), choosing, wall, cpu))
    grown = [(rows[1][n] - rows[0][n]) / (rows[1][1] - rows[0][1]) for n in (3, 4, 5)]
    pairs = rows[1][1] / rows[1][0]
    rows.append((1.0, round(pairs), 0, *(
        last + slope * (pairs - rows[1][1])
        for last, slope in zip(rows[1][3:], grown, strict=True)
    )))  # fmt: skip
    console.print(
        tabulate(
            "Broden's size, AlexNet conv5; the last row is extrapolated",
            ("share of images", "train pairs", "most steps", "penalties s", "all s", "CPU s"),
            [[f"{r[0]:g}", f"{r[1]:,}", str(r[2] or ""), *(f"{x:.0f}" for x in r[3:])]
             for r in rows],
        )
    )  # fmt: skip


if __name__ == "__main__":
    run_script(main)
