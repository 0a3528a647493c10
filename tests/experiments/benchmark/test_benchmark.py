"""The benchmark measures both sides, scales what torch did in part, and notices disagreement."""

import json

import numpy as np
import pytest
from rich.console import Console

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark.broden_size import ProblemSize
from experiments.benchmark.measurement import Measurement, print_measurements
from experiments.benchmark.workers import Outcome, Worker, read_peak_memory, reset_peak_memory
from net2vec_jax.core.errors import Net2VecError


class Counter:
    """A side for the tests."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise Net2VecError("the start must not be negative")
        self.value = start

    def add(self, amount: int) -> Outcome:
        self.value += amount
        return Outcome(0.5, amount, np.array([self.value]))

    def fill(self, megabytes: int) -> Outcome:
        return Outcome(0.0, float(np.ones(megabytes * 2**17).sum()))

    def refuse(self) -> Outcome:
        raise Net2VecError("no")

    def fail(self) -> Outcome:
        raise ZeroDivisionError("a mistake")

    def end(self) -> Outcome:
        raise SystemExit(3)


def start_worker(start: int) -> Worker:
    return Worker("tests.experiments.benchmark.test_benchmark:Counter", start)


def test_a_worker_keeps_its_side_and_measures_memory() -> None:
    worker = start_worker(3)
    assert worker.run("add", 4).result.tolist() == [7]
    outcome = worker.run("add", 5)
    assert (outcome.seconds, outcome.work, outcome.result.tolist()) == (0.5, 5, [12])
    if outcome.peak_memory is not None:
        assert worker.run("fill", 200).peak_memory > outcome.peak_memory + 150e6
        assert worker.run("add", 0).peak_memory < outcome.peak_memory + 100e6  # that peak is past
    worker.stop()


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        ("refuse", Net2VecError, "^no$"),
        ("fail", RuntimeError, "ZeroDivisionError: a mistake"),
        ("end", Net2VecError, "ended unexpectedly"),
    ],
)
def test_errors_of_a_side_arrive(method: str, error: type, message: str) -> None:
    worker = start_worker(0)
    with pytest.raises(error, match=message):
        worker.run(method)
    worker.stop()


def test_a_side_that_cannot_be_made() -> None:
    with pytest.raises(Net2VecError, match="must not be negative"):
        start_worker(-1)


def test_peak_memory_is_of_this_process() -> None:
    reset_peak_memory()
    peak = read_peak_memory()
    assert peak is None or 10e6 < peak < 100e9


def test_torch_is_scaled_to_the_work_of_ours() -> None:
    measured = Measurement(
        "training", "pairs", 1000.0, [2.0, 1.0, 4.0], 5.0, [3.0, 30.0, 6.0], 10.0, 10**8, 2 * 10**8
    )
    assert measured.ours_seconds == 2
    assert measured.torch_seconds == 600
    assert measured.compile_seconds == 3
    summary = measured.summarise()
    assert summary["ratio"] == 300
    assert summary["ours_work_per_second"] == 500
    alone = Measurement("training", "pairs", 10.0, [2.0], 1.0)
    assert alone.compile_seconds == 0
    assert alone.summarise()["ratio"] is None
    console = Console(width=140, record=True)
    print_measurements(console, [measured, alone])
    text = console.export_text()
    assert "300×" in text
    assert "500 pairs" in text


def test_a_small_part_of_broden_is_measured(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(benchmark, "BRODEN_IMAGES", 120)
    monkeypatch.setattr(benchmark, "SHARES", (0.5, 1.0))
    small = {"filters": 16, "concept_share": 0.01}
    monkeypatch.setattr(
        benchmark, "ProblemSize", lambda images: ProblemSize(images=images, **small)
    )
    flags = benchmark.BenchmarkFlags(
        tmp_path / "out", scale="broden", epochs=2, rounds=1, form="dense"
    )  # as accelerators read them
    benchmark.main(flags)
    written = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    names = [stage["stage"] for stage in written["stages"]]
    assert names == [
        f"{what}, {images} images" for images in (60, 120) for what in ("an epoch", "evaluation")
    ]
    epoch = written["stages"][2]
    sizes = written["sizes"]["120 images"]
    assert epoch["work"] == sizes["train pairs"] > 0
    assert written["stages"][3]["work"] == sizes["pairs"] > sizes["train pairs"]
    assert len(epoch["ours"]) == 1  # of two epochs, the first holds compilation
    assert "30 epochs would take" in epoch["note"]
    assert (tmp_path / "out" / "scaling.png").stat().st_size > 5000
    assert "µs each" in capsys.readouterr().out


def test_disagreement_is_an_error(tmp_path, monkeypatch, capsys) -> None:
    report = benchmark.Report([], {}, {"training": 0.25}, {})
    monkeypatch.setattr(benchmark, "compare_stages", lambda *_: report)
    monkeypatch.setattr(benchmark, "make_settings", lambda *_: None)
    with pytest.raises(SystemExit, match="1"):
        benchmark.main(benchmark.BenchmarkFlags(tmp_path))
    assert "disagree on training, by 2.5e-01" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"scale": "camvid"}, "needs --dataset"),
        ({"rounds": -1}, "at least 1"),
        ({"epochs": -1}, "at least 1"),
    ],
)
def test_flags_that_make_no_sense(tmp_path, flags: dict, message: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(Net2VecError, match=message):
        benchmark.main(benchmark.BenchmarkFlags(tmp_path, **flags))
