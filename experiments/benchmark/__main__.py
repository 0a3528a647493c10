"""How fast is every stage beside PyTorch? All sides in turn, on the same data.

  python -m experiments.benchmark --scale small|camvid|broden --out DIR [--dataset BRODEN_DIR]

`small`: 60 drawn scenes, 6 concepts; a minute, to see that all works. `camvid`: a Broden directory
(--dataset) of some thousand images, all stages; about 15 minutes for 1,402 images × 24 concepts ×
112 filters on 2 CPU cores, nearly all in torch. `broden`: training and evaluation on data of
Broden's size (63,305 images, 1,197 concepts, AlexNet's conv5), drawn in memory, and on a tenth and
a third of it; 5 minutes, 6 GB. Without torch only `broden` runs.
PyTorch works once as the original does, concept by concept, and once with all concepts in one
program, as fast as we can write it.
Each side has a process of its own; they take turns, medians over the rounds are told, compilation
apart. Writes the table's numbers to benchmark.json, and figures, to --out.
Expected on 2 x86 cores: see docs/performance.md.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from experiments.benchmark.broden_size import BRODEN_IMAGES, ProblemSize
from experiments.benchmark.measurement import Measurement, describe_machine, print_measurements
from experiments.benchmark.problem import Settings
from experiments.benchmark.workers import Outcome, Worker
from net2vec_jax.core.console import open_bar, open_console, run_script
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.open import open_scenes
from net2vec_jax.probes.segmentation.score_maps import Form

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # matplotlib is for when all is measured

SMALL_IMAGES = 60
PUBLISHED_EPOCHS = 30
SHARES = (0.1, 1 / 3, 1.0)
"""Of Broden's images, whose times show that cost grows with the number of pairs."""


class Stage(NamedTuple):
    """A stage that the sides have a method for.

    Attributes:
      name: in the table.
      method: of the sides.
      unit: of its work.
      tolerance: how much the sides' results may differ; None where they are not compared.
      note: what a reader must know.
      vectorised: the tolerance of torch's vectorised program; None where there is none.
    """

    name: str
    method: str
    unit: str
    tolerance: float | None
    note: str
    vectorised: float | None = None


