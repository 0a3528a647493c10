"""How many discoveries of `single_vs_embedding`'s test are false, and how many true ones it finds?

  python -m experiments.benchmark.false_discoveries

Draws the pixel counts of two probes on the val images of many concepts, tests every concept with
`compare_set_ious`, and holds the false discovery rate at 0.05 over the concepts of a data set. In
the null cases both probes have the same population set IoU. Prints two markdown tables: the rate of
false discoveries and the power by regime, and what pooling two kinds of label does.
Time: 4 minutes on 2 CPU cores. Expected: at most about 0.05 false discoveries; several times more
where film frames count as independent images.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import expit

from net2vec_jax.core.console import run_script
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import compare_set_ious
from net2vec_jax.stats.overlap import Overlap

RATE = 0.05


@dataclasses.dataclass(frozen=True)
class Probe:
    """How a probe marks a concept."""

    recall: float = 0.0  # logit of its median over images
    false_pixels: float = 0.8  # of the object's area, median over images
    silent: float = 0.0  # share of the images where it marks nothing


@dataclasses.dataclass(frozen=True)
class Regime:
    """How images and probes of a data set hang together."""

    between_concepts: float = 0.0  # correlation of an image's luck between concepts
    within_film: float = 0.0  # correlation of luck between frames of one film
    frames: int = 1  # of a film
    is_summed: bool = True  # whether a film is resampled as a whole
    pair: tuple[Probe, Probe] = (Probe(), Probe())


EVEN = Regime()
SILENT = (Probe(1.0, 0.8, 0.6), Probe(-1.0, 3.0))
REGIMES = {
    "independent concepts": EVEN,
    "concepts on the same images, correlation 0.8": Regime(between_concepts=0.8),
    "films of 10 frames, resampled as films": Regime(0.4, 0.5, frames=10),
    "the same, resampled as frames": Regime(0.4, 0.5, frames=10, is_summed=False),
    "silent on 60 % of the images against never": Regime(pair=SILENT),
    "the same, on the same images, 0.8": Regime(between_concepts=0.8, pair=SILENT),
}


@dataclasses.dataclass(frozen=True)
class DiscoveryFlags:
    """Flags of the simulation.

    Attributes:
      sets: simulated data sets per cell.
      concepts: of a data set.
      images: val images (or films) of every concept.
      difference: of the logits of the probes' recalls where they differ.
      samples: of the bootstrap.
      seed: of everything.
    """

    sets: int = 500
    concepts: int = 20
    images: int = 30
    difference: float = 1.0
    samples: int = 1000
    seed: int = 0


def draw_luck(
    rng: np.random.Generator, shape: tuple[int, int, int, int], regime: Regime
) -> Float[np.ndarray, "sets concepts films frames"]:
    """Standard normal numbers, correlated between concepts and within films."""
    sets, concepts, films, frames = shape
    rest = 1 - regime.between_concepts - regime.within_film
    return (
        np.sqrt(regime.between_concepts) * rng.standard_normal((sets, 1, films, frames))
        + np.sqrt(regime.within_film) * rng.standard_normal((sets, concepts, films, 1))
        + np.sqrt(rest) * rng.standard_normal(shape)
    )


def mark(
    rng: np.random.Generator, probe: Probe, area: np.ndarray, luck: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of every image, in pixels."""
    speaks = rng.random(area.shape) >= probe.silent
    intersection = area * speaks * expit(probe.recall + 0.8 * luck)
    spread = np.exp(0.6 * rng.standard_normal(area.shape))
    return np.rint(intersection), np.rint(area * (1 + speaks * probe.false_pixels * spread))


def measure_population(probe: Probe) -> float:
    """Set IoU over a million images."""
    rng = np.random.default_rng(1)
    area, luck = np.exp(6 + 0.8 * rng.standard_normal(10**6)), rng.standard_normal(10**6)
    intersection, union = mark(rng, probe, area, luck)
    return float(intersection.sum() / union.sum())


