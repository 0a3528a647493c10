"""Times of ours beside torch's: medians over rounds, a table, the machine that they hold for."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from rich.console import Console

from net2vec_jax.core.console import tabulate
from net2vec_jax.core.devices import count_cores

R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One stage, measured on both sides.

    Attributes:
      stage: what was done.
      unit: what its work is counted in.
      work: how much one run of ours does.
      ours: seconds of each round, without compilation.
      ours_first: seconds of ours' first call, compilation included.
      torch: seconds of each round; empty where torch was not run.
      torch_work: how much one run of torch does; its time is scaled to `work`.
      ours_memory: bytes that ours' process held at most; None where it cannot be told.
      torch_memory: the same of torch's.
      vectorised: seconds of each round of torch with all concepts in one program, which does all of
        `work`; empty where there is no such program.
      note: what a reader must know to judge the numbers.
    """

    stage: str
    unit: str
    work: float
    ours: list[float]
    ours_first: float
    torch: list[float] = dataclasses.field(default_factory=list)
    torch_work: float = 1.0
    ours_memory: int | None = None
    torch_memory: int | None = None
    vectorised: list[float] = dataclasses.field(default_factory=list)
    note: str = ""

    @property
    def ours_seconds(self) -> float:
        """Median over the rounds."""
        return float(np.median(self.ours))

    @property
    def torch_seconds(self) -> float:
        """Median over the rounds, scaled to ours' work; NaN where torch was not run."""
        return float(np.median(self.torch)) * self.work / self.torch_work if self.torch else np.nan

    @property
    def vectorised_seconds(self) -> float:
        """Median over the rounds; NaN where there is no such program."""
        return float(np.median(self.vectorised)) if self.vectorised else np.nan

    @property
    def compile_seconds(self) -> float:
        """What the first call took longer."""
        return max(self.ours_first - self.ours_seconds, 0.0)

    def summarise(self) -> dict[str, float | None]:
        """Medians, ratio, work per second; None instead of NaN."""
        values = {
            "ours_seconds": self.ours_seconds,
            "ours_work_per_second": self.work / self.ours_seconds,
            "ours_compile_seconds": self.compile_seconds,
            "torch_seconds": self.torch_seconds,
            "torch_work_per_second": self.work / self.torch_seconds,
            "ratio": self.torch_seconds / self.ours_seconds,
            "vectorised_seconds": self.vectorised_seconds,
            "vectorised_ratio": self.vectorised_seconds / self.ours_seconds,
        }
        return {name: None if np.isnan(value) else value for name, value in values.items()}


def timed(function: Callable[[], R]) -> tuple[R, float]:
    """The function's result, and how many seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def print_measurements(console: Console, measured: Sequence[Measurement]) -> None:
    """One row per stage; then the notes."""
    columns = (
        *("stage", "ours s", "torch s", "ratio", "vectorised s", "ratio", "ours work/s"),
        *("compile s", "ours MB", "torch MB"),
    )
    table = tabulate(None, columns, (), no_wrap=True, pad_edge=False, collapse_padding=True)
    for item in measured:
        rate = item.work / item.ours_seconds
        table.add_row(
            item.stage,
            f"{item.ours_seconds:.3g}",
            f"{item.torch_seconds:.4g}" if item.torch else "",
            f"{item.torch_seconds / item.ours_seconds:.3g}×" if item.torch else "",
            f"{item.vectorised_seconds:.3g}" if item.vectorised else "",
            f"{item.vectorised_seconds / item.ours_seconds:.3g}×" if item.vectorised else "",
            f"{rate:,.0f} {item.unit}" if rate >= 10 else f"{rate:.3g} {item.unit}",
            f"{item.compile_seconds:.1f}",
            _megabytes(item.ours_memory),
            _megabytes(item.torch_memory),
        )
    console.print(table)
    for item in measured:
        if item.note:
            console.print(f"{item.stage}: {item.note}", highlight=False)


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f}"


def describe_machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, JAX's devices, versions."""
    return {
        "processor": _processor(),
        "cores": count_cores(),
        "jax devices": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