STAGES = (
    Stage("activations", "activate", "images", None, "both decode the photographs themselves; "
          "torch runs the whole network with a hook, as the original"),
    Stage("decoding", "decoding", "images", None, "photographs and labels, once; torch's side "
          "decodes them one after the other"),
    Stage("thresholds", "quantiles", "values", None, "ours are exact, the original's way is a "
          "streaming sketch, vectorised exact", 1e-6),
    Stage("single filters", "single_filters", "pairs × filters", 0.0, "torch goes label by label "
          "and decodes the masks, as the original; timed on few concepts, scaled", 0.0),
    Stage("training", "segmentation", "pairs", 1e-4, "train images, all epochs; every tensor of "
          "torch in memory, and the time to build them left out, which is part "
          "of ours", 1e-4),
    Stage("training from files", "segmentation_from_files", "pairs", None, "train and val; torch "
          "decodes, builds its tensors and runs val in every epoch, as the original, timed on few "
          "concepts for two epochs, scaled; ours decodes once and evaluates at the end"),
    Stage("evaluation", "evaluation", "pairs", 1e-6, "torch decodes the masks, as the original; "
          "timed on few concepts, scaled", 1e-6),
    Stage("classification", "classification", "images", 1e-4, "all epochs; torch's activations in "
          "memory; vectorised: pooled, and images drawn beforehand, which ours draws", 1e-4),
)  # fmt: skip
WHOLE = "end to end"
PARTS_OF_WHOLE = (
    "activations", "thresholds", "single filters", "training from files", "evaluation"
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
    """Flags of the benchmark.

    Attributes:
      out: folder for benchmark.json and the figures.
      scale: what is measured, see above.
      dataset: a Broden directory, for the scale camvid.
      layer: of EfficientNet-Lite0.
      epochs: passes over each concept's train images; by default 2 (small, broden) or 30 (camvid).
      rounds: how often each side runs a stage, in turn; by default 1 (small), 3.
      few_concepts: concepts that torch does where all would take too long.
      seed: of initial weights and drawn data.
      form: how ours reads binary activations; by default what suits the backend.
    """

    out: Path
    scale: Literal["small", "camvid", "broden"] = "small"
    dataset: str | None = None
    layer: str = "block10"
    epochs: int | None = None
    rounds: int | None = None
    few_concepts: int = 1
    seed: int = 0
    form: Form | None = None


class Report(NamedTuple):
    """What is printed and written."""

    measured: list[Measurement]
    sizes: dict[str, Any]
    disagreements: dict[str, float]
    figures: dict[str, Figure]


def compare_stages(flags: BenchmarkFlags, settings: Settings, rounds: int) -> Report:
    """All stages on all sides."""
    sides = {
        "ours": Worker("experiments.benchmark.ours:OurSide", settings),
        "torch": Worker("experiments.benchmark.torch_side:TorchSide", settings),
        "vectorised": Worker("experiments.benchmark.vectorised_side:VectorisedSide", settings),
    }
    measured: dict[str, Measurement] = {}
    differences: dict[str, float] = {}
    disagreements: dict[str, float] = {}
    bar = open_bar("stages", total=(len(STAGES) + 1) * rounds, unit="round", delay=0)
    try:
        for stage in STAGES:
            bar.set_description(stage.name)
            tolerances = {"torch": stage.tolerance, "vectorised": stage.vectorised}
            first = sides["ours"].run(stage.method)
            if stage.vectorised is None:
                del tolerances["vectorised"]
            else:
                sides["vectorised"].run(stage.method)  # warms up, as ours has
            turns: dict[str, list[Outcome]] = {name: [] for name in ("ours", *tolerances)}
            for _ in range(rounds):
                for name, outcomes in turns.items():
                    outcomes.append(sides[name].run(stage.method))
                bar.update()
            measured[stage.name] = _measure(stage, first, turns)
            for name, tolerance in tolerances.items():
                if tolerance is not None:
                    mine, other = (
                        np.asarray(turns[side][-1].result, float) for side in ("ours", name)
                    )
                    what = stage.name + (", vectorised" if name == "vectorised" else "")
                    differences[what] = float(np.abs(mine - other).max(initial=0))
                    if not differences[what] <= tolerance:
                        disagreements[what] = differences[what]
        bar.set_description(WHOLE)
        whole = []
        for _ in range(rounds):
            whole.append(sides["ours"].run("whole"))
            bar.update()
        sizes = {}
        for side in sides.values():
            sizes |= side.run("describe").result
    finally:
        bar.close()
        for side in sides.values():
            side.stop()
    parts = [measured[name] for name in PARTS_OF_WHOLE]
    measured[WHOLE] = Measurement(
        WHOLE, "runs", 1.0, [each.seconds for each in whole],
        np.median([each.seconds for each in whole]) + sum(m.compile_seconds for m in parts),
        [sum(part.torch_seconds for part in parts)], 1.0,
        max((each.peak_memory or 0 for each in whole), default=0) or None,
        note=f"from files to the tables of IoUs; torch: the sum of {', '.join(PARTS_OF_WHOLE)}",
    )  # fmt: skip
    listed = list(measured.values())
    from net2vec_jax.plots.speed import plot_stages

    figure = plot_stages(
        [each.stage for each in listed],
        {
            "net2vec_jax": [each.ours_seconds for each in listed],
            "PyTorch, as the original": [each.torch_seconds for each in listed],
            "PyTorch, vectorised": [each.vectorised_seconds for each in listed],
        },
    )
    sizes["largest differences"] = differences
    return Report(listed, sizes, disagreements, {"stages": figure})


def _measure(stage: Stage, first: Outcome, turns: dict[str, list[Outcome]]) -> Measurement:
    seconds = {name: [each.seconds for each in outcomes] for name, outcomes in turns.items()}
    memory = {name: max(each.peak_memory or 0 for each in turns[name]) or None for name in turns}
    return Measurement(
        stage.name, stage.unit, turns["ours"][0].work, seconds["ours"], first.seconds,
        seconds["torch"], turns["torch"][0].work, memory["ours"], memory["torch"],
        seconds.get("vectorised", []), stage.note,
    )  # fmt: skip


def measure_broden(flags: BenchmarkFlags, rounds: int) -> Report:
    """Training and evaluation at three sizes, the largest of which is Broden's."""
    epochs = max(flags.epochs or 2, 2)
    measured, sizes, scaling = [], {}, []
    with_torch = importlib.util.find_spec("torch") is not None
    for share in SHARES:
        size = ProblemSize(images=round(BRODEN_IMAGES * share))
        is_whole = share == SHARES[-1]
        worker = Worker("experiments.benchmark.broden:BrodenSide", size, flags.seed, flags.form)
        try:
            trained = worker.run("train", epochs if is_whole else 3)
            sizes[f"{size.images:,} images"] = worker.run("describe").result
            evaluated = worker.run("evaluate")
        finally:
            worker.stop()
        seconds = trained.result.tolist()
        pairs = trained.work / len(seconds)
        scaling.append((pairs, float(np.median(seconds[1:]))))
        torch_runs: list[Outcome] = []
        if is_whole and with_torch:
            small = ProblemSize(images=round(BRODEN_IMAGES * SHARES[0]))
            worker = Worker("experiments.benchmark.broden:TorchBrodenSide", small, flags.seed)
            try:
                torch_runs = [worker.run("train_few", 3, flags.few_concepts) for _ in range(rounds)]
            finally:
                worker.stop()
        extrapolated = seconds[0] + scaling[-1][1] * (PUBLISHED_EPOCHS - 1)
        note = (
            f"{pairs:,.0f} pairs an epoch, {1e6 * scaling[-1][1] / pairs:.1f} µs each; "
            f"{PUBLISHED_EPOCHS} epochs would take {extrapolated:,.0f} s"
        )
        if len(seconds) >= PUBLISHED_EPOCHS:
            note += f"; {len(seconds)} took {trained.seconds:,.0f} s"
        measured.append(
            Measurement(
                f"an epoch, {size.images:,} images", "pairs", pairs, seconds[1:], seconds[0],
                [each.seconds for each in torch_runs],
                torch_runs[0].work if torch_runs else 1.0,
                trained.peak_memory, note=note,
            )
        )  # fmt: skip
        measured.append(
            Measurement(
                f"evaluation, {size.images:,} images", "pairs", evaluated.work,
                [evaluated.seconds], evaluated.seconds, ours_memory=evaluated.peak_memory,
                note="one run, with compilation" if is_whole else "",
            )
        )  # fmt: skip
    pairs, seconds = zip(*scaling, strict=True)
    from net2vec_jax.plots.speed import plot_scaling

    figure = plot_scaling(pairs, seconds, label=str(describe_machine()["processor"]))
    return Report(measured, sizes, {}, {"scaling": figure})


def make_settings(flags: BenchmarkFlags, folder: Path) -> Settings:
    """What the scales small and camvid stand for."""
    if flags.scale == "small":
        open_scenes(folder / "scenes", images=SMALL_IMAGES)
        dataset, epochs, concepts = str(folder / "scenes"), flags.epochs or 2, 6
    else:
        if flags.dataset is None:
            raise Net2VecError("--scale camvid needs --dataset, a Broden directory")
        dataset, epochs, concepts = flags.dataset, flags.epochs or PUBLISHED_EPOCHS, None
    return Settings(
        dataset, flags.layer, epochs, concepts, flags.few_concepts, flags.seed, folder, flags.form
    )


def main(flags: BenchmarkFlags) -> None:
    """Measure, print, write; exit with 1 if the two sides disagree."""
    rounds = flags.rounds or (1 if flags.scale == "small" else 3)
    if rounds < 1 or (flags.epochs or 1) < 1 or flags.few_concepts < 1:
        raise Net2VecError("--rounds, --epochs and --few-concepts must be at least 1")
    if flags.scale != "broden" and importlib.util.find_spec("torch") is None:
        raise Net2VecError(
            "PyTorch is not installed, and --scale small and camvid compare with it: pip install "
            "-r requirements-dev.txt"
        )
    if jax.process_count() > 1:
        raise Net2VecError("the benchmark is of one host; unset the variables of several hosts")
    make_folder(flags.out)
    with tempfile.TemporaryDirectory() as folder:
        if flags.scale == "broden":
            report = measure_broden(flags, rounds)
        else:
            report = compare_stages(flags, make_settings(flags, Path(folder)), rounds)
    machine = describe_machine()
    console = open_console(least_width=140)
    print_measurements(console, report.measured)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
    for name, value in report.sizes.items():
        console.print(f"{name}: {value}", highlight=False)
    content = {
        "settings": dataclasses.asdict(flags) | {"rounds": rounds},
        "machine": machine,
        "sizes": report.sizes,
        "stages": [dataclasses.asdict(each) | each.summarise() for each in report.measured],
    }
    text = json.dumps(content, indent=2, default=str)
    (flags.out / "benchmark.json").write_text(text + "\n", encoding="utf-8")
    from net2vec_jax.plots.paper_style import write_figure

    for name, figure in report.figures.items():
        write_figure(figure, flags.out / f"{name}.png", dpi=160)
    for name, difference in report.disagreements.items():
        print(f"error: the two sides disagree on {name}, by {difference:.1e}", file=sys.stderr)
    if report.disagreements:
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
