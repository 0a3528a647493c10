"""How often do intervals hold the truth, and how often do tests find what is not there?

  python -m experiments.benchmark.coverage [--tables set-iou accuracy films tests accuracy-tests]

Draws the pixel counts of many val sets whose true scores are known, and prints the tables of
docs/statistics.md as markdown. A concept's image has an object of log-normal area, found to a share
that is logistic-normal, and false pixels beside it; regimes differ in these numbers only.
Time: 6 minutes on 2 CPU cores. Expected: docs/statistics.md; a frequency among 1,000 val sets
has a standard error of 0.7 % at 95 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from net2vec_jax.core.console import run_script
from net2vec_jax.stats.intervals import (
    bootstrap_accuracy,
    bootstrap_set_iou,
    compare_accuracies,
    compare_set_ious,
)
from net2vec_jax.stats.overlap import Overlap

Table = Literal["set-iou", "accuracy", "films", "tests", "accuracy-tests"]
IMAGES = (5, 10, 20, 40, 100)

IMAGE_PIXELS = 112 * 112


@dataclasses.dataclass(frozen=True)
class Regime:
    """How a concept looks in its images, and how well it is found.

    Attributes:
      area: median area of the object in pixels.
      spread: standard deviation of the logarithm of the area.
      hit: share of images in which the object is found.
      recall: median of the found share of the object's pixels, as a logit.
      slope: what a standard deviation of the area adds to that logit.
      luck: standard deviation of that logit otherwise.
      exact: share of images in which all is exactly right.
      missed: the same logit where the object is not found; -inf for no pixel.
      false_rate: share of images with false pixels.
      false_area: their median number.
      false_spread: standard deviation of the logarithm of that number.
    """

    area: float = IMAGE_PIXELS
    spread: float = 0.0
    hit: float = 1.0
    recall: float = 0.0
    slope: float = 0.0
    luck: float = 1.0
    exact: float = 0.0
    missed: float = -np.inf
    false_rate: float = 0.0
    false_area: float = 0.0
    false_spread: float = 0.0


REGIMES = {
    "typical": Regime(
        600, 1.0, recall=0.3, slope=0.4, false_rate=1, false_area=400, false_spread=0.9
    ),
    "rare 15 %": Regime(
        500, 1.0, hit=0.15, recall=-1.5, false_rate=0.4, false_area=130, false_spread=0.7
    ),
    "rare 5 %": Regime(
        500, 1.0, hit=0.05, recall=-1.5, false_rate=0.4, false_area=130, false_spread=0.7
    ),
    "whole image": Regime(hit=0.95, recall=3.3, luck=0.9, missed=-2.0),
    "nearly perfect": Regime(recall=1.5, luck=0.7, exact=0.9),
    "tiny": Regime(4, 0.8, hit=0.3, recall=9.0, luck=0.1, false_rate=0.8, false_area=90,
                   false_spread=0.6),
    "tiny and rare": Regime(25, 1.0, hit=0.08, recall=-0.4, luck=0.9, false_rate=0.08,
                            false_area=20, false_spread=1.0),
    "all or nothing": Regime(1500, 0.8, hit=0.5, recall=2.5, false_rate=0.5, false_area=300,
                             false_spread=0.8),
    "part": Regime(150, 1.2, hit=0.7, recall=-1.0, slope=0.3, luck=1.3, false_rate=0.9,
                   false_area=250, false_spread=1.0),
    "few huge images": Regime(200, 1.6, recall=-0.5, slope=0.8, false_rate=1, false_area=80,
                              false_spread=1.6),
}  # fmt: skip


def draw_luck(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cluster_size: int = 1,
    correlation: float = 0.0,
) -> Float[np.ndarray, "5 G n"]:
    """Draw five standard normal numbers per image, which decide its pixel counts.

    They are for the area, the recall, hit or miss, false pixels or none, and how many. Consecutive
    images of a cluster (the frames of a film) are correlated in all of them.
    """
    groups, images = shape
    own = rng.normal(size=(5, groups, images))
    if cluster_size == 1:
        return own
    common = rng.normal(size=(5, groups, -(-images // cluster_size)))
    common = np.repeat(common, cluster_size, axis=2)[:, :, :images]
    return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own


def count_pixels(
    regime: Regime, luck: Float[np.ndarray, "5 G n"]
) -> tuple[Float[np.ndarray, "G n"], Float[np.ndarray, "G n"]]:
    """Intersections and unions, whole numbers, of images with this luck."""
    size, share, hit, false, amount = luck
    area = np.clip(np.rint(regime.area * np.exp(regime.spread * size)), 1, IMAGE_PIXELS)
    found = ndtri(regime.hit) > hit
    logit = np.where(found, regime.recall, regime.missed) + regime.slope * size
    intersection = np.rint(area * expit(logit + regime.luck * share))
    exact = ndtri(1 - regime.exact) < hit
    beside = regime.false_area * np.exp(regime.false_spread * amount)
    beside = np.where((ndtri(regime.false_rate) > false) & ~exact, np.rint(beside), 0)
    union = area + np.minimum(beside, IMAGE_PIXELS - area)
    return np.where(exact, area, intersection), union


def true_iou(regime: Regime, images: int = 1_000_000) -> float:
    """Set IoU of very many images."""
    intersection, union = count_pixels(regime, draw_luck(np.random.default_rng(0), (1, images)))
    return float(intersection.sum() / union.sum())


PAIRS = {
    "typical": (REGIMES["typical"],) * 2,
    "rare": (REGIMES["rare 15 %"],) * 2,
    "whole image": (REGIMES["whole image"],) * 2,
    "few huge images": (REGIMES["few huge images"],) * 2,
    "timid against bold": (
        Regime(500, 0.8, 0.8, -1.5, 0.4, false_rate=0.86, false_area=60, false_spread=0.9),
        Regime(500, 0.8, 1.0, 0.0, 0.4, false_rate=1, false_area=800, false_spread=0.9),
    ),
    "rare against always": (
        Regime(500, 0.8, 0.2, -0.5, 0.4, false_rate=0.44, false_area=270, false_spread=0.9),
        Regime(500, 0.8, 1.0, 0.0, 0.4, false_rate=1, false_area=1600, false_spread=0.9),
    ),
}
"""Two probes of one true IoU: the second one's recall is moved until it has the first one's."""


@dataclasses.dataclass(frozen=True)
class CoverageFlags:
    """Flags of the coverage simulation.

    Attributes:
      tables: which tables to print.
      sets: val sets drawn per cell of a table.
      samples: bootstrap samples per interval.
      images: numbers of images per val set.
    """

    tables: tuple[Table, ...] = ("set-iou", "accuracy", "films", "tests", "accuracy-tests")
    sets: int = 1000
    samples: int = 500
    images: tuple[int, ...] = IMAGES


def flatten(counts: tuple[np.ndarray, np.ndarray]) -> tuple[Overlap, np.ndarray]:
    """Counts [G, n] as entries [G · n], and the group of each."""
    groups, images = counts[0].shape
    return Overlap(*(each.reshape(-1) for each in counts)), np.repeat(np.arange(groups), images)


def describe(interval: tuple[np.ndarray, np.ndarray], truth: float) -> str:
    """Coverage in % and median width."""
    low, high = interval
    covered = 100 * ((low <= truth) & (truth <= high)).mean()
    return f"{covered:.0f} ({np.median(high - low):.2f})"


def tabulate_set_iou(flags: CoverageFlags) -> Iterator[list[str]]:
    """Rows of the coverage of set IoU: regimes by numbers of images."""
    yield ["regime", "true IoU", *(str(images) for images in flags.images)]
    for name, regime in REGIMES.items():
        truth, cells = true_iou(regime), []
        for images in flags.images:
            luck = draw_luck(np.random.default_rng(images), (flags.sets, images))
            overlap, group = flatten(count_pixels(regime, luck))
            key = jax.random.key(images)
            interval = bootstrap_set_iou(overlap, group, flags.sets, key=key, samples=flags.samples)
            cells.append(describe(interval, truth))
        yield [name, f"{truth:.3f}", *cells]


def tabulate_accuracy(flags: CoverageFlags) -> Iterator[list[str]]:
    """Rows of the coverage of accuracy: accuracies of the two halves by numbers of images."""
    yield ["positives", "negatives", *(str(images) for images in flags.images)]
    for halves in [(0.5, 0.5), (0.8, 0.8), (0.6, 0.95), (0.94, 0.94), (0.99, 0.99)]:
        cells = []
        for images in flags.images:
            stratum = np.tile(np.arange(images) % 2, flags.sets)
            correct = np.random.default_rng(images).random(len(stratum)) < np.take(halves, stratum)
            group = np.repeat(np.arange(flags.sets), images)
            interval = bootstrap_accuracy(
                correct, group, flags.sets,
                stratum=stratum, key=jax.random.key(images), samples=flags.samples,
            )  # fmt: skip
            share = (images + 1) // 2 / images
            cells.append(describe(interval, share * halves[0] + (1 - share) * halves[1]))
        yield [*(str(half) for half in halves), *cells]


def tabulate_films(flags: CoverageFlags) -> Iterator[list[str]]:
    """Rows of the coverage of film frames, with images and with films as units."""
    truth = true_iou(REGIMES["typical"])
    yield ["films × frames", "correlation", "IoU, images", "IoU, films", "accuracy, images",
           "accuracy, films"]  # fmt: skip
    for films, frames in [(20, 2), (40, 5), (5, 30), (10, 30), (20, 30)]:
        for correlation in (0.3, 0.6, 0.9):
            rng, shape = np.random.default_rng(films), (flags.sets, films * frames)
            luck = draw_luck(rng, shape, cluster_size=frames, correlation=correlation)
            overlap, group = flatten(count_pixels(REGIMES["typical"], luck))
            right = (luck[1] < ndtri(0.8)).reshape(-1)
            film = np.tile(np.repeat(np.arange(films), frames), flags.sets)
            cells = []
            for cluster in (None, film):
                how = {"cluster": cluster, "key": jax.random.key(0), "samples": flags.samples}
                cells.append(describe(bootstrap_set_iou(overlap, group, flags.sets, **how), truth))
                cells.append(describe(bootstrap_accuracy(right, group, flags.sets, **how), 0.8))
            yield [f"{films} × {frames}", str(correlation), *cells[::2], *cells[1::2]]


def equalise(first: Regime, second: Regime) -> Regime:
    """Move the second regime's recall until its set IoU is the first one's."""
    luck, truth = draw_luck(np.random.default_rng(0), (1, 300_000)), true_iou(first)

    def excess(recall: float) -> float:
        counts = count_pixels(dataclasses.replace(second, recall=recall), luck)
        return counts[0].sum() / counts[1].sum() - truth

    return dataclasses.replace(second, recall=brentq(excess, -12, 8, xtol=1e-3))


def draw_pair(
    rng: np.random.Generator, first: Regime, second: Regime, shape: tuple[int, int]
) -> tuple[Overlap, Overlap, np.ndarray]:
    """Counts of two probes on the same objects, half of whose luck they share, and the groups."""
    one, other = draw_luck(rng, shape), draw_luck(rng, shape)
    other = np.sqrt(0.5) * (one + other)
    other[0] = one[0]
    a, group = flatten(count_pixels(first, one))
    return a, flatten(count_pixels(second, other))[0], group


def tabulate_tests(flags: CoverageFlags) -> Iterator[list[str]]:
    """Rows of how often set IoUs are called different: equal ones, and one row of unequal ones."""
    yield ["probes", *(str(images) for images in flags.images)]
    pairs = {name: (one, equalise(one, other)) for name, (one, other) in PAIRS.items()}
    typical = REGIMES["typical"]
    pairs["typical, 0.40 against 0.46"] = typical, dataclasses.replace(typical, recall=0.9)
    pairs["rare, 0.03 against 0.11"] = (
        REGIMES["rare 15 %"],
        dataclasses.replace(REGIMES["rare 15 %"], recall=1.5),
    )
    for name, pair in pairs.items():
        cells = []
        for images in flags.images:
            rng = np.random.default_rng(images)
            a, b, group = draw_pair(rng, *pair, (flags.sets, images))
            result = compare_set_ious(
                a, b, group, flags.sets, key=jax.random.key(images), samples=flags.samples
            )
            cells.append(f"{100 * (result.p_value <= 0.05).mean():.1f}")
        yield [name, *cells]


def tabulate_accuracy_tests(flags: CoverageFlags) -> Iterator[list[str]]:
    """Rows of how often accuracies are called different, and the coverage of the difference."""
    yield ["right in a only", "right in b only", *(str(images) for images in flags.images)]
    for more, less in [(0.15, 0.15), (0.05, 0.05), (0.01, 0.01), (0.2, 0.1)]:
        cells = []
        for images in flags.images:
            uniform = np.random.default_rng(images).random(flags.sets * images)
            group = np.repeat(np.arange(flags.sets), images)
            stratum = np.tile(np.arange(images) % 2, flags.sets)
            both = uniform > more + less  # the others are right in one of them
            result = compare_accuracies(
                both | (uniform < more), both | (uniform >= more), group, flags.sets,
                stratum=stratum, key=jax.random.key(images), samples=flags.samples,
            )  # fmt: skip
            found = 100 * (result.p_value <= 0.05).mean()
            interval = describe((result.low, result.high), more - less)
            cells.append(f"{found:.1f}; {interval}")
        yield [str(more), str(less), *cells]


TABULATE = {
    "set-iou": tabulate_set_iou,
    "accuracy": tabulate_accuracy,
    "films": tabulate_films,
    "tests": tabulate_tests,
    "accuracy-tests": tabulate_accuracy_tests,
}


def main(flags: CoverageFlags) -> None:
    """Simulate and print."""
    for table in flags.tables:
        print(f"\n{table}\n")
        for line, row in enumerate(TABULATE[table](flags)):
            print(f"| {' | '.join(row)} |", flush=True)
            if line == 0:
                print("|---" * len(row) + "|")


if __name__ == "__main__":
    run_script(main)