def equalise(one: Probe, other: Probe) -> Probe:
    """The other probe, with the recall that gives the population set IoU of the first."""
    if one == other:
        return other
    goal = measure_population(one)
    recall = brentq(
        lambda recall: measure_population(dataclasses.replace(other, recall=recall)) - goal,
        -8, 8, xtol=1e-3,
    )  # fmt: skip
    return dataclasses.replace(other, recall=recall)


def draw_p_values(
    flags: DiscoveryFlags, regime: Regime, is_null: np.ndarray
) -> Float[np.ndarray, "sets concepts"]:
    """p-values of every concept of every data set; those that are not null differ in recall."""
    rng = np.random.default_rng(flags.seed)
    shape = (flags.sets, flags.concepts, flags.images, regime.frames)
    one, other = regime.pair[0], equalise(*regime.pair)
    area = np.exp(6 + 0.8 * draw_luck(rng, shape, regime))
    luck = draw_luck(rng, shape, regime)  # what both probes find hard

    def draw(probe: Probe) -> list[np.ndarray]:
        own = (luck + draw_luck(rng, shape, regime)) / np.sqrt(2)
        return list(mark(rng, probe, area, own))

    a, b = draw(one), draw(other)
    better = draw(dataclasses.replace(other, recall=other.recall + flags.difference))
    b = [np.where(is_null[:, None, None], *pair) for pair in zip(b, better, strict=True)]
    if regime.is_summed:
        a, b = ([values.sum(axis=-1) for values in side] for side in (a, b))
    groups = flags.sets * flags.concepts
    group = np.repeat(np.arange(groups), a[0].size // groups)
    overlaps = (Overlap(*(values.ravel() for values in side)) for side in (b, a))
    compared = compare_set_ious(
        *overlaps, group, groups, key=jax.random.key(flags.seed), samples=flags.samples
    )
    return compared.p_value.reshape(flags.sets, flags.concepts)


def count_discoveries(p_values: np.ndarray, is_null: np.ndarray) -> tuple[float, float, float]:
    """False discovery rate, how often there is any false one, and the power (NaN without one)."""
    rejected = np.stack([control_false_discoveries(row, rate=RATE).rejected for row in p_values])
    false = (rejected & is_null).sum(axis=1)
    rate = (false / np.maximum(rejected.sum(axis=1), 1)).mean()
    power = rejected[:, ~is_null].mean() if not is_null.all() else np.nan
    return float(rate), float((false > 0).mean()), float(power)


def pool_families(flags: DiscoveryFlags, nulls: int = 94, sure: int = 24) -> list[list[str]]:
    """Rows: true nulls beside sure discoveries of another kind, in one family and in two."""
    rng = np.random.default_rng(flags.seed)
    p_values = np.full((flags.sets, nulls + sure), 1 / (flags.samples + 1))
    p_values[:, :nulls] = rng.random((flags.sets, nulls))
    kind = np.arange(nulls + sure) < nulls
    rows = []
    for name, family in (("one family", None), ("a family per kind", kind)):
        rejected = np.stack(
            [control_false_discoveries(row, family=family).rejected for row in p_values]
        )[:, :nulls]
        any_false, mean = rejected.any(axis=1).mean(), rejected.sum(axis=1).mean()
        rows.append([name, f"{any_false:.3f}", f"{mean:.2f}"])
    return rows


def main(flags: DiscoveryFlags) -> None:
    """Simulate and print."""
    print("| regime | true nulls | false discoveries | any false one | power |")
    print("|---|---|---|---|---|")
    for name, regime in REGIMES.items():
        for share in (1.0, 0.7):
            is_null = np.arange(flags.concepts) < round(share * flags.concepts)
            p_values = draw_p_values(flags, regime, is_null)
            rate, any_false, power = count_discoveries(p_values, is_null)
            power_text = "" if np.isnan(power) else f"{power:.2f}"
            print(
                f"| {name} | {share:.0%} | {rate:.3f} | {any_false:.3f} | {power_text} |",
                flush=True,
            )
    print("\n| 94 true nulls, 24 sure discoveries of another kind | any false one | false ones |")
    print("|---|---|---|")
    for row in pool_families(flags):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    run_script(main)
